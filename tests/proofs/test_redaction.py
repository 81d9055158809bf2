from __future__ import annotations

import random

import pytest

from operators.decode import is_record
from tests.operators.redact_support import ALL, Writer, check, redacted, redactor

pytestmark = pytest.mark.proof

BATCHES, BATCH = 1000, 1000


def test_a_million_random_records() -> None:
    """None becomes anything but JSON, none differs beyond what is hidden, and none changes the second time."""
    writer, hide = Writer(random.Random(2026)), redactor(patterns=ALL)
    changed = sum(check(hide, [writer.record() for _ in range(BATCH)]) for _ in range(BATCHES))
    print(f"\n1,000,000 random records, {changed:,} of them changed")  # noqa: T201  # its figure
    assert changed > 100_000


def test_a_million_clean_records() -> None:
    """None that has nothing to hide is touched, whatever is looked for: each stays the very same object."""
    writer = Writer(random.Random(2027), secrets=False)
    hide = redactor(patterns=ALL, fields=["**.password", "metadata.*", "y"])
    touched = 0
    for _ in range(BATCHES):
        values = [writer.record() for _ in range(BATCH)]
        touched += sum(new is not old for new, old in zip(redacted(hide, *values).values, values, strict=True))
    print(f"\n1,000,000 clean records, {touched} of them touched")  # noqa: T201  # its figure
    assert touched == 0


@pytest.mark.parametrize("mode", ["hash", "remove"])
def test_other_modes(mode: str) -> None:
    """Hashed or cut out, 200,000 random records stay records too."""
    key = {"hash_key": "0123456789abcdef"} if mode == "hash" else {}
    writer = Writer(random.Random(mode))
    hide = redactor(fields=["**.token", "user.*"], patterns=ALL, mode=mode, **key)
    for _ in range(200):
        values = [writer.record() for _ in range(BATCH)]
        batch = redacted(hide, *values)
        assert all(map(is_record, batch.values))
        assert all(new is old for new, old in zip(redacted(hide, *batch.values).values, batch.values, strict=True))
