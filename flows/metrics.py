"""Prometheus metrics of a whole `logweir run`: every dataflow and worker as one, from what the workers report.

The sums of the ledger survive restarts and crashes; `_total` figures of requests, retries and latency start at zero
with each worker. Nothing here is on the path of a record.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from logweir.events import Events
from logweir.ledger import Ledger
from sinks.stats import LATENCY_BOUNDS

LEDGER_COUNTERS = {
    "read": "Records read from the source for this destination.",
    "read_bytes": "Bytes of the records read.",
    "delivered": "Records that the destination has taken.",
    "duplicates": "Of the delivered, those that the destination already had.",
    "gaps": "Offsets that were gone before they could be read.",
}
STATS_COUNTERS = {
    "requests": "Requests sent.",
    "request_bytes": "Bytes of request bodies sent, compressed.",
    "retries": "Requests that were sent again.",
}
STATS_GAUGES = {
    "in_flight_records": "Records read and not settled yet.",
    "in_flight_bytes": "Bytes read and not settled yet.",
}


class ReportCollector:
    """Makes metrics of the supervisor's report, at each scrape.

    Args:
        report: Gives, by destination, its `ledger` and its `partitions`' figures.
    """

    def __init__(self, report: Callable[[], dict[str, Any]]) -> None:
        self._report = report

    def collect(self) -> Iterable[Metric]:
        """Return every metric, labelled by destination."""
        report = self._report()
        for name, said in LEDGER_COUNTERS.items():
            yield self._counter(name, said, {key: getattr(each["ledger"], name) for key, each in report.items()})
        yield _by_cause("dropped", "Records dropped, by the rule's name.", "rule", report)
        yield _by_cause("dead_lettered", "Records dead-lettered, by cause.", "cause", report)
        for name, said in STATS_COUNTERS.items():
            yield self._counter(name, said, {key: _sum(each, name) for key, each in report.items()})
        for name, said in STATS_GAUGES.items():
            yield _gauge(name, said, {key: _sum(each, name) for key, each in report.items()})
        healthy = {key: all(part["healthy"] for part in each["partitions"]) for key, each in report.items()}
        yield _gauge("healthy", "1 while the destination takes what it is sent.", healthy)
        closed = {key: all(part["circuit"] == "closed" for part in each["partitions"]) for key, each in report.items()}
        yield _gauge("circuit_closed", "1 while requests are let through.", closed)
        yield _latency(report)

    @staticmethod
    def _counter(name: str, said: str, values: dict[str, float]) -> Metric:
        family = CounterMetricFamily(f"logweir_destination_{name}", said, labels=["destination"])
        for destination, value in values.items():
            family.add_metric([destination], value)
        return family


def _gauge(name: str, said: str, values: dict[str, Any]) -> Metric:
    family = GaugeMetricFamily(f"logweir_destination_{name}", said, labels=["destination"])
    for destination, value in values.items():
        family.add_metric([destination], float(value))
    return family


def _by_cause(name: str, said: str, label: str, report: dict[str, Any]) -> Metric:
    family = CounterMetricFamily(f"logweir_destination_{name}", said, labels=["destination", label])
    for destination, each in report.items():
        ledger: Ledger = each["ledger"]
        for cause, count in getattr(ledger, name).items():
            family.add_metric([destination, cause], count)
    return family


def _latency(report: dict[str, Any]) -> Metric:
    family = HistogramMetricFamily(
        "logweir_destination_request_seconds", "Seconds from sending a request to its answer.", labels=["destination"]
    )
    bounds = [*map(str, LATENCY_BOUNDS), "+Inf"]
    for destination, each in report.items():
        total, buckets = 0, []
        for number, bound in enumerate(bounds):
            total += sum(part["latency_counts"][number] for part in each["partitions"])
            buckets.append((bound, total))
        family.add_metric([destination], buckets, _sum(each, "latency_sum"))
    return family


def _sum(each: dict[str, Any], name: str) -> float:
    return float(sum(part[name] for part in each["partitions"]))


def serve(listen: str, report: Callable[[], dict[str, Any]], events: Events) -> Callable[[], None]:
    """Serve /metrics on `host:port`; return the function that ends it.

    A port that is taken is told and is no reason to stop delivering.
    """
    host, _, port = listen.rpartition(":")
    registry = CollectorRegistry()
    registry.register(ReportCollector(report))
    try:
        server, thread = start_http_server(int(port), host.strip("[]") or "0.0.0.0", registry)  # noqa: S104  as configured
    except OSError as error:
        events.tell("flow.metrics", "warn", reason=f"status.listen {listen}: {error.strerror}: metrics are not served")
        return lambda: None

    def end() -> None:
        # `shutdown` waits for the server's loop, which polls every half second.
        threading.Thread(target=server.shutdown, daemon=True).start()
        server.server_close()
        thread.join(timeout=1)

    return end
