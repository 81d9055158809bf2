"""A short outage at a leisurely pace; the proofs have a long one at 50,000 records a second."""

from __future__ import annotations

import pytest

from tests.logger.outage import outage

pytestmark = pytest.mark.kafka


def test_a_short_outage_within_the_bound() -> None:
    """What an outage makes wait is delivered, once, if there is room for it."""
    found = outage(rate=2_000, before=1, away=2, after=1, bound=100_000)
    assert found.delivered == found.logged == 8_000
