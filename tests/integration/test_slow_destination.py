"""A destination that is slower than any epoch: the flow keeps it busy, and keeps within its memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.servers.kafka import Kafka
from tests.slow import slow


@pytest.mark.kafka
@pytest.mark.parametrize("partitions", [1, 8])
def test_a_slow_destination_is_kept_busy(kafka: Kafka, tmp_path: Path, partitions: int) -> None:
    """Though an answer takes as long as an epoch, as much goes through as requests in flight permit."""
    pace = slow(kafka, tmp_path, answer=0.5, interval="0.5s", windows=16, partitions=partitions)
    print(pace)  # noqa: T201  # figures, with -s
    # Four requests of a megabyte in each window, less what an epoch's end and its last requests cost.
    assert sum(pace.megabytes) / len(pace.megabytes) > 2.5
    assert pace.peak_memory < 300
