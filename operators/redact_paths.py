"""Paths in a flow's `redact.fields`, and where in the bytes of a record their values stand.

A record is never taken apart and built again: what is found are positions, so that all else keeps its own bytes, also
a number that no double can hold, a key that is there twice, and white space.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from logweir.paths import segments_of

_STRING = rb'[^"\\]*+(?:\\.[^"\\]*+)*+'
TOKEN = re.compile(
    # A string; with a colon behind it, it is a key, and the value may follow at once. Broken JSON may end in a string.
    rb'"(%b)(?:"(\s*+:\s*+("%b(?:"|\\?\Z)|[^\s"{}\[\],]++)?)?|\\?\Z)|[{}\[\]]' % (_STRING, _STRING),
    re.DOTALL,
)
"""What a walk stops at. It never fails after it has begun, so a walk takes linear time, whatever the bytes."""

_QUOTE, _OPENING, _CLOSING = ord('"'), frozenset(b"{["), frozenset(b"}]")
_PLAIN = re.compile(r"[!#-.0-\[\]-~ ]+")
"""Names that JSON writes as they are, always or with escapes that the prefilter looks for."""

_COMMA = re.compile(rb"\s*+,")

ANY, DEEP = "*", "**"


class Hit(NamedTuple):
    """One value that is hidden."""

    path: int
    """The index of the first path that leads to it."""
    start: int
    end: int
    key: int
    """Where its key starts, with the quote."""
    first: bool
    """Whether nothing before it stays in its object, so that no comma comes before it."""


_State = frozenset[tuple[int, int]]
"""For each path that may still lead somewhere, how many of its segments are passed."""
_CACHE_LIMIT = 10_000
_CACHED_KEY = 128
"""Bytes; longer keys are not remembered, since they could fill the memory."""


class Paths:
    """All paths together, as one automaton over the keys from the top of a record down.

    Args:
        paths: Dotted; `*` is one level, `**` any number. Arrays are no levels of their own.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = [segments_of(path) for path in paths]
        self._start = self._closed({(number, 0) for number in range(len(paths))})
        self._known: dict[tuple[_State, bytes], tuple[_State, int | None]] = {}

    def find(self, raw: bytes, wanted: Callable[[int, bytes], bool]) -> Iterator[Hit]:
        """Give the values that the paths lead to, in the order of the bytes; none lies within another.

        Args:
            raw: A record; of broken JSON, as far as it can be read.
            wanted: Tells, of a path's index and a text, number or word as it stands, whether to hide it.
        """
        stack: list[tuple[_State, bool]] = []
        state, first = self._start, True
        below: _State | None = None  # where the key leads whose object or array comes next
        at = 0
        while token := TOKEN.search(raw, at):
            at = token.end()
            kind = raw[token.start()]
            if kind in _OPENING:
                stack.append((state, first))
                state, first, below = (state if below is None else below), True, None
            elif kind in _CLOSING:
                state, first = stack.pop() if stack else (state, first)
            elif token.start(2) >= 0:
                below, path = self._step(state, token[1])
                # What is nested is measured only where it is hidden, and then passed over: no byte is read twice.
                value = token.span(3) if token[3] else None if path is None else _whole(raw, at)
                if path is not None and value and (not token[3] or wanted(path, token[3])):
                    yield Hit(path, *value, token.start(), first)
                    at = value[1]
                else:
                    first = False
                if token[3] or at > token.end():
                    below = None

    def _step(self, state: _State, key: bytes) -> tuple[_State, int | None]:
        known = self._known.get((state, key))
        if known is None:
            known = self._follow(state, key)
            if len(self._known) < _CACHE_LIMIT and len(key) <= _CACHED_KEY:
                self._known[state, key] = known
        return known

    def _follow(self, state: _State, key: bytes) -> tuple[_State, int | None]:
        hits: set[int] = set()
        for part in _text(key).split("."):
            passed = {
                (number, at if self._paths[number][at] == DEEP else at + 1)
                for number, at in state
                if at < len(self._paths[number]) and self._paths[number][at] in (part, ANY, DEEP)
            }
            state = self._closed(passed)
            hits |= {number for number, at in state if at == len(self._paths[number])}
        return state, min(hits, default=None)

    def _closed(self, state: set[tuple[int, int]]) -> _State:
        """Return the state with the places that it comes to without a key: `**` may stand for no level."""
        waiting = list(state)
        while waiting:
            number, at = waiting.pop()
            path = self._paths[number]
            if at < len(path) and path[at] == DEEP and (number, at + 1) not in state:
                state.add((number, at + 1))
                waiting.append((number, at + 1))
        return frozenset(state)


def _whole(raw: bytes, start: int) -> tuple[int, int] | None:
    """Return the span of the object or array that starts here; of one that is cut off, what there is of it."""
    if raw[start : start + 1] not in (b"{", b"["):
        return None
    depth = 0
    for token in TOKEN.finditer(raw, start):
        kind = raw[token.start()]
        depth += (kind in _OPENING) - (kind in _CLOSING)
        if not depth:
            return start, token.end()
    return start, len(raw)


def _text(key: bytes) -> str:
    text = key.decode(errors="replace")
    if "\\" not in text:
        return text
    try:
        return str(json.loads(f'"{text}"', strict=False))
    except ValueError:
        return text


def hint(path: str) -> str | None:
    """Return RE2 that the raw bytes of any record with this path have in them, None where nothing is sure.

    Escapes of ASCII's characters may stand in its way; they are looked for beside it.
    """
    segments = segments_of(path)
    named = [segment for segment in segments if segment not in (ANY, DEEP)]
    if not named:
        return None
    name = named[-1]
    if not _PLAIN.fullmatch(name):
        return rf"\\|[\".]{_quoted(name)}[\".]"
    return rf"[\".]{_quoted(name)}(?:\"\s*:|\.)"


def _quoted(name: str) -> str:
    return re.sub(r"([^A-Za-z0-9_])", lambda found: f"\\x{{{ord(found[0]):x}}}", name)


def without(raw: bytes, hit: Hit, since: int) -> tuple[int, int]:
    """Return the span that takes a value out with its key and a comma.

    Args:
        raw: The record.
        hit: The value.
        since: Where the last value ended that was taken out.
    """
    if not hit.first:
        before = raw.rfind(b",", since, hit.key)
        return (hit.key if before < 0 else before), hit.end
    comma = _COMMA.match(raw, hit.end)
    return hit.key, comma.end() if comma else hit.end
