"""Redaction of random records: what holds whatever they are."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.decode import is_record
from tests.operators.redact_support import (
    ALL,
    CORPUS,
    HIDDEN,
    Writer,
    check,
    expected,
    hidden,
    pairs,
    redacted,
    redactor,
)

HIDE = redactor(patterns=ALL)
PATHS = (
    ["metadata.password"],
    ["**.token", "*.user"],
    ["user.*"],
    ["a"],
    ["**"],
    ["metadata.**.token", "message"],
    ["*"],
)
FIELDS = [(paths, redactor(fields=paths)) for paths in PATHS]
_RECORDS = st.builds(lambda seed: Writer(Random(seed)).record(), st.integers(0, 2**64))
_CLEAN = st.builds(lambda seed: Writer(Random(seed), secrets=False).record(), st.integers(0, 2**64))


@given(st.lists(_RECORDS, max_size=5))
@settings(deadline=None)
def test_patterns(values: list[bytes]) -> None:
    """Redacted records are JSON, stay as they are the second time, and differ in nothing but what is hidden."""
    check(HIDE, values)


@given(st.lists(_CLEAN, max_size=5))
@settings(deadline=None)
def test_clean(values: list[bytes]) -> None:
    """A record that has nothing to hide stays the very same object."""
    assert all(new is old for new, old in zip(redacted(HIDE, *values).values, values, strict=True))


def test_many() -> None:
    """The same, of enough records that each oddity meets each pattern; about half have something to hide."""
    dice = Random(7)
    writer = Writer(dice)
    changed = sum(check(HIDE, [writer.record() for _ in range(100)]) for _ in range(200))
    assert 5_000 < changed < 15_000


def test_the_search_misses_nothing() -> None:
    """What the search over a batch passes over has nothing to hide: a look at every record finds no more."""
    dice = Random(11)
    texts = [each["text"] for each in CORPUS] + ["é", "\n", "1", " ", "\t"]
    writer = Writer(dice, pieces=texts)
    paths = ["metadata.password", "**.token", "a", "ü.*", 'q"k']
    own = [{"name": "own", "pattern": r"[ch]ard \d|(?i)BEARER\b|é\S"}]
    for asked in ({"patterns": ALL}, {"patterns": [*ALL, *own], "fields": paths}, {"fields": paths}):
        quick, thorough = redactor(**asked), redactor(**asked)
        thorough._search = thorough._has_key = None
        for _ in range(30):
            values = [writer.record() for _ in range(100)]
            assert redacted(quick, *values).values == redacted(thorough, *values).values


@pytest.mark.parametrize(("paths", "hide"), FIELDS, ids=lambda value: str(value) if isinstance(value, list) else "")
def test_fields(paths: list[str], hide: object) -> None:
    """Fields are hidden where the plain meaning of their paths says so, and nowhere else."""
    writer = Writer(Random(str(paths)))
    for raw in (writer.record() for _ in range(1500)):
        record = pairs(raw)
        ids = [value for key, value in record[1] if key == "id"]
        own = ids[-1] if ids and isinstance(ids[-1], str) else None
        want = expected(record, paths, own, lambda value: value in (None, "", HIDDEN.decode()))
        found = hidden(hide, raw)  # type: ignore[arg-type]
        assert pairs(found) == want, (raw, found)
        assert hidden(hide, found) is found  # type: ignore[arg-type]
        if want == record:
            assert found is raw


@pytest.mark.parametrize("mode", ["replace", "hash", "remove"])
def test_modes(mode: str) -> None:
    """Whatever is done with what is found, a record remains one, and the second time nothing is left to do."""
    key = {"hash_key": "0123456789abcdef"} if mode == "hash" else {}
    own = [{"name": "word", "pattern": r"\w+ words|[0-9a-f]{32}|redacted"}, {"name": "first", "pattern": "^pl.|n$"}]
    hide = redactor(fields=["**.token", "user.password"], patterns=[*ALL, *own], mode=mode, **key)
    writer = Writer(Random(mode))
    for raw in (writer.record() for _ in range(3000)):
        found = hidden(hide, raw)
        assert is_record(found), (raw, found)
        assert hidden(hide, found) is found, (raw, found)
