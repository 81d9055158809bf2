"""Dead letters in a topic of a real broker, sent again to a strict stand-in."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner
from confluent_kafka import Producer

from flows.cli import main
from flows.dead_letter_topic import LetterTopic
from flows.dead_letters import Wanted
from logweir.errors import SourceError
from logweir.events import Events
from sinks.deadletter import DeadLetter, KafkaDeadLetters
from tests.feeding import Feed, read_topic
from tests.flowing import Positions, Running, wait_drained
from tests.flows.redrive_support import QUICK, REFUSED, Ended, Redriving, letter, redrive, to_elastic
from tests.flows.test_redrive import ids, refuse
from tests.scenarios import new_name
from tests.servers.elastic import FakeElastic, Fault
from tests.servers.kafka import Kafka

pytestmark = pytest.mark.kafka


class Dead:
    """A flow whose dead letters are in a topic of its own."""

    def __init__(
        self,
        kafka: Kafka,
        folder: Path,
        destination: dict[str, Any],
        settings: dict[str, Any] | None = None,
        **more: Any,
    ) -> None:
        self.kafka = kafka
        self.source = new_name("logs")
        self.topic = f"{self.source}.dead.out"
        self.group = f"{self.source}.redrive.out"
        source = {"type": "kafka", "brokers": [kafka.brokers], "topics": [self.source], "group": self.source}
        flow = {
            "name": "again",
            "source": {**source, "settings": settings or {}},
            "destinations": {"out": {**QUICK, **destination}},
            "dead_letter": {"topic_prefix": f"{self.source}.dead."},
            "recovery": {"directory": str(folder / "recovery"), "interval": "200ms"},
            "status": {"listen": "127.0.0.1:0"},
            **more,
        }
        self.flow = folder / "flow.yaml"
        self.flow.write_text(orjson.dumps(flow).decode())

    def write(self, letters: Sequence[DeadLetter]) -> None:
        """Write letters as a flow does."""
        out = KafkaDeadLetters({"bootstrap.servers": self.kafka.brokers}, self.topic, "out", Events())
        out.write([each._replace(topic=self.source) if each.topic == "logs" else each for each in letters])
        out.flush()
        out.close()

    def lag(self) -> int:
        """Return how many messages lie before the end and after what the redrives' group has committed."""
        with Positions(self.kafka, self.topic, self.group) as positions:
            return sum(positions.ends()) - sum(positions.committed())

    def redrive(self, *arguments: str) -> Ended:
        """Run `logweir redrive` to its end."""
        return redrive(self.flow, "--json", *arguments)


def test_as_a_user_would(kafka: Kafka, elastic: FakeElastic, tmp_path: Path) -> None:
    """Exactly what is refused again is dead afterwards, with all attempts; once it is mended, that arrives too."""
    dead = Dead(kafka, tmp_path, to_elastic(elastic.url))
    error = {"type": "mapper_parsing_exception", "reason": "planted"}
    elastic.item_fault = lambda identity, _doc: (400, error) if identity.endswith(("0", "1")) else None
    with Feed(kafka, dead.source, plant=200) as feed, Running(dead.flow) as running:
        feed.send(2000)
        wait_drained(kafka, dead.source, "out")
        assert running.stop() == 0
    first = read_topic(kafka, dead.topic)
    refused = {orjson.loads(value)["id"] for value, headers in first if headers["logweir.cause"] == REFUSED}
    assert refused
    no_records = len(first) - len(refused)
    assert sum(dead.redrive("--dry-run").report["waiting"].values()) == len(first)

    elastic.item_fault = lambda identity, _doc: (400, error) if identity.endswith("1") else None
    said = dead.redrive()
    again = {identity for identity in refused if identity.endswith("1")}
    assert said.code == 1
    assert said.report["failed"] == {REFUSED: len(again)}
    assert sum(said.report["not_records"].values()) == no_records
    assert ids(elastic) == feed.expected - again
    # What has been settled is what the group has committed, so the lag is what is still dead.
    assert dead.lag() == len(again) + no_records
    left = read_topic(kafka, dead.topic)[len(first) :]
    assert {orjson.loads(value)["id"] for value, headers in left if headers["logweir.attempts"] == "2"} == again
    assert sorted(value for value, headers in left if headers["logweir.attempts"] == "0") == sorted(
        value for value, headers in first if headers["logweir.attempts"] == "0"
    )

    elastic.item_fault = None
    said = dead.redrive()
    assert said.report["delivered"] == len(again)
    assert ids(elastic) == feed.expected
    assert dead.lag() == no_records


def test_killed_again_and_again(kafka: Kafka, elastic: FakeElastic, tmp_path: Path) -> None:
    """A redrive that is killed goes on: each record is there once, none is missing, and those refused are dead."""
    short = {"session.timeout.ms": 3000}
    dead = Dead(kafka, tmp_path, to_elastic(elastic.url, concurrency=1), max_in_flight="10KB", settings=short)
    kafka.create_topic(dead.topic, 2)
    dead.write([letter(number) for number in range(1000)])
    refused = {f"r{number}" for number in range(0, 1000, 100)}
    elastic.item_fault = refuse(*refused)
    elastic.fault = Fault(delay=0.05)
    with Redriving(dead.flow, folder=tmp_path) as running:
        running.until(lambda: len(elastic.docs) >= 400, "some are delivered")
        elastic.fault = Fault(503)
        second = dead.redrive()
        assert second.code == 1
        assert "another redrive of these dead letters is at work" in second.text
        running.kill()
    assert dead.lag() < 1000
    elastic.fault = None
    said = dead.redrive()
    assert said.told("redrive.waiting")
    assert said.code == 1
    assert said.report["read"] < 1000
    assert ids(elastic) == {f"r{number}" for number in range(1000)} - refused
    elastic.item_fault = None
    assert dead.redrive().code == 0
    assert ids(elastic) == {f"r{number}" for number in range(1000)}
    assert dead.lag() == 0


def test_a_session_that_cannot_be() -> None:
    """How long the group keeps a member is the user's to set, and what is no number is said to be none."""
    settings = {"bootstrap.servers": "127.0.0.1:1", "session.timeout.ms": "soon"}
    with pytest.raises(SourceError, match="'soon' is no whole number"):
        LetterTopic(settings, "dead.out", "group", Wanted("out"), Events())


def test_a_destination_that_holds(kafka: Kafka, elastic: FakeElastic, tmp_path: Path) -> None:
    """With a refused credential it waits; a stop leaves every letter where it was."""
    dead = Dead(kafka, tmp_path, to_elastic(elastic.url, api_key="planted-secret"), stop_timeout="1s")
    dead.write([letter(number) for number in range(100)])
    elastic.authorization = "ApiKey other"
    with Redriving(dead.flow, folder=tmp_path) as running:
        running.until(lambda: elastic.statuses[401] > 2 and running.told("stream.health"), "it is held")
        said = running.stop(2)
    assert (said.code, said.report["in_flight"], said.report["stopped"]) == (1, 100, True)
    assert dead.lag() == 100
    elastic.authorization = None
    assert dead.redrive().code == 0
    assert len(ids(elastic)) == 100
    assert len(read_topic(kafka, dead.topic)) == 100


def test_some_causes_and_a_limit(kafka: Kafka, elastic: FakeElastic, tmp_path: Path) -> None:
    """Letters of other causes, and those beyond the limit, are there for the next redrive, in every partition."""
    dead = Dead(kafka, tmp_path, to_elastic(elastic.url))
    kafka.create_topic(dead.topic, 3)
    causes = ("too large", "retries exhausted", REFUSED)
    dead.write([letter(number, cause=causes[number % 3]) for number in range(300)])
    said = dead.redrive("--cause", "too large")
    assert (said.code, said.report["delivered"]) == (0, 100)
    assert said.report["other_causes"] == {"retries exhausted": 100, REFUSED: 100}
    assert dead.redrive("--cause", REFUSED, "--limit", "30").report["delivered"] == 30
    assert dead.redrive("--dry-run").report["waiting"] == {"retries exhausted": 100, REFUSED: 70}
    assert dead.redrive("--limit", "20").report["delivered"] == 20
    said = dead.redrive()
    assert (said.code, said.report["delivered"]) == (0, 150)
    assert len(ids(elastic)) == 300
    assert set(elastic.creates.values()) == {1}
    assert dead.lag() == 0


def test_messages_that_are_no_letters(kafka: Kafka, elastic: FakeElastic, tmp_path: Path) -> None:
    """A message without the headers is told with its place, a letter of another flow is left; neither is sent."""
    dead = Dead(kafka, tmp_path, to_elastic(elastic.url))
    dead.write([letter(1)])
    producer = Producer({"bootstrap.servers": kafka.brokers})
    producer.produce(dead.topic, b'{"id":"stranger"}')
    producer.produce(dead.topic, b"x", headers={"logweir.topic": "t", "logweir.partition": "zero"})
    assert producer.flush(30) == 0
    dead.write([letter(2, topic="of-another-flow"), letter(3)])
    said = dead.redrive()
    assert (said.code, said.report["unreadable"], said.report["other_flows"]) == (1, 2, 1)
    told = {each["place"]: each["reason"] for each in said.told("redrive.unreadable")}
    assert list(told) == [f"{dead.topic}-0-1", f"{dead.topic}-0-2"]
    assert "`logweir.topic` is missing" in told[f"{dead.topic}-0-1"]
    assert "`logweir.partition` is no whole number: 'zero'" in told[f"{dead.topic}-0-2"]
    assert ids(elastic) == {"r1", "r3"}


def test_no_topic(kafka: Kafka, elastic: FakeElastic, tmp_path: Path) -> None:
    """Without a topic there is nothing to do, and none is made."""
    dead = Dead(kafka, tmp_path, to_elastic(elastic.url))
    said = dead.redrive()
    assert (said.code, said.report["read"]) == (0, 0)
    assert dead.topic not in kafka.admin().list_topics(timeout=10).topics


def test_letters_that_retention_has_deleted(kafka: Kafka, elastic: FakeElastic, tmp_path: Path) -> None:
    """Letters that were gone before they were sent are counted; a topic made anew is read from its start."""
    dead = Dead(kafka, tmp_path, to_elastic(elastic.url))
    dead.write([letter(number) for number in range(30)])
    assert dead.redrive("--limit", "10").code == 0
    kafka.delete_records(dead.topic, 0, 15)
    said = dead.redrive()
    assert (said.code, said.report["gone"], said.report["delivered"]) == (1, 5, 15)


def test_a_topic_that_grows(kafka: Kafka, elastic: FakeElastic, tmp_path: Path) -> None:
    """While letters come in, a redrive ends where the topic ended when it began, and nothing is lost or sent twice."""
    dead = Dead(kafka, tmp_path, to_elastic(elastic.url))
    dead.write([letter(number) for number in range(500)])
    stopping = threading.Event()
    written = 500

    def write_always() -> None:
        nonlocal written
        while not stopping.wait(0.01):
            dead.write([letter(written)])
            written += 1

    writer = threading.Thread(target=write_always)
    writer.start()
    try:
        first = dead.redrive()
    finally:
        stopping.set()
        writer.join()
    assert first.code == 0
    second = dead.redrive()
    assert first.report["delivered"] + second.report["delivered"] == written
    assert len(ids(elastic)) == written
    assert set(elastic.creates.values()) == {1}


def test_letters_that_are_deleted_meanwhile(kafka: Kafka, tmp_path: Path) -> None:
    """Letters that go while the others are read are counted, and those behind them are read."""
    settings: dict[str, Any] = {"bootstrap.servers": kafka.brokers}
    topic = new_name("dead")
    kafka.create_topic(topic, max_message_bytes=10_000_000)
    out = KafkaDeadLetters(settings, topic, "out", Events())
    # Noise, so that the consumer can't have all of it at hand.
    out.write([letter(number, value=random.Random(number).randbytes(2_000_000)) for number in range(30)])
    out.flush()
    out.close()
    letters = LetterTopic(settings, topic, f"{topic}.group", Wanted("out"), Events())
    try:
        found: list[int] = []
        while (reads := letters.read(1)) is not None:
            found += [read.letter.offset for read in reads]
            if found == [0] and reads:
                kafka.delete_records(topic, 0, 28)
        assert found[-2:] == [28, 29]
        assert letters.passed.gone == 30 - len(found) > 0
        letters.record(None)
    finally:
        letters.close()


def test_brokers_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that can't be reached is one clear message with the setting to look at."""
    monkeypatch.setattr("flows.dead_letter_topic._ASK_SECONDS", 1.0)
    flow = {
        "name": "again",
        "source": {"type": "kafka", "brokers": ["127.0.0.1:9"], "topics": ["logs"]},
        "destinations": {"out": {"type": "console"}},
    }
    path = tmp_path / "flow.yaml"
    path.write_text(orjson.dumps(flow).decode())
    result = CliRunner().invoke(main, ["redrive", str(path), "--to", "out", "--dry-run"])
    assert result.exit_code == 1
    assert "dead letter topic dead.out" in result.stderr
    assert "check source.brokers" in result.stderr
