"""Memory stays bounded, whatever the number of partitions and the size of records."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.servers.kafka import Kafka
from tests.slow import wide


@pytest.mark.kafka
@pytest.mark.parametrize("filled", [64, 1], ids=["evenly", "one alone"])
def test_many_partitions_of_large_records(kafka: Kafka, tmp_path: Path, filled: int) -> None:
    """64 partitions and records of 1 MB need no more memory than a few; neither when one partition has them all."""
    memory = wide(kafka, tmp_path, partitions=64, filled=filled, count=192)
    print(f"\n64 partitions, {filled} of them with 192 MB in all: {memory:.0f} MB of memory")  # noqa: T201  # with -s
    assert memory < 200
