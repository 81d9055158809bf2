"""A topic of a real broker, behind a proxy."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import Any
from uuid import uuid4

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AclOperation, ResourceType

import sinks.kafka_producer  # noqa: F401  its time-out is set as it is loaded, which tests shorten for others
from sinks.settings import CommonDestination
from tests.servers.kafka import Kafka, forbidden
from tests.sinks import test_kafka
from tests.sinks.cloud_support import PATIENCE_SECONDS, Engine
from tests.sinks.conformance.faults import (
    ALL_REFUSED,
    ANSWERS,
    FORBIDDEN,
    GARBAGE,
    NO_ROOM,
    ONE_BREAKS_IT,
    ONE_IN_OTHER_WORDS,
    ONE_REFUSED,
    PROXY_AUTH,
    REFUSED,
    SOME_BUSY,
    TOO_LARGE,
    UNAUTHORIZED,
    WRONG_NAME,
    Fault,
)
from tests.sinks.conformance.site import MANY, MORE, TOLD_OTHERWISE, Longest, Sent, Site

PASSWORD = "pl4nted-passw0rd"
BATCH_BYTES = 2000
"""Of a topic for small batches."""
RECORD_BYTES = 900
OVERHEAD_BYTES = 300
"""More than a broker adds to a record of its own, its key and its header."""


class KafkaSite(Site):
    kind = "kafka"
    needs = "kafka"
    real: Kafka
    patient = True
    variants = tuple({"compression": how} for how in (True, False, "gzip", "snappy", "zstd"))
    absent = {
        **{
            fault: "a broker that is busy answers later, not otherwise"
            for fault in ANSWERS
            if fault not in {TOO_LARGE, GARBAGE}
        },
        **dict.fromkeys((ONE_IN_OTHER_WORDS, ONE_BREAKS_IT), "a broker has no words but those of its protocol"),
        PROXY_AUTH: "no HTTP is on the way",
        SOME_BUSY: "a broker takes a batch of records whole, or not at all",
        NO_ROOM: TOLD_OTHERWISE.replace("500 or 503", "an outage"),
    }

    def secrets(self) -> set[str]:
        return {PASSWORD}

    def start(self) -> None:
        self.topic = f"conformance-{uuid4().hex[:8]}"
        self.user = f"user-{uuid4().hex[:8]}"
        config: dict[str, Any] = {"cleanup_policy": "compact"} if self.fault in {ONE_REFUSED, ALL_REFUSED} else {}
        if self.fault is TOO_LARGE:
            config["max_message_bytes"] = BATCH_BYTES
        self.real.create_topic(self.topic, **config)
        self.real.set_password(self.user, PASSWORD)
        self.address = self.front(self.real.behind_proxy, self.real.proxy_port)
        self._permission = self.stack.enter_context(ExitStack())
        self._reader = Consumer({"bootstrap.servers": self.real.brokers, "group.id": self.topic, "log_level": 0})
        self.stack.callback(self._reader.close)
        self._reader.assign([TopicPartition(self.topic, 0, 0)])
        self._values: list[tuple[str, bytes]] = []

    def settings(self, **changes: Any) -> CommonDestination:
        login = {
            "security.protocol": "SASL_SSL" if self.authority else "SASL_PLAINTEXT",
            "sasl.mechanism": "SCRAM-SHA-256",
            "sasl.username": self.user,
            "sasl.password": PASSWORD,
            # Time enough for what the producer repeats by itself.
            "message.timeout.ms": 1500 if self.fault in {REFUSED, WRONG_NAME, UNAUTHORIZED} else 10_000,
            "topic.metadata.propagation.max.ms": 1000,
            "reconnect.backoff.ms": 20,
            "reconnect.backoff.max.ms": 100,
        }
        if self.authority:
            login["ssl.ca.location"] = str(self.authority.path)
        given = {"key": "id", "id_header": "id", "settings": login, "compression": False, **changes}
        return test_kafka.configured(self.address, self.topic, **given)

    def taken(self) -> list[tuple[str, bytes]]:
        end = self._reader.get_watermark_offsets(TopicPartition(self.topic, 0), timeout=PATIENCE_SECONDS)[1]
        # What was compacted or aborted is missing from the offsets; nothing here is.
        while len(self._values) < end:
            for each in self._reader.consume(end - len(self._values), 1):
                assert each.error() is None, each.error()
                ids: dict[str, Any] = dict(each.headers() or [])
                self._values.append((ids["id"].decode(), each.value() or b""))
        return list(self._values)

    def same(self, sent: Sent, got: tuple[str, bytes]) -> bool:
        return super().same(sent, json.loads(got[1]))

    def identity(self, got: tuple[str, bytes]) -> str:
        return got[0]

    def number(self, got: tuple[str, bytes]) -> int:
        return int(json.loads(got[1])["n"])

    def longest(self, run: Engine) -> Longest:
        self.real.configure_topic(self.topic, max_message_bytes=BATCH_BYTES)
        return Longest(len, BATCH_BYTES, "too large", slack=OVERHEAD_BYTES)

    def poison(self, number: int) -> bytes:
        """Return a record without a key, which a compacted topic refuses."""
        return json.dumps({"n": number}).encode()

    def batch(self, fault: Fault) -> list[bytes]:
        if fault is TOO_LARGE:
            return [self.record(number, pad="x" * RECORD_BYTES) for number in range(1, MANY + 1)]
        if fault is ALL_REFUSED:
            return [self.poison(number) for number in range(1, MORE + 1)]
        return super().batch(fault)

    def begin(self, fault: Fault) -> None:
        assert self.proxy is not None
        if fault is UNAUTHORIZED:
            self.real.set_password(self.user, "another")
            self.proxy.drop()
        elif fault is FORBIDDEN:
            self._permission.enter_context(
                forbidden(self.real, self.user, (ResourceType.TOPIC, self.topic, AclOperation.WRITE))
            )
        elif fault is GARBAGE:
            self.proxy.fail("garbage")
        elif fault not in {TOO_LARGE, ONE_REFUSED, ALL_REFUSED}:
            super().begin(fault)

    def end(self, fault: Fault) -> None:
        assert self.proxy is not None
        if fault is UNAUTHORIZED:
            self.real.set_password(self.user, PASSWORD)
        elif fault is FORBIDDEN:
            self._permission.close()
        elif fault is GARBAGE:
            self.proxy.heal()
        elif fault is ALL_REFUSED:
            self.real.configure_topic(self.topic, cleanup_policy="delete")
        elif fault not in {TOO_LARGE, ONE_REFUSED}:
            super().end(fault)
