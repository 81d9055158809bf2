"""Memory stays bounded, whatever the number of partitions and the size of records."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.flowing import Running, until, wait_drained, write_flow
from tests.scenarios import new_name
from tests.servers.elastic import FakeElastic, Fault
from tests.servers.kafka import Kafka
from tests.slow import peak_memory

PARTITIONS = 64
EACH = 3


@pytest.mark.kafka
@pytest.mark.parametrize("filled", [PARTITIONS, 1], ids=["evenly", "one alone"])
def test_many_partitions_of_large_records(kafka: Kafka, tmp_path: Path, filled: int) -> None:
    """64 partitions and records of 1 MB need no more memory than a few; neither when one partition has them all."""
    topic = new_name("wide")
    kafka.create_topic(topic, PARTITIONS)
    # Without patterns, so that nothing is small because it is compressed.
    padding = os.urandom(500_000).hex().encode()
    count = PARTITIONS * EACH
    for partition in range(filled):
        some = (b'{"id":"%d","m":"%s"}' % (number, padding) for number in range(partition, count, filled))
        kafka.produce(topic, some, partition)
    with FakeElastic(count_only=True, count_docs=True) as elastic:
        # Slow enough that the source is ahead of it all the time.
        elastic.fault = Fault(delay=0.1)
        flow = write_flow(tmp_path, kafka, topic, {"search": {"url": elastic.url}})
        with Running(flow) as running:
            until(lambda: elastic.documents == count, "everything arrives")
            (worker,) = running.workers()
            memory = peak_memory(worker)
            wait_drained(kafka, topic, "search")
            assert running.stop() == 0
    print(f"\n{PARTITIONS} partitions, {filled} of them with {count} MB in all: {memory:.0f} MB at most")  # noqa: T201  # figures, with -s
    assert memory < 300
    assert running.ledgers()["search"].delivered == count
