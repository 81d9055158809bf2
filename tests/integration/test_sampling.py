"""Dynamic samples across partitions, workers and crashes, compared with what the same state decides in one thread."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import orjson
import pytest
import xxhash
from confluent_kafka import Producer

from logweir.times import rfc3339
from operators.dynamic_sample import DynamicState
from tests.feeding import read_topic
from tests.flowing import Running, twice, write_flow
from tests.scenarios import new_name
from tests.servers.elastic import FakeElastic
from tests.servers.kafka import Kafka

pytestmark = pytest.mark.kafka

PARTITIONS = 4
TARGET = 40
WINDOW = 5
SAMPLE: dict[str, Any] = {
    "name": "Sample",
    "type": "sample",
    "target_per_second": TARGET,
    "by": "context.service",
    "window": f"{WINDOW}s",
}
SHARES = {"often": 0.7, "more": 0.2, "some": 0.08, "seldom": 0.02}


class Stream:
    """A topic of records in the order of their time, over all partitions, some late, some with a clock that is wrong.

    Args:
        kafka: The broker.
        pace: Records a second.
        seconds: Over how many they are spread.
    """

    def __init__(self, kafka: Kafka, *, pace: int, seconds: int) -> None:
        self.topic = new_name("sample")
        self.parts: dict[int, list[dict[str, Any]]] = defaultdict(list)
        kafka.create_topic(self.topic, PARTITIONS)
        self._dice = random.Random(20261202)
        self._begin = int(time.time()) - 1000
        self._second = 0
        self._pace = pace
        # Without idempotence a repeated request changes the order of the records.
        settings = {"bootstrap.servers": kafka.brokers, "enable.idempotence": True, "linger.ms": 5, "log_level": 0}
        self._producer = Producer(settings)
        self.sent = 0
        self.send(seconds)

    def send(self, seconds: int) -> None:
        """Produce the records of some more seconds."""
        dice = self._dice
        for second in range(self._second, self._second + seconds):
            for _ in range(self._pace):
                (key,) = dice.choices(list(SHARES), list(SHARES.values()))
                partition = dice.randrange(PARTITIONS)
                written = self._begin + second
                moment = written - dice.choice([0, 0, 0, 1, 8]) if dice.random() < 0.99 else written - 500
                record = {"id": f"r{self.sent}", "timestamp": rfc3339(moment), "context": {"service": key}}
                self.parts[partition].append({**record, "written": written})
                value = orjson.dumps(record)
                self._producer.produce(self.topic, value, partition=partition, timestamp=written * 1000)
                self.sent += 1
            self._producer.poll(0)
        self._second += seconds
        assert self._producer.flush(60) == 0

    def expected(self) -> dict[str, float]:
        """Return the ids of what passes, and the rate of each."""
        seed = xxhash.xxh3_64_intdigest(SAMPLE["name"].encode())
        rates: dict[str, float] = {}
        for records in self.parts.values():
            state = DynamicState(TARGET / PARTITIONS, WINDOW, 60, 10_000)
            for record in records:
                time_ = int(time_of(record))
                second = time_ if abs(time_ - record["written"]) <= 60 else record["written"]
                number = xxhash.xxh3_64_intdigest(record["id"].encode(), seed)
                (rate,) = state.take([record["context"]["service"]], [0], [second], [number])
                if rate:
                    rates[record["id"]] = rate
        return rates


def time_of(record: dict[str, Any]) -> float:
    """Return when a record says that it happened."""
    return time.mktime(time.strptime(record["timestamp"][:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone


def docs(elastic: FakeElastic, index: str) -> list[dict[str, Any]]:
    """Return the records of an index."""
    return [orjson.loads(text) for (place, _), text in list(elastic.docs.items()) if place == index]


def ids_in(kafka: Kafka, topic: str) -> list[str]:
    """Return the id of every record of a topic."""
    return [orjson.loads(value)["id"] for value, _ in read_topic(kafka, topic)]


def test_a_crash_keeps_no_record_at_two_rates(kafka: Kafka, tmp_path: Path) -> None:
    """Killed again and again, it delivers nothing that it has dropped before, and every copy tells the same rate."""
    stream = Stream(kafka, pace=200, seconds=40)
    out = f"{stream.topic}.out"
    kafka.create_topic(out, 1)
    limit = {"name": "Limit", "type": "rate", "max_per_hour": 1_000_000}
    # A topic, since it holds every copy that was ever sent.
    copies = {"type": "kafka", "brokers": [kafka.brokers], "topic": out, "batch": {"max_records": 100}}
    flow = write_flow(tmp_path, kafka, stream.topic, {"copies": copies}, rules=[limit, SAMPLE])
    with Running(flow, "--workers", "2") as running:
        number = 0
        # Until a kill has come between a delivery and the record of its epoch, so that something is there twice.
        while number < 2 or (number < 20 and not twice(ids_in(kafka, out))):
            before = len(ids_in(kafka, out))
            running.until(lambda before=before: len(ids_in(kafka, out)) > before, "it delivers")  # type: ignore[misc]
            os.kill(running.workers()[number % 2], signal.SIGKILL)
            stream.send(10)
            number += 1
        running.drain(kafka, stream.topic, f"{stream.topic}.copies", timeout=120)
        assert running.stop() == 0
    expected = stream.expected()
    records = [orjson.loads(value) for value, _ in read_topic(kafka, out)]
    rates = {(record["id"], record["sampling"]["rate"]) for record in records}
    assert rates == set(expected.items())
    ledger = running.ledgers()["copies"]
    assert (ledger.read, ledger.delivered) == (stream.sent, len(expected))
    assert ledger.dropped == {"Sample": stream.sent - len(expected)}
    assert twice([record["id"] for record in records])


def test_a_replay_keeps_the_same(kafka: Kafka, elastic: FakeElastic, tmp_path: Path) -> None:
    """Whenever a topic is read, and by however many, the very same records pass, each at the very same rate.

    With a fixed rate too the very same records pass.
    """
    stream = Stream(kafka, pace=150, seconds=60)
    expected = stream.expected()
    half = {"name": "Half", "type": "sample", "sample_rate": 0.5}
    destinations = {
        "dynamic": {"url": elastic.url, "index": "dynamic", "rules": [SAMPLE]},
        "fixed": {"url": elastic.url, "index": "fixed", "rules": [half]},
    }
    fixed = []
    for workers in (1, 4):
        directory = tmp_path / str(workers)
        directory.mkdir()
        elastic.forget()
        group = new_name("group")
        source = {"type": "kafka", "brokers": [kafka.brokers], "topics": [stream.topic], "group": group}
        flow = write_flow(directory, kafka, stream.topic, destinations, source=source, isolation="none")
        with Running(flow, "--workers", str(workers)) as running:
            running.drain(kafka, stream.topic, group)
            assert running.stop() == 0
        assert elastic.violations == []
        assert {record["id"]: record["sampling"]["rate"] for record in docs(elastic, "dynamic")} == expected
        fixed.append({record["id"] for record in docs(elastic, "fixed")})
        ledgers = running.ledgers()
        assert ledgers["dynamic"].dropped == {"Sample": stream.sent - len(expected)}
        assert ledgers["dynamic"].delivered == len(expected) < stream.sent / 2
        assert ledgers["fixed"].dropped == {"Half": stream.sent - len(fixed[0])}
    assert fixed[0] == fixed[1]
