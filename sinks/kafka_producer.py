"""An idempotent Kafka producer that sends some records and returns once each has been reported on.

Reports of success are not asked for: they would cost as much as the sending. The producer belongs to one request at a
time, so when nothing is outstanding whatever was not reported as failed has been acknowledged. librdkafka reports on
each record within `message.timeout.ms`, unless a fatal error ends it, and never sends one that it has reported on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from logweir.librdkafka import LibrdkafkaSettings
from sinks.http import ANSWER_SECONDS
from sinks.kafka_answers import ALONE_TOO_LARGE, TOO_LARGE, WITH_ANOTHER, Failure, Troubles
from sinks.kafka_lines import Messages

MAX_MESSAGE_BYTES = 100_000_000
"""Larger records are refused here; what smaller size the topic takes is for the broker to say (max.message.bytes)."""
QUEUE_KBYTES = 131_072
TOPIC_SECONDS = 10
"""How long a topic that nobody knows may take to be created, before its records fail."""
_REFUSED_SECONDS = 3.0
"""After a refused login without any progress the rest isn't waited for."""
_SLICE_SECONDS = 0.1

DEFAULTS: Mapping[str, Any] = {
    # The partition of a key is that of Kafka's own clients, not librdkafka's.
    "partitioner": "murmur2_random",
    "message.timeout.ms": round(ANSWER_SECONDS * 1000),
    "topic.metadata.propagation.max.ms": TOPIC_SECONDS * 1000,
    # Batches fill up meanwhile; once a request is handed over nothing is waited for.
    "linger.ms": 50,
    "message.max.bytes": MAX_MESSAGE_BYTES,
    "queue.buffering.max.kbytes": QUEUE_KBYTES,
    # It would write to stderr between the flow's own lines. What matters comes as an error.
    "log_level": 0,
}
"""What the user's own settings may change."""


class Producer:
    """One producer, for one request at a time.

    Args:
        settings: librdkafka's, secrets in the clear.
        given: The user's among them, for what must not be shown.

    Raises:
        KafkaException: The settings are wrong.
    """

    def __init__(self, settings: Mapping[str, Any], given: LibrdkafkaSettings) -> None:
        from confluent_kafka import Producer as Client

        self._reported: list[tuple[Any, Any]] = []
        """The error and the message of each failure."""
        self.troubles = Troubles(given)
        self.spent = False
        """Whether it must not be used again: a new one may find the way, or go on after a fatal error."""
        self._client = Client(
            {
                **settings,
                "enable.idempotence": True,
                "acks": "all",
                "delivery.report.only.error": True,
                "on_delivery": lambda error, message: self._reported.append((error, message)),
                "error_cb": self.troubles,
            }
        )

    def send(self, topic: str, messages: Messages) -> dict[int, Failure]:
        """Send records, and return why some were not acknowledged, by their indexes.

        Args:
            topic: Where to.
            messages: What they are sent as.
        """
        self._reported.clear()
        self.troubles.forget()
        failed = self._hand_over(topic, messages)
        self._wait()
        failed |= self._read_reports(messages)
        # What timed out may have been written after all: without its connection, nothing of it can come late. What was
        # refused beside another is no such case, and a new connection for each part of a batch would take its time.
        names = {failure.name for failure in failed.values()} - {WITH_ANOTHER}
        self.spent |= self.troubles.fatal or any(name.startswith("_") for name in names)
        return failed

    def _hand_over(self, topic: str, messages: Messages) -> dict[int, Failure]:
        """Put everything into the producer's queue, and return what it refuses."""
        from confluent_kafka import KafkaException

        client, produce = self._client, self._client.produce
        refused: dict[int, Failure] = {}
        more: dict[str, Any] = {}
        keys, millis, headers = messages.keys, messages.millis, messages.headers
        for index, value in enumerate(messages.values):
            if keys:
                more["key"] = keys[index]
            if millis:
                more["timestamp"] = max(0, millis[index])  # 0 is now
            if headers:
                more["headers"] = headers[index]
            while True:
                try:
                    produce(topic, value, **more)
                except BufferError:
                    if len(client):
                        self._serve(client.poll, _SLICE_SECONDS)
                        continue
                    said = f"{len(value)} bytes, more than queue.buffering.max.kbytes under `settings` has room for"
                    refused[index] = Failure(ALONE_TOO_LARGE, said)
                except KafkaException as error:
                    failure = self.troubles.read(error.args[0])
                    if failure.name == TOO_LARGE:
                        said = f"{len(value)} bytes, more than message.max.bytes under `settings`"
                        failure = Failure(ALONE_TOO_LARGE, said)
                    refused[index] = failure
                break
        return refused

    def tend(self) -> None:
        """Take what the client has to say between two requests, or it would pile up while the brokers are away."""
        self._serve(self._client.poll, 0)
        self.spent |= self.troubles.fatal

    def _serve(self, serve: Callable[[float], int], seconds: float) -> None:
        """Let the client do its work for a moment, and take note of what it says."""
        from confluent_kafka import KafkaException

        try:
            serve(seconds)
        except KafkaException as error:
            # A fatal error is raised, in place of a call to error_cb.
            self.troubles(error.args[0])

    def _wait(self) -> None:
        """Return once each record is reported on."""
        left, since = -1, time.monotonic()
        while True:
            self._serve(self._client.flush, _SLICE_SECONDS)
            now = len(self._client)
            if not now:
                return
            if self.troubles.fatal:
                # Nothing more is sent or reported on by itself.
                self._client.purge()
            elif now != left:
                left, since = now, time.monotonic()
            elif self.troubles.refused and time.monotonic() - since > _REFUSED_SECONDS:
                # Only what was never sent is given up. What is on its way is still waited for.
                self._client.purge(in_queue=True, in_flight=False)

    def _read_reports(self, messages: Messages) -> dict[int, Failure]:
        """Return the reported failures by index. Reports come without headers.

        Records of one value, key and timestamp are interchangeable where there are no headers. Else all of them have
        failed: it isn't known which, and one that is sent twice is better than one that isn't.
        """
        if not self._reported:
            return {}
        indexes: dict[Any, list[int]] = {}
        keys, headers = messages.keys, messages.headers
        for index, value in enumerate(messages.values):
            indexes.setdefault((value, keys[index] if keys else None), []).append(index)
        failed = {}
        for error, message in self._reported:
            alike = indexes[message.value(), message.key()]
            failure = self.troubles.read(error)
            if headers or messages.millis:
                failed.update(dict.fromkeys(alike, failure))
            else:
                failed[alike.pop()] = failure
        self._reported.clear()
        return failed
