"""A Kafka topic, in the source's cluster or another, by an idempotent producer.

Protocol: "Producer" and "Topic configs" in the Apache Kafka documentation; librdkafka's "Idempotent Producer".

    a record is the value of a message, as it is; key, headers and timestamp are those of the source's message, unless
    the settings say otherwise
    max.message.bytes of the topic (1 MiB by default) bounds a batch of messages, after compression
    every replica in sync has acknowledged what counts as delivered (acks=all)
    what the producer itself repeats after a lost answer is stored once; what the engine sends again after a request has
    failed, or after a restart, is stored again

A batch is compressed by the producer, not by the engine.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator

from logweir.head import KEY, NO_HEAD
from logweir.librdkafka import LibrdkafkaSettings, client_settings, refuse_reserved
from logweir.paths import FieldPath
from logweir.units import Bytes, Duration
from sinks import kafka_lines
from sinks.destination import Delivered, Getter, Hold, Limits, Outcome, Probed, Records
from sinks.http import CONNECT_SECONDS
from sinks.kafka_answers import Failure, Troubles, read_failures
from sinks.kafka_lines import Messages
from sinks.settings import BatchSettings, CommonDestination

if TYPE_CHECKING:
    from sinks.kafka_producer import Producer

RESERVED = {
    "bootstrap.servers": "set brokers",
    "metadata.broker.list": "set brokers",
    "compression.type": "set compression",
    "compression.codec": "set compression",
    "acks": "a record counts as delivered once all replicas in sync have it",
    "request.required.acks": "a record counts as delivered once all replicas in sync have it",
    "enable.idempotence": "the producer is always idempotent",
    "transactional.id": "each request is reported on by itself",
    "delivery.report.only.error": "failures alone are asked for",
}
"""librdkafka settings that are not the user's, and what to do instead."""

_POLL_SECONDS = 0.05
_TEND_SECONDS = 5.0


class KafkaBatch(BatchSettings):
    """When a request is sent: as soon as one of the limits is reached."""

    max_records: int = Field(10_000, ge=1, description="The most records handed to the producer at once.")
    max_bytes: Bytes = Field(2_000_000, gt=0, description="The most bytes of records handed to the producer at once.")
    flush_interval: Duration = Field(1.0, gt=0, description="How long a record waits for others at most.")


class Kafka(CommonDestination):
    """A topic of a Kafka cluster."""

    type: Literal["kafka"] = Field(description="A topic of a Kafka cluster.")
    brokers: list[str] = Field(min_length=1, description="Addresses of some brokers, as host:port.")
    topic: str = Field(pattern=r"^[A-Za-z0-9._-]{1,249}$", description="The topic to write to.")
    key: FieldPath | None = Field(
        "keep",
        description="The field whose value is the message's key, as a dotted path: records of one key are in one "
        "partition. `keep`: the key that the record has in the source's topic. `none`: they are spread. (A field of "
        "such a name is written /keep.)",
    )
    headers: Literal["keep", "drop"] = Field(
        "keep", description="Whether a message has the headers that the record has in the source's topic."
    )
    timestamp: Literal["keep", "record", "now"] = Field(
        "keep",
        description="The message's timestamp. `keep`: the one that the record has in the source's topic. `record`: the "
        "time in the record. `now`: when it is sent, as it is where there is no other.",
    )
    id_header: str | None = Field(
        None,
        min_length=1,
        description="The name of a header by which a reader may tell a repetition: the record's own id joined with a "
        "digest of its bytes, else its place.",
    )
    compression: bool | Literal["gzip", "lz4", "snappy", "zstd"] = Field(
        True, description="How the producer compresses batches; true is lz4."
    )
    settings: LibrdkafkaSettings = Field(
        default_factory=dict, description="librdkafka's own settings: security.protocol, sasl.*, ssl.* and others."
    )
    batch: KafkaBatch = Field(default_factory=KafkaBatch, description="When a request is sent.")
    concurrency: int = Field(
        1, ge=1, le=64, description="The most requests at once, for each partition; records keep their order with 1."
    )

    @field_validator("topic")
    @classmethod
    def _no_directory(cls, value: str) -> str:
        if value in {".", ".."}:
            msg = "must not be . or .."
            raise ValueError(msg)
        return value

    @field_validator("settings")
    @classmethod
    def _not_reserved(cls, value: LibrdkafkaSettings) -> LibrdkafkaSettings:
        refuse_reserved(value, RESERVED)
        return value

    def librdkafka(self) -> dict[str, Any]:
        """Return the settings that any client of this cluster needs, secrets in the clear."""
        return client_settings(self.settings, self.brokers)

    @property
    def identified(self) -> bool:
        """Whether messages have a header that tells repetitions."""
        return self.id_header is not None

    @property
    def key_field(self) -> str | None:
        """Return the field of the key, None where it is no field."""
        return None if self.key in {None, "keep", "none"} else self.key

    def fields(self) -> set[str]:
        """Return the field of the key, and of the time."""
        return {*filter(None, [self.key_field]), *(["timestamp"] if self.timestamp == "record" else [])}

    def open(self, getter: Callable[[str], Getter], resume: Any, *, partition: int = 0) -> KafkaDestination:
        """Return the destination; it connects with the first request."""
        del resume, partition
        return KafkaDestination(self, getter(self.key_field) if self.key_field else None)


class KafkaDestination:
    """Sends requests by producers of its own, one for each request that is under way.

    Args:
        settings: The destination's settings.
        key: Reads a record's key.
    """

    compression: str | None = None
    serial = False

    def __init__(self, settings: Kafka, key: Getter | None) -> None:
        self._settings = settings
        self._key = key
        self._columns = kafka_lines.Columns(
            key=key is not None or settings.key == "keep",
            timestamp=settings.timestamp != "now",
            headers=settings.headers == "keep",
            identity=settings.id_header,
        )
        self._keeps = "keep" in {settings.key, settings.timestamp, settings.headers}
        self.limits = Limits(heads=self._keeps)
        self._lock = threading.Lock()
        self._idle: list[Producer] = []
        self._closed = threading.Event()
        self._tender: threading.Thread | None = None

    def encode(self, records: Records) -> list[bytes]:
        """Return each record on a line, behind lines with what else its message has, as far as it is asked."""
        settings, columns = self._settings, []
        heads = records.heads or [NO_HEAD] * len(records)
        if self._columns.key:
            key = self._key
            found = list(map(KEY, heads)) if key is None else list(map(key, records.records))
            columns.append(kafka_lines.texts(found))
        if self._columns.timestamp:
            keep = settings.timestamp == "keep"
            columns.append(kafka_lines.millis(heads) if keep else kafka_lines.moments(records.times))
        if self._columns.headers:
            columns.append(kafka_lines.headers(heads))
        if self._columns.identity is not None:
            columns.append(kafka_lines.texts(records.identities))
        if not columns:
            return records.values
        return list(map(b"\n".join, zip(*columns, records.values, strict=True)))

    def frame(self, pieces: list[bytes]) -> bytes:
        """Return the pieces as lines; `send` makes messages of them."""
        return b"\n".join(pieces)

    def send(self, body: bytes, count: int) -> Outcome:
        """Send a message for each record, and wait until each is acknowledged or has failed."""
        from confluent_kafka import KafkaException

        messages = self.messages(body)
        try:
            producer = self._take()
        except KafkaException as error:
            return self._unusable(error)
        failed = producer.send(self._settings.topic, messages)
        outcome = read_failures(failed, producer.troubles.last, count)
        if not producer.spent:
            with self._lock:
                self._idle.append(producer)
        return outcome

    def messages(self, body: bytes) -> Messages:
        """Return the messages of a body."""
        return self._columns.read(body)

    def probe(self) -> Probed:
        """Ask for the topic and for what this user may do with it, which creates no topic."""
        from confluent_kafka import KafkaException, TopicCollection
        from confluent_kafka.admin import AclOperation, AdminClient

        heard = Troubles(self._settings.settings)
        topic = self._settings.topic
        try:
            settings: dict[str, Any] = {"log_level": 0, **self._settings.librdkafka(), "error_cb": heard}
            admin = AdminClient(settings)
        except KafkaException as error:
            return self._unusable(error)
        asked = admin.describe_topics(
            TopicCollection([topic]), include_authorized_operations=True, request_timeout=CONNECT_SECONDS
        )[topic]
        while not asked.done() and not heard.refused:
            admin.poll(_POLL_SECONDS)
        if not asked.done():
            return Failure("_TIMED_OUT", "no answer").outcome(heard.last)
        problem = asked.exception()
        if isinstance(problem, KafkaException):
            return heard.read(problem.args[0]).outcome(heard.last)
        allowed = asked.result().authorized_operations
        if allowed and AclOperation.WRITE not in allowed:
            return Failure("TOPIC_AUTHORIZATION_FAILED", f"{topic}: this user may not write to it").outcome(None)
        return Delivered()

    def checkpoint(self) -> None:
        """Keep no state: a topic is never taken back."""

    def close(self) -> None:
        """Close the connections."""
        self._closed.set()
        with self._lock:
            self._idle.clear()

    def _take(self) -> Producer:
        """Return a producer that nobody else uses meanwhile."""
        from sinks.kafka_producer import DEFAULTS, Producer

        with self._lock:
            if self._tender is None:
                self._tender = threading.Thread(target=self._tend, daemon=True)
                self._tender.start()
            if self._idle:
                return self._idle.pop()
        settings = self._settings
        method = "lz4" if settings.compression is True else settings.compression or "none"
        made = {**DEFAULTS, **settings.librdkafka(), "compression.type": method}
        return Producer(made, settings.settings)

    def _tend(self) -> None:
        """Look after the producers that nobody uses."""
        while not self._closed.wait(_TEND_SECONDS):
            with self._lock:
                for producer in self._idle:
                    producer.tend()
                self._idle = [producer for producer in self._idle if not producer.spent]

    def _unusable(self, error: Exception) -> Hold:
        """Return why no client can be made."""
        return Hold(f"{Troubles(self._settings.settings).read(error.args[0]).said}: check `settings`")
