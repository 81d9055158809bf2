from __future__ import annotations

import pytest

from tests.logger.outage import outage

pytestmark = [pytest.mark.proof, pytest.mark.kafka]


@pytest.mark.parametrize("bound", [100_000, 2_000_000], ids=["beyond the bound", "within the bound"])
def test_an_application_does_not_feel_an_outage(bound: int) -> None:
    """At 50,000 records a second and with its broker away for 30 s, an application waits less than 1 ms at p99."""
    found = outage(rate=50_000, before=5, away=30, after=5, bound=bound)
    print(f"\nbound of {bound:,}: {found}")  # noqa: T201  # its figures
    assert (found.dropped == 0) is (bound == 2_000_000)
