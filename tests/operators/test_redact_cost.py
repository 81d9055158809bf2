"""What redaction reads grows as what is read: counted, since a clock tells little on a busy machine.

`make proof` measures the same in seconds, over more shapes (tests/proofs/test_fuzz.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import re2
from hypothesis import given
from hypothesis import strategies as st

from logweir.batch import Account
from operators import redact, redact_paths, redact_patterns
from operators.escapes import Resolved
from operators.formats import LOGWEIR
from operators.patterns import OPTIONS
from operators.redact import Redactor
from operators.redact_models import RedactSettings
from operators.redact_patterns import BUILTINS, finder

BEGIN, END = b"-----BEGIN RSA PRIVATE KEY-----", b"-----END RSA PRIVATE KEY-----"


class Counting:
    """Counts how much regular expressions are given to read."""

    def __init__(self) -> None:
        self.read = 0

    def compiled(self, pattern: str) -> Any:
        """Return a pattern whose searches count."""
        real = re2.compile(pattern, OPTIONS)
        counting = self

        class Compiled:
            def search(self, text: bytes, start: int = 0, end: int | None = None) -> Any:
                found = real.search(text, start, len(text) if end is None else end)
                counting.read += (len(text) if end is None else end) - start
                return found

        return Compiled()


@pytest.mark.parametrize("pattern", ["key(?s:.)*?end|key", "k[^z]*z|key", "key", "(?:key )+"])
def test_a_pattern_of_ones_own(pattern: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often it begins and comes to no end, what it reads of a value twice as long is about twice as much."""
    read = []
    for size in (60_000, 120_000):
        counting = Counting()
        monkeypatch.setattr(redact_patterns, "_compile", counting.compiled)
        list(finder(pattern)(b"key!" * (size // 4)))
        read.append(counting.read)
    assert read[1] < 2.5 * read[0]


@given(
    text=st.text("ab \n", max_size=120),
    pattern=st.sampled_from(["a+b", "a(?s:.)*?b|a", "(?:ab)+", "^a", "b$", r"\\bab", "a*", "a{2,4}", "[ab]+ "]),
)
def test_windows_change_nothing(text: str, pattern: str) -> None:
    """What is no longer than the bound is found as one search over the whole value finds it."""
    pattern = pattern.replace("\\\\", "\\")
    value = text.encode()
    expected = [each.span() for each in re2.finditer(pattern, value) if each.end() > each.start()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(redact_patterns, "SPAN", 16)
        found = list(finder(pattern)(value))
    if all(end - start <= 16 for start, end in expected):
        assert found == expected


def test_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pattern that reads on to the end reads no whole batch again for each record."""
    read = []
    for count in (3000, 6000):
        redactor = Redactor(
            RedactSettings.model_validate({"patterns": [{"name": "p", "pattern": "x[^z]*z|x"}]}), LOGWEIR
        )
        real, total = redactor._search, 0

        def search(text: bytes, start: int = 0, real: Callable[..., Any] = real) -> Any:
            nonlocal total
            total += len(text) - start
            return real(text, start)

        redactor._search = search
        assert list(redactor._suspects([b'{"m":"x"}'] * count)) == list(range(count))
        read.append(total)
    assert read[1] < 2.5 * read[0]


def _tokens(shape: Callable[[int], bytes], size: int, settings: dict[str, Any]) -> int:
    """Return how many tokens redaction's walks stop at."""
    real, seen = redact_paths.TOKEN, 0

    class Pattern:
        def search(self, text: bytes, at: int) -> Any:
            nonlocal seen
            seen += 1
            return real.search(text, at)

        def finditer(self, text: bytes, at: int) -> Iterator[Any]:
            nonlocal seen
            for each in real.finditer(text, at):
                seen += 1
                yield each

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(redact_paths, "TOKEN", Pattern())
        redactor = Redactor(RedactSettings.model_validate(settings), LOGWEIR)
        redactor._record(shape(size), Account())
        redactor.text(shape(size), Account())
    return seen


SHAPES: dict[str, Callable[[int], bytes]] = {
    "closed": lambda depth: b'{"a":' * depth + b'{"token":1}' + b"}" * depth,
    "not closed": lambda depth: b'{"token":1,"b":' + b'{"a":' * depth,
    "hidden, not closed": lambda depth: b'{"token":{"a":' * depth,
    "lists": lambda depth: b'{"a":' + b'[{"a":' * depth + b'{"token":1}',
    "hidden in a row": lambda depth: b"{" + b'"token":{"a":1},' * depth + b'"b":1}',
}


@pytest.mark.parametrize("mode", ["replace", "remove"])
@pytest.mark.parametrize("shape", SHAPES)
def test_fields(shape: str, mode: str) -> None:
    """Nested twice as deep, whether or not it is closed, a record has about twice as many places to look at."""
    settings = {"fields": ["**.token", "user.email"], "mode": mode}
    few, many = (_tokens(SHAPES[shape], depth, settings) for depth in (1000, 2000))
    assert few > 900
    assert many < 2.5 * few


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        (BEGIN + b"abc" + END + b" x " + BEGIN + b"d!" + BEGIN, [BEGIN + b"abc" + END, BEGIN + b"d", BEGIN]),
        (BEGIN + b'a"' + BEGIN + b"b!" + END, [BEGIN + b"a", BEGIN + b"b!" + END]),
        (BEGIN + b"!" * 70_000 + END, [BEGIN]),
        (BEGIN + b"a" * 70_000 + END, [BEGIN + b"a" * 70_000 + END[:10]]),
    ],
    ids=["whole and cut off", "quoted", "too far apart", "long"],
)
def test_private_keys(text: bytes, hidden: list[bytes]) -> None:
    """A block reaches to its end, if that is near and in the same text; else as far as it looks like a key."""
    found = [text[start:end] for start, end in BUILTINS["private_key"].find(text)]
    assert [each[:80] for each in found] == [each[:80] for each in hidden]
    assert b"a" * 100 not in text[: len(text)].replace(b"".join(found), b"")


def test_what_is_found_in_the_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """Much that is found in a long id is one question whether that is the id."""
    asked = 0
    real = Resolved

    def resolved(raw: bytes) -> Any:
        nonlocal asked
        asked += 1
        return real(raw)

    monkeypatch.setattr(redact, "Resolved", resolved)
    redactor = Redactor(RedactSettings.model_validate({"patterns": ["email"]}), LOGWEIR)
    value = b'{"id":"%b"}' % (b"jane@example.com " * 500)
    assert redactor._record(value, Account()) is value
    assert asked < 10
