from __future__ import annotations

from pathlib import Path

import pytest

from tests.servers.kafka import Kafka
from tests.slow import wide

pytestmark = [pytest.mark.proof, pytest.mark.kafka]


@pytest.mark.parametrize("filled", [64, 1], ids=["evenly", "one alone"])
def test_memory_does_not_grow_with_the_backlog(kafka: Kafka, tmp_path: Path, filled: int) -> None:
    """A backlog of a gigabyte in 64 partitions, of records of 1 MB, needs no more memory than a small one."""
    memory = wide(kafka, tmp_path, partitions=64, filled=filled, count=1024)
    print(f"\n64 partitions, {filled} of them with 1 GB in all: {memory:.0f} MB of memory")  # noqa: T201  # its figure
    assert memory < 200
