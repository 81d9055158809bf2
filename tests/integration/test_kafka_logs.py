"""Positions and logs of a real broker: topics made anew and deleted, first positions, transactions, patterns, lag."""

from __future__ import annotations

import json
import sqlite3
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import NewPartitions

from flows.recovery_store import make
from tests.flowing import Running, assert_ledger, until, wait_drained, write_flow
from tests.scenarios import new_name, stored_in
from tests.servers.elastic import FakeElastic
from tests.servers.kafka import Kafka
from tests.servers.process import free_ports

pytestmark = pytest.mark.kafka


def values(name: str, count: int) -> list[bytes]:
    """Return records whose ids are a name and a number."""
    return [b'{"id":"%s-%d"}' % (name.encode(), number) for number in range(count)]


def found(elastic: FakeElastic, name: str) -> int:
    """Return how many of these have arrived."""
    return sum(each.startswith(f"{name}-") for each in stored_in(elastic))


def flow_file(directory: Path, kafka: Kafka, topics: list[str], elastic: FakeElastic, **more: Any) -> Path:
    """Write a flow from topics to the stand-in."""
    source = {
        "type": "kafka",
        "brokers": [kafka.brokers],
        "topics": topics,
        "discover_interval": "1s",
        "group": more.pop("group", topics[0].strip("^")),
        **more.pop("source", {}),
    }
    search = {"url": elastic.url, **more.pop("search", {})}
    return write_flow(directory, kafka, topics[0].strip("^"), {"search": search}, source=source, **more)


def status_of(port: int) -> dict[str, Any]:
    """Return what a flow tells of its destination; before it listens, that nothing is known."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/status") as answer:
            told: dict[str, Any] = json.loads(answer.read())["destinations"]["search"]
    except URLError:
        return {"lag": None, "lag_seconds": None}
    return told


def gone(kafka: Kafka, topic: str) -> Callable[[], bool]:
    """Return what tells whether a topic is deleted."""
    return lambda: topic not in kafka.admin().list_topics(timeout=10).topics


class TestLogs:
    @pytest.mark.parametrize("stopped", [True, False], ids=["stopped", "running"])
    def test_a_topic_made_anew(self, kafka: Kafka, elastic: FakeElastic, tmp_path: Path, *, stopped: bool) -> None:
        """It is read from its beginning, though it holds more records than the old position says, and that is told."""
        topic = new_name("anew")
        kafka.create_topic(topic)
        kafka.produce(topic, values("before", 100))
        flow = flow_file(tmp_path, kafka, [topic], elastic, source={"start": "latest"} if stopped else {})
        running = Running(flow)
        try:
            if stopped:
                wait_drained(kafka, topic, "search")
                kafka.produce(topic, values("before", 100))
            running.until(lambda: len(elastic.docs) == 100, "the old one is read")
            wait_drained(kafka, topic, "search")
            if stopped:
                assert running.stop() == 0
            kafka.delete_topic(topic)
            if not stopped:
                running.until(lambda: running.told("source.health"), "it is told that it is gone")
            until(gone(kafka, topic), "it is gone")
            kafka.create_topic(topic)
            kafka.produce(topic, values("after", 150))
            if stopped:
                running = Running(flow)
            running.until(lambda: found(elastic, "after") == 150, "the new one is read")
            assert running.stop() == 0
        finally:
            running.__exit__(None, None, None)
        (gap,) = running.told("source.gap")
        assert "made anew" in gap["reason"]
        assert_ledger(running.ledgers()["search"], read=250, delivered=250, dropped={}, dead={})

    def test_what_earlier_versions_recorded(self, kafka: Kafka, elastic: FakeElastic, tmp_path: Path) -> None:
        """Their positions are offsets alone, and are gone on from, though no first positions are recorded."""
        topic = new_name("earlier")
        kafka.create_topic(topic, 2)
        for partition in (0, 1):
            kafka.produce(topic, values(f"p{partition}", 100), partition)
        flow = flow_file(tmp_path, kafka, [topic], elastic)
        with Running(flow) as running:
            running.until(lambda: len(elastic.docs) == 200, "all is read")
            assert running.stop() == 0
        store = tmp_path / "recovery" / "proof" / "search"
        (store / "positions.json").unlink()
        as_offsets(store, {f"{topic}[0]": 100, f"{topic}[1]": 90})
        with Running(flow) as running:
            kafka.produce(topic, values("more", 10), 0)
            running.until(lambda: found(elastic, "more") == 10, "what comes is read")
            wait_drained(kafka, topic, "search")
            assert running.stop() == 0
        ledger = running.ledgers()["search"]
        assert (ledger.read, ledger.duplicates) == (220, 10)
        assert running.told("source.gap") == []

    def test_a_topic_that_is_deleted(self, kafka: Kafka, elastic: FakeElastic, tmp_path: Path) -> None:
        """The other one is read on, also after a restart, and that one when it is made anew."""
        stays, goes = new_name("stays"), new_name("goes")
        for topic in (stays, goes):
            kafka.create_topic(topic)
            kafka.produce(topic, values(topic, 50))
        flow = flow_file(tmp_path, kafka, [stays, goes], elastic)
        with Running(flow) as running:
            running.until(lambda: len(elastic.docs) == 100, "both are read")
            kafka.delete_topic(goes)
            running.until(lambda: running.told("source.health"), "it is told")
            kafka.produce(stays, values("more", 50))
            running.until(lambda: found(elastic, "more") == 50, "the other is read")
            assert running.stop() == 0
        kafka.produce(stays, values("again", 50))
        with Running(flow) as running:
            running.until(lambda: found(elastic, "again") == 50, "the other is read after a start")
            running.until(lambda: running.told("source.health"), "it is told again")
            kafka.create_topic(goes)
            kafka.produce(goes, values("back", 70))
            running.until(lambda: found(elastic, "back") == 70, "it is read from its beginning")
            assert running.stop() == 0
        assert running.told("flow.crashed") == []
        assert_ledger(running.ledgers()["search"], read=270, delivered=270, dropped={}, dead={})

    def test_a_pattern(self, kafka: Kafka, elastic: FakeElastic, tmp_path: Path) -> None:
        """It finds topics that are there and those that come later, which are read from their beginnings."""
        prefix = new_name("pattern")
        kafka.create_topic(f"{prefix}.a")
        kafka.create_topic(f"x{prefix}.a")
        kafka.produce(f"{prefix}.a", values("old", 10))
        kafka.produce(f"x{prefix}.a", values("other", 10))
        flow = flow_file(tmp_path, kafka, [f"^{prefix}"], elastic, source={"start": "latest"})
        with Running(flow) as running:
            wait_drained_topic(kafka, f"{prefix}.a", f"{prefix}.search")
            kafka.create_topic(f"{prefix}.b")
            kafka.produce(f"{prefix}.b", values("new", 20))
            running.until(lambda: found(elastic, "new") == 20, "what came later is read")
            assert running.stop() == 0
        # Its own dead letters begin with the prefix too.
        assert len(elastic.docs) == 20

    def test_another_flow_reads_too(self, kafka: Kafka, elastic: FakeElastic, tmp_path: Path) -> None:
        """Two flows that name no group have two."""
        topic = new_name("two")
        kafka.create_topic(topic)
        kafka.produce(topic, values("r", 30))
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            source = {"type": "kafka", "brokers": [kafka.brokers], "topics": [topic]}
            search = {"search": {"url": elastic.url}}
            flow = write_flow(tmp_path / name, kafka, topic, search, source=source, name=f"{name}-{topic}")
            with Running(flow) as running:
                running.until(lambda: elastic.creates and set(elastic.creates.values()) == {1}, "it is read")
                wait_drained_topic(kafka, topic, f"{name}-{topic}.search")
                assert running.stop() == 0
            assert running.ledgers()["search"].read == 30


class TestFirst:
    def test_latest_while_a_destination_holds(self, kafka: Kafka, elastic: FakeElastic, tmp_path: Path) -> None:
        """What comes after the first start is delivered, though the flow is killed before anything was."""
        topic = new_name("latest")
        kafka.create_topic(topic)
        kafka.produce(topic, values("old", 10))
        elastic.authorization = "ApiKey right"

        def flow(key: str) -> Path:
            return flow_file(tmp_path, kafka, [topic], elastic, source={"start": "latest"}, search={"api_key": key})

        with Running(flow("wrong")) as running:
            positions = tmp_path / "recovery" / "proof" / "search" / "positions.json"
            running.until(positions.exists, "it is decided where to begin")
            kafka.produce(topic, values("new", 100))
            running.until(lambda: elastic.seen, "it is refused")
            running.kill()
        kafka.produce(topic, values("more", 100))
        with Running(flow("right")) as running:
            running.until(lambda: len(elastic.docs) == 200, "all is delivered")
            assert running.stop() == 0
        assert found(elastic, "old") == 0

    def test_partitions_that_come_later(self, kafka: Kafka, elastic: FakeElastic, tmp_path: Path) -> None:
        """With two workers, whichever reads them, they are read from their beginnings."""
        topic = new_name("grows")
        kafka.create_topic(topic)
        flow = flow_file(tmp_path, kafka, [topic], elastic, source={"start": "latest"})
        with Running(flow, "--workers", "2") as running:
            positions = tmp_path / "recovery" / "proof" / "search" / "positions.json"
            running.until(positions.exists, "it is decided where to begin")
            kafka.produce(topic, values("a", 10))
            running.until(lambda: len(elastic.docs) == 10, "the first is read")
            # The client has to outlive its futures.
            admin = kafka.admin()
            admin.create_partitions([NewPartitions(topic, 4)])[topic].result(30)
            until(
                lambda: len(kafka.admin().list_topics(topic, timeout=10).topics[topic].partitions) == 4, "it has grown"
            )
            for partition in (1, 2, 3):
                kafka.produce(topic, values(f"p{partition}", 50), partition)
            running.until(lambda: len(elastic.docs) == 160, "all are read")
            assert running.stop() == 0
        assert_ledger(running.ledgers()["search"], read=160, delivered=160, dropped={}, dead={})


class TestLag:
    def test_it_grows_while_a_destination_holds(self, kafka: Kafka, elastic: FakeElastic, tmp_path: Path) -> None:
        """It is what the topic has, in records and in seconds, whatever the consumer has fetched."""
        topic, (port,) = new_name("lag"), free_ports(1)
        kafka.create_topic(topic)
        elastic.authorization = "ApiKey right"
        kafka.produce(topic, [b'{"m":"%s"}' % (b"x" * 400)] * 5000)
        flow = flow_file(
            tmp_path,
            kafka,
            [topic],
            elastic,
            search={"api_key": "wrong"},
            status={"listen": f"127.0.0.1:{port}"},
            max_in_flight="100KB",
            stop_timeout="1s",
        )
        with Running(flow) as running:
            running.until(lambda: elastic.seen and 0 < (status_of(port)["lag"] or 0) < 5000, "what has room is read")
            held = status_of(port)["lag"]
            kafka.produce(topic, [b"{}"] * 7000)
            running.until(lambda: status_of(port)["lag"] == held + 7000, "it has grown")
            told = status_of(port)["lag_seconds"]
            running.until(lambda: (status_of(port)["lag_seconds"] or 0) > (told or 0), "so has its age")

    def test_transactions(self, kafka: Kafka, elastic: FakeElastic, tmp_path: Path) -> None:
        """What no consumer gets (marks, aborted records) is no lag once it is passed, and no gap when it is deleted."""
        topic, (port,) = new_name("transactions"), free_ports(1)
        kafka.create_topic(topic)
        producer = Producer({"bootstrap.servers": kafka.brokers, "transactional.id": topic, "log_level": 0})
        producer.init_transactions(30)
        for name, count, commits in (
            ("good", 100, True),
            ("bad", 50, False),
            ("good2", 100, True),
            ("bad2", 500, False),
        ):
            producer.begin_transaction()
            for value in values(name, count):
                producer.produce(topic, value)
            producer.flush(30)
            (producer.commit_transaction if commits else producer.abort_transaction)(30)
        flow = flow_file(tmp_path, kafka, [topic], elastic, status={"listen": f"127.0.0.1:{port}"})
        with Running(flow) as running:
            running.until(lambda: len(elastic.docs) == 200, "what can be read is")
            running.until(lambda: status_of(port)["lag"] == 0, "there is no more")
            assert status_of(port)["lag_seconds"] == 0.0
            wait_drained(kafka, topic, "search")
            assert running.stop() == 0
        kafka.delete_records(topic, 0, 754)
        with Running(flow) as running:
            running.until(lambda: status_of(port)["lag"] == 0, "it is at the end")
            assert running.stop() == 0
        assert running.told("source.gap") == []
        assert_ledger(running.ledgers()["search"], read=200, delivered=200, dropped={}, dead={})


def wait_drained_topic(kafka: Kafka, topic: str, group: str) -> None:
    """Wait until a group has committed all of a topic."""
    from tests.flowing import Positions

    with Positions(kafka, topic, group) as positions:
        until(positions.drained, f"{group} has read all of {topic}", 120.0)


def as_offsets(store: Path, offsets: dict[str, int]) -> None:
    """Put into a recovery store what earlier versions recorded of these partitions."""
    import pickle

    make(store)
    changed = 0
    for path in store.glob("*.sqlite3"):
        database = sqlite3.connect(path)
        with database:
            for key, offset in offsets.items():
                changed += database.execute(
                    "UPDATE snaps SET ser_change = ? WHERE step_id = 'proof.source' AND state_key = ?",
                    (pickle.dumps(offset), key),
                ).rowcount
        database.close()
    assert changed >= len(offsets)
