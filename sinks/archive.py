"""The archive: every record as a row of a Delta Lake table, exactly once, in a directory or in S3.

`logweir.archive_table` says what the table looks like. Protocol: "Delta Transaction Log Protocol" of delta-io/delta, as
the deltalake library carries it out. It records application transactions and does not enforce them, so the writer has
to read them first:

    1  the table is brought up to date, and the version of each topic-partition read: the offset after its last record
    2  rows below it are there already, from before a crash, and are left out
    3  files are written, one for each retention class and date
    4  one commit names them all, and the new versions. Another commit in the meantime is no harm, unless it is about
       one of these topic-partitions: then this one is refused, and all begins at 1

Delivered means committed. So a barrier of the dataflow waits for a commit, positions are recorded behind the table and
never ahead of it, and what lies between the two after a crash is what step 2 leaves out.
"""

from __future__ import annotations

import importlib.util
import random
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator, model_validator

from logweir.archive_table import (
    GRACE_SECONDS,
    PARTITIONED_BY,
    application,
    complete_table,
    create_table,
    open_table,
)
from logweir.batch import Batch
from logweir.dates import OUTSIDE, Dates
from logweir.errors import DestinationError, LogweirError
from logweir.private import FileMode, rights
from logweir.settings import LocalPath
from logweir.units import Bytes, Duration
from sinks.archive_columns import Classes, Columns, Part
from sinks.archive_files import files
from sinks.archive_stores import PATIENCE, Bucket, Directory, Store
from sinks.aws import AwsAccess
from sinks.destination import REDRIVE_PARTITION, Delivered, Getter, Hold, Outcome, Probed, Retry
from sinks.settings import BatchSettings, RetrySettings, from_environment

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable
    from deltalake.transaction import AddAction

_CONFLICTS = 10
"""Commits that are refused one after another before the engine waits."""
_CONFLICT_SECONDS = 0.2
MISSING = "the archive needs deltalake and pyarrow: pip install 'logweir[archive]'"


class ArchiveBatch(BatchSettings):
    """When there is a commit: as soon as one of the limits is reached."""

    max_records: int = Field(500_000, ge=1, description="The most records in one commit.")
    max_bytes: Bytes = Field(
        24_000_000,
        gt=0,
        le=512_000_000,
        description="The most bytes of records in one commit, before compression; each takes ten bytes of memory.",
    )
    flush_interval: Duration = Field(
        60.0, gt=0, description="How long a record waits for others at most; with isolation: none, recovery.interval."
    )


class Archive(AwsAccess):
    """Where the archive is, and what goes into it."""

    path: LocalPath = Field(min_length=1, description="A directory, or s3://bucket/prefix.")
    mode: FileMode | None = Field(
        None,
        description="In a directory, the rights of the files, such as 0640; its directories "
        "get the same, and those who may read may enter them. As the process's umask says if left out.",
    )
    takes: Literal["source", "kept"] = Field(
        "source",
        alias="from",
        description="`source`: every record, whatever the rules drop. `kept`: what the flow's rules let pass.",
    )
    dates: Dates = Field(
        default_factory=Dates, description="Which time a record may have, by which it is kept, found and expires."
    )
    batch: ArchiveBatch = Field(default_factory=ArchiveBatch, description="When there is a commit.")
    retry: RetrySettings = Field(default_factory=RetrySettings, description="How a commit is tried again.")
    health_interval: Duration = Field(
        30.0, gt=0, description="How long after its last answer the archive is asked for its health."
    )

    @field_validator("path")
    @classmethod
    def _place(cls, value: str) -> str:
        if "://" in value and not (value.startswith("s3://") and value.removeprefix("s3://").partition("/")[0]):
            msg = "must be a directory such as ./archive, or s3://bucket/prefix"
            raise ValueError(msg)
        return value

    @model_validator(mode="after")
    def _in_s3(self) -> Archive:
        if not self.path.startswith("s3://") and (self.region or self.endpoint_url or self.access_key_id):
            msg = "region, endpoint_url and credentials go with a path under s3://"
            raise ValueError(msg)
        if self.path.startswith("s3://") and self.mode is not None:
            msg = "mode goes with a directory; who may read a bucket is said by its policy"
            raise ValueError(msg)
        return self

    @model_validator(mode="before")
    @classmethod
    def _from_environment(cls, data: Any) -> Any:
        """Fill in what is left out and whose variable is set; a directory needs none of it."""
        place = data.get("path") if isinstance(data, dict) else None
        return from_environment(cls, data) if isinstance(place, str) and place.startswith("s3://") else data

    def store(self) -> Store:
        """Return where the table lies, and how it is opened: `open_table(store.place, store.options())`."""
        return Bucket(self.path, self) if self.path.startswith("s3://") else Directory(self.path, rights(self.mode))


class ArchiveDestination:
    """One sink partition's writer of the table.

    Args:
        store: Where the table lies.
        flow: The flow's name.
        columns: Makes columns of batches.
        exact: Whether the source gives a record again under the topic, partition and offset that it had.
    """

    def __init__(self, store: Store, flow: str, columns: Columns, *, exact: bool) -> None:
        self._store = store
        self._flow = flow
        self._columns = columns
        self._exact = exact
        self._earlier: dict[tuple[str, int], int] = {}
        """The offset up to which earlier versions have written a topic-partition, by the topic's name."""
        self._table: DeltaTable | None = None
        self._tried: _Tried | None = None

    def screen(self, batch: Batch) -> dict[str, int]:
        """Count the records whose date is that of their writing."""
        return {OUTSIDE: self._columns.dates.of(batch.times, batch.written)[1]}

    def columns(self, batch: Batch) -> Part | None:
        """Return a batch's columns."""
        if not batch:
            return None
        first, last = batch.offsets[0], batch.offsets[-1]
        log = batch.log or batch.topic
        rows, partitions = self._columns.of(batch)
        return Part(batch.topic, batch.partition, log, batch.adopted, rows, first, last + 1, partitions)

    def commit(self, parts: Sequence[Part]) -> tuple[Outcome, int]:
        """Add what of it the table doesn't have."""
        from deltalake.exceptions import CommitFailedError

        conflict: CommitFailedError | None = None
        for _ in range(_CONFLICTS):
            if conflict is not None:
                time.sleep(random.random() * _CONFLICT_SECONDS)
            try:
                table = self._current()
                applications = list(map(self._application, parts))
                found = {
                    name: max(table.transaction_version(name) or 0, self._written_earlier(table, part))
                    for name, part in zip(applications, parts, strict=True)
                    if name is not None
                }
            except Exception as error:  # noqa: BLE001  whatever deltalake or boto3 raises is an outcome, told in words
                return self._failed(error), 0
            tried = self._tried
            if tried is None or tried.parts is not parts or tried.found != found or tried.is_old():
                tried = _Tried(parts, found, *_missing(parts, applications, found))
            if not tried.rows:
                return Delivered(duplicates=tried.duplicates), 0
            try:
                self._write(tried)
                self._tried = tried
                self._commit(table, tried)
            except CommitFailedError as error:
                conflict = error
            except Exception as error:  # noqa: BLE001  as above
                return self._failed(error), 0
            else:
                self._tried = None
                return Delivered(duplicates=tried.duplicates), tried.size
        assert conflict is not None
        return self._failed(conflict), 0

    def probe(self) -> Probed:
        """Look whether files can be written, and whether what is there is an archive."""
        found = self._store.probe()
        if not isinstance(found, Delivered):
            return found
        try:
            open_table(self._store.place, self._options())
        except Exception as error:  # noqa: BLE001  as in `commit`
            return _said(self._store, error)
        return Delivered()

    def try_out(self) -> Probed:
        """Look the same, and write something that is taken away again."""
        found = self.probe()
        return self._store.try_out() if isinstance(found, Delivered) else found

    def checkpoint(self) -> None:
        """Make the commits last. There is nothing to resume from but the table.

        Raises:
            DestinationError: They may not last; the flow must go on from the checkpoint before.
        """
        self._store.sync()

    def close(self) -> None:
        """Close the connections."""
        self._store.close()

    def _current(self) -> DeltaTable:
        """Return the table as it is now."""
        if self._table is None:
            place, options = self._store.place, self._options()
            self._store.prepare()
            self._table = open_table(place, options) or create_table(place, options)
            complete_table(self._table)
        else:
            self._table.update_incremental()
        return self._table

    def _options(self) -> dict[str, str]:
        """Return what delta-rs has to know; credentials are looked up anew, since they may have been mended."""
        options = self._store.options()
        return {**options, **PATIENCE} if options else {}

    def _application(self, part: Part) -> str | None:
        """Return the id of a part's transactions; None where its records can't be told from others."""
        return application(self._flow, part.log, part.partition) if self._exact and part.partition >= 0 else None

    def _written_earlier(self, table: DeltaTable, part: Part) -> int:
        """Return the offset up to which earlier versions have written the log, whose name they didn't know."""
        if not part.adopted:
            return 0
        place = part.topic, part.partition
        if place not in self._earlier:
            reached = 0
            for generation in count():
                version = table.transaction_version(application(self._flow, *place, generation))
                if version is None and generation:
                    break
                reached = version or 0
            self._earlier[place] = reached
        return self._earlier[place]

    def _write(self, tried: _Tried) -> None:
        """Write the files, unless that has been done."""
        from deltalake.transaction import AddAction

        if tried.adds:
            return
        import pyarrow as pa

        adds: list[AddAction] = []
        size = 0
        try:
            for file in files(pa.Table.from_batches(tried.rows).combine_chunks()):
                now = int(time.time() * 1000)
                adds.append(AddAction(file.path, file.body.size, file.partition, now, True, file.statistics))
                self._store.put(file.path, file.body)
                size += file.body.size
            self._store.flush()
        except BaseException:
            # No commit has named them, and none will.
            self._store.remove(each.path for each in adds)
            raise
        tried.adds, tried.size = adds, size

    def _commit(self, table: DeltaTable, tried: _Tried) -> None:
        from deltalake import CommitProperties, Transaction

        table.create_write_transaction(
            list(tried.adds),
            "append",
            table.schema(),
            list(PARTITIONED_BY),
            commit_properties=CommitProperties(
                app_transactions=[Transaction(name, version) for name, version in tried.reached.items()]
            ),
        )

    def _failed(self, error: Exception) -> Retry | Hold:
        self._table = None
        return _said(self._store, error)


class _Tried:
    """What a request adds to the table, kept while it is tried: files are written once.

    A commit that names a file which is there already, since its answer was lost, doesn't add it twice.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        found: dict[str, int],
        rows: list[pa.RecordBatch],
        reached: dict[str, int],
        duplicates: int,
    ) -> None:
        self.parts = parts
        self.found = found
        """The versions of the transactions in the table."""
        self.rows = rows
        """Those that the table doesn't have."""
        self.reached = reached
        """The versions with these rows."""
        self.duplicates = duplicates
        self.adds: list[AddAction] = []
        self.size = 0
        self._since = time.monotonic()

    def is_old(self) -> bool:
        """Tell whether the files may soon be removed, since no commit names them."""
        return time.monotonic() - self._since > GRACE_SECONDS / 2


def _missing(
    parts: Sequence[Part], applications: Sequence[str | None], found: Mapping[str, int]
) -> tuple[list[pa.RecordBatch], dict[str, int], int]:
    """Return the rows that the table doesn't have, the versions that it has with them, and how many rows it had."""
    import pyarrow.compute as pc

    versions = dict(found)
    rows: list[pa.RecordBatch] = []
    duplicates = 0
    for part, name in zip(parts, applications, strict=True):
        new = part.rows
        if name is not None:
            version = versions[name]
            if part.first < version:
                new = new.filter(pc.greater_equal(new.column("offset"), version))
            versions[name] = max(version, part.next)
        duplicates += part.rows.num_rows - new.num_rows
        if new.num_rows:
            rows.append(new)
    return rows, {name: version for name, version in versions.items() if version != found[name]}, duplicates


def _said(store: Store, error: Exception) -> Retry | Hold:
    return Hold(f"{error}: set retention.archive elsewhere") if isinstance(error, LogweirError) else store.failed(error)


def open_archive(
    settings: Archive,
    flow: str,
    getter: Callable[[str], Getter],
    classes: Classes,
    *,
    exact: bool,
    partition: int = 0,
) -> ArchiveDestination:
    """Return the writer of one sink partition.

    Args:
        settings: Where the archive is.
        flow: The flow's name.
        getter: Gives the reader of each field that `Columns` reads.
        classes: Tells how long records are kept.
        exact: Whether the source gives a record again under the topic, partition and offset that it had.
        partition: The sink partition's number. What is redriven has been passed over before, at its old offsets.

    Raises:
        DestinationError: The libraries aren't installed.
    """
    if any(importlib.util.find_spec(name) is None for name in ("deltalake", "pyarrow")):
        raise DestinationError(MISSING)
    columns = Columns(getter, classes, settings.dates)
    return ArchiveDestination(settings.store(), flow, columns, exact=exact and partition != REDRIVE_PARTITION)
