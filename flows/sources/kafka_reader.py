"""The one consumer of a process: it shares among its partitions what it polls, and places them where they are read.

librdkafka prefetches into one queue whatever the number of partitions, so memory is bounded by
`queued.max.messages.kbytes` and one fetch. Offsets are committed to the group once their epoch is recorded, with the
log's name, for lag tools and as a second memory.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from itertools import compress
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from flows.sources.base import SourceContext
from flows.sources.kafka_align import InStep
from flows.sources.kafka_first import FirstPositions
from flows.sources.kafka_offsets import Key, Offsets
from flows.sources.kafka_part import KafkaPart
from flows.sources.kafka_position import Position, branch, to_metadata
from flows.sources.kafka_topics import Found, Topic, Topics
from logweir.errors import SourceError
from logweir.librdkafka import teller

POLL_RECORDS = 4000
"""Records of one poll: enough to spread the cost of a batch, few enough to keep the pieces of work short."""

POLL_BYTES = 1_900_000
"""Of one poll, about: large records come a few at a time, or a poll would exceed the room by all that is prefetched.

One fits into a request of Elasticsearch as it is, without being cut.
"""

_FEW = 4
"""Partitions of one poll, up to which a pass over the poll for each is quicker than a look at each record."""
_REPEAT_SECONDS = 60.0
# Of a record it is never None, whatever its type says; mapped over a poll it costs no Python frame.
_PARTITION: Callable[[Any], int] = Message.partition  # type: ignore[assignment]
_RETRY_SECONDS = 2.0
"""Before it is tried again to place a partition that could not be placed."""
_OUT_OF_RANGE = {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._LOG_TRUNCATION}  # noqa: SLF001
_FORBIDDEN = {KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.UNKNOWN_TOPIC_OR_PART}


class Reader:
    """The one consumer of a process, and the buffers of its partitions between a poll and their turn."""

    def __init__(
        self, settings: dict[str, Any], topics: Sequence[str], first: FirstPositions, context: SourceContext
    ) -> None:
        self._first = first
        self._context = context
        self._said = teller(settings)
        self._last_error = ""
        self._refused = False
        """Whether there was a refused login."""
        self._told: dict[str, float] = {}
        """When an error of this name was told last."""
        logger = context.events.logger("source.log")
        try:
            own = {"enable.partition.eof": True, "error_cb": self._on_error, "logger": logger}
            self._consumer = Consumer({**settings, **own})
            self.topics = Topics(settings, topics, context.passed_over, self._said, self._on_error)
        except KafkaException as error:
            msg = f"source.settings: {self._said(error.args[0])}"
            raise SourceError(msg) from None
        self.offsets = Offsets(self.topics.admin, self._consumer, settings, self._leader, self._said)
        self.parts: dict[Key, KafkaPart] = {}
        self._in_step = InStep(self._consumer, self.parts, context.alignment)
        self._read: set[Key] = set()
        """The partitions that were ever assigned: messages of others can't come."""
        self.buffered = 0
        """Bytes that wait in the buffers of all partitions."""
        self._mean_bytes = 1
        """Of a record of the last poll."""
        self._assigned = False
        self._ever = False
        """Whether partitions were ever assigned."""
        self._retry_at = 0.0
        """When to assign anew, since one could not be placed; zero where all are."""
        self._changed: dict[str, Topic] = {}
        """Topics that have another log than before."""
        self._uncommitted: dict[Key, Position] = {}
        self._lock = threading.Lock()
        self._closed = False

    def begin(self) -> Found:
        """Return what there is to read, once it is decided and recorded where each part of it begins.

        Raises:
            SourceError: The brokers can't be reached.
        """
        try:
            self.topics.begin(self._is_refused)
            found = self.topics.look()
            self._first.settle(found, self.offsets)
        except KafkaException as error:
            raise SourceError(self._reason("list the partitions", error)) from error
        return found

    def _leader(self, key: Key) -> int:
        return self.topics.leaders.get(key, -1)

    def _is_refused(self) -> bool:
        # Nothing is assigned yet, so this takes no record.
        self._consumer.poll(0)
        return self._refused

    def _reason(self, what: str, error: KafkaException | None = None) -> str:
        # The callback knows more than the timeout does, such as a refused password.
        said = self._said(error.args[0]) if error is not None and isinstance(error.args[0], KafkaError) else error
        return f"{what}: {self._last_error or said}: check source.brokers and source.settings"

    def add(self, part: KafkaPart) -> None:
        """Take in a partition; it is assigned with the next poll."""
        self.parts[part.key] = part
        self._assigned = False

    def remove(self, part: KafkaPart) -> None:
        """Read no more of a partition."""
        self.parts.pop(part.key, None)

    def changed(self, name: str, topic: Topic) -> None:
        """Read a topic anew, which has another log than before."""
        self._changed[name] = topic
        self._assigned = False

    def assign(self) -> None:
        """Assign all partitions anew with the next poll."""
        self._assigned = False

    def poll(self, seconds: float = 0.0) -> int:
        """Move what librdkafka has at hand, or gets in some seconds, into the buffers; return how many messages."""
        if not self._assigned or 0 < self._retry_at <= time.monotonic():
            self._assign()
        self._in_step.polled()
        messages = self._consumer.consume(min(POLL_RECORDS, POLL_BYTES // self._mean_bytes + 1), seconds)
        if not messages:
            return 0
        errors = list(map(Message.error, messages))
        if not any(errors):
            return self._take(messages)
        taken = self._take([message for message, error in zip(messages, errors, strict=True) if error is None])
        # Behind the records before them: an end is one of what was read by then.
        for message, error in zip(messages, errors, strict=True):
            if error is not None:
                self._failed(message, error)
        return taken

    def _take(self, messages: list[Message]) -> int:
        if messages:
            before = self.buffered
            self._share(messages)
            self._mean_bytes = max(1, (self.buffered - before) // len(messages))
        return len(messages)

    def has_room(self, room: int) -> bool:
        """Tell whether to poll for more, where the flow has room for so many bytes."""
        return self.buffered - self._in_step.held() < room

    def _share(self, messages: list[Message]) -> None:
        """Give each partition its messages."""
        if len(self._read) == 1:
            (key,) = self._read
            if key in self.parts:
                self.parts[key].take(messages)
            return
        topics = {topic for topic, _ in self._read}
        single = len(topics) == 1
        places: list[Any] = list(map(_PARTITION, messages))
        if not single:
            places = list(zip(map(Message.topic, messages), places, strict=True))
        found = set(places)
        split: dict[Any, list[Message]] = {}
        if len(found) == 1:
            split[places[0]] = messages
        elif len(found) <= _FEW:
            # One pass for each, but none of it in Python.
            split = {place: list(compress(messages, map(place.__eq__, places))) for place in found}
        else:
            for place, message in zip(places, messages, strict=True):
                split.setdefault(place, []).append(message)
        for place, some in split.items():
            part = self.parts.get((next(iter(topics)), place) if single else place)
            if part is not None:
                part.take(some)

    def commit(self, *, wait: bool = False) -> None:
        """Commit positions whose epoch is recorded."""
        if not self._uncommitted:
            return
        offsets = [
            TopicPartition(*key, place.offset, to_metadata(place.log), *([place.epoch] if place.epoch >= 0 else []))
            for key, place in self._uncommitted.items()
            if place.offset is not None and not (key in self.parts and self.parts[key].gone)
        ]
        self._uncommitted = {}
        if not offsets:
            return
        try:
            if wait:
                self._consumer.commit(offsets=offsets, asynchronous=False)
            else:
                self._consumer.commit(offsets=offsets)
        except KafkaException as error:
            # The flow's own record is what counts; lag tools are told with the next epoch.
            said = self._said(error.args[0])
            self._context.events.tell("source.error", "warn", reason=f"commit to the group: {said}")

    def recorded(self, key: Key, position: Position) -> None:
        """Note a position whose epoch is recorded; the next `commit` takes it along."""
        self._uncommitted[key] = position

    def close(self) -> None:
        """Leave the brokers."""
        self._in_step.close()
        with self._lock:
            self._closed = True
            self._consumer.close()

    def _assign(self) -> None:
        """Assign every partition at its position, asking the brokers where there is none."""
        # First: what is to be assigned anew from now on, is.
        self._assigned, self._retry_at = True, 0.0
        try:
            self._begin_changed()
            parts = [part for part in self.parts.values() if not part.gone]
            self._place(parts)
            self._read |= self.parts.keys()
            self._consumer.assign([_at(part) for part in parts if part.position is not None])
        except KafkaException as error:
            reason = self._reason("find the first offsets", error)
            self._retry_at = time.monotonic() + _RETRY_SECONDS
            if not self._ever:
                raise SourceError(reason) from error
            self._context.events.tell("source.error", "warn", reason=reason)
            return
        self._ever = True
        self._in_step.assigned()

    def _begin_changed(self) -> None:
        """Begin the topics whose logs are others now."""
        while self._changed:
            name, topic = next(iter(self._changed.items()))
            self._first.settle(Found({name: topic}), self.offsets)
            for part in self.parts.values():
                if part.key[0] == name and part.key[1] in topic.partitions:
                    part.begin_anew(self._first.of(topic, part.key[1]), moved(part.log, part.position, topic.log))
            del self._changed[name]

    def _place(self, parts: list[KafkaPart]) -> None:
        """Give a position to those that have none, or one that there is not any more; count what is lost in between."""
        readable = {part.key: part for part in parts if part.readable}
        lows, highs = self.offsets.beginnings(readable), self.offsets.ends(readable)
        if readable and not lows and not self._ever:
            raise SourceError(self._reason(f"find the first offsets: {self.offsets.reason}"))
        for key, part in readable.items():
            if key not in lows or key not in highs:
                part.issue = f"{key[0]}[{key[1]}]: its offsets can't be found: {self.offsets.reason}"
                self._retry_at = time.monotonic() + _RETRY_SECONDS
                continue
            if part.position is None:
                found = self.offsets.since([key], part.since) if part.since else lows
                part.position = found.get(key)
            if part.position is not None:
                self._put_right(part, lows[key], highs[key])

    def _put_right(self, part: KafkaPart, low: int, high: int) -> None:
        """Move a position that no longer exists to one that does."""
        position = part.position
        assert position is not None
        if position < low:
            part.lose(low)
        elif position > high and part.log.partition("#")[0].endswith(f"/{part.key[0]}"):
            # These brokers give topics no ids.
            log = branch(part.log, part.epoch, position)
            reason = f"offset {position} is beyond the end {high}: was the topic made anew? It is read from {low}"
            part.begin_anew(Position(low, log), reason)
        elif position > high or part.cut_off:
            end = min(position, high)
            part.part_ways(self.offsets.parting(part.key, part.epoch, low, end) if part.epoch >= 0 else end)

    def _failed(self, message: Message, error: KafkaError) -> None:
        """Note what is no record but an error, or the end of a partition. It never moves a position."""
        key = (str(message.topic()), int(message.partition() or 0))
        part = self.parts.get(key)
        if part is None:
            return
        if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
            part.reach(message.offset() or 0)
        elif error.code() in _OUT_OF_RANGE:
            # Assigning anew looks at what there is, which tells how much is gone.
            part.cut_off |= "truncation" in error.str() or error.code() == KafkaError._LOG_TRUNCATION  # noqa: SLF001
            self._assigned = False
        else:
            if error.code() in _FORBIDDEN:
                part.issue = f"{key[0]}[{key[1]}]: {self._said(error)}"
            reason = f"{error.name()}: {self._said(error)}"
            self._context.events.tell("source.error", "warn", topic=key[0], partition=key[1], reason=reason)

    def _on_error(self, error: KafkaError) -> None:
        """Tell what librdkafka says of a broker; while it is away that is the same over and over."""
        if error.code() != KafkaError._ALL_BROKERS_DOWN or not self._last_error:  # noqa: SLF001
            # Why they are down has been said by then, if anybody knows.
            self._last_error = self._said(error)
        self._refused |= error.code() == KafkaError._AUTHENTICATION  # noqa: SLF001
        now = time.monotonic()
        if now - self._told.get(error.name(), -_REPEAT_SECONDS) >= _REPEAT_SECONDS:
            self._told[error.name()] = now
            self._context.events.tell("source.error", "warn", reason=f"{error.name()}: {self._said(error)}")


def _at(part: KafkaPart) -> TopicPartition:
    """Return where to read on. With the epoch, librdkafka asks whether the log was cut off before that offset."""
    assert part.position is not None
    if part.epoch < 0:
        return TopicPartition(*part.key, part.position)
    return TopicPartition(*part.key, part.position, leader_epoch=part.epoch)


def moved(log: str, offset: int | None, present: str) -> str:
    """Return in words that a position is of no use any more."""
    return (
        f"offset {offset} is one of the log {log}, and there is {present} in its place now: the topic was made anew, "
        "or the brokers are those of another cluster. It is read from where the flow has left it, or else begun anew"
    )
