from __future__ import annotations

import os
import time

import orjson
import pytest
from confluent_kafka import Consumer, TopicPartition

from flows.feed import generate_to_kafka, generate_to_stdout
from flows.sources.generate import batch
from logweir.errors import SourceError
from tests.servers.kafka import Kafka


def test_writes_to_standard_output() -> None:
    """Each record is a line, and a reader that goes away ends it quietly."""
    out, into = os.pipe()
    assert generate_to_stdout(20, seed=1, descriptor=into) == 20
    lines = os.read(out, 1 << 20).splitlines()
    assert [orjson.loads(line)["level"] for line in lines] == [orjson.loads(v)["level"] for v in batch(1, 0, 20)]
    os.close(out)
    assert generate_to_stdout(20, descriptor=into) == 0
    os.close(into)


def test_failing_deliveries_are_an_error() -> None:
    """Records that no broker takes are an error that says how many."""
    with pytest.raises(SourceError, match="10 of 10 records were not delivered to topic logs"):
        generate_to_kafka(
            ["127.0.0.1:1"], "logs", 10, settings={"message.timeout.ms": 300, "log_level": 0, "linger.ms": 0}
        )


def test_wrong_kafka_settings_are_an_error() -> None:
    """A setting that librdkafka doesn't know is named."""
    with pytest.raises(SourceError, match=r"no\.such\.thing"):
        generate_to_kafka(["127.0.0.1:1"], "logs", 1, settings={"no.such.thing": 1})


def test_rate(capfd: pytest.CaptureFixture[str]) -> None:
    """A rate is kept: no record comes before it is due."""
    started = time.perf_counter()
    assert generate_to_stdout(61, rate=200) == 61
    assert time.perf_counter() - started >= 0.25
    assert len(capfd.readouterr().out.splitlines()) == 61


@pytest.mark.kafka
def test_writes_to_kafka(kafka: Kafka) -> None:
    """Every record is in the topic when the call returns, and the progress was told."""
    kafka.create_topic("feed", 1)
    told: list[int] = []
    assert generate_to_kafka([kafka.brokers], "feed", 2500, seed=1, tell=told.append) == 2500
    assert told[-1] == 2500
    consumer = Consumer({"bootstrap.servers": kafka.brokers, "group.id": "feed"})
    try:
        assert consumer.get_watermark_offsets(TopicPartition("feed", 0), timeout=10) == (0, 2500)
    finally:
        consumer.close()
