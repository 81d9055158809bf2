"""The short form of tests/proofs/test_fuzz.py."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.fuzz.line import Line
from tests.fuzz.mutations import FORMATS, Mutations

BATCH = 100
BATCHES = 4


@pytest.mark.parametrize("redacts", [False, True], ids=["plain", "redacted"])
@pytest.mark.parametrize("layout", FORMATS)
def test_mutated_records_are_accounted_for(layout: str, redacts: bool, tmp_path: Path) -> None:
    """Whatever became of a record on its way into the topic, it costs nobody else, and the sums are equal."""
    line = Line(layout, tmp_path, redacts=redacts)
    mutations = Mutations(layout, 1, time.time() - 60)
    for number in range(BATCHES):
        # Every tenth is good.
        values = mutations.mutated(BATCH)
        values[::10] = mutations.good(BATCH // 10)
        start = number * BATCH
        line.take(values, offset=start, good=frozenset(range(start, start + BATCH, 10)))
    line.close()
    assert line.outcomes["delivered"] > line.outcomes.total() / 3
    assert line.outcomes.total() == BATCH * BATCHES * len(line.destinations)
