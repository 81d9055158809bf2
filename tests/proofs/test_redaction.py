from __future__ import annotations

import random

import pytest

from tests.operators.redact_support import ALL, Writer, check, redactor

pytestmark = pytest.mark.proof


def test_a_million_random_records() -> None:
    """None becomes anything but JSON, none differs beyond what is hidden, and none changes the second time."""
    dice = random.Random(2026)
    writer, hide = Writer(dice), redactor(patterns=ALL)
    changed = sum(check(hide, [writer.record() for _ in range(1000)]) for _ in range(1000))
    print(f"\n1,000,000 random records, {changed:,} of them changed")  # noqa: T201  # its figure
    assert changed > 100_000
