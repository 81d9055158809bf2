"""A supervisor's report, as the metrics and the status are made of it."""

from __future__ import annotations

from typing import Any

from flows.reload import Outcomes
from logweir.events import Events
from logweir.ledger import Ledger
from sinks.health import Health
from sinks.stats import Stats


def report(*issues: str) -> dict[str, Any]:
    """Return the report of one destination with two workers, each with one sink partition; their issues if any."""
    ledger = Ledger()
    ledger.read, ledger.delivered = 100, 90
    ledger.dropped["No debug"] = 8
    ledger.dead_lettered["not JSON"] = 2
    partitions: list[dict[str, Any]] = []
    workers: list[dict[str, Any]] = []
    for seconds, issue in zip((0.02, 3.0), (*issues, "", "")[:2], strict=True):
        stats = Stats()
        stats.sent(1000, seconds)
        stats.delivered(45, 20_000, 1_790_000_000.0)
        stats.notices["shown later"] = 3
        partitions.append({**stats.to_dict(), "in_flight_records": 0, "circuit": "closed"})
        health = Health("search", Events())
        health.taken()
        if issue:
            health.holding(issue)
        workers.append(
            {
                "health": health.to_dict(),
                "lag": 5,
                "lag_seconds": 1.5,
                "source_issues": [],
                "in_flight_bytes": 700,
                "buffer_utilisation": 0.25 * len(workers),
            }
        )
    return {
        "search": {
            "type": "elasticsearch",
            "ledger": ledger,
            "partitions": partitions,
            "workers": workers,
            "running": True,
            "issue": "",
        }
    }


def config(*findings: str) -> dict[str, Any]:
    """Return what has become of a flow's file: one change is in force, and the last was refused if there are findings.

    Args:
        findings: What was wrong with that.
    """
    outcomes = Outcomes("0123456789ab", since=1_790_000_000.0, reloaded=1)
    if findings:
        outcomes.refused, outcomes.refused_at, outcomes.findings = 1, 1_790_000_100.0, list(findings)
    return outcomes.to_dict()
