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
_FEW_VALUES = ["level", "category", "service", "policy", "topic", "partition"]
"""Columns that are worth a dictionary."""
_STATISTICS_CHARACTERS = 64
"""Longer texts are no statistics."""
_ROWS = 1 << 20
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
    pq.write_table(
        stored,
        out,
        row_group_size=_ROWS,
        compression=COMPRESSION,
        compression_level=LEVEL,
        use_dictionary=_FEW_VALUES,
        column_encoding={"timestamp": "DELTA_BINARY_PACKED", "offset": "DELTA_BINARY_PACKED"},
        write_statistics=list(STATISTICS),
        bloom_filter_options={name: {"ndv": rows.num_rows} for name in BLOOM},
        store_schema=False,
    )
    return File(
        path=f"{directory(retention, day)}/part-{uuid4()}.{COMPRESSION}.parquet",
        body=out.getvalue(),
        partition={"retention": retention, "date": day.isoformat()},
        statistics=json.dumps(_statistics(stored)),
        rows=rows.num_rows,
    )


def _statistics(rows: pa.Table) -> dict[str, Any]:
    """Return what the log says of a file: "Per-file Statistics" in the Delta Lake protocol."""
    import pyarrow.compute as pc

    least: dict[str, Any] = {}
    greatest: dict[str, Any] = {}
    for name in STATISTICS:
        bounds = pc.min_max(rows.column(name)).as_py()
        if all(_tellable(value) for value in bounds.values()):
            least[name], greatest[name] = _plain(bounds["min"]), _plain(bounds["max"])
    return {
        "numRecords": rows.num_rows,
        "minValues": least,
        "maxValues": greatest,
        "nullCount": {name: rows.column(name).null_count for name in STATISTICS},
    }


def _tellable(value: Any) -> bool:
    return value is not None and not (isinstance(value, str) and len(value) > _STATISTICS_CHARACTERS)


def _plain(value: Any) -> Any:
    if hasattr(value, "isoformat"):
        return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    return value
