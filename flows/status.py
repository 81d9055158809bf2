"""How a run is, as `/api/status`, `logweir status` and the metrics tell it: all dataflows and workers as one."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any

from logweir.ledger import Ledger
from logweir.times import rfc3339
from sinks.stats import LATENCY_BOUNDS

STATUSES = ("connected", "connecting", "disconnected", "reconnecting", "error")
"""From the best to the worst: what is told of several workers is the worst of theirs."""

_WELL = {"healthy": True}

QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


def whole(
    name: str,
    report: dict[str, Any],
    started: float,
    config: dict[str, Any],
    retention: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the status of a flow as plain JSON.

    Args:
        name: The flow's name.
        report: What the supervisor knows of each destination.
        started: When the run began, in epoch seconds.
        config: What has become of its file while it ran, as `flows.reload` has it.
        retention: What the compaction has done and found, as `flows.compaction.cluster` has it.
    """
    destinations = {key: destination(each) for key, each in report.items()}
    return {
        "flow": name,
        "timestamp": rfc3339(time.time()),
        "started": rfc3339(started),
        "uptime": round(time.time() - started, 3),
        "healthy": all(each["healthy"] for each in [*destinations.values(), retention or _WELL]),
        "config": config,
        "destinations": destinations,
        "retention": retention,
    }


def destination(report: dict[str, Any]) -> dict[str, Any]:
    """Return the status of one destination as plain JSON: durations in seconds, times in RFC 3339, rates up to 1."""
    ledger: Ledger = report["ledger"]
    parts: list[dict[str, Any]] = report["partitions"]
    failed = ledger.dead_lettered.total()
    requests, errors = total(parts, "requests"), total(parts, "errors")
    status, since = state(report)
    workers: list[dict[str, Any]] = report["workers"]
    started = min((each["health"]["started"] for each in workers), default=time.time())
    checks = [each["health"]["check_seconds"] for each in workers]
    flushed = max((part["last_flush"] for part in parts), default=0.0)
    notices = Counter[str]()
    for part in parts:
        notices.update(part["notices"])
    return {
        "type": report["type"],
        "healthy": status == "connected" and not of_source(report),
        "status": status,
        "since": rfc3339(since),
        "issues": issues(report),
        "workers": len(workers),
        "logs_read": ledger.read,
        "logs_streamed": ledger.delivered,
        "logs_failed": failed,
        "still_dead": next((each["still_dead"] for each in workers if each.get("still_dead") is not None), None),
        "logs_dropped": ledger.dropped.total(),
        "success_rate": share(ledger.delivered, ledger.delivered + failed, 1.0),
        "bytes": total(parts, "streamed_bytes"),
        "request_bytes": total(parts, "request_bytes"),
        "requests": requests,
        "errors": errors,
        "error_rate": share(errors, requests, 0.0),
        "retries": total(parts, "retries"),
        "avg_latency": share(sum(part["latency_sum"] for part in parts), requests, None),
        "latency": quantiles([part["latency_counts"] for part in parts]),
        "check_latency": max((each for each in checks if each is not None), default=None),
        "uptime": round(time.time() - started, 3),
        "last_flush": rfc3339(flushed) if flushed else None,
        "in_flight": {
            "records": total(parts, "in_flight_records"),
            "bytes": total(workers, "in_flight_bytes"),
        },
        "buffer_utilisation": max((each["buffer_utilisation"] for each in workers), default=0.0),
        "circuit": worst((part["circuit"] for part in parts), ("closed", "half-open", "open")),
        "lag": lag(report),
        "lag_seconds": lag_seconds(report),
        "dropped": dict(ledger.dropped),
        "dead_lettered": dict(ledger.dead_lettered),
        "duplicates": ledger.duplicates,
        "gaps": ledger.gaps,
        "notices": dict(notices),
    }


def state(report: dict[str, Any]) -> tuple[str, float]:
    """Return the worst status of a destination's workers, and since when, in epoch seconds."""
    if not report["running"]:
        return "disconnected", time.time()
    known = [each["health"] for each in report["workers"]]
    # A worker that has sent nothing says nothing against one that has.
    told = [each for each in known if each["status"] != "connecting" or each["issue"]] or known
    if not told:
        return "connecting", time.time()
    status = worst((each["status"] for each in told), STATUSES)
    return status, min(each["since"] for each in told if each["status"] == status)


def issues(report: dict[str, Any]) -> list[str]:
    """Return what is wrong with a destination and with what it reads, in words, each once."""
    own = {report["issue"], *(each["health"]["issue"] for each in report["workers"])} - {""}
    return sorted(own | of_source(report))


def of_source(report: dict[str, Any]) -> set[str]:
    """Return what of the source its workers can't read, in words."""
    return {issue for each in report["workers"] for issue in each.get("source_issues", ())}


def lag(report: dict[str, Any]) -> int | None:
    """Return the records that no worker has read yet; None where that isn't known."""
    lags: list[int | None] = [each["lag"] for each in report["workers"]]
    known = [each for each in lags if each is not None]
    return sum(known) if known and len(known) == len(lags) else None


def lag_seconds(report: dict[str, Any]) -> float | None:
    """Return for how long the oldest record has been waiting at most that no worker has read; None if not known."""
    lags: list[float | None] = [each["lag_seconds"] for each in report["workers"]]
    known = [each for each in lags if each is not None]
    return max(known) if known and len(known) == len(lags) else None


def total(parts: Sequence[dict[str, Any]], name: str) -> Any:
    """Return the sum of a figure over sink partitions or workers."""
    return sum(part[name] for part in parts)


def share(part: float, of: float, without: float | None) -> float | None:
    """Return a ratio; `without` when there is nothing to have a share of."""
    return round(part / of, 6) if of else without


def worst(values: Iterable[str], order: Sequence[str]) -> str:
    """Return the value that comes last in this order; the first of all when there is none."""
    return max(values, key=order.index, default=order[0])


def quantiles(counts: Sequence[Sequence[int]]) -> dict[str, float | None]:
    """Return upper bounds of the latency's quantiles, in seconds: buckets of the histogram; None beyond the last."""
    added = [sum(column) for column in zip(*counts, strict=True)]
    sums = list(accumulate(added))
    if not sums or not sums[-1]:
        return dict.fromkeys(QUANTILES)
    bounds = (*LATENCY_BOUNDS, None)
    return {
        name: bounds[next(index for index, reached in enumerate(sums) if reached >= wanted * sums[-1])]
        for name, wanted in QUANTILES.items()
    }
