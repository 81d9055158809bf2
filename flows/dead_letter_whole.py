"""Whole records of letters that keep only a beginning, read from where the letters say that they are."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from flows.sources.kafka_consumer import ASK_SECONDS, consumer_settings
from flows.sources.kafka_position import is_same, name_of
from logweir.errors import SourceError
from logweir.head import head_of
from logweir.librdkafka import teller
from sinks.deadletter import DeadLetter

_POLL_SECONDS = 0.5


class WholeRecords:
    """Reads records from the source's topics, each by its place; connects with the first one.

    Args:
        settings: librdkafka's settings of the cluster: brokers, TLS, SASL.
        group: A consumer group's name, in which nothing is committed.
    """

    def __init__(self, settings: dict[str, Any], group: str) -> None:
        self._settings = settings
        self._group = group
        self._said = teller(settings)
        self._consumer: Consumer | None = None
        self._logs: dict[str, str] = {}

    def find(self, letter: DeadLetter) -> DeadLetter | None:
        """Return the letter with its whole record; None where that isn't there any more.

        Raises:
            SourceError: The brokers don't say.
        """
        try:
            return self._find(letter)
        except KafkaException as error:
            if error.args[0].code() in {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC}:  # noqa: SLF001
                return None
            place = f"{letter.topic}-{letter.partition}-{letter.offset}"
            msg = f"{place}: {self._said(error.args[0])}: the whole record of a letter can't be read; check "
            msg += "source.brokers and what this user may read"
            raise SourceError(msg) from error

    def close(self) -> None:
        """Close the connection."""
        if self._consumer is not None:
            self._consumer.close()

    def _find(self, letter: DeadLetter) -> DeadLetter | None:
        if not is_same(letter.log, self._log(letter.topic), letter.topic):
            return None
        consumer = self._consumer
        if consumer is None:
            consumer = self._consumer = Consumer({**consumer_settings(self._settings, self._group), "log_level": 0})
        part = TopicPartition(letter.topic, letter.partition, letter.offset)
        low, high = consumer.get_watermark_offsets(part, timeout=ASK_SECONDS)
        if not low <= letter.offset < high:
            return None
        consumer.assign([part])
        message = self._read(consumer.poll)
        consumer.unassign()
        if message is None or message.offset() != letter.offset or message.value() is None:
            return None
        head, noted = head_of(message), letter.head.timestamp()[1]
        if noted > 0 and head.timestamp()[1] != noted:
            return None
        return letter._replace(value=message.value(), head=head, size=0)

    def _read(self, poll: Callable[[float], Any]) -> Any:
        """Return the first message; None where its offset was deleted meanwhile."""
        deadline = time.monotonic() + ASK_SECONDS
        while time.monotonic() < deadline:
            message = poll(_POLL_SECONDS)
            if message is None:
                continue
            error = message.error()
            if error is None:
                return message
            if error.code() in {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE}:  # noqa: SLF001
                return None
            if not error.retriable():
                raise KafkaException(error)
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001

    def _log(self, topic: str) -> str:
        """Return the name of the log that a topic has now."""
        if topic not in self._logs:
            from confluent_kafka import TopicCollection

            admin = AdminClient({**self._settings, "log_level": 0})
            told = admin.describe_topics(TopicCollection([topic]), request_timeout=ASK_SECONDS)[topic].result()
            cluster = admin.describe_cluster(request_timeout=ASK_SECONDS).result().cluster_id
            self._logs[topic] = name_of(str(cluster), str(told.topic_id), topic)
        return self._logs[topic]
