from __future__ import annotations

from pathlib import Path

import pytest

from tests.servers.kafka import Kafka
from tests.slow import slow

pytestmark = [pytest.mark.proof, pytest.mark.kafka]


@pytest.mark.parametrize(("interval", "partitions"), [("1s", 1), ("1s", 8), ("10s", 8)])
def test_a_slow_destination_is_kept_busy_for_a_minute(
    kafka: Kafka, tmp_path: Path, interval: str, partitions: int
) -> None:
    """With answers of 3 s, 4 requests at once and 1 MB each, about 4 MB go through every 3 s, steadily."""
    pace = slow(kafka, tmp_path, answer=3, interval=interval, windows=20, partitions=partitions)
    print(f"\nepochs of {interval}, {partitions} partitions: {pace}")  # noqa: T201  # a proof prints its figures
    assert sum(pace.megabytes) / len(pace.megabytes) > 3
    # No collapse with time: the second half is like the first.
    assert sum(pace.megabytes[10:]) > 0.75 * sum(pace.megabytes[:10])
    assert pace.peak_memory < 300
