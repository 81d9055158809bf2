"""What the metrics tell of the archive, and of its compaction."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from logweir.times import epoch_seconds

_GAUGES = {
    "records": ("records", "Records in the archive, by retention class."),
    "bytes": ("bytes", "Bytes of the archive's files, by retention class."),
    "files": ("files", "Files of the archive, by retention class."),
    "oldest": ("oldest_timestamp_seconds", "The time of the oldest record, in epoch seconds."),
    "next_expiry": ("next_expiry_timestamp_seconds", "When the next records expire, in epoch seconds."),
    "expiring": ("expiring_records", "How many expire then."),
}
_COUNTERS = {
    "commits": "Commits of the compaction.",
    "conflicts": "Changes that another has come before; they are looked at again.",
    "failures": "What could not be done, and is tried again in the next round.",
    "files_removed": "Files that were dropped or rewritten.",
    "files_added": "Files that were written anew.",
    "vacuumed_files": "Files deleted that the table needed no longer.",
    "vacuumed_bytes": "Bytes of these.",
}


def of_retention(report: dict[str, Any] | None) -> Iterable[Metric]:
    """Return the metrics of the compaction's report."""
    if report is None:
        return
    archive = report["archive"]
    if archive is not None:
        for name, (called, said) in _GAUGES.items():
            family = GaugeMetricFamily(f"logweir_archive_{called}", said, labels=["class"])
            for retention, each in archive["classes"].items():
                value = epoch_seconds(each[name]) if isinstance(each[name], str) else each[name]
                if value is not None:
                    family.add_metric([retention], value)
            yield family
        deleted = CounterMetricFamily(
            "logweir_archive_deleted_records", "Records that have expired, as the table counts them.", labels=["class"]
        )
        for retention, each in archive["classes"].items():
            deleted.add_metric([retention], each["deleted"])
        yield deleted
    done = report["since_start"]
    for name, said in _COUNTERS.items():
        yield CounterMetricFamily(f"logweir_compaction_{name}", said, done[name])
    moved = CounterMetricFamily(
        "logweir_compaction_moved_records", "Records moved, by their new class.", labels=["class"]
    )
    for retention, number in done["moved"].items():
        moved.add_metric([retention], number)
    yield moved
    yield GaugeMetricFamily("logweir_compaction_healthy", "1 while nothing fails.", float(report["healthy"]))
    last = report["last_round"]
    if last is not None:
        said = "When the last round has begun that was finished, in epoch seconds."
        yield GaugeMetricFamily("logweir_compaction_last_round_timestamp_seconds", said, epoch_seconds(last["at"]))
        yield GaugeMetricFamily("logweir_compaction_round_seconds", "How long it took.", last["seconds"])
