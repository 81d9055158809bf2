"""Prometheus metrics of a whole `logweir run`: every dataflow and worker as one, from what the workers report.

The sums of the ledger survive restarts and crashes; `_total` figures of requests, retries and latency start at zero
with each worker. Nothing here is on the path of a record.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from flows import status
from flows.compaction.metrics import of_retention
from flows.status import STATUSES
from logweir.ledger import Ledger
from logweir.times import epoch_seconds
from sinks.stats import LATENCY_BOUNDS

LEDGER_COUNTERS = {
    "read": "Records read from the source for this destination.",
    "read_bytes": "Bytes of the records read.",
    "made": "Records that the flow has added itself: summaries of limits.",
    "delivered": "Records that the destination has taken.",
    "duplicates": "Of the delivered, those that the destination already had.",
    "gaps": "Offsets that were gone before they could be read.",
}
STATS_COUNTERS = {
    "requests": "Requests sent.",
    "request_bytes": "Bytes of request bodies sent, compressed.",
    "errors": "Requests that failed as a whole, or were not answered.",
    "retries": "Requests that were sent again.",
}


class ReportCollector:
    """Makes metrics of the supervisor's report, at each scrape.

    Args:
        report: Gives, by destination, its `ledger` and its `partitions`' figures.
        config: Gives what has become of the flow's file while it ran.
        retention: Gives what the compaction has done and found; None where there is none.
    """

    def __init__(
        self,
        report: Callable[[], dict[str, Any]],
        config: Callable[[], dict[str, Any]],
        retention: Callable[[], dict[str, Any] | None],
    ) -> None:
        self._report = report
        self._config = config
        self._retention = retention

    def collect(self) -> Iterable[Metric]:
        """Return every metric: those of destinations by destination, and those of the flow file."""
        report = self._report()
        yield from _of_config(self._config())
        yield from of_retention(self._retention())
        for name, said in LEDGER_COUNTERS.items():
            yield self._counter(name, said, {key: getattr(each["ledger"], name) for key, each in report.items()})
        yield _by_cause("dropped", "Records dropped, by the rule's name.", "rule", report)
        yield _by_cause("dead_lettered", "Records dead-lettered, by cause.", "cause", report)
        yield _by_cause("redacted", "Records in which something was hidden, by field or pattern.", "by", report)
        for name, said in STATS_COUNTERS.items():
            yield self._counter(name, said, {key: _sum(each, name) for key, each in report.items()})
        yield _by_notice(report)
        for name, said, values in self._gauges(report):
            yield _gauge(name, said, values)
        yield _status(report)
        yield _latency(report)

    @staticmethod
    def _gauges(report: dict[str, Any]) -> Iterable[tuple[str, str, dict[str, Any]]]:
        """Return the gauges: name, help, and the value by destination. One that isn't known has no value."""
        # Before its workers have reported nothing is known of a destination, and zero would say something.
        told = {key: status.destination(each) for key, each in report.items() if each["workers"]}

        def of(read: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
            values = {key: read(one) for key, one in told.items()}
            return {key: value for key, value in values.items() if value is not None}

        yield "healthy", "1 while the destination takes what it is sent.", of(lambda one: one["healthy"])
        yield "circuit_closed", "1 while requests are let through.", of(lambda one: one["circuit"] == "closed")
        yield "in_flight_records", "Records read and not settled yet.", of(lambda one: one["in_flight"]["records"])
        yield "in_flight_bytes", "Bytes read and not settled yet.", of(lambda one: one["in_flight"]["bytes"])
        yield (
            "buffer_utilisation_ratio",
            "In-flight bytes by `max_in_flight`, of the fullest worker.",
            of(lambda one: one["buffer_utilisation"]),
        )
        yield "still_dead_letters", "Dead letters that no redrive has settled yet.", of(lambda one: one["still_dead"])
        yield "lag_records", "Records in the topics that were not read yet.", of(lambda one: one["lag"])
        yield (
            "lag_seconds",
            "For how long the oldest record has been waiting that was not read yet, at most.",
            of(lambda one: one["lag_seconds"]),
        )
        yield "uptime_seconds", "Seconds since its workers have started.", of(lambda one: one["uptime"])
        flushed = {
            key: max((part["last_flush"] for part in one["partitions"]), default=0) for key, one in report.items()
        }
        yield "last_flush_timestamp_seconds", "When it last took something, in epoch seconds.", flushed

    @staticmethod
    def _counter(name: str, said: str, values: dict[str, float]) -> Metric:
        family = CounterMetricFamily(f"logweir_destination_{name}", said, labels=["destination"])
        for destination, value in values.items():
            family.add_metric([destination], value)
        return family


def _of_config(config: dict[str, Any]) -> Iterable[Metric]:
    info = GaugeMetricFamily("logweir_config_info", "1 for the version of the flow file in force.", labels=["version"])
    info.add_metric([config["version"]], 1.0)
    yield info
    reloads = CounterMetricFamily("logweir_config_reloads", "Changed flow files, by outcome.", labels=["outcome"])
    for outcome in ("reloaded", "refused"):
        reloads.add_metric([outcome], config[outcome])
    yield reloads
    yield GaugeMetricFamily(
        "logweir_config_accepted", "0 while the last changed flow file was refused.", float(not config["refused_at"])
    )
    yield GaugeMetricFamily(
        "logweir_config_pending", "1 while a worker doesn't run by the flow file yet.", float(config["pending"])
    )
    seconds = epoch_seconds(config["since"])
    assert seconds is not None
    yield GaugeMetricFamily(
        "logweir_config_since_timestamp_seconds", "When the flow file in force was read, in epoch seconds.", seconds
    )


def _gauge(name: str, said: str, values: dict[str, Any]) -> Metric:
    family = GaugeMetricFamily(f"logweir_destination_{name}", said, labels=["destination"])
    for destination, value in values.items():
        family.add_metric([destination], float(value))
    return family


def _status(report: dict[str, Any]) -> Metric:
    family = GaugeMetricFamily(
        "logweir_destination_status", "1 for the status that it has.", labels=["destination", "status"]
    )
    for destination, each in report.items():
        now, _ = status.state(each)
        for name in STATUSES:
            family.add_metric([destination, name], float(name == now))
    return family


def _by_notice(report: dict[str, Any]) -> Metric:
    family = CounterMetricFamily(
        "logweir_destination_notices",
        "Delivered records that the destination alters or shows elsewhere, by what it does.",
        labels=["destination", "notice"],
    )
    for destination, each in report.items():
        notices = Counter[str]()
        for part in each["partitions"]:
            notices.update(part["notices"])
        for notice, count in notices.items():
            family.add_metric([destination, notice], count)
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


def registry_of(
    report: Callable[[], dict[str, Any]],
    config: Callable[[], dict[str, Any]],
    retention: Callable[[], dict[str, Any] | None] = lambda: None,
) -> CollectorRegistry:
    """Return a registry that holds the metrics of a run, and nothing of this process."""
    registry = CollectorRegistry()
    registry.register(ReportCollector(report, config, retention))
    return registry
