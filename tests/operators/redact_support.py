"""Redaction in tests: a redactor from settings, random records as odd as JSON allows, and what must hold for each."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from logweir.batch import Batch
from operators.formats import LOGWEIR, Format
from operators.redact import Redactor
from operators.redact_models import RedactSettings
from operators.redact_patterns import BUILTINS

ALL = list(BUILTINS)
CORPUS = [
    json.loads(line) for line in (Path(__file__).parent / "data" / "redaction.ndjson").read_text("utf-8").splitlines()
]
"""Texts, the pattern that each is about, and what of it is to be hidden. `known` marks what the patterns get wrong, by
what they are; the documentation says so."""
HIDDEN = b"[redacted]"
_TOKEN = re.compile(rb'\s+|"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+', re.DOTALL)
_KEYS = ("id", "message", "token", "password", "metadata", "a.token", "user", "jane@example.com", "", "ü", 'q"k', "t\n")
_SECRETS = (
    "jane.doe@example.com",
    "4111 1111 1111 1111",
    "4242424242424242",
    "10.0.0.1",
    "2001:db8::1",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln",
    "AKIAIOSFODNN7EXAMPLE",
    "secret_key: wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "Authorization: Bearer abc123",
    "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----",
)
_PIECES = (
    *_SECRETS,
    "@",
    "1.2.3",
    "::",
    "plain words",
    "\n\tat x",
    '"quoted"',
    "\\",
    "/",
    "ünï",
    "😀",
    "[redacted]",
    "1",
)
_NUMBERS = ("0", "-1", "1e999", "123456789012345678901234567890", "4111111111111111", "0.4111111111111111", "1.50E+2")


def redactor(layout: Format = LOGWEIR, /, **settings: Any) -> Redactor:
    """Return a redactor of these settings, written as in a flow file."""
    return Redactor(RedactSettings.model_validate(settings), layout)


def redacted(hide: Redactor, *values: bytes) -> Batch:
    """Return a batch of these raw messages, after redaction."""
    batch = Batch("t", 0, list(values), range(len(values)))
    hide(batch)
    return batch


def hidden(hide: Redactor, value: bytes) -> bytes:
    """Return one raw message after redaction."""
    return redacted(hide, value).values[0]


class Writer:
    """Writes random records: escapes where none are needed, keys twice, numbers that no double holds, odd white space.

    Args:
        dice: Decides.
        secrets: Whether some hold what the built-in patterns find.
        pieces: What texts are made of; else some of each kind.
    """

    def __init__(self, dice: Random, *, secrets: bool = True, pieces: Sequence[str] = ()) -> None:
        self._dice = dice
        self._pieces = pieces or _PIECES if secrets else ("plain words", "a", '"', "\\", "\n", "ü", "😀", "7")
        self._keys = _KEYS if secrets else ("id", "message", "x", "a.b", "ü")
        self._numbers = _NUMBERS if secrets else _NUMBERS[:4]

    def record(self) -> bytes:
        """Return one JSON object."""
        return self._object(0).encode("utf-8", "surrogatepass")

    def _object(self, depth: int) -> str:
        members = (
            f"{self._space()}{self._string(self._dice.choice(self._keys))}{self._space()}:{self._value(depth + 1)}"
            for _ in range(self._dice.randint(0, 4))
        )
        return "{" + ",".join(members) + self._space() + "}"

    def _value(self, depth: int) -> str:
        kind = self._dice.random()
        if depth < 4 and kind < 0.2:
            inner = self._object(depth)
        elif depth < 4 and kind < 0.3:
            inner = "[" + ",".join(self._value(depth + 1) for _ in range(self._dice.randint(0, 3))) + "]"
        elif kind < 0.45:
            inner = self._dice.choice((*self._numbers, "true", "null"))
        else:
            count = self._dice.randint(0, 3)
            inner = self._string(self._dice.choice(("", " ", ",")).join(self._dice.choices(self._pieces, k=count)))
        return self._space() + inner + self._space()

    def _space(self) -> str:
        return self._dice.choice((" ", "\n", "\t\r")) if self._dice.random() < 0.05 else ""

    def _string(self, text: str) -> str:
        if self._dice.random() < 0.6:
            return json.dumps(text, ensure_ascii=self._dice.random() < 0.5)
        rate = self._dice.choice((0.05, 1.0))
        return '"' + "".join(self._character(each, rate) for each in text) + '"'

    def _character(self, each: str, rate: float) -> str:
        if self._dice.random() < rate:
            units = each.encode("utf-16-be").hex()
            spelt = units if self._dice.random() < 0.5 else units.upper()
            return "".join(f"\\u{spelt[at : at + 4]}" for at in range(0, len(spelt), 4))
        return "\\/" if each == "/" and self._dice.random() < 0.5 else json.dumps(each, ensure_ascii=False)[1:-1]


def tokens(raw: bytes) -> list[bytes]:
    """Return the tokens of JSON, white space too."""
    return _TOKEN.findall(raw)


def check(hide: Redactor, values: Sequence[bytes]) -> int:
    """Assert what holds for any records under patterns that replace; return how many were changed."""
    batch = redacted(hide, *values)
    again = redacted(hide, *batch.values)
    changed = 0
    for old, new, twice in zip(values, batch.values, again.values, strict=True):
        assert twice is new, (old, new, twice)
        if new is old:
            continue
        changed += 1
        assert new != old
        msgspec.json.decode(new, type=msgspec.Raw)
        same(old, new)
    assert batch.size == sum(map(len, batch.values))
    assert [*batch.offsets] == [*range(len(values))]
    return changed


def same(old: bytes, new: bytes) -> None:
    """Assert that nothing but hidden text differs: token by token, and within a text piece by piece."""
    before, after = tokens(old), tokens(new)
    assert len(before) == len(after), (old, new)
    for was, now in zip(before, after, strict=True):
        if was == now:
            continue
        assert now[:1] == b'"', (was, now)
        if was[:1] != b'"':
            assert now == b'"%b"' % HIDDEN, (was, now)
            continue
        pieces = re.split(rb"\[redacted\](?: \d+(?=\"))?", now)
        assert len(pieces) > 1, (was, now)
        at = 0
        for piece in pieces:
            at = was.index(piece, at) + len(piece)
        assert was.startswith(pieces[0])
        assert was.endswith(pieces[-1])


Pairs = list[tuple[str, Any]]


def pairs(raw: bytes) -> Any:
    """Return JSON with each object as the list of its members, so that none is lost that is there twice."""
    return json.loads(
        raw,
        object_pairs_hook=lambda members: ("object", members),
        parse_int=str,
        parse_float=lambda text: ("float", text),
    )


def expected(value: Any, paths: Sequence[str], own: str | None, keep: Callable[[Any], bool]) -> Any:
    """Return what `pairs` should give after fields were replaced, by the plain meaning of their paths."""
    return _expected(value, [tuple(path.split(".")) for path in paths], (), own, keep)


def _expected(value: Any, paths: list[tuple[str, ...]], at: tuple[str, ...], own: str | None, keep: Any) -> Any:
    if isinstance(value, list):
        return [_expected(each, paths, at, own, keep) for each in value]
    if not (isinstance(value, tuple) and value[0] == "object"):
        return value
    members = []
    for key, each in value[1]:
        place = (*at, *key.split("."))
        lead = [place[:length] for length in range(len(at) + 1, len(place) + 1)]
        hit = any(_leads(path, each_place) for path in paths for each_place in lead)
        if hit and not keep(each) and (own is None or each != own):
            members.append((key, HIDDEN.decode()))
        else:
            members.append((key, _expected(each, paths, place, own, keep)))
    return ("object", members)


def _leads(path: tuple[str, ...], place: tuple[str, ...]) -> bool:
    if not path:
        return not place
    if path[0] == "**":
        return _leads(path[1:], place) or (bool(place) and _leads(path, place[1:]))
    return bool(place) and path[0] in ("*", place[0]) and _leads(path[1:], place[1:])
