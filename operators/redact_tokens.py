"""The texts, keys and numbers of a record, and how bytes are put in the place of some of them."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Literal, NamedTuple

Edit = tuple[int, int, bytes]
"""A span of raw bytes, and what is put in its place."""

_TOKEN = re.compile(rb'"([^"\\]*+(?:\\.[^"\\]*+)*+)"(\s*+:)?|-?[0-9][0-9.eE+-]*+', re.DOTALL)
_COLON = re.compile(rb'"\s*+:')
_NUMBER = b"0123456789+-.eE"
_FEW = 8
"""So many tokens are found by counting quotes; for more of one record it is quicker to list all."""


class Token(NamedTuple):
    """A text, a key or a number, in raw bytes without quotes."""

    start: int
    end: int
    kind: Literal["text", "key", "number"]


class Tokens:
    """The tokens of a record.

    Args:
        raw: Its bytes; of what is no record, what looks like one.
    """

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._asked = 0

    @cached_property
    def all(self) -> list[Token]:
        """Every token, in order."""
        tokens = []
        for each in _TOKEN.finditer(self._raw):
            if each.start(1) < 0:
                tokens.append(Token(each.start(), each.end(), "number"))
            else:
                tokens.append(Token(each.start(1), each.end(1), "text" if each.start(2) < 0 else "key"))
        return tokens

    def at(self, start: int, end: int) -> Token | None:
        """Return the token that a span lies in; None if it doesn't lie in one."""
        self._asked += 1
        if self._asked > _FEW:
            at = bisect_right(self._starts, start) - 1
            token = self.all[at] if at >= 0 else Token(0, 0, "text")
            return token if token.start <= start < end <= token.end else None
        raw = self._plain
        if raw.count(b'"', 0, start) % 2:
            opening, closing = raw.rfind(b'"', 0, start) + 1, raw.find(b'"', start)
            token = Token(opening, closing, "key" if _COLON.match(raw, closing) else "text")
        else:
            after = raw[end:].lstrip(_NUMBER)
            token = Token(len(raw[:start].rstrip(_NUMBER)), len(raw) - len(after), "number")
        return token if token.start <= start < end <= token.end else None

    @cached_property
    def _starts(self) -> list[int]:
        return [token.start for token in self.all]

    @cached_property
    def _plain(self) -> bytes:
        """The bytes without escaped quotes, all else at its place: every quote begins or ends a string."""
        raw = self._raw
        return raw.replace(b"\\\\", b"..").replace(b'\\"', b"..") if b"\\" in raw else raw

    def renamed(self, keys: Mapping[Token, list[Edit]]) -> Iterator[Edit]:
        """Give the new keys, numbered where the record would have one twice: there are destinations that refuse that.

        Args:
            keys: What is to be put in the place of parts of each.
        """
        raw = self._raw
        taken = Counter(raw[token.start : token.end] for token in self.all if token.kind == "key")
        numbers: Counter[bytes] = Counter()
        for token, edits in keys.items():
            taken[raw[token.start : token.end]] -= 1
            moved = [(start - token.start, end - token.start, instead) for start, end, instead in edits]
            name = key = spliced(raw[token.start : token.end], moved)
            while taken[key] > 0:
                numbers[name] += 1
                key = b"%b %d" % (name, numbers[name] + 1)
            taken[key] += 1
            yield token.start, token.end, key


def spliced(raw: bytes, edits: Iterable[Edit]) -> bytes:
    """Return the bytes with these edits; themselves if there are none. In broken JSON they may overlap."""
    pieces: list[bytes] = []
    last = 0
    for start, end, instead in sorted(edits):
        pieces += (raw[last:start], instead)
        last = max(last, end)
    return b"".join([*pieces, raw[last:]]) if pieces else raw
