"""Generated records on their way into a topic, undeliverable ones among them, and what has to become of each."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple, Self

import orjson
from confluent_kafka import Consumer, Producer, TopicPartition

from flows.sources.generate import Generator
from logweir.batch import Batch
from operators.decode import Decoder
from operators.formats import FORMATS
from operators.projection import Projection
from operators.rule_models import SampleRule
from operators.rules import compile_rules, fields_of
from tests.servers.kafka import Kafka

BLOCK = 500
Judge = Callable[[dict[str, Any]], str]
"""Names the rule that drops a record; empty: it passes."""

SELECTIVE = [
    {"name": "No debug", "type": "level", "action": "exclude", "levels": ["debug", "trace"]},
    {
        "name": "Production only",
        "type": "field",
        "field": "context.environment",
        "operator": "eq",
        "value": "production",
    },
    {"name": "Sample info", "type": "sample", "sample_rate": 0.1, "sample_levels": ["info"]},
    {"name": "Always keep errors", "type": "level", "levels": ["error", "fatal"], "priority": 100},
]
NO_DEBUG = SELECTIVE[:1]


def passes(_record: dict[str, Any]) -> str:
    """Judge as a flow without rules."""
    return ""


def no_debug(record: dict[str, Any]) -> str:
    """Judge as NO_DEBUG does."""
    return "No debug" if record["level"] in {"debug", "trace"} else ""


def selective() -> Judge:
    """Return a judge that decides as SELECTIVE should; only the sample's hash is the product's own."""
    rule = SampleRule.model_validate(SELECTIVE[2])
    projection = Projection(fields_of([rule]), FORMATS["logweir"])
    sample, decode = compile_rules([rule], projection), Decoder(projection)

    def judge(record: dict[str, Any]) -> str:
        if record["level"] in {"error", "fatal"}:
            return ""
        if record["level"] in {"debug", "trace"}:
            return "No debug"
        if record["context"]["environment"] != "production":
            return "Production only"
        if record["level"] != "info":
            return ""
        alone = Batch("", 0, [orjson.dumps(record)], [0])
        decode(alone)
        return "" if len(sample.filter(alone)) else "Sample info"

    return judge


class Planted(NamedTuple):
    """A record that has to end in the dead letter."""

    value: bytes
    cause: str
    reason: str
    """A part of the reason."""


class Feed:
    """Produces records of one seed to a new topic, round the partitions; as a context manager it ends with the block.

    Args:
        kafka: The broker.
        topic: Made anew.
        partitions: How many it gets.
        judge: What the flow's rules do.
        plant: Of every so many records one that can't be delivered is sent too; 0: none.
        rejecting: Whether the index refuses a text in `metadata.planted`; such records are planted then.
    """

    def __init__(
        self,
        kafka: Kafka,
        topic: str,
        partitions: int = 4,
        judge: Judge = passes,
        plant: int = 0,
        *,
        rejecting: bool = False,
    ) -> None:
        kafka.create_topic(topic, partitions)
        self.kafka, self.topic = kafka, topic
        self.sent = 0
        """Everything: generated, planted and tombstones."""
        self.ids: list[list[str]] = [[] for _ in range(partitions)]
        """By partition and offset; empty for what has no id that will arrive."""
        self.expected: set[str] = set()
        """The ids that have to arrive, each once."""
        self.dropped: Counter[str] = Counter()
        self.planted: dict[tuple[int, int], Planted] = {}
        """By partition and offset."""
        self._judge = judge
        self._plant = plant
        self._rejecting = rejecting
        self._generator = Generator(1, time.time(), 0.001)
        self._generated = 0
        self._errors: list[str] = []
        self._producer = Producer(
            {
                "bootstrap.servers": kafka.brokers,
                "log_level": 0,
                # Order within a partition is what gives the offsets.
                "enable.idempotence": True,
                "compression.type": "lz4",
                "linger.ms": 5,
                "queue.buffering.max.messages": 100_000,
            }
        )
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def dead(self) -> Counter[str]:
        """How many have to be dead-lettered, by cause."""
        return Counter(each.cause for each in self.planted.values())

    def send(self, count: int) -> None:
        """Produce so many generated records, and what is planted among them, and wait for the acknowledgements."""
        while count:
            some = self._generator.batch(self._generated, min(BLOCK, count))
            for value in some:
                self._send_one(value)
            count -= len(some)
        left = self._producer.flush(60)
        assert (left, self._errors) == (0, [])

    def start(self, rate: int) -> None:
        """Produce in the background until `stop`, about this many a second."""
        self._stopping.clear()
        self._thread = threading.Thread(target=self._send_always, args=(rate,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the production in the background."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _send_always(self, rate: int) -> None:
        step = max(1, rate // 20)
        due = time.monotonic()
        while not self._stopping.is_set():
            self.send(step)
            due = max(due + step / rate, time.monotonic() - 1)
            self._stopping.wait(max(0.0, due - time.monotonic()))

    def _send_one(self, value: bytes) -> None:
        record = orjson.loads(value)
        rule = self._judge(record)
        if rule:
            self.dropped[rule] += 1
        else:
            self.expected.add(record["id"])
        self._produce(value, "" if rule else record["id"])
        self._generated += 1
        if self._plant and self._generated % self._plant == 0:
            self._plant_one(self._generated // self._plant, record)

    def _plant_one(self, number: int, record: dict[str, Any]) -> None:
        kinds = [
            Planted(b'{"id":"broken %d"' % number, "not JSON", ""),
            Planted(b'{"id":"%d","message":"\xff"}' % number, "not UTF-8", "0xff"),
            Planted(b"[%d]" % number, "not an object", ""),
            Planted(b" ", "empty", "the message is empty"),
        ]
        if self._rejecting:
            odd = {**record, "id": f"conflict-{number}", "level": "error", "metadata": {"planted": f"text {number}"}}
            kinds.append(Planted(orjson.dumps(odd), "rejected: mapper_parsing_exception", "planted"))
        chosen = number % (len(kinds) + 1)
        if chosen == len(kinds):
            self.dropped["tombstone"] += 1
            self._produce(None, "")
            return
        partition, offset = self._place()
        self.planted[partition, offset] = kinds[chosen]
        self._produce(kinds[chosen].value, "")

    def _place(self) -> tuple[int, int]:
        """Return the partition and the offset of the next record."""
        partition = self.sent % len(self.ids)
        return partition, len(self.ids[partition])

    def _produce(self, value: bytes | None, identity: str) -> None:
        partition, _ = self._place()
        while True:
            try:
                self._producer.produce(self.topic, value, partition=partition, on_delivery=self._heard)
            except BufferError:
                self._producer.poll(0.1)
            else:
                break
        self._producer.poll(0)
        self.ids[partition].append(identity)
        self.sent += 1

    def _heard(self, error: object, _message: object) -> None:
        if error is not None:
            self._errors.append(str(error))

    def assert_dead_letters(self, destination: str, *, once: bool) -> None:
        """Assert that the dead letter topic holds what was planted, and nothing else.

        Args:
            destination: Whose dead letters.
            once: Whether none may be there twice; a crash before its epoch is recorded writes them again.
        """
        letters = read_topic(self.kafka, f"{self.topic}.dead.{destination}")
        places = [(int(headers["logweir.partition"]), int(headers["logweir.offset"])) for _, headers in letters]
        assert set(places) == set(self.planted)
        assert len(places) == len(set(places)) or not once
        for place, (value, headers) in zip(places, letters, strict=True):
            planted = self.planted[place]
            assert (value, headers["logweir.topic"], headers["logweir.destination"], headers["logweir.cause"]) == (
                planted.value,
                self.topic,
                destination,
                planted.cause,
            )
            assert headers["logweir.reason"]
            assert planted.reason in headers["logweir.reason"]


def read_topic(kafka: Kafka, topic: str) -> list[tuple[bytes, dict[str, str]]]:
    """Return the values and headers of all records of a topic of one partition; none if it doesn't exist."""
    settings = {"bootstrap.servers": kafka.brokers, "group.id": f"{topic}.reader", "log_level": 0}
    consumer = Consumer({**settings, "auto.offset.reset": "earliest", "enable.auto.commit": False})
    try:
        if consumer.list_topics(timeout=10).topics.get(topic) is None:
            return []
        part = TopicPartition(topic, 0, 0)
        _, end = consumer.get_watermark_offsets(part, timeout=10)
        consumer.assign([part])
        found: list[tuple[bytes, dict[str, str]]] = []
        deadline = time.monotonic() + 60
        while len(found) < end and time.monotonic() < deadline:
            for message in consumer.consume(1000, 0.2):
                assert message.error() is None, message.error()
                headers = dict(message.headers() or [])
                text = {name: value.decode() for name, value in headers.items() if isinstance(value, bytes)}
                found.append((message.value() or b"", text))
        return found
    finally:
        consumer.close()
