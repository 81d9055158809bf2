"""librdkafka's settings: what the Kafka output sets, what users may change, and what is wrong with theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

DEFAULTS: Mapping[str, Any] = {
    "enable.idempotence": True,
    "compression.type": "lz4",
    "linger.ms": 50,
    # So long a record may wait for the brokers, then it goes to the fallback.
    "message.timeout.ms": 300_000,
    # The default, 10 s, would let an outage last that much longer than it does.
    "reconnect.backoff.max.ms": 2_000,
    # It would write to stderr by itself.
    "log_level": 0,
}
"""What `settings` may change."""

_OWN = {
    "bootstrap.servers": "give `brokers`",
    "metadata.broker.list": "give `brokers`",
    "queue.buffering.max.messages": "give `max_records`",
    "queue.buffering.max.kbytes": "give `max_bytes`",
    "on_delivery": "read `stats()`",
    "dr_cb": "read `stats()`",
    "error_cb": "read `stats()`",
    "delivery.report.only.error": "read `stats()`",
}


def check(
    brokers: str | Sequence[str],
    topic: str,
    when_full: str,
    max_records: int,
    max_bytes: int,
    settings: Mapping[str, Any],
) -> None:
    """Refuse what can't be meant.

    Raises:
        ValueError: A setting is wrong; the message names it.
    """
    if when_full not in {"fallback", "drop"}:
        msg = f"when_full must be fallback or drop, got {when_full!r}"
        raise ValueError(msg)
    if not topic:
        msg = "topic must be the name of a topic"
        raise ValueError(msg)
    if not brokers:
        msg = "brokers must name at least one, as host:port"
        raise ValueError(msg)
    for name, value in (("max_records", max_records), ("max_bytes", max_bytes)):
        if value < 1:
            msg = f"{name} must be at least 1, got {value}"
            raise ValueError(msg)
    for name in settings:
        if name in _OWN:
            msg = f"`{name}` can't be set under `settings`: {_OWN[name]} instead"
            raise ValueError(msg)


def client_class(settings: Mapping[str, Any]) -> Any:
    """Return the class of producers, once it has found these settings right."""
    try:
        from confluent_kafka import KafkaException, Producer
    except ModuleNotFoundError as error:
        msg = "KafkaOutput needs confluent-kafka: pip install 'logweir-logger[kafka]'"
        raise ModuleNotFoundError(msg) from error
    try:
        # Without brokers it starts no connection, and is gone at once.
        Producer({name: value for name, value in settings.items() if name != "bootstrap.servers"})
    except KafkaException as error:
        msg = f"wrong settings for Kafka: {error.args[0].str()}"
        raise ValueError(msg) from None
    return Producer
