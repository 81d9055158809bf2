"""What a search asks for, and what can be told of it without reading: of a file, of a row group, of columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from flows.matching import Matcher
from flows.search.bloom import may_hold
from flows.search.table import TableFile
from flows.search.texts import rows_holding

if TYPE_CHECKING:
    import pyarrow as pa

_ASKED = {"category": "category", "context.service": "service", "message": "message", "trace.traceId": "trace_id"}
"""Fields that stand in columns as they do in records, where they are text."""


@dataclass(frozen=True)
class Query:
    """What is asked for: all of it has to be met."""

    since: datetime | None = None
    """No record is older."""
    until: datetime | None = None
    """Every record is older."""
    values: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """By column, those of which one has to stand in it."""
    text: str = ""
    """What stands somewhere in the record, in upper or lower case."""
    matcher: Matcher | None = None

    @property
    def columns(self) -> list[str]:
        """The columns that are asked, other than the timestamp."""
        return sorted(self.values)

    @property
    def looks(self) -> bool:
        """Whether records themselves are looked at."""
        return bool(self.text) or self.matcher is not None

    def may_be_in(self, file: TableFile) -> bool:
        """Tell whether a file may hold any, by what the log says of it."""
        if (self.since is not None and file.last < self.since) or (self.until is not None and file.first >= self.until):
            return False
        return all(
            _within(wanted, file.least.get(name), file.greatest.get(name)) for name, wanted in self.values.items()
        )

    def groups(self, metadata: Any, handle: Any) -> list[int]:
        """Return the row groups of a file that may hold any, by their statistics and Bloom filters.

        Args:
            metadata: The file's, as pyarrow has it.
            handle: The file, as pyarrow opens it.
        """
        numbers = {metadata.schema.column(number).name: number for number in range(metadata.num_columns)}
        return [
            number
            for number in range(metadata.num_row_groups)
            if all(
                _may_be_in_column(metadata.row_group(number).column(numbers[name]), handle, wanted)
                for name, wanted in self.values.items()
                if name in numbers
            )
        ]

    def mask(self, rows: pa.Table) -> pa.ChunkedArray | pa.Array | None:
        """Return which rows meet what is asked of columns; None for all.

        Args:
            rows: With the timestamp and `columns`.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        tests = [
            pc.is_in(rows.column(name), value_set=pa.array(sorted(wanted), pa.string()))
            for name, wanted in self.values.items()
        ]
        timestamp = rows.column("timestamp")
        if self.since is not None:
            tests.append(pc.greater_equal(timestamp, pa.scalar(self.since, timestamp.type)))
        if self.until is not None:
            tests.append(pc.less(timestamp, pa.scalar(self.until, timestamp.type)))
        if not tests:
            return None
        mask = tests[0]
        for test in tests[1:]:
            mask = pc.and_(mask, test)
        return mask

    def look(self, raw: pa.Array) -> list[int]:
        """Return the records that meet what is asked of them themselves."""
        import pyarrow as pa

        if not self.text:
            return range_of(raw) if self.matcher is None else self.matcher.rows(raw)
        places = sorted(rows_holding(raw, self.text))
        if self.matcher is None or not places:
            return places
        return [places[at] for at in self.matcher.rows(raw.take(pa.array(places)))]


def range_of(values: pa.Array) -> list[int]:
    """Return the places of all values."""
    return list(range(len(values)))


def values_needed(where: Any) -> dict[str, frozenset[str]]:
    """Return by column those of which one stands in it wherever this expression is met.

    Args:
        where: A `Where`.
    """
    found: dict[str, frozenset[str]] = {}
    for each in where.needed:
        wanted = each.value if each.operator == "in" else [each.value] if each.operator == "eq" else []
        if each.field in _ASKED and wanted and all(isinstance(text, str) and text.isascii() for text in wanted):
            name = _ASKED[each.field]
            found[name] = found[name] & frozenset(wanted) if name in found else frozenset(wanted)
    return found


def _within(wanted: frozenset[str], least: Any, greatest: Any) -> bool:
    """Tell whether one of these lies within bounds, which may not be known."""
    if not isinstance(least, str) or not isinstance(greatest, str):
        return True
    return any(least <= value <= greatest for value in wanted)


def _may_be_in_column(column: Any, handle: Any, wanted: frozenset[str]) -> bool:
    found = column.statistics if column.is_stats_set else None
    if found is not None and found.has_min_max and not _within(wanted, found.min, found.max):
        return False
    return may_hold(handle, column, frozenset(value.encode() for value in wanted))
