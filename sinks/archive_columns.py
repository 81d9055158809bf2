"""From a batch of records to columns of Arrow: what the archive's table holds of each."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import xxhash

from logweir.archive_table import columns
from logweir.batch import Batch
from logweir.dates import Dates
from sinks.destination import Getter

if TYPE_CHECKING:
    import pyarrow as pa

FIELDS = {
    "category": "category",
    "service": "context.service",
    "message": "message",
    "trace_id": "trace.traceId",
}
"""Columns of text, and the logical fields that they hold."""
READ = {"timestamp", "level", *FIELDS.values()}
"""All fields that are read."""


_LONGEST_TIME = len("2026-01-01T00:00:00.000000Z")


class Classes(Protocol):
    """Tells how long records are kept: operators/retention.py does."""

    @property
    def classes(self) -> Sequence[str]:
        """The retention class of each number."""
        ...

    @property
    def names(self) -> Sequence[str | None]:
        """The name of each number's policy."""
        ...

    def decide(self, records: Sequence[Any]) -> list[int]:
        """Return for each projected record the number of its class and of its policy's name."""
        ...


@dataclass(slots=True)
class Part:
    """The records of one batch."""

    topic: str
    partition: int
    log: str
    """The name of the log whose offsets these are; the topic's where nobody knows it."""
    adopted: bool
    """Earlier versions have written of this log, under the topic's name."""
    rows: pa.RecordBatch
    first: int
    """The offset of the first record."""
    next: int
    """The offset after the last record."""
    partitions: frozenset[int]
    """A number for each policy and date among them."""


class Columns:
    """Makes the columns.

    Args:
        getter: Gives the reader of each of `READ`.
        classes: Tells how long records are kept.
        dates: The dates that a record may have.
    """

    def __init__(self, getter: Callable[[str], Getter], classes: Classes, dates: Dates) -> None:
        import pyarrow as pa

        self.dates = dates

        self._schema = columns()
        self._texts = {name: getter(field) for name, field in FIELDS.items()}
        self._decide = classes.decide
        self._classes = pa.array(classes.classes, pa.string())
        self._names = pa.array(classes.names, pa.string())

    def of(self, batch: Batch) -> tuple[pa.RecordBatch, frozenset[int]]:
        """Return the rows of a batch, in its order, and a number for each policy and date among them."""
        import pyarrow as pa
        import pyarrow.compute as pc

        records, count = batch.records, len(batch)
        decided = pa.array(self._decide(records), pa.int32())
        times = moments(self.dates.of(batch.times, batch.written)[0])
        found: dict[str, pa.Array] = {
            "retention": self._classes.take(decided),
            "date": times.cast(pa.date32()),
            "timestamp": times,
            "id": texts(batch.ids),
            "level": pa.array(batch.levels, pa.string()),
            **{name: texts(list(map(get, records))) for name, get in self._texts.items()},
            "policy": self._names.take(decided),
            "topic": pa.repeat(batch.topic, count),
            "partition": pa.repeat(pa.scalar(batch.partition, pa.int32()), count),
            "offset": pa.array(batch.offsets, pa.int64()),
            "raw": pa.array(batch.values, pa.binary()),
            "digest": pa.array(_digests(batch), pa.string()),
        }
        days = found["date"].cast(pa.int32()).cast(pa.int64())
        partitions = pc.unique(pc.add(pc.multiply(days, len(self._names)), decided.cast(pa.int64())))
        rows = pa.record_batch([found[name] for name in self._schema.names], schema=self._schema)
        return rows, frozenset(partitions.to_pylist())


def _digests(batch: Batch) -> list[str | None]:
    """Return the digest of each record's bytes as they were read, where a step has changed them since."""
    if not batch.digests:
        return [None] * len(batch)
    own = map(xxhash.xxh3_64_hexdigest, batch.values)
    return [read if read != now else None for read, now in zip(batch.digests, own, strict=True)]


def moments(times: list[str]) -> pa.Array:
    """Return settled times, to the microsecond."""
    import pyarrow as pa

    # Arrow reads fractions to the digit of its unit alone.
    cut = times if max(map(len, times)) <= _LONGEST_TIME else [f"{each[:-1][: _LONGEST_TIME - 1]}Z" for each in times]
    return pa.array(cut, pa.string()).cast(pa.timestamp("us", "UTC"))


def texts(values: list[Any]) -> pa.Array:
    """Return text; what is none becomes JSON."""
    import pyarrow as pa

    try:
        return pa.array(values, pa.string())
    except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError):
        return pa.array(list(map(_text, values)), pa.string())


def _text(value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        try:
            text = json.dumps(value, ensure_ascii=False)
        except (RecursionError, ValueError):  # nested very deep, or an integer of thousands of digits
            return None
    else:
        text = value
    # Half of a surrogate pair is valid in JSON's escapes, and no character.
    return text if text.isascii() else text.encode(errors="replace").decode()
