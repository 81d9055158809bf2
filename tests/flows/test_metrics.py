from __future__ import annotations

import re
from pathlib import Path

from prometheus_client import generate_latest

from flows.metrics import registry_of
from tests.flows.report import config, report

_COUNTS = dict.fromkeys(
    ("commits", "conflicts", "failures", "files_removed", "files_added", "vacuumed_files", "vacuumed_bytes"), 1
)
_CLASS = {**dict.fromkeys(("records", "bytes", "files", "expiring", "deleted"), 1), "oldest": 1, "next_expiry": 1}
RETENTION = {
    "archive": {"classes": {"7d": _CLASS}},
    "since_start": {**_COUNTS, "moved": {"7d": 1}, "expired": {"7d": 1}},
    "healthy": True,
    "last_round": {"at": "2026-01-01T00:00:00.000Z", "seconds": 1.0},
}
PAGE = Path(__file__).parents[2] / "docs" / "how-it-works.md"


def test_the_ledger_and_the_figures_of_all_partitions_are_metrics() -> None:
    """Counters carry the ledger by destination, rule and cause; partitions and workers are added up."""
    text = generate_latest(registry_of(report, config)).decode()
    for line in (
        'logweir_destination_read_total{destination="search"} 100.0',
        'logweir_destination_delivered_total{destination="search"} 90.0',
        'logweir_destination_dropped_total{destination="search",rule="No debug"} 8.0',
        'logweir_destination_dead_lettered_total{cause="not JSON",destination="search"} 2.0',
        'logweir_destination_notices_total{destination="search",notice="shown later"} 6.0',
        'logweir_destination_requests_total{destination="search"} 2.0',
        'logweir_destination_request_seconds_bucket{destination="search",le="0.025"} 1.0',
        'logweir_destination_request_seconds_bucket{destination="search",le="+Inf"} 2.0',
        'logweir_destination_healthy{destination="search"} 1.0',
        'logweir_destination_status{destination="search",status="connected"} 1.0',
        'logweir_destination_status{destination="search",status="error"} 0.0',
        'logweir_destination_in_flight_bytes{destination="search"} 1400.0',
        'logweir_destination_buffer_utilisation_ratio{destination="search"} 0.25',
        'logweir_destination_lag_records{destination="search"} 10.0',
        'logweir_destination_last_flush_timestamp_seconds{destination="search"} 1.79e+09',
        'logweir_config_info{version="0123456789ab"} 1.0',
        'logweir_config_reloads_total{outcome="reloaded"} 1.0',
        'logweir_config_reloads_total{outcome="refused"} 0.0',
        "logweir_config_accepted 1.0",
        "logweir_config_pending 0.0",
        "logweir_config_since_timestamp_seconds 1.79e+09",
    ):
        assert line in text.splitlines()


def test_every_metric_is_documented() -> None:
    """The page names each metric that is served, and none that isn't."""
    text = generate_latest(registry_of(report, config, lambda: RETENTION)).decode()
    served = {name for name in re.findall(r"^# TYPE (\S+)", text, re.MULTILINE) if not name.endswith("_created")}
    assert set(re.findall(r"`(logweir_\w+)", PAGE.read_text())) == served
