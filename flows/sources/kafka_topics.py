"""What the brokers say of a source's topics: which there are, under which ids, and which of their parts can't be read.

One that can't be read holds up no other: it is an issue in words, and is asked for again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import re2
from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, TopicMetadata

from flows.sources.kafka_position import name_of

ASK_SECONDS = 15.0
"""How long an answer is waited for."""
REFUSED_SECONDS = 3.0
"""And how long after a refused login."""
_CONSUMERS = ("group.id", "enable.auto.commit", "enable.auto.offset.store", "auto.offset.reset", "debug")
_ABSENT = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.UNKNOWN_TOPIC_ID}
_ELECTING = {KafkaError.LEADER_NOT_AVAILABLE}
"""Of a topic while it is being made."""
_CONTROLLER_SECONDS = 5.0
_FEW = 10
"""Up to so many topics are asked for one by one; of more, all that the cluster has."""
_INTERNAL = "__"
"""What the names of Kafka's own topics begin with. A pattern means them only if it begins so itself."""


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic."""

    log: str
    """The name of its log, as `flows.sources.kafka_position` has it."""
    partitions: Mapping[int, int]
    """The broker that leads each partition; negative where none does."""


@dataclass(slots=True)
class Found:
    """What there is of a source's topics."""

    topics: dict[str, Topic] = field(default_factory=dict)
    issues: dict[str, str] = field(default_factory=dict)
    """Of topics that can't be read, by their names, in words."""
    absent: set[str] = field(default_factory=set)
    """Those of them that don't exist."""

    def led(self, key: tuple[str, int]) -> bool:
        """Tell whether a partition has a leader."""
        return self.topics[key[0]].partitions[key[1]] >= 0

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
        self.admin = AdminClient(own | {"log_level": 0, "allow.auto.create.topics": False, "error_cb": on_error})
        self.names = [each for each in wanted if not each.startswith("^")]
        self.patterns = [each for each in wanted if each.startswith("^")]
        self._matches = [re2.compile(each) for each in self.patterns]
        self._passed_over = passed_over
        self._said = said
        self._cluster = ""
        self.leaders: dict[tuple[str, int], int] = {}
        """The brokers that lead partitions, as they were last."""
        self._known: dict[str, str] = {}
        """The logs of topics, as they were last."""
        self._matched: list[str] = []

    def begin(self, refused: Callable[[], bool]) -> None:
        """Ask for the first time.

        Args:
            refused: Tells whether a refused login was heard of; the rest isn't waited for then.

        Raises:
            KafkaException: The brokers don't say.
        """
        deadline = time.monotonic() + ASK_SECONDS
        while True:
            self.admin.poll(0)
            try:
                self._described(self.names[0] if self.names else None, REFUSED_SECONDS)
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
        described: dict[str, TopicMetadata] = {}
        if (anew and self.patterns) or len(self.names) + len(self._matched) > _FEW:
            described = self._described(None)
            self._matched = [each for each in self._match(described) if anew or each in self._matched]
        names = dict.fromkeys([*self.names, *self._matched])
        found = Found()
        there: dict[str, TopicMetadata] = {}
        for name in names:
            told = described[name] if name in described else self._described(name).get(name)
            error = told.error if told is not None else KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)
            if told is None or (error is not None and error.code() not in _ELECTING):
                absent = error is None or error.code() in _ABSENT
                if absent:
                    found.absent.add(name)
                if error is not None and (name in self.names or not absent):
                    found.issues[name] = self._issue(name, error)
            else:
                there[name] = told
        for name, log in self._logs(there).items():
            leaders = {number: each.leader for number, each in sorted(there[name].partitions.items())}
            found.topics[name] = Topic(log, leaders)
            self.leaders.update({(name, number): leader for number, leader in leaders.items()})
        return found

    def _described(self, name: str | None, seconds: float = ASK_SECONDS) -> dict[str, TopicMetadata]:
        """Return what any broker says of one topic, or of all."""
        told = self.admin.list_topics(name, seconds) if name else self.admin.list_topics(timeout=seconds)
        self._cluster = told.cluster_id or self._cluster
        return dict(told.topics)

    def _logs(self, there: Mapping[str, TopicMetadata]) -> dict[str, str]:
        """Return the names of logs. The controller is asked, whom the question before has told about."""
        if not there:
            return {}
        logs: dict[str, str] = {}
        asked = self.admin.describe_topics(TopicCollection(list(there)), request_timeout=_CONTROLLER_SECONDS)
        for name, answer in asked.items():
            try:
                logs[name] = name_of(self._cluster, str(answer.result().topic_id), name)
            except KafkaException as error:
                code = error.args[0].code()
                if name in self._known:
                    # It has died just now, or the topic has: the next look will tell.
                    logs[name] = self._known[name]
                elif code < 0:
                    # It is no answer of the brokers: those are all positive.
                    raise
        self._known.update(logs)
        return logs

    def _match(self, described: Iterable[str]) -> list[str]:
        """Return the topics that the patterns mean."""
        return sorted(
            name
            for name in described
            if not self._passed_over(name)
            and any(
                match.search(name) and (pattern.startswith(f"^{_INTERNAL}") or not name.startswith(_INTERNAL))
                for pattern, match in zip(self.patterns, self._matches, strict=True)
            )
        )

    def _issue(self, name: str, error: KafkaError) -> str:
        return f"topic {name}: {self._said(error)}: create it, or check source.topics and what this user may read"
