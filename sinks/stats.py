"""Live figures of one sink partition. They start at zero with the process; the ledger is what survives a crash."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from typing import Any

LATENCY_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Seconds: upper bounds of the latency histogram's buckets; one more takes what is slower."""


class Stats:
    """Counts per request, never per record. The engine changes it under its own lock."""

    def __init__(self) -> None:
        self.started = time.time()
        self.streamed = 0
        """Records delivered."""
        self.streamed_bytes = 0
        self.failed = 0
        """Records dead-lettered."""
        self.requests = 0
        self.request_bytes = 0
        """As sent, compressed."""
        self.errors = 0
        """Requests that were not answered, or with a failure of the whole request."""
        self.retries = 0
        self.latency_sum = 0.0
        self.latency_counts = [0] * (len(LATENCY_BOUNDS) + 1)
        self.last_flush = 0.0
        self.notices: Counter[str] = Counter()
        """Records by what the destination does to them without a word, such as showing them at another time."""

    def sent(self, size: int, seconds: float) -> None:
        """Note one request, answered after `seconds`."""
        self.requests += 1
        self.request_bytes += size
        self.latency_sum += seconds
        self.latency_counts[bisect_left(LATENCY_BOUNDS, seconds)] += 1

    def delivered(self, records: int, size: int, now: float) -> None:
        """Note records that were taken."""
        self.streamed += records
        self.streamed_bytes += size
        self.last_flush = now

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for the supervisor."""
        return {
            "started": self.started,
            "streamed": self.streamed,
            "streamed_bytes": self.streamed_bytes,
            "failed": self.failed,
            "requests": self.requests,
            "request_bytes": self.request_bytes,
            "errors": self.errors,
            "retries": self.retries,
            "latency_sum": self.latency_sum,
            "latency_counts": self.latency_counts,
            "last_flush": self.last_flush,
            "notices": dict(self.notices),
        }
