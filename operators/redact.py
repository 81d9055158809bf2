"""Redact: hides fields and text in every record, before rules see it and before anything leaves the process.

Most records have nothing to hide, and what they cost is one search over the bytes of a whole batch. Only where that
finds a sign of something is a record looked at closely. What is hidden is spliced into its bytes; all else keeps its
own, and a record in which nothing is hidden stays the same object.

The id of a record stays as it is, since destinations tell repetitions by it: records whose ids were all replaced by
one text would overwrite each other.
"""

from __future__ import annotations

import hmac
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import orjson
import re2

from logweir.batch import Account, Batch
from logweir.errors import LogweirError
from operators.decode import OwnIds, is_record, wrap_lines
from operators.escapes import Resolved
from operators.formats import Format
from operators.patterns import OPTIONS
from operators.redact_models import RedactSettings
from operators.redact_paths import Paths, hint, without
from operators.redact_patterns import BUILTINS, ESCAPES, Finder, finder
from operators.redact_tokens import Edit, Token, Tokens, spliced

HASH_PREFIX = b"hmac:"
HASH_DIGITS = 32
"""Hexadecimal: 128 bits of the HMAC, so that no two of any number of values that logs have get the same."""
_HASHED = re.compile(rb"%b[0-9a-f]{%d}" % (HASH_PREFIX, HASH_DIGITS))
_HASHED_LENGTH = len(HASH_PREFIX) + HASH_DIGITS

_ROUNDS = 5
"""Cutting text out can put together what is a match again; so it is looked for until nothing is found."""

_LONGEST_ESCAPE = 6
"""Bytes as written, for each byte of text."""

_TOGETHER = 16_384
"""Bytes of records that are searched at once."""

_NOTHING = frozenset({b"null", b'""'})
_STRENGTH = {"hash": 0, "replace": 1, "remove": 2}
_ANCHOR = re.compile(r"\\(.)|\[\^|[\^$]", re.DOTALL)


class _Pattern(NamedTuple):
    names: frozenset[str]
    mode: str
    find: Finder


class _Found(NamedTuple):
    """Text to hide; of several patterns where they overlap."""

    start: int
    end: int
    names: frozenset[str]
    mode: str


class Redactor:
    """Hides what a flow's `redact` names.

    Args:
        settings: What, and how.
        layout: Tells where records have their id.

    Raises:
        LogweirError: The patterns are too large together.
    """

    def __init__(self, settings: RedactSettings, layout: Format) -> None:
        self._wrap = layout.wrap
        self._own_ids = OwnIds(layout)
        self._replacement = settings.with_.encode("utf-8", "replace")
        self._written = orjson.dumps(self._replacement.decode())[1:-1]
        self._key = settings.hash_key.get_secret_value().encode() if settings.hash_key else b""
        self._field_names = [each.path for each in settings.fields]
        self._field_modes = [each.mode or settings.mode for each in settings.fields]
        self._paths = Paths(self._field_names) if settings.fields else None
        self._builtins: list[_Pattern] = []
        self._own: list[_Pattern] = []
        for each in settings.patterns:
            mode = each.mode or settings.mode
            find = _built_in(each.name, mode) if each.pattern is None else finder(each.pattern)
            (self._builtins if each.pattern is None else self._own).append(_Pattern(frozenset({each.name}), mode, find))
        keys = [hint(path) for path in self._field_names]
        hints = [BUILTINS[each.name].hint for each in settings.patterns if each.pattern is None]
        self._signs = _signs(hints)
        own = [str(each.pattern) for each in settings.patterns if each.pattern is not None]
        if own:
            # An escape may hide from a pattern of one's own what it looks for, whatever that is.
            hints.append(r"\\")
        self._search = _searcher([*keys, *hints, *map(_unanchored, own)])
        self._has_key = _searcher(keys) if keys else None

    def __call__(self, batch: Batch) -> None:
        """Hide what is to be hidden in one raw batch, in place, and note on its account in how many records."""
        account = batch.account
        if account.rejected:
            account.rejected = [each._replace(value=self.text(each.value, account)) for each in account.rejected]
        if self._wrap and not batch.records:
            wrap_lines(batch)
            # What stands here tells the decoder that the lines are records already.
            batch.records = [None] * len(batch)
        values: list[bytes] | None = None
        for index in self._suspects(batch.values):
            value = batch.values[index]
            # What is no record is left to the decoder, which says why and gives it to `text`.
            if is_record(value) and (hidden := self._record(value, account)) is not value:
                values = values or list(batch.values)
                values[index] = hidden
                batch.size += len(hidden) - len(value)
        if values:
            batch.values = values

    def text(self, value: bytes, account: Account) -> bytes:
        """Return what may be kept of a message that is no record.

        Patterns are looked for in its text, whatever its bytes; fields only as far as it can be read as JSON.
        """
        names: set[str] = set()
        hidden = self._fields(value, names, None)
        for _ in range(_ROUNDS):
            before, resolved = hidden, Resolved(hidden)
            whole = Token(0, len(hidden), "text")
            found = self._found(resolved, [whole, *Tokens(hidden).all] if self._own else ())
            hidden = spliced(hidden, self._edits(resolved, hidden, found, whole, names, None))
            if hidden == before:
                break
        account.redact(names)
        return hidden

    def _suspects(self, values: Sequence[bytes]) -> Iterable[int]:
        """Return the indexes of the records that may have something to hide.

        They are searched some at a time: from each place where it begins, a pattern of one's own may read to the end.
        """
        if self._search is None:
            return range(len(values))
        suspects: list[int] = []
        first = size = 0
        for index, value in enumerate(values):
            size += len(value) + 1
            if size >= _TOGETHER:
                self._look(values[first : index + 1], first, suspects)
                first, size = index + 1, 0
        self._look(values[first:], first, suspects)
        return suspects

    def _look(self, values: Sequence[bytes], first: int, suspects: list[int]) -> None:
        """Add the indexes of some records, the first of which has this one."""
        joined = b"\n".join(values)
        found = self._search(joined)
        if found is None:
            return
        lengths = list(accumulate(map(len, values)))

        def end(index: int) -> int:
            return lengths[index] + index + 1  # with the newline that was put between them

        while found is not None:
            index = bisect_right(range(len(values)), found.start(), key=end)
            suspects.append(first + index)
            if found.end() > end(index):
                # A greedy pattern of one's own, which would read on to the end for each record.
                rest = range(index + 1, len(values))
                suspects += [first + each for each in rest if self._search(values[each]) is not None]
                return
            found = self._search(joined, end(index))

    def _record(self, value: bytes, account: Account) -> bytes:
        """Return a record with what is to be hidden hidden; itself if there is nothing."""
        names: set[str] = set()
        own = _Id(self._own_ids, value)
        hidden = self._fields(value, names, own)
        for _ in range(_ROUNDS):
            before, resolved = hidden, Resolved(hidden)
            tokens = Tokens(hidden)
            found = self._found(resolved, tokens.all if self._own else ())
            hidden = spliced(hidden, self._edits(resolved, hidden, found, tokens, names, own))
            if hidden == before or (self._search is not None and self._search(hidden) is None):
                break
        account.redact(names)
        return hidden if names else value

    def _fields(self, raw: bytes, names: set[str], own: _Id | None) -> bytes:
        if self._paths is None or (self._has_key is not None and self._has_key(raw) is None):
            return raw
        edits = []

        def wanted(path: int, value: bytes) -> bool:
            mode = self._field_modes[path]
            text = _value(value)
            if value in _NOTHING or (own and own.is_text(text)):
                return False
            return text != self._replacement if mode == "replace" else not (mode == "hash" and _HASHED.fullmatch(text))

        since = 0
        for hit in self._paths.find(raw, wanted):
            mode = self._field_modes[hit.path]
            names.add(self._field_names[hit.path])
            if mode == "remove":
                edits.append((*without(raw, hit, since), b""))
                since = hit.end
            else:
                text = _value(raw[hit.start : hit.end])
                edits.append((hit.start, hit.end, b'"%b"' % self._instead(mode, text)))
        return spliced(raw, edits)

    def _instead(self, mode: str, text: bytes) -> bytes:
        """Return what stands in the place of this text, as it is written within quotes."""
        if mode == "hash":
            return HASH_PREFIX + hmac.digest(self._key, text, "sha256").hex()[:HASH_DIGITS].encode()
        return self._written if mode == "replace" else b""

    def _found(self, resolved: Resolved, tokens: Sequence[Token]) -> list[_Found]:
        """Return what the patterns find, in order and without overlaps.

        Args:
            resolved: The text.
            tokens: In which patterns of one's own look, in each for itself.
        """
        text = resolved.text
        found: list[_Found] = []
        for index in self._signs(text) or ():
            names, mode, find = self._builtins[index]
            found += [_Found(start, end, names, mode) for start, end in find(text)]
        for token in tokens:
            base = resolved.at(token.start)
            part = text[base : resolved.at(token.end)]
            for names, mode, find in self._own:
                found += [_Found(base + start, base + end, names, mode) for start, end in find(part)]
        return [each for each in _merged(found) if not self._is_hidden(text, each.start, each.end)]

    def _is_hidden(self, text: bytes, start: int, end: int) -> bool:
        """Tell whether this is, or is a part of, what stands in the place of something hidden before."""
        around = text[max(0, start - _HASHED_LENGTH) : end + _HASHED_LENGTH]
        offset = max(0, start - _HASHED_LENGTH)
        if HASH_PREFIX in around and any(
            each.start() + offset <= start and end <= each.end() + offset for each in _HASHED.finditer(around)
        ):
            return True
        length = len(self._replacement)
        if end - start > length:
            return False
        at = text.find(self._replacement, max(0, end - length), start + length)
        return at >= 0 and length > 0

    def _edits(
        self,
        resolved: Resolved,
        raw: bytes,
        found: Sequence[_Found],
        tokens: Tokens | Token,
        names: set[str],
        own: _Id | None,
    ) -> Iterator[Edit]:
        """Give what to put in the place of which raw bytes, and note the names of what is hidden.

        Args:
            resolved: The text.
            raw: Its raw bytes.
            found: What to hide.
            tokens: Where that lies; one token where all is taken as one text.
            names: Where to note.
            own: The record's id, if it is a record.
        """
        keys: dict[Token, list[Edit]] = {}
        for each in found:
            start, end = resolved.raw(each.start, each.end)
            token = tokens if isinstance(tokens, Token) else tokens.at(start, end)
            if token is None:
                continue
            if own and own.is_token(raw, token):
                continue
            text = resolved.text[each.start : each.end]
            if token.kind == "number":
                # A part of a number can't be hidden: what is left would be another number.
                start, end = token.start, token.end
                text = raw[start:end]
            instead = self._instead(each.mode, text)
            if token.kind == "number":
                instead = b"null" if each.mode == "remove" else b'"%b"' % instead
            if instead == raw[start:end]:
                continue
            names |= each.names
            if token.kind == "key":
                keys.setdefault(token, []).append((start, end, instead))
            else:
                yield start, end, instead
        if isinstance(tokens, Tokens) and keys:
            yield from tokens.renamed(keys)


class _Id:
    """The id of a record, looked up when it is first asked for."""

    def __init__(self, own_ids: OwnIds, value: bytes) -> None:
        self._own_ids = own_ids
        self._value: bytes | None = value
        self._id: bytes | None = None
        self._asked: tuple[bytes, Token, bool] | None = None
        """Of which token it was asked last: much may be found in one, however long it is."""

    def is_text(self, text: bytes) -> bool:
        """Tell whether this is the id."""
        return text == self._known()

    def is_token(self, raw: bytes, token: Token) -> bool:
        """Tell whether a token is the id, and no key."""
        known = self._known()
        if token.kind == "key" or known is None:
            return False
        if not len(known) <= token.end - token.start <= len(known) * _LONGEST_ESCAPE:
            return False
        if self._asked is None or self._asked[0] is not raw or self._asked[1] != token:
            self._asked = raw, token, Resolved(raw[token.start : token.end]).text == known
        return self._asked[2]

    def _known(self) -> bytes | None:
        if self._value is not None:
            own = self._own_ids(self._value)
            self._id = None if own is None else own.encode("utf-8", "replace")
            self._value = None
        return self._id


def _value(raw: bytes) -> bytes:
    """Return the text of a value, so that a number and the same digits as text have one hash."""
    return Resolved(raw[1:-1]).text if raw[:1] == b'"' else raw


def _built_in(name: str, mode: str) -> Finder:
    builtin = BUILTINS[name]
    return builtin.cut if mode == "remove" and builtin.cut else builtin.find


def _unanchored(pattern: str) -> str | None:
    """Return the pattern, if in the bytes of a whole batch it is found wherever it is found in a value of its own."""
    for each in _ANCHOR.finditer(pattern):
        if each[0] in ("^", "$") or (each[1] and each[1] in "AzZQC"):
            return None
    return f"(?:{pattern})"


def _searcher(hints: Sequence[str | None]) -> Any:
    """Return the search for any of these hints; None where one of them is not known, so that all may match."""
    known = [each for each in hints if each is not None]
    if len(known) < len(hints):
        return None
    try:
        return re2.compile("|".join([ESCAPES, *known]), OPTIONS).search
    except re2.error as error:
        msg = "redact: the patterns are too large together; use fewer, or shorter repetitions than {1000}"
        raise LogweirError(msg) from error


def _signs(hints: Sequence[str]) -> Callable[[bytes], Sequence[int] | None]:
    """Return what tells which of these built-in patterns' hints are found in a text."""
    signs = re2.Set.SearchSet(OPTIONS)
    for each in hints:
        signs.Add(each)
    if not hints:
        return lambda _text: None
    signs.Compile()
    match: Callable[[bytes], Sequence[int] | None] = signs.Match
    return match


def _merged(found: list[_Found]) -> list[_Found]:
    """Return what was found in order, overlapping finds as one, hidden as the strictest of them says."""
    merged: list[_Found] = []
    for each in sorted(found):
        last = merged[-1] if merged else None
        if last is None or each.start >= last.end:
            merged.append(each)
        else:
            mode = max(last.mode, each.mode, key=_STRENGTH.__getitem__)
            merged[-1] = _Found(last.start, max(last.end, each.end), last.names | each.names, mode)
    return merged
