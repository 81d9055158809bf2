"""What a consumer asks of the brokers before it reads: its settings, and where its group stands."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import TopicMetadata

PREFETCH_KBYTES = 8192
ASK_SECONDS = 15.0
"""How long an answer is waited for."""
REFUSED_SECONDS = 3.0
"""And how long after a refused login."""
_COORDINATOR_SECONDS = 0.1
COORDINATOR_SOON = {
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
}
"""What a broker answers while it makes the group's coordinator: ask again."""


def consumer_settings(settings: dict[str, Any], group: str) -> dict[str, Any]:
    """Return the consumer's settings; the user's own win where they don't touch the position."""
    return {
        "queued.max.messages.kbytes": PREFETCH_KBYTES,
        "fetch.max.bytes": PREFETCH_KBYTES * 1024,
        # The default of one second would leave a small queue empty for most of it.
        "fetch.queue.backoff.ms": 5,
        # A broker that is back should be noticed before the backlog is large; the default is ten seconds.
        "reconnect.backoff.max.ms": 2000,
        **settings,
        "group.id": group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        # An offset that is gone must be seen and counted, not skipped.
        "auto.offset.reset": "error",
    }


def committed_offsets(consumer: Consumer, parts: list[TopicPartition]) -> list[TopicPartition]:
    """Return what the consumer's group has committed. A new broker makes its coordinator with the first question.

    Raises:
        KafkaException: The brokers don't say.
    """
    deadline = time.monotonic() + ASK_SECONDS
    while True:
        try:
            found: list[TopicPartition] = consumer.committed(parts, timeout=ASK_SECONDS)
        except KafkaException as error:
            if error.args[0].code() not in COORDINATOR_SOON or time.monotonic() > deadline:
                raise
            time.sleep(_COORDINATOR_SECONDS)
        else:
            return found


def first_described(consumer: Consumer, topic: str, refused: Callable[[], bool]) -> TopicMetadata:
    """Return what the brokers say of a topic, before anything is read; later, to poll meanwhile might take a record.

    Args:
        consumer: The consumer.
        topic: The topic.
        refused: Tells whether the consumer's callback has heard of a refused login; the rest isn't waited for then.

    Raises:
        KafkaException: The brokers don't say.
    """
    for seconds in (REFUSED_SECONDS, ASK_SECONDS - REFUSED_SECONDS):
        try:
            found: TopicMetadata = consumer.list_topics(topic, timeout=seconds).topics[topic]
        except KafkaException:
            consumer.poll(0)
            if refused() or seconds != REFUSED_SECONDS:
                raise
        else:
            return found
    raise AssertionError
