"""Kafka: topics, read by a consumer group, with librdkafka's own settings for TLS, SASL and the rest."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import Field, field_validator

from flows.sources.base import RecordSource, SourceContext, SourceSettings
from logweir.librdkafka import LibrdkafkaSettings, client_settings, refuse_reserved
from logweir.units import Duration

_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")

RESERVED = {
    "bootstrap.servers": "set source.brokers",
    "group.id": "set source.group",
    "enable.auto.commit": "offsets are committed when their epoch is recorded",
    "enable.auto.offset.store": "offsets are committed when their epoch is recorded",
    "auto.offset.reset": "set source.start; an offset that is gone later is counted as a gap",
}
"""librdkafka settings that are not the user's, and what to do instead."""


class Kafka(SourceSettings):
    """Topics of a Kafka cluster."""

    type: Literal["kafka"] = Field(description="Topics of a Kafka cluster.")
    brokers: list[str] = Field(min_length=1, description="Addresses of some brokers, as host:port.")
    topics: list[str] = Field(
        min_length=1,
        description="The topics to read. What begins with ^ is a pattern in RE2's syntax, such as ^logs\\..*, for all "
        "topics that it matches, those too that come later.",
    )
    group: str | None = Field(
        None,
        min_length=1,
        description="The consumer group, the flow's name when left out; with isolation: destination each destination's "
        "is <group>.<destination>.",
    )
    start: str = Field(
        "earliest",
        description="Where to begin a partition that has no recorded position: earliest, latest, or a time such as "
        "2026-11-01T00:00:00Z.",
    )
    discover_interval: Duration = Field(30.0, ge=0, description="How often to look for new partitions; 0 for never.")
    settings: LibrdkafkaSettings = Field(
        default_factory=dict, description="librdkafka's own settings: security.protocol, sasl.*, ssl.* and others."
    )

    @field_validator("topics")
    @classmethod
    def _names(cls, value: list[str]) -> list[str]:
        for each in value:
            if each.startswith("^"):
                from operators.patterns import check_pattern

                check_pattern(each)
            elif not _TOPIC.fullmatch(each) or each in {".", ".."}:
                msg = "a topic's name is letters, digits, dots, - and _, 249 at most; a pattern begins with ^"
                raise ValueError(msg)
        return value

    @field_validator("start")
    @classmethod
    def _start(cls, value: str) -> str:
        if value not in {"earliest", "latest"}:
            try:
                datetime.fromisoformat(value)
            except ValueError:
                msg = "must be earliest, latest or a time such as 2026-11-01T00:00:00Z"
                raise ValueError(msg) from None
        return value

    @field_validator("settings")
    @classmethod
    def _not_reserved(cls, value: LibrdkafkaSettings) -> LibrdkafkaSettings:
        refuse_reserved(value, RESERVED)
        return value

    def librdkafka(self) -> dict[str, Any]:
        """Return the settings that any client of this cluster needs, secrets in the clear."""
        return client_settings(self.settings, self.brokers)

    def open(self, context: SourceContext) -> RecordSource:
        """Return the source for this flow to run."""
        from flows.sources.kafka_consumer import consumer_settings
        from flows.sources.kafka_source import KafkaSource

        start: Any = self.start
        if start not in {"earliest", "latest"}:
            moment = datetime.fromisoformat(start)
            start = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return KafkaSource(
            consumer_settings(self.librdkafka(), context.group),
            self.topics,
            start,
            context,
            discover_interval=self.discover_interval,
        )
