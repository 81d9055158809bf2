"""Reading a real broker: where a partition begins, what goes missing from it, and what stands in the way."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import orjson
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import NewPartitions

from flows.config import load
from flows.sources.base import SourceContext
from flows.sources.kafka_consumer import consumer_settings
from flows.sources.kafka_source import KafkaSource
from logweir.errors import ConfigError
from logweir.events import Events
from tests.flowing import Running, assert_ledger, until, wait_drained, write_flow
from tests.scenarios import new_name, stored_in
from tests.servers.elastic import FakeElastic, Fault
from tests.servers.kafka import Kafka

pytestmark = pytest.mark.kafka


def values(first: int, last: int, size: int = 0) -> list[bytes]:
    """Return records whose ids are the numbers from first up to last."""
    padding = b"x" * size
    return [b'{"id":"%d","timestamp":"2026-11-01T10:00:00Z","m":"%s"}' % (n, padding) for n in range(first, last)]


def flow_file(
    directory: Path,
    kafka: Kafka,
    topic: str,
    elastic: FakeElastic,
    *,
    source: dict[str, Any] | None = None,
    **more: Any,
) -> Path:
    """Write a flow from a topic to the stand-in."""
    own = {"type": "kafka", "brokers": [kafka.brokers], "topics": [topic], "group": topic, **(source or {})}
    return write_flow(directory, kafka, topic, {"search": {"url": elastic.url}}, source=own, **more)


def numbers(elastic: FakeElastic) -> list[int]:
    """Return the ids that have arrived, in order."""
    return sorted(int(identity) for identity in stored_in(elastic))


class TestStart:
    def test_earliest(self, kafka: Kafka, elastic: FakeElastic, tmp_path: Path) -> None:
        """A new group reads all that a topic holds, and goes on where it stopped."""
        topic = new_name("earliest")
        kafka.create_topic(topic)
        kafka.produce(topic, values(0, 100))
        flow = flow_file(tmp_path, kafka, topic, elastic)
        for last in (100, 150):
            with Running(flow) as running:
                wait_drained(kafka, topic, "search")
                assert running.stop() == 0
            assert numbers(elastic) == list(range(last))
            assert_ledger(running.ledgers()["search"], read=last, delivered=last, dropped={}, dead={})
            kafka.produce(topic, values(100, 150))
        assert set(elastic.creates.values()) == {1}

    def test_latest(self, kafka: Kafka, elastic: FakeElastic, tmp_path: Path) -> None:
        """With `latest` nothing older is read; what comes between a stop and the next start is."""
        topic = new_name("latest")
        kafka.create_topic(topic)
        kafka.produce(topic, values(0, 10))
        flow = flow_file(tmp_path, kafka, topic, elastic, source={"start": "latest"})
        next_id = 10
        with Running(flow) as running:
            while not elastic.docs:
                kafka.produce(topic, values(next_id, next_id + 1))
                next_id += 1
                time.sleep(0.05)
            wait_drained(kafka, topic, "search")
            assert running.stop() == 0
        kafka.produce(topic, values(next_id, next_id + 5))
        with Running(flow) as running:
            wait_drained(kafka, topic, "search")
            assert running.stop() == 0
        found = numbers(elastic)
        assert found[0] >= 10
        assert found == list(range(found[0], next_id + 5))
        assert running.ledgers()["search"].gaps == 0

    def test_latest_of_a_topic_that_gave_nothing_yet(self, kafka: Kafka, elastic: FakeElastic, tmp_path: Path) -> None:
        """A position at the end is kept though nothing was read, so that a restart skips nothing."""
        topic = new_name("quiet")
        kafka.create_topic(topic)
        kafka.produce(topic, values(0, 10))
        flow = flow_file(tmp_path, kafka, topic, elastic, source={"start": "latest"})
        with Running(flow) as running:
            wait_drained(kafka, topic, "search")
            assert running.stop() == 0
        kafka.produce(topic, values(10, 20))
        with Running(flow) as running:
            wait_drained(kafka, topic, "search")
            assert running.stop() == 0
        assert numbers(elastic) == list(range(10, 20))

    def test_a_time(self, kafka: Kafka, elastic: FakeElastic, tmp_path: Path) -> None:
        """With a time the first record that was written then or later is the first that is read."""
        topic = new_name("time")
        # The records are older than the week that a broker keeps them by default.
        kafka.create_topic(topic, 2, retention_ms=-1)
        producer = Producer({"bootstrap.servers": kafka.brokers})
        for number in range(20):
            stamp = 1_790_000_000_000 + number * 1000
            producer.produce(topic, values(number, number + 1)[0], partition=number % 2, timestamp=stamp)
        assert producer.flush(30) == 0
        source = {"start": "2026-09-21T14:13:30Z"}  # 1_790_000_010
        with Running(flow_file(tmp_path, kafka, topic, elastic, source=source)) as running:
            wait_drained(kafka, topic, "search")
            assert running.stop() == 0
        assert numbers(elastic) == list(range(10, 20))


class TestGaps:
    def test_deleted_while_stopped(self, kafka: Kafka, elastic: FakeElastic, tmp_path: Path) -> None:
        """What retention took before it was read is counted, and told in words; it is in no other sum."""
        topic = new_name("gap")
        kafka.create_topic(topic)
        kafka.produce(topic, values(0, 100))
        flow = flow_file(tmp_path, kafka, topic, elastic)
        with Running(flow) as running:
            wait_drained(kafka, topic, "search")
            assert running.stop() == 0
        kafka.produce(topic, values(100, 200))
        kafka.delete_records(topic, 0, 150)
        with Running(flow) as running:
            wait_drained(kafka, topic, "search")
            assert running.stop() == 0
        assert numbers(elastic) == [*range(100), *range(150, 200)]
        ledger = running.ledgers()["search"]
        assert (ledger.read, ledger.delivered, ledger.gaps, ledger.in_flight) == (150, 150, 50, 0)
        (gap,) = running.told("source.gap")
        assert (gap["lost"], gap["topic"], gap["partition"]) == (50, topic, 0)
        assert gap["reason"].startswith("offsets 100 to 149 were deleted before they were read")

    def test_deleted_while_running(self, kafka: Kafka, elastic: FakeElastic, tmp_path: Path) -> None:
        """Retention that overtakes a stream that waits costs what it took, and is counted to the record."""
        topic = new_name("overtaken")
        kafka.create_topic(topic)
        kafka.produce(topic, values(0, 3000, 10_000))
        elastic.fault = Fault(503)
        with Running(flow_file(tmp_path, kafka, topic, elastic, max_in_flight="1MB")) as running:
            until(lambda: elastic.statuses[503] > 3, "the destination refuses")
            time.sleep(0.5)
            kafka.delete_records(topic, 0, 2900)
            elastic.fault = None
            wait_drained(kafka, topic, "search")
            assert running.stop() == 0
        found = numbers(elastic)
        ledger = running.ledgers()["search"]
        assert ledger.gaps > 0
        assert ledger.read == ledger.delivered == len(found) == 3000 - ledger.gaps
        assert found[-100:] == list(range(2900, 3000))
        assert sum(each["lost"] for each in running.told("source.gap")) == ledger.gaps

    def test_holes_that_are_no_gaps(self, kafka: Kafka, elastic: FakeElastic, tmp_path: Path) -> None:
        """Offsets of transaction marks and of aborted records hold no record, and are no gap."""
        topic = new_name("transactions")
        kafka.create_topic(topic)
        producer = Producer({"bootstrap.servers": kafka.brokers, "transactional.id": topic})
        producer.init_transactions(30)
        for start in range(0, 100, 10):
            producer.begin_transaction()
            for value in values(start, start + 10):
                producer.produce(topic, value)
            if start % 20:
                producer.flush(30)
                producer.abort_transaction(30)
            else:
                producer.commit_transaction(30)
        flow = flow_file(tmp_path, kafka, topic, elastic)
        for count in (50, 53):
            with Running(flow) as running:
                until(lambda count=count: len(elastic.docs) == count, "what was committed arrives")  # type: ignore[misc]
                assert running.stop() == 0
            assert_ledger(running.ledgers()["search"], read=count, delivered=count, dropped={}, dead={})
            kafka.produce(topic, values(1000, 1003))
        assert numbers(elastic) == [number for number in range(100) if number // 10 % 2 == 0] + [1000, 1001, 1002]
        assert set(elastic.creates.values()) == {1}

    def test_a_topic_made_anew(self, kafka: Kafka, elastic: FakeElastic, tmp_path: Path) -> None:
        """A topic that is deleted and made again is read from its beginning, and the change is told."""
        topic = new_name("anew")
        kafka.create_topic(topic)
        kafka.produce(topic, values(0, 100))
        flow = flow_file(tmp_path, kafka, topic, elastic)
        with Running(flow) as running:
            wait_drained(kafka, topic, "search")
            kafka.delete_topic(topic)
            time.sleep(1)
            kafka.create_topic(topic)
            kafka.produce(topic, values(100, 150))
            until(lambda: len(elastic.docs) == 150, "the new topic is read")
            assert running.stop() == 0
        assert numbers(elastic) == list(range(150))
        ledger = running.ledgers()["search"]
        assert (ledger.delivered, ledger.in_flight) == (150, 0)
        assert any("made anew" in each["reason"] for each in running.told("source.gap"))

    def test_tombstones(self, kafka: Kafka, elastic: FakeElastic, tmp_path: Path) -> None:
        """A record without a value is no record: it is dropped under its own name, also when nothing else comes."""
        topic = new_name("tombstones")
        kafka.create_topic(topic)
        producer = Producer({"bootstrap.servers": kafka.brokers})
        for value in (None, values(0, 1)[0], None, None):
            producer.produce(topic, value, key=b"k")
        assert producer.flush(30) == 0
        with Running(flow_file(tmp_path, kafka, topic, elastic)) as running:
            wait_drained(kafka, topic, "search")
            assert running.stop() == 0
        assert_ledger(running.ledgers()["search"], read=4, delivered=1, dropped={"tombstone": 3}, dead={})


class TestPartitions:
    def test_new_partitions(self, kafka: Kafka, elastic: FakeElastic, tmp_path: Path) -> None:
        """A topic that grows is read whole, without a record lost or sent twice, and the ledger goes on."""
        topic = new_name("growing")
        kafka.create_topic(topic, 1)
        kafka.produce(topic, values(0, 500))
        source = {"discover_interval": "1s", "start": "latest"}
        # Read at first from the end: what a new partition holds has never been read, so `latest` must not skip it.
        with Running(flow_file(tmp_path, kafka, topic, elastic, source=source)) as running:
            wait_drained(kafka, topic, "search")
            kafka.produce(topic, values(500, 600))
            until(lambda: len(elastic.docs) == 100, "the first partition is read")
            admin = kafka.admin()
            admin.create_partitions([NewPartitions(topic, 4)])[topic].result(30)
            until(
                lambda: len(kafka.admin().list_topics(topic, timeout=10).topics[topic].partitions) == 4, "it has grown"
            )
            for partition in range(4):
                first = 1000 * (partition + 1)
                kafka.produce(topic, values(first, first + 200), partition)
            until(lambda: len(elastic.docs) == 900, "the new partitions are read")
            wait_drained(kafka, topic, "search")
            assert running.stop() == 0
        assert len(running.told("flow.restarted")) >= 1
        assert_ledger(running.ledgers()["search"], read=900, delivered=900, dropped={}, dead={})
        assert set(elastic.creates.values()) == {1}

    def test_a_look_for_more_takes_no_record(self, kafka: Kafka) -> None:
        """While records wait to be read, a look for new partitions leaves each of them where it is."""
        topic = new_name("looked")
        kafka.create_topic(topic)
        kafka.produce(topic, values(0, 10))
        taken: list[int] = []
        context = SourceContext(Events(), lambda: 1 << 30, taken.append)
        source = KafkaSource(
            consumer_settings({"bootstrap.servers": kafka.brokers}, topic), [topic], "earliest", context
        )
        (name,) = source.list_parts()
        part = source.build_part("source", name, None)
        offsets: list[int] = []

        def read() -> int:
            offsets.extend(offset for batch in part.next_batch() for offset in batch.offsets)
            return len(offsets)

        until(lambda: read() == 10, "the first are read")
        kafka.produce(topic, values(10, 300))
        reader = source._reader
        assert reader is not None
        for _ in range(100):
            assert reader.topics.look().topics.keys() == {topic}
            # Time for librdkafka to fetch them, and nothing that would fail if that took longer.
            time.sleep(0.01)
        until(lambda: read() >= 290 and offsets[-1] == 299, "all are read")
        source.commit_last()
        assert offsets == list(range(300))

    def test_a_record_of_20_mb(self, kafka: Kafka, elastic: FakeElastic, tmp_path: Path) -> None:
        """A record far larger than any limit of a request goes alone; its neighbours are not held up."""
        topic = new_name("large")
        kafka.create_topic(topic, 1)
        kafka.produce(topic, [*values(0, 5), *values(5, 6, 20_000_000), *values(6, 10)])
        with Running(flow_file(tmp_path, kafka, topic, elastic)) as running:
            wait_drained(kafka, topic, "search")
            assert running.stop() == 0
        assert numbers(elastic) == list(range(10))
        assert [len(seen.ids) for seen in elastic.seen if seen.raw_bytes > 20_000_000] == [1]
        assert_ledger(running.ledgers()["search"], read=10, delivered=10, dropped={}, dead={})

    def test_times_beyond_the_calendar(self, kafka: Kafka, elastic: FakeElastic, tmp_path: Path) -> None:
        """A producer that gives microseconds for milliseconds can't stop the flow."""
        topic = new_name("times")
        kafka.create_topic(topic, message_timestamp_after_max_ms=2**63 - 1)
        producer = Producer({"bootstrap.servers": kafka.brokers})
        for number, stamp in enumerate((1_790_000_000_000_000, 1, 1_790_000_000_000_000_000)):
            producer.produce(topic, b'{"id":"%d"}' % number, timestamp=stamp)
        assert producer.flush(30) == 0
        with Running(flow_file(tmp_path, kafka, topic, elastic)) as running:
            wait_drained(kafka, topic, "search")
            assert running.stop() == 0
        assert numbers(elastic) == [0, 1, 2]
        assert all(orjson.loads(doc)["@timestamp"] < "2100" for doc in elastic.docs.values())


class TestObstacles:
    def test_a_topic_that_does_not_exist(self, kafka: Kafka, elastic: FakeElastic, tmp_path: Path) -> None:
        """A missing topic is told by its name with what would help, and read from its beginning once it is there."""
        topic = new_name("missing")
        source = {"discover_interval": "1s", "start": "latest"}
        with Running(flow_file(tmp_path, kafka, topic, elastic, source=source)) as running:
            until(lambda: running.told("source.health"), "it is told")
            kafka.create_topic(topic)
            kafka.produce(topic, values(0, 10))
            until(lambda: len(elastic.docs) == 10, "it works")
            assert running.stop() == 0
        issue = running.told("source.health")[0]["issue"]
        assert issue.startswith(f"topic {topic}: ")
        assert "create it, or check source.topics" in issue
        assert running.told("flow.crashed") == []

    def test_sasl(self, kafka: Kafka, elastic: FakeElastic, tmp_path: Path) -> None:
        """A wrong password gives a message that says so, without the password; with the right one all works."""
        topic = new_name("sasl")
        kafka.create_topic(topic)
        kafka.produce(topic, values(0, 10))
        for password in ("planted-wrong", kafka.sasl_password):
            settings = {
                "security.protocol": "SASL_PLAINTEXT",
                "sasl.mechanism": "PLAIN",
                "sasl.username": kafka.sasl_username,
                "sasl.password": password,
            }
            source = {"brokers": [kafka.sasl_brokers], "settings": settings}
            flow = flow_file(tmp_path, kafka, topic, elastic, source=source)
            with Running(flow) as running:
                if password == kafka.sasl_password:
                    wait_drained(kafka, topic, "search")
                    assert running.stop() == 0
                else:
                    until(lambda: running.told("flow.failed"), "it gives up for now")
            assert password not in str(running.events) + str(running.text)
            if password != kafka.sasl_password:
                reason = running.told("flow.failed")[0]["reason"]
                assert "uthentication failed" in reason
                assert "check source.brokers and source.settings" in reason
        assert numbers(elastic) == list(range(10))

    @pytest.mark.parametrize(
        "name", ["bootstrap.servers", "group.id", "enable.auto.commit", "enable.auto.offset.store", "auto.offset.reset"]
    )
    def test_reserved_settings(self, name: str) -> None:
        """A setting of librdkafka that the flow needs for itself is refused with what to do instead."""
        flow = {
            "name": "f",
            "source": {"type": "kafka", "brokers": ["b:1"], "topics": ["t"], "settings": {name: "x"}},
            "destinations": {"out": {"type": "console"}},
        }
        with pytest.raises(ConfigError, match=f"`{name}` can't be set here: "):
            load(orjson.dumps(flow).decode())


def test_a_broker_that_is_away(elastic: FakeElastic, tmp_path: Path) -> None:
    """A broker that goes loses nothing, one that can't be reached at the start is named, and both times it goes on."""
    with Kafka() as kafka:
        kafka.create_topic("away")
        kafka.produce("away", values(0, 10))
        with Running(flow_file(tmp_path, kafka, "away", elastic)) as running:
            until(lambda: len(elastic.docs) == 10, "it works")
            kafka.kill()
            until(lambda: running.told("source.error"), "it is noticed")
            kafka.start()
            kafka.produce("away", values(10, 20))
            until(lambda: len(elastic.docs) == 20, "it goes on")
            assert running.stop() == 0
        assert_ledger(running.ledgers()["search"], read=20, delivered=20, dropped={}, dead={})
        kafka.kill()
        with Running(flow_file(tmp_path, kafka, "away", elastic)) as running:
            until(lambda: running.told("flow.failed"), "it can't start")
            kafka.start()
            kafka.produce("away", values(20, 30))
            until(lambda: len(elastic.docs) == 30, "it starts")
            assert running.stop() == 0
        assert "check source.brokers and source.settings" in running.told("flow.failed")[0]["reason"]
        assert_ledger(running.ledgers()["search"], read=30, delivered=30, dropped={}, dead={})
    assert set(elastic.creates.values()) == {1}
