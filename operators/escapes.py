"""JSON text with its escapes resolved, and the way back from a place in it to the raw bytes."""

from __future__ import annotations

import re
from bisect import bisect_right

_ESCAPE = re.compile(rb"\\(?:u[Dd][89ABab][0-9A-Fa-f]{2}\\u[Dd][C-Fc-f][0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|[^u])", re.DOTALL)
_SHORT = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t"}


class Resolved:
    """Raw bytes whose escapes are resolved. What is no valid escape stays as it is, so any bytes will do.

    Args:
        raw: JSON, or what should have been; the escapes of all its strings are resolved at once.
    """

    __slots__ = ("_raw_starts", "_starts", "text")

    def __init__(self, raw: bytes) -> None:
        self._starts: list[int] = []
        """Where in the text each piece starts: in turns what was no escape, and one escape."""
        self._raw_starts: list[int] = []
        self.text = raw
        if b"\\" not in raw:
            return
        pieces: list[bytes] = []
        length = last = 0
        for found in _ESCAPE.finditer(raw):
            start, end = found.span()
            character = _character(found[0])
            pieces += (raw[last:start], character)
            self._starts += (length, length + start - last)
            self._raw_starts += (last, start)
            length += start - last + len(character)
            last = end
        self._starts.append(length)
        self._raw_starts.append(last)
        pieces.append(raw[last:])
        self.text = b"".join(pieces)

    def raw(self, start: int, end: int) -> tuple[int, int]:
        """Return the raw span of a span of text; a character of which it has only a part counts as a whole."""
        if not self._starts:
            return start, end
        piece = bisect_right(self._starts, start) - 1
        raw_start = self._raw_starts[piece] + (0 if piece % 2 else start - self._starts[piece])
        piece = bisect_right(self._starts, end - 1) - 1
        raw_end = self._raw_starts[piece + 1] if piece % 2 else self._raw_starts[piece] + end - self._starts[piece]
        return raw_start, raw_end

    def at(self, raw: int) -> int:
        """Return where in the text a raw position is that lies in no escape."""
        if not self._starts:
            return raw
        piece = bisect_right(self._raw_starts, raw) - 1
        return self._starts[piece] + (0 if piece % 2 else raw - self._raw_starts[piece])


def _character(escape: bytes) -> bytes:
    kind = escape[1:2]
    if kind != b"u":
        return _SHORT.get(kind, kind)
    code = int(escape[2:6], 16)
    if len(escape) > 6:  # noqa: PLR2004  a pair of surrogates
        code = 0x10000 + ((code & 0x3FF) << 10) + (int(escape[8:12], 16) & 0x3FF)
    # Half of a pair is no character; what stands in its place is none that a pattern looks for.
    return chr(code).encode("utf-8", "replace")
