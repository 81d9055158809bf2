"""What metrics count."""

from __future__ import annotations

from typing import Any

from flows.counters import RunCounters
from logweir.ledger import Ledger


def report(read: int, **dropped: int) -> dict[str, Any]:
    """Return what a supervisor knows of one destination."""
    ledger = Ledger()
    ledger.read = read
    ledger.dropped.update(dropped)
    return {"out": {"ledger": ledger, "workers": []}}


def counted(found: dict[str, Any]) -> tuple[int, dict[str, int]]:
    """Return what was counted of it."""
    ledger = found["out"]["ledger"]
    return ledger.read, dict(ledger.dropped)


def test_a_run_begins_at_zero() -> None:
    """What was counted before the run, and stands in its ledger, is no news."""
    counters = RunCounters()
    assert counted(counters.of(report(1_000_000, noise=10))) == (0, {"noise": 0})
    assert counted(counters.of(report(1_000_050, noise=12, other=3))) == (50, {"noise": 2, "other": 3})


def test_a_counter_never_falls() -> None:
    """After a crash the ledger goes on from its last epoch; the counters wait until it has come as far as before."""
    counters = RunCounters()
    for read, expected in ((100, 0), (200, 100), (150, 100), (199, 100), (260, 160)):
        assert counted(counters.of(report(read)))[0] == expected
