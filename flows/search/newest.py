"""The newest records that meet a query, in order, from a table of any size in bounded memory.

Records are given in pages. For one, files are gone through from the newest on, while the newest rows that were found
are kept on a heap; once there are enough of them, only rows newer than the oldest of them count, and the first file
that has none ends it. The next page begins behind the last record of the one before. Where columns decide, a record
itself is read only once it is known to be on the page.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from flows.search.query import Query
from flows.search.table import Opener, TableFile

if TYPE_CHECKING:
    import pyarrow as pa

PAGE_RECORDS = 5_000
PAGE_BYTES = 64_000_000
"""Of records that are held before they are given."""
_BATCH = 16_384
"""Rows whose records are decoded at a time: about 8 MB."""
_THREADS = 8
"""Files whose filters are asked at a time: most of that is waiting, where they lie in S3."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_KEYS = ["timestamp", "offset", "topic", "partition"]


class Key(NamedTuple):
    """By what records are ordered; each has another one."""

    moment: int
    """Microseconds since 1970."""
    offset: int
    topic: str
    partition: int
    path: str
    row: int
    """Its number in the row group."""
    group: int

    def anywhere(self) -> Key:
        """Return what all that comes after this row comes after, and this row too, in whatever file it is by now."""
        return self._replace(path="", row=-1, group=-1)


class Row(NamedTuple):
    """A record that was found."""

    key: Key
    raw: bytes
    file: TableFile


class Newest:
    """Goes through files of the table.

    Args:
        table: Opens them.
        files: Those to look into.
        query: What is asked for.
    """

    def __init__(self, table: Opener, files: Iterable[TableFile], query: Query) -> None:
        self._table = table
        self._query = query
        files = [file for file in files if query.may_be_in(file)]
        self._files = sorted(files, key=lambda each: (each.last, each.path), reverse=True)
        if any(name == "trace_id" for name in query.values):
            self._files = self._filtered(self._files)
        self._by_path = {file.path: file for file in self._files}

    def page(self, count: int, before: Key | None) -> tuple[list[Row], bool]:
        """Return so many records at most, the newest first, and whether there may be more.

        Args:
            count: The most to return.
            before: The last record of the page before.

        Raises:
            OSError: A file can't be read; one that is missing was removed since.
        """
        page = _Page(min(count, PAGE_RECORDS), before)
        for file in self._files:
            if page.is_beyond(_micros(file.last)):
                break
            if before is None or _micros(file.first) <= before.moment:
                self._add(file, page)
        return self._read(page), page.oldest() is not None

    def _filtered(self, files: list[TableFile]) -> list[TableFile]:
        """Return the files whose Bloom filters don't say no."""

        def asked(file: TableFile) -> bool:
            with self._table.open(file.path) as (parquet, handle):
                return bool(self._query.groups(parquet.metadata, handle))

        with ThreadPoolExecutor(_THREADS) as pool:
            return [file for file, found in zip(files, pool.map(asked, files), strict=True) if found]

    def _add(self, file: TableFile, page: _Page) -> None:
        """Put on a page what a file has for it."""
        with self._table.open(file.path) as (parquet, handle):
            for group in self._query.groups(parquet.metadata, handle):
                rows = _columns(parquet, group, ["timestamp", *self._query.columns])
                numbers = _chosen(self._query, rows, page)
                if not len(numbers):
                    continue
                rows = _columns(parquet, group, _KEYS)
                if not self._query.looks:
                    for key in _keys(rows.take(numbers), numbers.to_pylist(), file.path, group):
                        page.add(key, None)
                    continue
                for start, raw in _records(parquet, group, numbers):
                    # Only now is it known what is newer than the page's oldest.
                    part = numbers.slice(start, len(raw))
                    found = self._query.look(raw)
                    chosen = part.take(_numbers(found))
                    keys = _keys(rows.take(chosen), chosen.to_pylist(), file.path, group)
                    for key, at in zip(keys, found, strict=True):
                        page.add(key, raw[at])

    def _read(self, page: _Page) -> list[Row]:
        """Return the records of a page, those read that weren't yet."""
        missing: dict[tuple[str, int], list[Key]] = defaultdict(list)
        for key, raw in page.found():
            if raw is None:
                missing[key.path, key.group].append(key)
        for (path, group), keys in missing.items():
            ordered = sorted((key for key in keys if page.holds(key)), key=lambda each: each.row)
            with self._table.open(path) as (parquet, _):
                for start, raw in _records(parquet, group, _numbers([key.row for key in ordered])):
                    for at, value in enumerate(raw.to_pylist()):
                        page.put(ordered[start + at], value or b"")
        return [Row(key, raw or b"", self._by_path[key.path]) for key, raw in page.found()]


class _Page:
    """The newest records that were found.

    Args:
        count: How many at most.
        before: All are to come behind this one.
    """

    def __init__(self, count: int, before: Key | None) -> None:
        self.count = count
        self.before = before
        self._keys: list[Key] = []
        """A heap, the oldest first."""
        self._raw: dict[Key, bytes | None] = {}
        self._size = 0

    def add(self, key: Key, raw: Any) -> None:
        """Take a record, if it is newer than the oldest or there is room."""
        if (self.before is not None and not key < self.before) or key in self._raw:
            return
        if len(self._keys) >= self.count:
            if key < self._keys[0]:
                return
            self._drop()
        heapq.heappush(self._keys, key)
        self._raw[key] = None
        if raw is not None:
            self.put(key, raw.as_py())

    def put(self, key: Key, raw: bytes) -> None:
        """Take the record itself; where that is too much, the oldest are left to the next page."""
        if key not in self._raw:
            return
        self._raw[key] = raw
        self._size += len(raw)
        while self._size > PAGE_BYTES and len(self._keys) > 1:
            self._drop()
            self.count = len(self._keys)

    def _drop(self) -> None:
        self._size -= len(self._raw.pop(heapq.heappop(self._keys)) or b"")

    def holds(self, key: Key) -> bool:
        """Tell whether a record is still on the page."""
        return key in self._raw

    def oldest(self) -> int | None:
        """Return the moment of the oldest, once nothing older counts."""
        return self._keys[0].moment if len(self._keys) >= self.count else None

    def is_beyond(self, last: int) -> bool:
        """Tell whether what is no newer than this has no place on the page."""
        oldest = self.oldest()
        return oldest is not None and last < oldest

    def found(self) -> list[tuple[Key, bytes | None]]:
        """Return what there is, the newest first."""
        return [(key, self._raw[key]) for key in sorted(self._keys, reverse=True)]


def _columns(parquet: Any, group: int, names: list[str]) -> pa.Table:
    """Return columns of a row group, the timestamp among them in microseconds, whoever wrote it."""
    import pyarrow as pa

    rows = parquet.read_row_group(group, columns=names)
    place = rows.schema.get_field_index("timestamp")
    kind = pa.timestamp("us", "UTC")
    if rows.schema.field(place).type == kind:
        return rows
    return rows.set_column(place, "timestamp", rows.column(place).cast(kind, safe=False))


def _chosen(query: Query, rows: pa.Table, page: _Page) -> pa.Array:
    """Return the numbers of the rows that may come on a page, by their columns."""
    import pyarrow as pa
    import pyarrow.compute as pc

    timestamp = rows.column("timestamp")
    moment = timestamp.type
    mask = query.mask(rows)
    tests = [] if mask is None else [mask]
    oldest = page.oldest()
    if oldest is not None:
        tests.append(pc.greater_equal(timestamp, pa.scalar(oldest, pa.int64()).cast(moment)))
    if page.before is not None:
        tests.append(pc.less_equal(timestamp, pa.scalar(page.before.moment, pa.int64()).cast(moment)))
    if not tests:
        numbers = pa.array(range(rows.num_rows), pa.int64())
    else:
        mask = tests[0]
        for test in tests[1:]:
            mask = pc.and_(mask, test)
        numbers = pc.indices_nonzero(mask).cast(pa.int64())
    if query.looks or len(numbers) <= page.count:
        return numbers
    moments = timestamp.take(numbers)
    room = page.count
    if page.before is not None:
        # Those of its very moment may be on the page before.
        room += pc.sum(pc.equal(moments.cast(pa.int64()), page.before.moment)).as_py()
    if len(numbers) <= room:
        return numbers
    # All that are as new as the last that has a place: which of these it is, their other keys say.
    best = pc.select_k_unstable(moments, room, sort_keys=[("", "descending")])
    return numbers.filter(pc.greater_equal(moments, moments.take(best)[-1]))


def _keys(rows: pa.Table, numbers: list[int], path: str, group: int) -> list[Key]:
    """Return the keys of rows."""
    import pyarrow as pa

    columns = [
        rows.column("timestamp").cast(pa.int64()),
        *(rows.column(name) for name in _KEYS[1:]),
    ]
    moments, offsets, topics, partitions = (column.to_pylist() for column in columns)
    return [
        Key(moment or 0, offset or 0, topic or "", partition or 0, path, row, group)
        for moment, offset, topic, partition, row in zip(moments, offsets, topics, partitions, numbers, strict=True)
    ]


def _records(parquet: Any, group: int, numbers: pa.Array) -> Iterator[tuple[int, pa.Array]]:
    """Give the records of these rows, in their order and a part at a time, each with the place of its first in them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted = numbers.to_pylist()
    at = start = 0
    for batch in parquet.iter_batches(_BATCH, row_groups=[group], columns=["raw"]):
        end = start
        after = at + batch.num_rows
        while end < len(wanted) and wanted[end] < after:
            end += 1
        if end > start:
            raw = batch.column(0)
            picked = pc.subtract(numbers.slice(start, end - start), pa.scalar(at, pa.int64()))
            yield start, raw if end - start == len(raw) else raw.take(picked)
        start, at = end, after
        if start == len(wanted):
            return


def _numbers(values: list[int]) -> pa.Array:
    import pyarrow as pa

    return pa.array(values, pa.int64())


def _micros(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)
