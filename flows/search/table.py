"""The archive's table as a reader sees it: the files of one version, what the log says of each, and opening them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote

from logweir.archive_table import LOG, STATISTICS, checked_path, open_table
from logweir.errors import LogweirError
from sinks.archive_paths import below
from sinks.http import ANSWER_SECONDS, CONNECT_SECONDS

if TYPE_CHECKING:
    import pyarrow.parquet as pq
    from deltalake import DeltaTable
    from pyarrow import fs

_ROUNDED = timedelta(milliseconds=1)
"""Other writers cut the greatest timestamp of a file to milliseconds."""
_DAY = timedelta(days=1)
_BUFFER = 1 << 20


class Place(Protocol):
    """Where a table lies: sinks/archive_stores.py has such."""

    place: str

    def options(self) -> dict[str, str]:
        """Return what delta-rs has to know to open it."""
        ...


@dataclass(frozen=True, slots=True)
class TableFile:
    """One file, as the log describes it."""

    path: str
    """Below the table."""
    size: int
    """In bytes."""
    rows: int | None
    """None where its writer kept no statistics."""
    retention: str | None
    day: date | None
    least: Mapping[str, Any]
    greatest: Mapping[str, Any]
    """The bounds of columns, where they are known."""

    @property
    def first(self) -> datetime:
        """No record in it is older."""
        known: datetime | None = self.least.get("timestamp")
        if known is not None:
            return known
        return datetime.min.replace(tzinfo=UTC) if self.day is None else _midnight(self.day)

    @property
    def last(self) -> datetime:
        """No record in it is newer."""
        known: datetime | None = self.greatest.get("timestamp")
        if known is not None:
            return known + _ROUNDED
        return datetime.max.replace(tzinfo=UTC) if self.day is None else _midnight(self.day) + _DAY


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


class Opener:
    """Opens what lies below a table.

    Args:
        table: As deltalake has it.
        options: What delta-rs has to know.
    """

    def __init__(self, table: DeltaTable, options: dict[str, str]) -> None:
        from pyarrow import fs

        uri = table.table_uri.rstrip("/")
        self.place = unquote(uri.removeprefix("file://"))
        self._directory = None if uri.startswith("s3://") else Path(self.place)
        if uri.startswith("s3://"):
            # deltalake's own gives no other thread a turn while it waits for S3.
            self.system = fs.SubTreeFileSystem(uri.removeprefix("s3://"), _s3(options))
        else:
            self.system = fs.SubTreeFileSystem(self.place, fs.LocalFileSystem())

    @contextmanager
    def open(self, path: str) -> Iterator[tuple[pq.ParquetFile, Any]]:
        """Open one of the table's files: its reader, and the handle below.

        Raises:
            OSError: It can't be read; FileNotFoundError: it isn't there.
        """
        import pyarrow.parquet as pq

        if self._directory is not None:
            below(self._directory, path)
        with self.system.open_input_file(path) as handle:
            # What is read ahead of a large row group would be held whole.
            yield pq.ParquetFile(handle, pre_buffer=False, buffer_size=_BUFFER), handle


def _s3(options: dict[str, str]) -> fs.FileSystem:
    """Return S3 as pyarrow has it.

    Args:
        options: As delta-rs names them.
    """
    from pyarrow import fs

    scheme, _, address = options.get("aws_endpoint_url", "").rpartition("://")
    return fs.S3FileSystem(
        access_key=options["aws_access_key_id"],
        secret_key=options["aws_secret_access_key"],
        session_token=options.get("aws_session_token"),
        region=options["aws_region"],
        endpoint_override=address or None,
        scheme=scheme or "https",
        connect_timeout=CONNECT_SECONDS,
        request_timeout=ANSWER_SECONDS,
    )


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One version of the table."""

    table: DeltaTable
    opener: Opener
    files: list[TableFile]

    @property
    def version(self) -> int:
        """Its number."""
        return int(self.table.version())


def snapshot(store: Place) -> Snapshot:
    """Return the table as it is now.

    Raises:
        LogweirError: There is none.
        Exception: Whatever deltalake raises where it can't read.
    """
    import pyarrow as pa

    options = store.options()
    table = open_table(store.place, options or None)
    if table is None:
        msg = f"there is no archive at {store.place} yet: `logweir run` makes it with its first commit"
        raise LogweirError(msg)
    opener = Opener(table, options)
    files = [_file(each, opener.place) for each in pa.table(table.get_add_actions(flatten=True)).to_pylist()]
    return Snapshot(table, opener, files)


def added(table: Opener, version: int) -> list[TableFile] | None:
    """Return the files that the commit of a version added, none where it took others out: such a commit rewrites.

    Returns:
        None where there is no such version yet, or its entry in the log is gone.

    Raises:
        OSError: The log can't be read.
        LogweirError: The commit names a file outside the table.
    """
    try:
        with table.system.open_input_stream(f"{LOG}/{version:020}.json") as entry:
            actions = [json.loads(line) for line in entry.read().splitlines() if line.strip()]
    except FileNotFoundError:
        return None
    if any("remove" in action for action in actions):
        return []
    return [_from_log(action["add"], table.place) for action in actions if "add" in action]


def _from_log(add: dict[str, Any], place: str) -> TableFile:
    said = json.loads(add.get("stats") or "{}")
    least, greatest = (_known(said.get(bounds) or {}) for bounds in ("minValues", "maxValues"))
    values = add["partitionValues"]
    day = values.get("date")
    return TableFile(
        path=unquote(checked_path(add["path"], place)),
        size=add["size"],
        rows=said.get("numRecords"),
        retention=values.get("retention"),
        day=date.fromisoformat(day) if day else None,
        least=least,
        greatest=greatest,
    )


def _known(bounds: dict[str, Any]) -> dict[str, Any]:
    found = {name: bounds[name] for name in STATISTICS if bounds.get(name) is not None}
    if "timestamp" in found:
        found["timestamp"] = datetime.fromisoformat(found["timestamp"])
    return found


def _file(action: dict[str, Any], place: str) -> TableFile:
    return TableFile(
        path=unquote(checked_path(action["path"], place)),
        size=action["size_bytes"],
        rows=action.get("num_records"),
        retention=action.get("partition.retention"),
        day=action.get("partition.date"),
        least={name: found for name in STATISTICS if (found := action.get(f"min.{name}")) is not None},
        greatest={name: found for name in STATISTICS if (found := action.get(f"max.{name}")) is not None},
    )
