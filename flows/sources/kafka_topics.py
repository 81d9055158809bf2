"""What the brokers say of a source's topics: which there are, under which ids, and which of their parts can't be read.

One that can't be read holds up no other: it is an issue in words, and is asked for again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import re2
from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from flows.sources.kafka_position import name_of

ASK_SECONDS = 15.0
"""How long an answer is waited for."""
REFUSED_SECONDS = 3.0
"""And how long after a refused login."""
_CONSUMERS = ("group.id", "enable.auto.commit", "enable.auto.offset.store", "auto.offset.reset", "debug")
_ABSENT = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.UNKNOWN_TOPIC_ID}
_INTERNAL = "__"
"""What the names of Kafka's own topics begin with. A pattern means them only if it begins so itself."""


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic."""

    log: str
    """The name of its log, as `flows.sources.kafka_position` has it."""
    partitions: Mapping[int, bool]
    """Its partitions, and whether they have a leader."""


@dataclass(slots=True)
class Found:
    """What there is of a source's topics."""

    topics: dict[str, Topic] = field(default_factory=dict)
    issues: dict[str, str] = field(default_factory=dict)
    """Of topics that can't be read, by their names, in words."""
    absent: set[str] = field(default_factory=set)
    """Those of them that don't exist."""

    def keys(self) -> list[tuple[str, int]]:
        """Return every partition."""
        return [(name, number) for name, topic in self.topics.items() for number in topic.partitions]


class Topics:
    """Asks for a source's topics.

    Args:
        settings: librdkafka's settings, those of the consumer.
        wanted: Their names; what begins with `^` is a pattern.
        passed_over: Tells which topics a pattern doesn't mean, since the flow writes to them itself.
        said: Gives the words of an error.
        on_error: Hears of errors of connections.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        wanted: Sequence[str],
        passed_over: Callable[[str], bool],
        said: Callable[[Any], str],
        on_error: Callable[[KafkaError], None],
    ) -> None:
        own: dict[str, Any] = {name: value for name, value in settings.items() if name not in _CONSUMERS}
        self.admin = AdminClient(own | {"log_level": 0, "error_cb": on_error})
        self.names = [each for each in wanted if not each.startswith("^")]
        self.patterns = [each for each in wanted if each.startswith("^")]
        self._matches = [re2.compile(each) for each in self.patterns]
        self._passed_over = passed_over
        self._said = said
        self._cluster = ""
        self._matched: list[str] = []

    def begin(self, refused: Callable[[], bool]) -> None:
        """Ask which cluster this is.

        Args:
            refused: Tells whether a refused login was heard of; the rest isn't waited for then.

        Raises:
            KafkaException: The brokers don't say.
        """
        deadline = time.monotonic() + ASK_SECONDS
        while True:
            self.admin.poll(0)
            try:
                self._cluster = self.admin.describe_cluster(request_timeout=REFUSED_SECONDS).result().cluster_id or ""
            except KafkaException:
                self.admin.poll(0)
                if refused() or time.monotonic() > deadline:
                    raise
            else:
                return

    def look(self, *, anew: bool = True) -> Found:
        """Return what there is.

        Args:
            anew: Whether topics are looked for that patterns match; else it is about those that were found before.

        Raises:
            KafkaException: The brokers don't say.
        """
        self.admin.poll(0)
        if anew and self.patterns:
            self._matched = self._match()
        names = list(dict.fromkeys([*self.names, *self._matched]))
        found = Found()
        if not names:
            return found
        asked = self.admin.describe_topics(TopicCollection(names), request_timeout=ASK_SECONDS)
        for name, answer in asked.items():
            try:
                told = answer.result()
            except KafkaException as error:
                code = error.args[0].code()
                if code < 0:
                    # It is no answer of the brokers: those are all positive.
                    raise
                if name in self.names or code not in _ABSENT:
                    found.issues[name] = self._issue(name, error.args[0])
                if code in _ABSENT:
                    found.absent.add(name)
            else:
                partitions = {each.id: each.leader is not None and each.leader.id >= 0 for each in told.partitions}
                found.topics[name] = Topic(
                    name_of(self._cluster, str(told.topic_id), name), dict(sorted(partitions.items()))
                )
        return found

    def _match(self) -> list[str]:
        """Return the topics that the patterns mean."""
        every = self.admin.list_topics(timeout=ASK_SECONDS).topics
        return sorted(
            name
            for name in every
            if not self._passed_over(name)
            and any(
                match.search(name) and (pattern.startswith(f"^{_INTERNAL}") or not name.startswith(_INTERNAL))
                for pattern, match in zip(self.patterns, self._matches, strict=True)
            )
        )

    def _issue(self, name: str, error: KafkaError) -> str:
        return f"topic {name}: {self._said(error)}: create it, or check source.topics and what this user may read"
