"""JSON text with its escapes resolved, and the way back from a place in it to the raw bytes."""

from __future__ import annotations

import re
from bisect import bisect_right
from functools import cached_property, lru_cache
from itertools import accumulate

_ESCAPE = re.compile(
    rb"(\\(?:u[Dd][89ABab][0-9A-Fa-f]{2}\\u[Dd][C-Fc-f][0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|[^u]))", re.DOTALL
)
_SHORT = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t"}
_SURROGATES = 6
"""What is longer than one escape is a pair of them."""
_FIRST_HALF, _LAST_HALF = 0xD800, 0xDFFF
_NO_CHARACTER = "\ufffd".encode()


class Resolved:
    """Raw bytes whose escapes are resolved. What is no valid escape stays as it is, so any bytes will do.

    Args:
        raw: JSON, or what should have been; the escapes of all its strings are resolved at once.
    """

    def __init__(self, raw: bytes) -> None:
        # In turns what is no escape, and one escape.
        self._raw_pieces = _ESCAPE.split(raw) if b"\\" in raw else [raw]
        self._pieces = self._raw_pieces
        if len(self._raw_pieces) > 1:
            self._pieces = list(self._raw_pieces)
            self._pieces[1::2] = map(_character, self._raw_pieces[1::2])
        self.text = b"".join(self._pieces)

    def raw(self, start: int, end: int) -> tuple[int, int]:
        """Return the raw span of a span of text; a character of which it has only a part counts as a whole."""
        if len(self._pieces) == 1:
            return start, end
        starts, raw_starts = self._starts, self._raw_starts
        piece = bisect_right(starts, start) - 1
        raw_start = raw_starts[piece] + (0 if piece % 2 else start - starts[piece])
        piece = bisect_right(starts, end - 1) - 1
        return raw_start, raw_starts[piece + 1] if piece % 2 else raw_starts[piece] + end - starts[piece]

    def at(self, raw: int) -> int:
        """Return where in the text a raw position is that lies in no escape."""
        if len(self._pieces) == 1:
            return raw
        piece = bisect_right(self._raw_starts, raw) - 1
        return self._starts[piece] + (0 if piece % 2 else raw - self._raw_starts[piece])

    @cached_property
    def _starts(self) -> list[int]:
        return [0, *accumulate(map(len, self._pieces[:-1]))]

    @cached_property
    def _raw_starts(self) -> list[int]:
        return [0, *accumulate(map(len, self._raw_pieces[:-1]))]


@lru_cache(maxsize=4096)
def _character(escape: bytes) -> bytes:
    kind = escape[1:2]
    if kind != b"u":
        return _SHORT.get(kind, kind)
    code = int(escape[2:6], 16)
    if len(escape) > _SURROGATES:
        code = 0x10000 + ((code & 0x3FF) << 10) + (int(escape[8:12], 16) & 0x3FF)
    # Half of a pair is no character; what stands in its place is none that a pattern looks for.
    return chr(code).encode() if not _FIRST_HALF <= code <= _LAST_HALF else _NO_CHARACTER
