"""Keys, headers and timestamps of a real broker's messages, on every way through a flow and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from flows.config import load
from flows.still_dead import StillDead
from tests.flowing import Running, until
from tests.flows.redrive_support import QUICK, redrive
from tests.scenarios import new_name
from tests.servers.kafka import Kafka

pytestmark = pytest.mark.kafka

HEADERS: list[tuple[str, bytes | None]] = [
    ("traceparent", b"00-abc"),
    ("traceparent", b"00-def"),
    ("nothing", None),
    ("empty", b""),
    ("bytes", b"\xff\xfe\n\x00"),
    ("logweir.cause", b"theirs"),
    ("logweir.headers", b"99"),
]
SENT: list[tuple[bytes, Any, Any, int]] = [
    (b'{"id":"1"}', b"tenant-7", HEADERS, 1_700_000_000_000),
    (b'{"id":"2"}', b"", [], 1_700_000_000_001),
    (b'{"id":"3"}', None, HEADERS[:1], 1_700_000_000_002),
    (b'{"id":"4"}', b"\xff\n\xfe", [], 1_700_000_000_003),
    (b"not json", b"tenant-8", HEADERS, 1_700_000_000_004),
    (b"\xff\xfe", b"\xff", HEADERS[2:], 1_700_000_000_005),
]


def messages(kafka: Kafka, topic: str) -> list[tuple[Any, ...]]:
    """Return value, key, headers and timestamp of each message of a topic with one partition."""
    consumer = Consumer({"bootstrap.servers": kafka.brokers, "group.id": "reader", "enable.auto.commit": False})
    part = TopicPartition(topic, 0, 0)
    try:
        end = consumer.get_watermark_offsets(part, timeout=30)[1]
        consumer.assign([part])
        found: list[tuple[Any, ...]] = []
        while len(found) < end:
            for each in consumer.consume(end - len(found), 1):
                assert each.error() is None, each.error()
                found.append((each.value(), each.key(), each.headers() or [], each.timestamp()[1]))
        return found
    finally:
        consumer.close()


def count(kafka: Kafka, topic: str) -> int:
    """Return how many messages a topic has."""
    consumer = Consumer({"bootstrap.servers": kafka.brokers, "group.id": "reader"})
    try:
        return int(consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=30)[1])
    except KafkaException as error:
        # A broker may need a moment to know a topic that was made just now, and whoever waits asks again.
        if error.args[0].code() not in {KafkaError._UNKNOWN_PARTITION, KafkaError.UNKNOWN_TOPIC_OR_PART}:
            raise
        return 0
    finally:
        consumer.close()


@pytest.mark.parametrize("form", ["topic", "directory"])
def test_from_topic_to_topic_and_back(kafka: Kafka, tmp_path: Path, form: str) -> None:
    """What a message has beside its value arrives; of one that is dead it is kept, and arrives with the redrive."""
    source, copy = new_name("logs"), new_name("copy")
    kafka.create_topic(source, 1, retention_ms=-1)
    kafka.create_topic(copy, 1, retention_ms=-1)
    producer = Producer({"bootstrap.servers": kafka.brokers})
    for value, key, headers, millis in SENT:
        producer.produce(source, value, key, headers=headers, timestamp=millis)
    assert producer.flush(30) == 0
    in_topic = {"topic_prefix": f"{source}.dead."}
    flow: dict[str, Any] = {
        "name": "heads",
        "source": {"type": "kafka", "brokers": [kafka.brokers], "topics": [source], "group": source},
        "destinations": {"out": {**QUICK, "type": "kafka", "brokers": [kafka.brokers], "topic": copy}},
        "dead_letter": in_topic if form == "topic" else {"directory": str(tmp_path / "dead")},
        "recovery": {"directory": str(tmp_path / "recovery"), "interval": "200ms"},
        "status": {"listen": "127.0.0.1:0"},
    }
    path = tmp_path / "flow.yaml"
    path.write_text(orjson.dumps(flow).decode())
    lines = tmp_path / "dead" / "out.ndjson"

    def are_dead() -> bool:
        if form == "topic":
            return count(kafka, f"{source}.dead.out") == len(SENT) - 4
        return lines.exists() and lines.read_bytes().count(b"\n") == len(SENT) - 4

    with Running(path) as running:
        until(lambda: count(kafka, copy) == 4, "copies")
        until(are_dead, "letters")
        assert running.stop() == 0
    assert messages(kafka, copy) == SENT[:4]
    if form == "topic":
        letters = messages(kafka, f"{source}.dead.out")
        assert [each[0] for each in letters] == [value for value, _, _, _ in SENT[4:]]
        assert [each[1] for each in letters] == [key for _, key, _, _ in SENT[4:]]
        assert [each[2][: len(sent[2])] for each, sent in zip(letters, SENT[4:], strict=True)] == [
            headers for _, _, headers, _ in SENT[4:]
        ]
        # A letter is as old as itself, or the topic's retention would delete it at once.
        assert all(each[3] > SENT[-1][3] for each in letters)

    # As text each line is a record, so what was none is delivered once that is mended.
    flow["source"]["format"] = "text"
    path.write_text(orjson.dumps(flow).decode())
    counter = StillDead(load(path).flow, "out")
    try:
        until(lambda: counter.count == len(SENT) - 4, "the count of dead letters")
        delivered = redrive(path, "--json").report["delivered"]
        assert delivered >= 1
        until(lambda: counter.count == len(SENT) - 4 - delivered, "the count after the redrive")
    finally:
        counter.close()
    again = messages(kafka, copy)[4:]
    assert again
    expected = {key: (headers, millis) for _, key, headers, millis in SENT[4:]}
    for _, key, headers, millis in again:
        assert expected[key] == (headers, millis)
