"""A request to a Kafka topic as lines: each record's value behind its key, timestamp, headers and identity.

A body is bytes, as it is for every destination, and keys and headers may be any bytes: a line break in them, and the
two bytes that mean something here, are written as two others. Neither of the two occurs in UTF-8, so most lines stay
as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, NamedTuple

import msgspec
import orjson

from logweir.head import HEADERS, TIMESTAMP, Headed, Headers
from logweir.json_text import text_of
from logweir.times import epoch_seconds

_NONE = b"\xfe"
"""A line of its own: there is no key."""
_ESCAPE = b"\xff"
_ESCAPED = ((b"\xff", b"\xff\x01"), (b"\n", b"\xff\x02"), (b"\xfe", b"\xff\x03"))
"""What is written as what, in this order; read in the opposite one."""
_MILLIS = itemgetter(1)
_DECIMAL = b"%d".__mod__
_encode_headers = msgspec.msgpack.Encoder().encode
_decode_headers = msgspec.msgpack.Decoder(list[tuple[str, bytes | None]]).decode


class Messages(NamedTuple):
    """The messages of a request, as columns; one that is empty is not set for any of them."""

    values: list[bytes]
    keys: list[bytes | None]
    millis: list[int]
    """Timestamps in epoch milliseconds; 0 where there is none."""
    headers: list[Headers]


@dataclass(frozen=True, slots=True)
class Columns:
    """Which lines a record has before its value."""

    key: bool
    timestamp: bool
    headers: bool
    identity: str | None
    """The name of the header that has it."""

    def read(self, body: bytes) -> Messages:
        """Return the messages of a body."""
        count = 1 + self.key + self.timestamp + self.headers + (self.identity is not None)
        lines = body.split(b"\n")
        columns = iter([lines[number::count] for number in range(count)])
        plain = _NONE not in body and _ESCAPE not in body
        keys: list[bytes | None] = []
        if self.key:
            found = next(columns)
            keys = [*found] if plain else [None if line == _NONE else _read(line) for line in found]
        millis = list(map(int, next(columns))) if self.timestamp else []
        headers: list[Headers] = []
        if self.headers:
            found = next(columns)
            if any(found):
                headers = [_decode_headers(_read(line)) if line else [] for line in found]
        if self.identity is not None:
            own: list[Headers] = [[(self.identity, line if plain else _read(line))] for line in next(columns)]
            headers = [[*kept, *mine] for kept, mine in zip(headers, own, strict=True)] if headers else own
        return Messages(next(columns), keys, millis, headers)


def texts(values: Sequence[Any]) -> list[bytes]:
    """Return keys or identities as lines: bytes and text as they are, anything else as JSON."""
    try:
        lines = list(map(str.encode, values))
    except TypeError:
        return [_NONE if each is None else _written(_plain(each)) for each in values]
    return list(map(_written, lines)) if b"\n" in b"".join(lines) else lines


def millis(heads: Sequence[Headed]) -> list[bytes]:
    """Return the messages' timestamps as lines."""
    return list(map(_DECIMAL, map(_MILLIS, map(TIMESTAMP, heads))))


def moments(times: Sequence[str]) -> list[bytes]:
    """Return the records' times as lines."""
    return [b"%d" % round(1000 * (epoch_seconds(each) or 0)) for each in times]


def headers(heads: Sequence[Headed]) -> list[bytes]:
    """Return the messages' headers as lines."""
    found = list(map(HEADERS, heads))
    if not any(found):
        return [b""] * len(found)
    return [_written(_encode_headers(each)) if each else b"" for each in found]


def _plain(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    try:
        return orjson.dumps(value)
    except TypeError:  # a whole number of more than 64 bits
        return text_of(value).encode()


def _written(line: bytes) -> bytes:
    for byte, pair in _ESCAPED:
        line = line.replace(byte, pair)
    return line


def _read(line: bytes) -> bytes:
    if _ESCAPE in line:
        for byte, pair in reversed(_ESCAPED):
            line = line.replace(pair, byte)
    return line
