"""The archive's table as a compactor sees and changes it: its files, kept up to date from the table's log.

A change names the files that it removes and those that it adds, and is one entry of the log: "Delta Transaction Log
Protocol" of delta-io/delta, "Actions". Who changes the table claims the next version. When another was quicker, what it
did is read, and the change is tried on top of that, unless one of the files that it removes is gone. Files that
appear meanwhile are left alone. So no row is lost or doubled, whoever else writes, and nothing but the entry changes
the table: whatever dies before it has changed nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import orjson

from flows.compaction.files import Partition, TableFile, partition_of
from logweir import __version__
from logweir.archive_table import LOG, checked_path, is_inside, open_table
from logweir.errors import LogweirError
from logweir.times import rfc3339
from sinks.archive_objects import Objects, objects_of
from sinks.archive_stores import PATIENCE, Store

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable

READER_VERSION, WRITER_VERSION = 1, 2
"""Of the protocol: tables of a later one may have files that hold rows which are deleted, or need more of a writer."""
CHECKPOINT_COMMITS = 100
"""delta-rs makes a checkpoint at each version that is one less than a multiple, when the commit is its own."""
COUNTERS = "logweir:"
"""What a transaction's id begins with that is one of logweir's counters; no flow's name has a colon."""
_RELOAD_SECONDS = 600.0
"""A view that is older is made anew from the latest checkpoint: entries of the log are removed some day."""
_ATTEMPTS = 50


class ConflictError(LogweirError):
    """Another has removed a file that this change removes: what is to be done has to be looked at again."""


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file that a change adds."""

    partition: Partition
    path: str
    size: int
    rows: int
    statistics: str


@dataclass(slots=True)
class Change:
    """What one commit does."""

    operation: str
    """As Delta Lake's history spells it: DELETE, OPTIMIZE, UPDATE."""
    parameters: dict[str, str] = field(default_factory=dict)
    removed: list[tuple[Partition, TableFile]] = field(default_factory=list)
    added: list[NewFile] = field(default_factory=list)
    deleted: dict[str, int] = field(default_factory=dict)
    """Counter -> records that are gone with this."""
    reached: dict[str, int] = field(default_factory=dict)
    """Counter -> what it is raised to."""
    told: dict[str, Any] = field(default_factory=dict)
    """What the commit says besides."""


class View:
    """The table.

    Args:
        store: Where it lies.
        program: Who changes it, as the commits say.
    """

    def __init__(self, store: Store, program: str = "compact") -> None:
        self.store = store
        self.objects: Objects = objects_of(store)
        self._program = program
        self._table: DeltaTable | None = None
        self._version = -1
        self._partitions: dict[Partition, dict[str, TableFile]] = {}
        self._foreign: dict[str, dict[str, TableFile]] = {}
        self._counters: dict[str, int] = {}
        self._loaded = 0.0

    @property
    def exists(self) -> bool:
        """Tell whether there is a table; nothing has been archived where there is none."""
        return self._table is not None

    @property
    def version(self) -> int:
        """The table's version."""
        return self._version

    @property
    def partitions(self) -> Mapping[Partition, Mapping[str, TableFile]]:
        """The files of each partition by path. What another program keeps under other classes is not among them."""
        return self._partitions

    @property
    def foreign(self) -> Iterable[str]:
        """The paths of files that are left alone."""
        return [path for some in self._foreign.values() for path in some]

    def needed(self) -> set[str]:
        """Return where all files of the table lie, as a listing spells it."""
        return {file.place for some in (*self._partitions.values(), *self._foreign.values()) for file in some.values()}

    def schema(self) -> pa.Schema:
        """Return the columns that files hold: all but those of the partitions."""
        import pyarrow as pa

        assert self._table is not None
        whole = pa.schema(self._table.schema().to_arrow())
        return pa.schema([each for each in whole if each.name not in {"retention", "date"}])

    def load(self) -> None:
        """Read the table from its latest checkpoint on.

        Raises:
            LogweirError: It is no archive, or one that compaction doesn't know how to change.
        """
        # Whatever is raised on the way, nobody goes on with a part of the table: the next one reads it anew.
        self._loaded = float("-inf")
        started = time.monotonic()
        self._table = self._open()
        self._partitions, self._foreign, self._counters, self._version = {}, {}, {}, -1
        if self._table is None:
            return
        if problem := _unknown(self._table):
            msg = f"{self.store.place}: {problem}"
            raise LogweirError(msg)
        import pyarrow as pa

        self._version = self._table.version()
        for each in pa.table(self._table.get_add_actions(flatten=True)).to_pylist():
            first = each.get("min.timestamp")
            self._put(
                each.get("partition.retention"),
                each.get("partition.date"),
                TableFile(
                    checked_path(each["path"], self.store.place),
                    each["size_bytes"],
                    each["modification_time"] / 1000,
                    each["num_records"],
                    "" if first is None else first.astimezone(UTC).isoformat(timespec="microseconds"),
                ),
            )
        self._loaded = started

    def refresh(self) -> None:
        """Bring it up to date."""
        if self._table is None or time.monotonic() - self._loaded > _RELOAD_SECONDS:
            self.load()
            return
        while (entry := self.objects.read(log_entry(self._version + 1))) is not None:
            if not self._apply(entry):
                self.load()
                return
            self._version += 1

    def counter(self, name: str) -> int:
        """Return a counter's value, of the version that this view has; 0 for one that was never raised."""
        if name not in self._counters:
            assert self._table is not None
            self._counters[name] = self._table.transaction_version(name) or 0
        return self._counters[name]

    def commit(self, change: Change) -> None:
        """Carry out a change.

        Raises:
            ConflictError: It can't be any more; the files that it adds are of no use.
            Exception: Whatever the store raises; the change may have been carried out.
        """
        for _ in range(_ATTEMPTS):
            self.refresh()
            for partition, file in change.removed:
                if file.path not in self._partitions.get(partition, ()):
                    msg = f"{file.path} has been removed by another"
                    raise ConflictError(msg)
            version = self._version + 1
            entry = self._entry(change)
            if self.objects.claim(log_entry(version), entry):
                self.refresh()
                if (version + 1) % CHECKPOINT_COMMITS == 0:
                    self.checkpoint()
                return
        msg = f"{_ATTEMPTS} others were quicker"
        raise ConflictError(msg)

    def checkpoint(self) -> None:
        """Sum the log up, so that readers needn't read all of it, and remove entries that are old."""
        table = self._open()
        if table is not None:
            table.create_checkpoint()
            table.cleanup_metadata()

    def entries(self) -> Iterator[dict[str, list[dict[str, Any]]]]:
        """Give the log's entries, the latest first, as far as they are kept: the action's name -> the actions."""
        version = self._version
        while version >= 0 and (entry := self.objects.read(log_entry(version))) is not None:
            actions: dict[str, list[dict[str, Any]]] = {}
            for name, value in _actions(entry):
                actions.setdefault(name, []).append(value)
            yield actions
            version -= 1

    def _open(self) -> DeltaTable | None:
        options = self.store.options()
        return open_table(self.store.place, {**options, **PATIENCE} if options else {})

    def _entry(self, change: Change) -> bytes:
        now = int(time.time() * 1000)
        changes = change.operation != "OPTIMIZE"
        counters = {name: self.counter(name) + count for name, count in change.deleted.items()}
        counters |= {name: max(self.counter(name), value) for name, value in change.reached.items()}
        about = {
            "timestamp": now,
            "operation": change.operation,
            "operationParameters": change.parameters,
            "readVersion": self._version,
            "isolationLevel": "Serializable" if changes else "SnapshotIsolation",
            "isBlindAppend": False,
            "operationMetrics": {
                "numRemovedFiles": str(len(change.removed)),
                "numAddedFiles": str(len(change.added)),
                "numDeletedRows": str(sum(change.deleted.values())),
            },
            "engineInfo": f"logweir/{__version__}",
            "logweir": {"id": str(uuid4()), "by": self._program, "at": rfc3339(time.time()), **change.told},
        }
        actions: list[dict[str, Any]] = [{"commitInfo": about}]
        actions += [{"txn": {"appId": name, "version": value, "lastUpdated": now}} for name, value in counters.items()]
        actions += [
            {
                "remove": {
                    "path": file.path,
                    "deletionTimestamp": now,
                    "dataChange": changes,
                    "extendedFileMetadata": True,
                    "partitionValues": _values(partition),
                    "size": file.size,
                }
            }
            for partition, file in change.removed
        ]
        actions += [
            {
                "add": {
                    "path": new.path,
                    "partitionValues": _values(new.partition),
                    "size": new.size,
                    "modificationTime": now,
                    "dataChange": changes,
                    "stats": new.statistics,
                }
            }
            for new in change.added
        ]
        return b"".join(orjson.dumps(each) + b"\n" for each in actions)

    def _apply(self, entry: bytes) -> bool:
        """Take in an entry of the log; False where it changes more than files, or names one outside the table.

        The table is read anew then, which may have lost that file again meanwhile.
        """
        for name, value in _actions(entry):
            if name in {"metaData", "protocol"} or (name == "add" and not is_inside(value["path"])):
                return False
            if name == "txn" and value["appId"].startswith(COUNTERS):
                self._counters[value["appId"]] = value["version"]
            elif name in {"add", "remove"}:
                where = value.get("partitionValues") or {}
                day = where.get("date")
                retention, day = where.get("retention"), date.fromisoformat(day) if day else None
                if name == "remove":
                    self._take(retention, day, value["path"])
                else:
                    self._put(retention, day, _file(value))
        return True

    def _put(self, retention: str | None, day: date | None, file: TableFile) -> None:
        partition = partition_of(retention, day)
        if partition is None:
            self._foreign.setdefault(f"{retention}/{day}", {})[file.path] = file
        else:
            self._partitions.setdefault(partition, {})[file.path] = file

    def _take(self, retention: str | None, day: date | None, path: str) -> None:
        partition = partition_of(retention, day)
        files = self._foreign.get(f"{retention}/{day}") if partition is None else self._partitions.get(partition)
        if files is None or files.pop(path, None) is None:
            # The partition isn't said, which the protocol permits.
            for each in (*self._partitions.values(), *self._foreign.values()):
                each.pop(path, None)
        if partition is not None and not self._partitions.get(partition, True):
            del self._partitions[partition]


def log_entry(version: int) -> str:
    """Return the path of a version's entry."""
    return f"{LOG}/{version:020}.json"


def _actions(entry: bytes) -> Iterator[tuple[str, Any]]:
    for line in entry.splitlines():
        if line.strip():
            yield from orjson.loads(line).items()


def _file(add: dict[str, Any]) -> TableFile:
    stats = orjson.loads(add.get("stats") or "{}")
    first = str((stats.get("minValues") or {}).get("timestamp") or "")
    if first:
        first = datetime.fromisoformat(first).astimezone(UTC).isoformat(timespec="microseconds")
    return TableFile(add["path"], add["size"], add["modificationTime"] / 1000, stats.get("numRecords"), first)


def _values(partition: Partition) -> dict[str, str]:
    return {"retention": partition.retention, "date": partition.day.isoformat()}


def _unknown(table: DeltaTable) -> str:
    """Return what of a table compaction doesn't know how to deal with."""
    protocol = table.protocol()
    found = (protocol.min_reader_version, protocol.min_writer_version)
    if found[0] > READER_VERSION or found[1] > WRITER_VERSION:
        features = ", ".join([*(protocol.reader_features or ()), *(protocol.writer_features or ())])
        needed = f"it needs version {found} of the Delta Lake protocol" + (f" with {features}" if features else "")
        return f"{needed}, and compaction knows ({READER_VERSION}, {WRITER_VERSION}): another program has changed it"
    if table.metadata().configuration.get("delta.appendOnly", "").lower() == "true":
        return "its property delta.appendOnly forbids that anything is removed: unset it to let records expire"
    return ""
