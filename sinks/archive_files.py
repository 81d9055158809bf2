"""The archive's files: rows in the order in which they compress and prune best, as Parquet, one file a partition."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from logweir.archive_table import BLOOM, PARTITIONED_BY, STATISTICS, directory

if TYPE_CHECKING:
    import pyarrow as pa

COMPRESSION = "zstd"
LEVEL = 1
"""Of equal records beside each other level 1 leaves less than level 3 does, in two thirds of its time."""
_GROUPED_BY = ("service", "category", "level")
"""What records have in common that are alike; and what is searched by."""
_FEW_VALUES = ("level", "category", "service", "policy", "topic", "partition")
"""Columns that are worth a dictionary."""
_REPEATED_SHARE = 0.8
"""A column of `BLOOM` has one too where at most so many of its values differ: the digits of a trace's id can't be
compressed, and stand there once, with a number of two bytes for each of its records."""
_DICTIONARY_BYTES = 16_000_000
"""Of a dictionary, at most; what comes after it is written as it is."""
_ENCODINGS = {"timestamp": "DELTA_BINARY_PACKED", "offset": "DELTA_BINARY_PACKED", "id": "DELTA_BYTE_ARRAY"}
"""Columns whose neighbours differ by little: ids begin with a time, or with the topic."""
_STATISTICS_CHARACTERS = 64
"""Longer texts are no statistics."""
ROWS = 1 << 20
"""Of a row group, at most: none has more."""


@dataclass(frozen=True, slots=True)
class File:
    """One file that is about to be added."""

    path: str
    """Below the table."""
    body: pa.Buffer
    partition: dict[str, str | None]
    statistics: str
    """As the log has them: JSON."""
    rows: int


def files(rows: pa.Table) -> Iterator[File]:
    """Give the files of some rows, which are in the order in which they came."""
    import pyarrow.compute as pc

    if not rows.num_rows:
        return
    partitions = _packed(rows, PARTITIONED_BY)
    order = pc.sort_indices(_packed(rows, _GROUPED_BY, partitions))
    ordered = rows.take(order)
    runs = pc.run_end_encode(partitions.take(order))
    start = 0
    for end in runs.run_ends.to_pylist():
        yield _file(ordered.slice(start, end - start))
        start = end


def grouped(rows: pa.Table) -> pa.Table:
    """Return the rows of one partition in the order in which they are written."""
    import pyarrow.compute as pc

    return rows.take(pc.sort_indices(_packed(rows, _GROUPED_BY, _packed(rows, ()))))


def _packed(rows: pa.Table, names: tuple[str, ...], outer: pa.Array | None = None) -> pa.Array:
    """Return a number for each row that is equal for equal values, and sorts by `outer` first."""
    import pyarrow as pa
    import pyarrow.compute as pc

    packed = pa.repeat(pa.scalar(0, pa.int64()), rows.num_rows) if outer is None else outer
    for name in names:
        column = rows.column(name).combine_chunks().dictionary_encode(null_encoding="encode")
        few = len(column.dictionary)
        packed = pc.add(pc.multiply(packed, few), column.indices.cast(pa.int64()))
    # Numbered anew, so that further columns can't let it overflow; the order of `outer` stays.
    return packed if outer is not None else packed.dictionary_encode().indices.cast(pa.int64())


def _file(rows: pa.Table) -> File:
    import pyarrow as pa
    import pyarrow.parquet as pq

    retention: str = rows.column("retention")[0].as_py()
    day: date = rows.column("date")[0].as_py()
    stored = rows.drop_columns(list(PARTITIONED_BY))
    out = pa.BufferOutputStream()
    pq.write_table(stored, out, row_group_size=ROWS, **options(stored))
    statistics = Statistics()
    statistics.add(stored)
    return File(
        path=new_path(retention, day),
        body=out.getvalue(),
        partition={"retention": retention, "date": day.isoformat()},
        statistics=statistics.text(),
        rows=rows.num_rows,
    )


def new_path(retention: str, day: date) -> str:
    """Return the path of a new file of a partition."""
    return f"{directory(retention, day)}/part-{uuid4()}.{COMPRESSION}.parquet"


def options(rows: pa.Table) -> dict[str, Any]:
    """Return how Parquet is written, as pyarrow takes it.

    Args:
        rows: Those of the first row group; others are like it.
    """
    import pyarrow.compute as pc

    different = {name: pc.count_distinct(rows.column(name)).as_py() for name in BLOOM}
    repeated = [name for name in BLOOM if different[name] <= _REPEATED_SHARE * pc.count(rows.column(name)).as_py()]
    return {
        "compression": COMPRESSION,
        "compression_level": LEVEL,
        "use_dictionary": [*_FEW_VALUES, *repeated],
        "dictionary_pagesize_limit": _DICTIONARY_BYTES,
        "column_encoding": _ENCODINGS,
        "write_statistics": list(STATISTICS),
        "bloom_filter_options": {name: {"ndv": max(different[name], 1)} for name in BLOOM},
        "store_schema": False,
    }


class Statistics:
    """What the log says of a file, of one row group after another: "Per-file Statistics" in the protocol."""

    def __init__(self) -> None:
        self.rows = 0
        self._nulls = dict.fromkeys(STATISTICS, 0)
        self._bounds: dict[str, tuple[Any, Any]] = {}
        self._untold: set[str] = set()

    def add(self, rows: pa.Table) -> None:
        """Take these rows into account."""
        import pyarrow.compute as pc

        self.rows += rows.num_rows
        for name in STATISTICS:
            column = rows.column(name)
            self._nulls[name] += column.null_count
            bounds = pc.min_max(column).as_py()
            least, greatest = bounds["min"], bounds["max"]
            if least is None:
                continue
            if not (_tellable(least) and _tellable(greatest)):
                self._untold.add(name)
                continue
            before = self._bounds.get(name, (least, greatest))
            self._bounds[name] = min(least, before[0]), max(greatest, before[1])

    def text(self) -> str:
        """Return it as the log has it: JSON."""
        told = {name: bounds for name, bounds in self._bounds.items() if name not in self._untold}
        return json.dumps(
            {
                "numRecords": self.rows,
                "minValues": {name: _plain(bounds[0]) for name, bounds in told.items()},
                "maxValues": {name: _plain(bounds[1]) for name, bounds in told.items()},
                "nullCount": self._nulls,
            }
        )


def _tellable(value: Any) -> bool:
    return not (isinstance(value, str) and len(value) > _STATISTICS_CHARACTERS)


def _plain(value: Any) -> Any:
    if hasattr(value, "isoformat"):
        return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    return value
