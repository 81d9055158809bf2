from __future__ import annotations

import urllib.request
from io import StringIO
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest

from flows.metrics import ReportCollector, serve
from logweir.events import Events
from logweir.ledger import Ledger
from sinks.stats import Stats


def report() -> dict[str, Any]:
    """Return the report of one destination with two sink partitions."""
    ledger = Ledger()
    ledger.read, ledger.delivered = 100, 90
    ledger.dropped["No debug"] = 8
    ledger.dead_lettered["not JSON"] = 2
    partitions = []
    for seconds in (0.02, 3.0):
        stats = Stats()
        stats.sent(1000, seconds)
        partitions.append({**stats.to_dict(), "in_flight_records": 0, "in_flight_bytes": 0, "circuit": "closed"})
    return {"search": {"ledger": ledger, "partitions": partitions}}


def test_the_ledger_and_the_figures_of_all_partitions_are_metrics() -> None:
    """Counters carry the ledger by destination, rule and cause; the histogram adds partitions up."""
    registry = CollectorRegistry()
    registry.register(ReportCollector(report))
    text = generate_latest(registry).decode()
    for line in (
        'logweir_destination_read_total{destination="search"} 100.0',
        'logweir_destination_delivered_total{destination="search"} 90.0',
        'logweir_destination_dropped_total{destination="search",rule="No debug"} 8.0',
        'logweir_destination_dead_lettered_total{cause="not JSON",destination="search"} 2.0',
        'logweir_destination_requests_total{destination="search"} 2.0',
        'logweir_destination_request_seconds_bucket{destination="search",le="0.025"} 1.0',
        'logweir_destination_request_seconds_bucket{destination="search",le="+Inf"} 2.0',
        'logweir_destination_healthy{destination="search"} 1.0',
    ):
        assert line in text.splitlines()


def test_a_port_that_is_taken_is_told_and_stops_nothing() -> None:
    """Two flows on one machine both run; the second says that its metrics are not served."""
    said = StringIO()
    registered = serve("127.0.0.1:18475", report, Events())
    try:
        with urllib.request.urlopen("http://127.0.0.1:18475/metrics") as answer:
            assert b"logweir_destination_read_total" in answer.read()
        serve("127.0.0.1:18475", report, Events(said))()
    finally:
        registered()
    assert "status.listen 127.0.0.1:18475" in said.getvalue()
