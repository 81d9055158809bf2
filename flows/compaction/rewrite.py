"""Rewriting: rows stream from files into new ones, a row group at a time, so memory is bounded however large they are.

Rows are gathered in the order of time until they fill a row group, which is then ordered as the writer orders its own.
So a row group covers a short span of time, and within it what is alike stands together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from typing import IO, TYPE_CHECKING, Any

from flows.compaction.files import Partition, TableFile
from flows.compaction.view import NewFile, View
from logweir.errors import LogweirError
from sinks.archive_files import ROWS, Statistics, grouped, new_path, options

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

GROUP_BYTES = 32_000_000
"""Of a row group, uncompressed. About three times as much memory is used."""
_OVER = 1.25
"""Of a file's target: what is merged may take more than it did before, and a rest would be a small file again."""
_BATCH_BYTES = 4_000_000
"""Read at once, about: it goes by the mean length of a file's rows."""
_BATCH_ROWS = 8192
_READ_BYTES = 1 << 20
"""A column is read in pieces of this size, however large its row group is."""


class StoppedError(LogweirError):
    """The work was broken off, since the process is to end; the table is as it was."""


def read(view: View, file: TableFile, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Give the rows of a file, some at a time, with the table's columns; what the file doesn't have is null.

    Args:
        view: The table.
        file: The file.
        columns: Only these.
    """
    import pyarrow as pa

    wanted = view.schema()
    if columns is not None:
        wanted = pa.schema([wanted.field(name) for name in columns])
    with _opened(view, file) as parquet:
        there = [name for name in wanted.names if name in parquet.schema_arrow.names]
        for batch in parquet.iter_batches(_batch_rows(parquet), columns=there, use_threads=False):
            found = [
                batch.column(each.name).cast(each.type) if each.name in there else pa.nulls(batch.num_rows, each.type)
                for each in wanted
            ]
            yield pa.record_batch(found, schema=wanted)


def count(view: View, file: TableFile) -> int:
    """Return the rows of a file, from its footer where the log doesn't say."""
    if file.rows is not None:
        return file.rows
    with _opened(view, file) as parquet:
        rows: int = parquet.metadata.num_rows
    return rows


def _batch_rows(parquet: pq.ParquetFile) -> int:
    """Return how many rows are read at once."""
    groups = [parquet.metadata.row_group(number) for number in range(parquet.num_row_groups)]
    longest = max((each.total_byte_size / max(each.num_rows, 1) for each in groups), default=1)
    return max(1, min(_BATCH_ROWS, int(_BATCH_BYTES / max(longest, 1))))


def _opened(view: View, file: TableFile) -> pq.ParquetFile:
    import pyarrow.parquet as pq

    source = view.objects.open(file.place, file.size)
    return pq.ParquetFile(source, pre_buffer=False, buffer_size=_READ_BYTES)


class Writers:
    """New files of several partitions. They are in no commit yet; after an error nothing is left of them.

    Args:
        view: The table.
        target_size: The bytes that a file should have. One that has a quarter more gets no more rows.
        stopping: Tells whether the work is to be broken off.
    """

    def __init__(self, view: View, target_size: int, stopping: Callable[[], bool]) -> None:
        self._view = view
        self._target_size = target_size
        self._stopping = stopping
        self._open: dict[Partition, _Writer] = {}
        self.files: list[NewFile] = []

    def add(self, partition: Partition, rows: pa.RecordBatch) -> None:
        """Write rows, or keep them until there are more.

        Raises:
            StoppedError: The work is to be broken off.
        """
        if self._stopping():
            msg = "compaction was stopped"
            raise StoppedError(msg)
        writer = self._open.get(partition)
        if writer is None:
            writer = self._open[partition] = _Writer(self._view, partition)
        writer.keep(rows)
        # The bound is for all together, and the largest makes the best row group.
        while sum(each.kept_bytes for each in self._open.values()) >= GROUP_BYTES or writer.kept_rows >= ROWS:
            largest = max(self._open.values(), key=lambda each: each.kept_bytes)
            largest.write()
            if largest.size >= self._target_size * _OVER:
                self.files.append(largest.finish())
                del self._open[largest.partition]

    def finish(self) -> list[NewFile]:
        """Write the rest; return all files."""
        for partition in list(self._open):
            self.files.append(self._open.pop(partition).finish())
        return self.files

    def discard(self) -> None:
        """Leave nothing: what was written is of no use."""
        for writer in self._open.values():
            writer.abandon()
        self._open.clear()
        self._view.objects.delete([each.path for each in self.files])


class _Writer:
    """The file of one partition that is being written."""

    def __init__(self, view: View, partition: Partition) -> None:
        self.partition = partition
        self.path = new_path(*partition)
        self.kept_bytes = self.kept_rows = 0
        self._view = view
        self._kept: list[pa.RecordBatch] = []
        self._statistics = Statistics()
        self._context: AbstractContextManager[IO[bytes]] = view.objects.write(self.path)
        self._handle = self._context.__enter__()
        self._parquet: Any = None

    @property
    def size(self) -> int:
        """The bytes written so far."""
        return self._handle.tell()

    def keep(self, rows: pa.RecordBatch) -> None:
        self._kept.append(rows)
        self.kept_bytes += rows.nbytes
        self.kept_rows += rows.num_rows

    def write(self) -> None:
        """Write what is kept as a row group."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if not self._kept:
            return
        rows = grouped(pa.Table.from_batches(self._kept))
        self._kept, self.kept_bytes, self.kept_rows = [], 0, 0
        if self._parquet is None:
            self._parquet = pq.ParquetWriter(self._handle, rows.schema, **options(rows))
        self._statistics.add(rows)
        self._parquet.write_table(rows, row_group_size=ROWS)

    def finish(self) -> NewFile:
        self.write()
        self._parquet.close()
        size = self._handle.tell()
        self._context.__exit__(None, None, None)
        return NewFile(self.partition, self.path, size, self._statistics.rows, self._statistics.text())

    def abandon(self) -> None:
        if self._parquet is not None:
            # Else it would try to end its file when it is forgotten, long after that is closed.
            with suppress(Exception):
                self._parquet.close()
        error = StoppedError()
        with suppress(StoppedError):
            self._context.__exit__(StoppedError, error, None)
