"""Reading Kafka: one part a topic-partition, one consumer a process, positions kept by the flow.

Where a partition begins: the flow's own recorded position, if it is one of the log that is there; else the group's
committed offset, of which the same holds; else `start`. See `flows.sources.kafka_first`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from confluent_kafka import KafkaException

from flows.sources.base import RecordSource, SourceContext, SourcePartition
from flows.sources.kafka_first import FirstPositions, Start
from flows.sources.kafka_offsets import Key
from flows.sources.kafka_part import KafkaPart
from flows.sources.kafka_position import Position, is_same
from flows.sources.kafka_reader import Reader, moved
from flows.sources.kafka_topics import Found
from flows.sources.kafka_watch import Watch
from logweir.batch import Batch

WAITING = "waiting"
"""The part of a source that has nothing to read yet: without any, the flow would be at its end."""


def part_name(topic: str, partition: int) -> str:
    """Return the name under which a topic-partition's position is recorded."""
    return f"{topic}[{partition}]"


def key_of(name: str) -> Key | None:
    """Return the topic and the partition of such a name."""
    topic, bracket, number = name.removesuffix("]").rpartition("[")
    return (topic, int(number)) if bracket else None


class KafkaSource(RecordSource):
    """Reads topics.

    Args:
        settings: librdkafka's settings, from `consumer_settings`.
        topics: Their names; what begins with `^` is a pattern.
        start: Where to begin without any recorded position.
        context: The flow that runs it.
        discover_interval: Seconds between looks for new partitions; zero for never.
    """

    def __init__(
        self,
        settings: dict[str, Any],
        topics: Sequence[str],
        start: Start,
        context: SourceContext,
        *,
        discover_interval: float = 30.0,
    ) -> None:
        self._settings = settings
        self._topics = list(topics)
        self._context = context
        self._discover_interval = discover_interval
        self._first = FirstPositions(context.recovery, start, self._topics, self._recorded, self._tell_gap)
        self._reader: Reader | None = None
        self._found: Found | None = None
        self._watch: Watch | None = None

    def list_parts(self) -> list[str]:
        """Return every partition of the topics, as they were when first asked, and those that are recorded.

        The engine can't do without one that it has a state of, also when its topic is gone.

        Raises:
            SourceError: The brokers can't be reached.
        """
        names = dict.fromkeys(part_name(*key) for key in self._begun().keys())  # noqa: SIM118
        return [*(names | dict.fromkeys(sorted(self._context.recorded())))] or [WAITING]

    def build_part(self, step_id: str, for_part: str, resume_state: int | dict[str, Any] | None) -> SourcePartition:
        """Return one partition, to be read from its recorded position."""
        del step_id
        key = key_of(for_part)
        found, reader = self._begun(), self._open()
        if self._watch is None:
            self._watch = Watch(reader, found, self._discover_interval, self._context)
        topic = found.topics.get(key[0]) if key is not None else None
        if key is None or topic is None or key[1] not in topic.partitions:
            return _Waiting(self._context, resume_state)
        place = Position.of(resume_state)
        if place is None or place.offset is None:
            place = self._first.of(topic, key[1])
        elif not is_same(place.log, topic.log, key[0]):
            self._tell_gap(key, moved(place.log, place.offset, topic.log))
            place = self._left(key, topic.log) or self._first.of(topic, key[1])
        elif not place.log:
            place = place._replace(log=topic.log, adopted=True)
        part = KafkaPart(reader, *key, place, self._context)
        part.readable = found.led(key)
        return part

    def partitions(self) -> int:
        """Return how many partitions the topics had when they were first asked for."""
        return max(1, len(self._begun().keys()))

    def gone(self, partitions: Iterable[str]) -> set[str]:
        """Return those of some partitions whose topics don't exist, or aren't read any more."""
        found = self._begun()
        there = {part_name(*key) for key in found.keys()}  # noqa: SIM118
        unsure = found.issues.keys() - found.absent
        return {each for each in partitions if each not in there and each.rpartition("[")[0] not in unsure}

    def lag(self) -> int | None:
        """Return the offsets between what is read and the ends of the partitions."""
        return self._watch.lag() if self._watch is not None else None

    def lag_seconds(self) -> float | None:
        """Return for how long the oldest record has been waiting that is not read."""
        return self._watch.lag_seconds() if self._watch is not None else None

    def issues(self) -> list[str]:
        """Return what can't be read, and why, in words."""
        if self._watch is not None:
            return self._watch.issues()
        return sorted(self._found.issues.values()) if self._found is not None else []

    def commit_last(self) -> None:
        """Commit the positions of the last epoch, once the flow has ended well."""
        if self._watch is not None:
            self._watch.close()
        if self._reader is not None:
            self._reader.commit(wait=True)
            self._reader.close()

    def _open(self) -> Reader:
        if self._reader is None:
            self._reader = Reader(self._settings, self._topics, self._first, self._context)
        return self._reader

    def _begun(self) -> Found:
        if self._found is None:
            self._found = self._open().begin()
        return self._found

    def _recorded(self) -> list[Key]:
        """Return the partitions whose positions are in the recovery store."""
        return [key for key in map(key_of, self._context.recorded()) if key is not None]

    def _left(self, key: Key, log: str) -> Position | None:
        """Return where a log was left that the flow has read before, such as one of a cluster that it comes back to."""
        try:
            place = self._open().offsets.committed([key]).get(key)
        except KafkaException:
            return None
        return place if place is not None and place.log.partition("#")[0] == log else None

    def _tell_gap(self, key: Key, reason: str) -> None:
        topic, number = key
        self._context.events.tell("source.gap", "error", topic=topic, partition=number, lost=0, reason=reason)


class _Waiting(SourcePartition):
    """Gives nothing, until the flow is stopped or there is something to read; keeps what is recorded of it.

    Args:
        context: The flow.
        state: What is recorded.
    """

    def __init__(self, context: SourceContext, state: Any) -> None:
        super().__init__(context)
        self._state = state

    def read(self, room: int) -> list[Batch]:
        """Have nothing."""
        del room
        return []

    def snapshot(self) -> Any:
        """Return what was recorded: if the topic comes back as it was, it is read on."""
        return self._state
