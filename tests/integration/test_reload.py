"""A flow file that changes while its flow runs: what is swapped, what restarts, what is refused."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest
from confluent_kafka import Producer

from logweir.times import rfc3339
from tests.feeding import Feed
from tests.flowing import Running, write_flow
from tests.reloading import Changing, under_load
from tests.scenarios import assert_all_there, new_name, stored_in
from tests.servers.elastic import FakeElastic
from tests.servers.kafka import Kafka

pytestmark = pytest.mark.kafka

LIMIT = {"name": "Limit", "type": "rate", "max_per_hour": 20, "by": "context.service"}
ERRORS = {"name": "Errors", "type": "level", "levels": ["fatal"], "action": "exclude"}


def test_changes_under_load_lose_nothing(kafka: Kafka, elastic: FakeElastic, tmp_path: Path) -> None:
    """Swapped, refused or restarted, in two workers: each record is delivered once or in the count of a rule."""
    found = under_load(kafka, elastic, tmp_path, changes=5, rate=1000)
    assert (found.swapped, found.refused, found.restarted) == (3, 1, 1)


class Hours:
    """Records of ten services in one hour of the day, over eight partitions."""

    def __init__(self, kafka: Kafka) -> None:
        self.topic = new_name("hours")
        kafka.create_topic(self.topic, 8)
        self._producer = Producer({"bootstrap.servers": kafka.brokers, "linger.ms": 5, "log_level": 0})
        # The middle of an hour that is now, or has just been.
        now = time.time()
        self._second = min(now, now - now % 3600 + 1800) - 30
        self.sent = 0

    def send(self, each: int) -> None:
        """Produce so many records of each service."""
        for number in range(each * 10):
            record = {
                "id": f"r{self.sent}",
                "timestamp": rfc3339(self._second),
                "level": "info",
                "context": {"service": f"s{number % 10}"},
            }
            self._producer.produce(self.topic, orjson.dumps(record), partition=self.sent // 10 % 8)
            self.sent += 1
        assert self._producer.flush(60) == 0


def test_limits_keep_their_state(kafka: Kafka, elastic: FakeElastic, tmp_path: Path) -> None:
    """Through swaps and a restart a limit goes on exactly, by another budget at once; one that comes back is new."""
    hours = Hours(kafka)
    flow = write_flow(
        tmp_path, kafka, hours.topic, {"search": {"url": elastic.url}}, rules=[{**LIMIT, "lateness": "1h"}]
    )

    def kept() -> set[int]:
        """Send some more, and return how many of each service are there then."""
        hours.send(30)
        running.drain(kafka, hours.topic, f"{hours.topic}.search")
        services: Counter[str] = Counter(
            orjson.loads(each)["context"]["service"] for each in list(elastic.docs.values())
        )
        assert len(services) == 10
        return set(services.values())

    def rules(*wanted: dict[str, Any]) -> Any:
        return lambda settings: settings.update(rules=[{"lateness": "1h", **each} for each in wanted])

    other = {**LIMIT, "name": "Other", "max_per_hour": 100_000, "by": "level"}
    with Running(flow, "--workers", "2") as running:
        changing = Changing(flow, running)
        assert kept() == {20}
        workers = running.workers()
        changing.to(rules(other, {**LIMIT, "max_per_hour": 35}))
        assert kept() == {35}
        assert running.workers() == workers
        changing.to(rules({**LIMIT, "max_per_hour": 45}, other))
        assert running.told("flow.restarted")[-1]["reason"] == "changed: the order of limits"
        assert kept() == {45}
        changing.to(rules({**LIMIT, "max_per_hour": 10}, other))
        assert kept() == {45}
        changing.to(rules(other))
        changing.to(rules({**LIMIT, "max_per_hour": 5}, other))
        assert kept() == {50}
        assert running.stop() == 0
    ledger = running.ledgers()["search"]
    assert (ledger.read, ledger.delivered, ledger.in_flight) == (hours.sent, 500, 0)


def test_a_wrong_file_changes_nothing(kafka: Kafka, elastic: FakeElastic, tmp_path: Path) -> None:
    """Its errors are told with their places, what was in force stays, and a file that is right again is accepted."""
    with Feed(kafka, new_name("wrong")) as feed:
        flow = write_flow(tmp_path, kafka, feed.topic, {"search": {"url": elastic.url, "api_key": "s3cret-s3cret"}})
        right = flow.read_bytes()
        with Running(flow) as running:
            changing = Changing(flow, running)
            feed.send(100)
            running.until(lambda: len(elastic.docs) == 100, "all are there")
            changing.to(
                lambda settings: settings.update(rules=[ERRORS, {"type": "level"}]), outcome="refused", watched=True
            )
            (refused,) = running.told("config.refused")
            assert any(each.startswith(f"{flow}:") and "rules[1]" in each for each in refused["findings"])
            changing.to(lambda settings: settings.update(rules=[], name="other"), outcome="refused")
            assert "position" in running.told("config.refused")[-1]["findings"][0]
            feed.send(100)
            running.until(lambda: len(elastic.docs) == 200, "all are there")
            flow.write_bytes(right)
            running.until(lambda: running.told("config.unchanged"), "it is what runs")
            changing.to(lambda settings: settings.update(rules=[ERRORS]), watched=True)
            assert running.stop() == 0
    assert "s3cret-s3cret" not in str(running.events)
    assert running.told("flow.restarted") == []


def test_destinations_come_and_go(kafka: Kafka, elastic: FakeElastic, tmp_path: Path) -> None:
    """One that is added begins, one that is gone ends with all delivered, and whom that doesn't concern goes on."""
    with Feed(kafka, new_name("come")) as feed, FakeElastic() as other:
        flow = write_flow(tmp_path, kafka, feed.topic, {"search": {"url": elastic.url}})
        with Running(flow) as running:
            changing = Changing(flow, running)
            feed.send(2000)
            running.drain(kafka, feed.topic, f"{feed.topic}.search")
            (first,) = running.workers()

            def add(settings: dict[str, Any]) -> None:
                settings["destinations"]["other"] = {**settings["destinations"]["search"], "url": other.url}

            changing.to(add)
            running.drain(kafka, feed.topic, f"{feed.topic}.other")
            assert first in running.workers()
            feed.send(500)
            changing.to(lambda settings: settings["destinations"].pop("search"))
            (removed,) = running.told("stream.removed")
            assert (removed["stream"], removed["in_flight"], removed["delivered"]) == (
                "search",
                0,
                len(elastic.docs),
            )
            assert first not in running.workers()
            running.drain(kafka, feed.topic, f"{feed.topic}.other")
            assert running.stop() == 0
        assert_all_there(stored_in(other), feed)
        assert set(elastic.creates.values()) == set(other.creates.values()) == {1}
        assert running.told("flow.restarted") == running.told("flow.crashed") == []
