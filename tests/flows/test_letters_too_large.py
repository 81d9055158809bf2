"""Dead letters that don't fit their topic: a beginning is kept, and a redrive reads the whole record at its place."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import orjson
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from flows.config import load
from flows.connect import connect
from logweir.head import Head
from sinks.deadletter import DeadLetter, cut
from sinks.deadletter_topic import shortcomings
from tests.flowing import Running, until
from tests.flows.redrive_support import QUICK, redrive
from tests.flows.test_keys_headers_kafka import count, messages
from tests.scenarios import new_name
from tests.servers.kafka import Kafka

SMALL = 1_048_588
"""Kafka's default of max.message.bytes."""


def test_what_is_taken_away_first() -> None:
    """A letter is cut to its half again and again, then of key and headers, and there is an end to it."""
    letter: DeadLetter | None = DeadLetter(
        b"x" * 9000, "logs", 0, 1, "not JSON", "y" * 3000, 0, "", Head(b"k", [("h", b"v")])
    )
    sizes = []
    while letter is not None:
        sizes.append((len(letter.value), letter.head.key(), len(letter.reason), letter.size))
        letter = cut(letter)
    assert sizes == [
        (9000, b"k", 3000, 0),
        (4500, b"k", 3000, 9000),
        (2250, b"k", 3000, 9000),
        (1125, b"k", 3000, 9000),
        (562, b"k", 3000, 9000),
        (562, None, 3000, 9000),
        (562, None, 1000, 9000),
    ]


class Small:
    """A flow whose topic of dead letters was there before, with Kafka's default of max.message.bytes."""

    def __init__(self, kafka: Kafka, folder: Path) -> None:
        self.kafka = kafka
        self.source, self.copy = new_name("logs"), new_name("copy")
        self.dead = f"{self.source}.dead.out"
        for topic in (self.source, self.copy):
            kafka.create_topic(topic, 1, max_message_bytes=10_000_000, retention_ms=-1)
        kafka.create_topic(self.dead, 1, max_message_bytes=SMALL)
        flow: dict[str, Any] = {
            "name": "small",
            "source": {"type": "kafka", "brokers": [kafka.brokers], "topics": [self.source], "group": self.source},
            "destinations": {"out": {**QUICK, "type": "kafka", "brokers": [kafka.brokers], "topic": self.copy}},
            "dead_letter": {"topic_prefix": f"{self.source}.dead."},
            "recovery": {"directory": str(folder / "recovery"), "interval": "200ms"},
            "status": {"listen": "127.0.0.1:0"},
        }
        self.flow = flow
        self.path = folder / "flow.yaml"
        self.write()

    def write(self) -> None:
        """Write the flow file."""
        self.path.write_text(orjson.dumps(self.flow).decode())

    def send(self, *sent: tuple[bytes, Any, Any]) -> None:
        """Write value, key and headers of messages to the source's topic."""
        producer = Producer({"bootstrap.servers": self.kafka.brokers, "message.max.bytes": 20_000_000})
        for value, key, headers in sent:
            producer.produce(self.source, value, key, headers=headers, timestamp=1_700_000_000_000)
        assert producer.flush(30) == 0


@pytest.mark.kafka
def test_the_whole_record_comes_back(kafka: Kafka, tmp_path: Path) -> None:
    """One letter that doesn't fit holds nothing up and cuts no other; a redrive delivers the whole of it."""
    small = Small(kafka, tmp_path)
    large = b"no json " + random.Random(7).randbytes(1_500_000).hex().encode()
    headers = [("h", b"v"), ("n", None)]
    small.send((b'{"id":"1"}', None, None), (b"small", b"a", headers), (large, b"k", headers), (b"also", b"b", None))
    with Running(small.path) as running:
        until(lambda: count(kafka, small.dead) >= 3, "letters")
        small.send((b'{"id":"2"}', None, None))
        until(lambda: count(kafka, small.copy) == 2, "records")
        assert running.stop() == 0
    letters = {each[1]: each for each in messages(kafka, small.dead)}
    assert sorted(letters) == [b"a", b"b", b"k"]
    assert (letters[b"a"][0], letters[b"b"][0]) == (b"small", b"also")
    value, _, beside, _ = letters[b"k"]
    assert large.startswith(value)
    assert ("logweir.size", str(len(large)).encode()) in beside

    small.flow["source"]["format"] = "text"
    small.write()
    said = redrive(small.path, "--json")
    assert (said.code, said.report["delivered"]) == (0, 3)
    copied = {each[1]: each for each in messages(kafka, small.copy)[2:]}
    assert orjson.loads(copied[b"k"][0])["message"] == large.decode()
    assert copied[b"k"][2:] == (headers, 1_700_000_000_000)


@pytest.mark.kafka
@pytest.mark.parametrize("gone", ["deleted", "made anew"])
def test_the_whole_record_is_gone(kafka: Kafka, tmp_path: Path, gone: str) -> None:
    """Where the record isn't in its topic any more, the redrive says so, and its beginning stays dead."""
    small = Small(kafka, tmp_path)
    large = random.Random(8).randbytes(1_500_000)
    small.send((large, b"k", None))
    with Running(small.path) as running:
        until(lambda: count(kafka, small.dead) == 1, "letters")
        assert running.stop() == 0
    admin = AdminClient({"bootstrap.servers": kafka.brokers})
    admin.delete_topics([small.source])[small.source].result(30)
    if gone == "made anew":
        until(lambda: small.source not in admin.list_topics(timeout=10).topics, "the deletion")
        kafka.create_topic(small.source, 1, retention_ms=-1)
        small.send((b"another", b"k", None))
    for letters in (2, 3):
        said = redrive(small.path, "--json")
        assert (said.code, said.report["delivered"], said.report["cut"]) == (1, 0, 1)
        assert count(kafka, small.dead) == letters
    assert large.startswith(messages(kafka, small.dead)[-1][0])


@pytest.mark.kafka
def test_a_topic_that_keeps_less_is_told(kafka: Kafka, tmp_path: Path) -> None:
    """`check --connect` names the topic, both sizes and what to set; nothing where all fits, or with no topic."""
    small = Small(kafka, tmp_path)
    [answer] = [each for each in connect(load(small.path).flow) if each.name == "out: dead letters"]
    assert answer.status == "error"
    assert f"{small.dead}: max.message.bytes is {SMALL}, and 10000000 of {small.source}" in answer.issue
    settings = {"bootstrap.servers": kafka.brokers}
    assert shortcomings(settings, small.dead, []) == []
    assert shortcomings(settings, new_name("none"), [small.source]) == []
    compacted = new_name("compacted")
    kafka.create_topic(compacted, 1, cleanup_policy="compact", max_message_bytes=10_000_000)
    [said] = shortcomings(settings, compacted, [small.source])
    assert "cleanup.policy is compact" in said
    assert "set it to delete" in said
