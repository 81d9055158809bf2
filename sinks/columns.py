"""The fields of many records as columns, read and tested at once: a fraction of what a look at each record costs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import repeat
from operator import attrgetter
from typing import Any

import orjson

from sinks.destination import Getter

_TIME = r"\d{4}-\d\d-\d\dT\d\d:[0-5]\d:[0-5]\d(?:\.\d{1,9})?Z"
_ONE_TIME, _TIMES = re.compile(_TIME, re.ASCII), re.compile(f"(?:{_TIME}\n)*".encode())
_AS_ZEROS = bytes.maketrans(b"0123456789", b"0" * 10)
_TENS = (14, 17)
"""Where the tens of a time's minutes and seconds stand."""
_HOUR = len("2026-01-01T00")


class Columns:
    """Reads fields of records, a column for each.

    Fields that stand in the same object, such as `trace.traceId` and `trace.spanId`, share the way to it.

    Args:
        getters: The readers of the fields.
    """

    def __init__(self, getters: Iterable[Getter]) -> None:
        parted = [_parted(getter) for getter in getters]
        parents = list(dict.fromkeys(parent for parent, _ in parted))
        self._parents = [attrgetter(parent) if parent else None for parent in parents]
        self._fields = [(parents.index(parent), get) for parent, get in parted]

    def of(self, rows: list[Any]) -> list[list[Any]]:
        """Return the columns of some projected records."""
        holders = [list(map(get, rows)) if get else rows for get in self._parents]
        return [list(map(get, holders[parent])) for parent, get in self._fields]


def _parted(getter: Getter) -> tuple[str, Getter]:
    """Return the attributes that lead to a field's object, and the reader of the field within it."""
    if isinstance(getter, attrgetter):
        names: tuple[str, ...] = getter.__reduce__()[1]  # type: ignore[assignment]  # of which it was made
        if len(names) == 1:
            parent, _, leaf = names[0].rpartition(".")
            return parent, attrgetter(leaf)
    return "", getter


def are_plain(texts: Iterable[Any]) -> bool:
    """Tell whether all of these are text that stands in JSON as it is."""
    try:
        text = "".join(texts)
        return len(orjson.dumps(text)) == len(text) + 2
    except TypeError:  # not text, or half of a surrogate pair
        return False


def is_utc(time: Any) -> bool:
    """Tell whether this is a time as RFC 3339 has it in UTC, to the nanosecond at most."""
    return isinstance(time, str) and bool(_ONE_TIME.fullmatch(time)) and _is_hour(time[:_HOUR])


def all_utc(times: Sequence[Any]) -> bool:
    """Tell whether each of these, of which there is one, `is_utc`."""
    if not is_utc(times[0]):
        return False
    try:
        lines = "\n".join([*times, ""]).encode()
    except (TypeError, ValueError):  # not text, or half of a surrogate pair
        return False
    first = lines[: len(times[0]) + 1]
    if lines.translate(_AS_ZEROS) == first.translate(_AS_ZEROS) * len(times):
        tens = b"".join([lines[at :: len(first)] for at in _TENS])
        fits = not tens.translate(None, b"012345")
    else:  # their fractions differ in length
        fits = lines.count(b"\n") == len(times) and bool(_TIMES.fullmatch(lines))
    # What is an hour stands nowhere else in a line, and most records of a request are of the same.
    return fits and (lines.count(first[:_HOUR]) == len(times) or all(map(_is_hour, {time[:_HOUR] for time in times})))


def _is_hour(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def joined(starts: Iterable[str], values: Iterable[bytes], end: bytes) -> list[bytes]:
    """Return each value with its start before it and an end behind it, copied once."""
    return list(map(b"".join, zip(map(str.encode, starts), values, repeat(end))))


def within(starts: Iterable[str], values: Iterable[bytes]) -> list[bytes]:
    """Return each object of JSON with its start in place of its brace, copied once."""
    return list(map(bytes.replace, values, repeat(b"{"), map(str.encode, starts), repeat(1)))


def enclosed(start: bytes, pieces: Sequence[bytes], end: bytes) -> bytes:
    """Return the pieces with commas between them, a start before all and an end behind, copied once."""
    parts = [*pieces]
    parts[0] = start + parts[0]
    parts[-1] += end
    return b",".join(parts)
