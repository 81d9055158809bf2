"""What an entry of Loki's push API has beside its line: a time in nanoseconds, and structured metadata."""

from __future__ import annotations

from collections.abc import Container, Mapping
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any

import orjson

from logweir.json_text import text_of
from logweir.record import NO_TRACES
from sinks.destination import Getter

MAX_METADATA_BYTES = 64 * 1024
"""Loki's max_structured_metadata_size, of names and values."""
METADATA_TOO_LARGE = "structured metadata too large for the destination"

SECOND = 1_000_000_000
"""Nanoseconds."""

_LATEST = (1 << 63) - 1
"""Nanoseconds: the year 2262. What is beyond stays beyond what Loki takes, and can still be read."""
_SECONDS_LIMIT = 10_000
"""Bounds the cache of seconds, whatever the timestamps are."""
_DIGITS = 9
_HEX_DIGITS = 32
_SECOND_WIDTH = 10
_WIDTH = _SECOND_WIDTH + _DIGITS
_SECOND, _FRACTION = itemgetter(slice(19)), itemgetter(slice(20, -1))


class _Seconds(dict[str, str]):
    """Seconds since 1970, of ten digits, by the text of a second in UTC: neighbours share them."""

    def __missing__(self, text: str) -> str:
        moment = int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())
        seconds = f"{min(moment, _LATEST // SECOND - 1):0{_SECOND_WIDTH}d}"
        if len(self) >= _SECONDS_LIMIT:
            self.clear()
        self[text] = seconds
        return seconds


class Entries:
    """Makes entries.

    Args:
        metadata: Gives each piece of structured metadata.
        traces: The names of those that are ids of traces or spans, of which zeros are none.
    """

    def __init__(self, metadata: Mapping[str, Getter], traces: Container[str] = ()) -> None:
        self._metadata = dict(metadata)
        self._traces = traces
        self._seconds = _Seconds()

    def of(self, streams: list[str], times: list[str], rows: list[Any], values: list[bytes]) -> list[bytes]:
        """Return for each record its stream, time and structured metadata with tabs between them, and its line below.

        Args:
            streams: The records' streams.
            times: When they happened, as RFC 3339 text in UTC.
            rows: The projected records.
            values: Their bytes.
        """
        seconds, fractions, zeros = self._nanoseconds(times)
        return [
            f"{stream}\t{second}{fraction}{zeros}\t{metadata}\n".encode() + value
            for stream, second, fraction, metadata, value in zip(
                streams, seconds, fractions, self._all_metadata(rows, values), values, strict=True
            )
        ]

    def altered(self, rows: list[Any], values: list[bytes]) -> dict[str, int]:
        """Return how many records go without their structured metadata, by cause."""
        if not self._may_be_large(values):
            return {}
        count = sum(_size(self._found(row)) > MAX_METADATA_BYTES for row in rows)
        return {METADATA_TOO_LARGE: count} if count else {}

    def _nanoseconds(self, times: list[str]) -> tuple[list[str], list[str], str]:
        """Return times in nanoseconds since 1970, of 19 digits, as two columns and an end that all share."""
        seconds = list(map(self._seconds.__getitem__, map(_SECOND, times)))
        fractions = list(map(_FRACTION, times))
        widths = set(map(len, fractions))
        if len(widths) == 1:
            return seconds, fractions, "0" * (_DIGITS - widths.pop())
        return seconds, [f"{each:0<{_DIGITS}}" for each in fractions], ""

    def _all_metadata(self, rows: list[Any], values: list[bytes]) -> list[str]:
        """Return the structured metadata of each record as JSON; nothing where there is none."""
        if not self._metadata:
            return [""] * len(rows)
        if len(self._metadata) == 1 and not self._may_be_large(values):
            ((name, get),) = self._metadata.items()
            ids = list(map(get, rows))
            if _all_hex(ids):
                return [f'{{"{name}":"{each}"}}' if each else "" for each in ids]
        return [_json(self._found(row)) for row in rows]

    def _found(self, row: Any) -> dict[str, str]:
        found = {name: get(row) for name, get in self._metadata.items()}
        return {
            name: value if isinstance(value, str) else text_of(value)
            for name, value in found.items()
            if value is not None and value != "" and not (name in self._traces and _is_none(value))
        }

    def _may_be_large(self, values: list[bytes]) -> bool:
        """Tell whether a record is so large that its metadata may be: a value is no longer than its record."""
        largest = max(map(len, values), default=0) * len(self._metadata)
        return largest + sum(map(len, self._metadata)) > MAX_METADATA_BYTES // 2


def _is_none(identity: Any) -> bool:
    return isinstance(identity, str) and identity in NO_TRACES


def _all_hex(ids: list[Any]) -> bool:
    """Tell whether all ids that are there are the digits of a trace, which need no escape, and none is zeros."""
    there = list(filter(None, ids))
    try:
        # White space is skipped by `fromhex`, so that ids which hold some come out shorter.
        raw = bytes.fromhex("".join(there))
    except (TypeError, ValueError):
        return False
    fits = len(raw) * 2 == _HEX_DIGITS * len(there) and set(map(len, there)) <= {_HEX_DIGITS}
    return fits and bytes(_HEX_DIGITS // 2) not in raw


def _size(metadata: dict[str, str]) -> int:
    return sum(len(name) + len(value.encode()) for name, value in metadata.items())


def _json(metadata: dict[str, str]) -> str:
    return orjson.dumps(metadata).decode() if metadata and _size(metadata) <= MAX_METADATA_BYTES else ""
