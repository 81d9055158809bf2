"""Reading Kafka: one part a topic-partition, one consumer a process, positions kept by the flow.

librdkafka prefetches into one queue whatever the number of partitions, so memory is bounded by
`queued.max.messages.kbytes` and one fetch. Where a partition begins: the flow's own recorded position, else the group's
committed offset, else `start`.
Offsets are committed to the group once their epoch is recorded, for lag tools and as a second memory.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import compress
from typing import Any, Literal

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import TopicMetadata

from flows.sources.base import RecordSource, SourceContext
from flows.sources.kafka_align import InStep
from flows.sources.kafka_consumer import ASK_SECONDS, committed_offsets, first_described
from flows.sources.kafka_part import KafkaPart
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

Start = Literal["earliest", "latest"] | datetime


def part_name(topic: str, partition: int) -> str:
    """Return the name under which a topic-partition's position is recorded."""
    return f"{topic}[{partition}]"


class KafkaSource(RecordSource):
    """Reads topics.

    Args:
        settings: librdkafka's settings, from `consumer_settings`.
        topics: Their names.
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
        self._start = start
        self._context = context
        self._discover_interval = discover_interval
        self._reader: _Reader | None = None
        self._counts: dict[str, int] = {}

    def list_parts(self) -> list[str]:
        """Return every partition of the topics, as they were when first asked.

        Raises:
            SourceError: The brokers can't be reached, or a topic doesn't exist.
        """
        if not self._counts:
            reader = self._open()
            self._counts = reader.partitions(begin=True)
            if self._discover_interval:
                threading.Thread(target=self._discover, args=(reader, self._counts), daemon=True).start()
        return [part_name(topic, partition) for topic, count in self._counts.items() for partition in range(count)]

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> KafkaPart:
        """Return one partition, to be read from its recorded position."""
        del step_id
        topic, _, number = for_part.removesuffix("]").rpartition("[")
        return KafkaPart(self._open(), topic, int(number), resume_state, self._context)

    def partitions(self) -> int:
        """Return how many partitions the topics had when they were first asked for."""
        self.list_parts()
        return sum(self._counts.values())

    def lag(self) -> int | None:
        """Return the records between what is read and the ends of the partitions, as the last fetches told them."""
        return self._reader.lag() if self._reader is not None else None

    def commit_last(self) -> None:
        """Commit the positions of the last epoch, once the flow has ended well."""
        if self._reader is not None:
            self._reader.commit(wait=True)
            self._reader.close()

    def _open(self) -> _Reader:
        if self._reader is None:
            self._reader = _Reader(self._settings, self._topics, self._start, self._context)
        return self._reader

    def _discover(self, reader: _Reader, known: dict[str, int]) -> None:
        """Ask for a graceful restart when a topic has grown: Bytewax lists partitions only at its start."""
        while not self._context.stopping.wait(self._discover_interval):
            try:
                counts = reader.partitions()
            except SourceError as error:
                self._context.events.tell("source.error", "warn", reason=str(error))
                continue
            if any(count > known[topic] for topic, count in counts.items()):
                self._context.restart(f"new partitions: {counts}")
                return


class _Reader:
    """The one consumer of a process, and the buffers of its partitions between a poll and their turn."""

    def __init__(self, settings: dict[str, Any], topics: list[str], start: Start, context: SourceContext) -> None:
        self._topics = topics
        self._start = start
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
        except KafkaException as error:
            msg = f"source.settings: {self._said(error.args[0])}"
            raise SourceError(msg) from None
        self._parts: dict[tuple[str, int], KafkaPart] = {}
        self._in_step = InStep(self._consumer, self._parts, context.alignment)
        self._read: set[tuple[str, int]] = set()
        """The partitions that were ever assigned: messages of others can't come."""
        self.buffered = 0
        """Bytes that wait in the buffers of all partitions."""
        self._mean_bytes = 1
        """Of a record of the last poll."""
        self._assigned = False
        self._uncommitted: dict[tuple[str, int], int] = {}
        self._lock = threading.Lock()
        self._closed = False

    def partitions(self, *, begin: bool = False) -> dict[str, int]:
        """Return the number of partitions of each topic.

        Args:
            begin: Whether nothing is read yet; later, a poll for what librdkafka has to tell might take a record.

        Raises:
            SourceError: The brokers can't be reached, or a topic doesn't exist.
        """
        counts: dict[str, int] = {}
        for topic in self._topics:
            try:
                found = first_described(self._consumer, topic, self._is_refused) if begin else self._described(topic)
            except KafkaException as error:
                # The callback knows more than the timeout does, such as a refused password.
                reason = self._last_error or self._said(error.args[0])
                msg = f"list the partitions of {topic}: {reason}: check source.brokers and source.settings"
                raise SourceError(msg) from error
            if found is None:
                return counts
            if found.error is not None:
                said = self._said(found.error)
                msg = f"topic {topic}: {said}: create it, or check source.topics and what this user may read"
                raise SourceError(msg)
            counts[topic] = len(found.partitions)
        return counts

    def _is_refused(self) -> bool:
        return self._refused

    def _described(self, topic: str) -> TopicMetadata | None:
        """Return what the brokers say of a topic; None once the consumer is closed."""
        with self._lock:
            return None if self._closed else self._consumer.list_topics(topic, timeout=ASK_SECONDS).topics[topic]

    def add(self, part: KafkaPart) -> None:
        """Take in a partition; it is assigned with the next poll."""
        self._parts[part.key] = part
        self._assigned = False

    def remove(self, part: KafkaPart) -> None:
        """Read no more of a partition."""
        self._parts.pop(part.key, None)

    def poll(self, seconds: float = 0.0) -> int:
        """Move what librdkafka has at hand, or gets in some seconds, into the buffers; return how many messages."""
        if not self._assigned:
            self._assign()
        self._in_step.polled()
        messages = self._consumer.consume(min(POLL_RECORDS, POLL_BYTES // self._mean_bytes + 1), seconds)
        if not messages:
            return 0
        errors = list(map(Message.error, messages))
        if any(errors):
            for message, error in zip(messages, errors, strict=True):
                if error is not None:
                    self._failed(message, error)
            messages = [message for message, error in zip(messages, errors, strict=True) if error is None]
            if not messages:
                return 0
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
            if key in self._parts:
                self._parts[key].take(messages)
            return
        single = len(self._topics) == 1
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
            part = self._parts.get((self._topics[0], place) if single else place)
            if part is not None:
                part.take(some)

    def commit(self, *, wait: bool = False) -> None:
        """Commit positions whose epoch is recorded."""
        if not self._uncommitted:
            return
        offsets = [TopicPartition(topic, number, offset) for (topic, number), offset in self._uncommitted.items()]
        self._uncommitted = {}
        try:
            if wait:
                self._consumer.commit(offsets=offsets, asynchronous=False)
            else:
                self._consumer.commit(offsets=offsets)
        except KafkaException as error:
            # The flow's own record is what counts; lag tools are told with the next epoch.
            said = self._said(error.args[0])
            self._context.events.tell("source.error", "warn", reason=f"commit to the group: {said}")

    def recorded(self, key: tuple[str, int], offset: int) -> None:
        """Note a position whose epoch is recorded; the next `commit` takes it along."""
        self._uncommitted[key] = offset

    def lag(self) -> int | None:
        """Return how many records wait in the partitions; None while that isn't known of one."""
        # A look for new partitions may hold the lock for as long as the brokers don't answer.
        if not self._lock.acquire(blocking=False):
            return None
        try:
            return None if self._closed else self._behind()
        finally:
            self._lock.release()

    def _behind(self) -> int | None:
        total = 0
        for key, part in list(self._parts.items()):
            _, high = self._consumer.get_watermark_offsets(TopicPartition(*key), cached=True)
            if part.position is None or high < 0:
                return None
            total += max(0, high - part.position)
        return total

    def close(self) -> None:
        """Leave the brokers."""
        self._in_step.close()
        with self._lock:
            self._closed = True
            self._consumer.close()

    def _assign(self) -> None:
        """Assign every partition at its position, asking the brokers where there is none."""
        fresh = [part for part in self._parts.values() if part.position is None]
        try:
            if fresh:
                self._place(fresh)
            self._close_gaps()
            self._read |= self._parts.keys()
            self._consumer.assign(
                [TopicPartition(*key, part.position) for key, part in self._parts.items() if part.position is not None]
            )
        except KafkaException as error:
            reason = self._last_error or self._said(error.args[0])
            msg = f"find the first offsets: {reason}: check source.brokers and source.settings"
            raise SourceError(msg) from error
        self._assigned = True
        self._in_step.assigned()

    def _place(self, fresh: list[KafkaPart]) -> None:
        """Give a first position to partitions that the flow has none recorded of."""
        committed = committed_offsets(self._consumer, [TopicPartition(*part.key) for part in fresh])
        known = {part.key[0] for part in self._parts.values() if part.position is not None}
        known.update(each.topic for each in committed if each.offset >= 0)
        starts = self._starts(fresh)
        for part, each in zip(fresh, committed, strict=True):
            if each.offset >= 0:
                part.position = each.offset
            elif part.key[0] in known:
                # The topic is being read already, so this partition is new: what it holds has never been read.
                part.position = self._watermarks(part.key)[0]
            else:
                part.position = starts[part.key]

    def _starts(self, fresh: list[KafkaPart]) -> dict[tuple[str, int], int]:
        """Return where `start` lies in each partition."""
        if isinstance(self._start, datetime):
            stamp = int(self._start.timestamp() * 1000)
            asked = [TopicPartition(*part.key, stamp) for part in fresh]
            found = self._consumer.offsets_for_times(asked, timeout=ASK_SECONDS)
            return {
                (each.topic, each.partition): each.offset
                if each.offset >= 0
                else self._watermarks((each.topic, each.partition))[1]
                for each in found
            }
        end = self._start == "latest"
        return {part.key: self._watermarks(part.key)[1 if end else 0] for part in fresh}

    def _watermarks(self, key: tuple[str, int]) -> tuple[int, int]:
        low, high = self._consumer.get_watermark_offsets(TopicPartition(*key), timeout=ASK_SECONDS)
        return low, high

    def _close_gaps(self) -> None:
        """Move each position that no longer exists to one that does, and count what is lost in between."""
        for key, part in self._parts.items():
            low, high = self._watermarks(key)
            position = part.position
            if position is not None and not low <= position <= high:
                part.lose(low, high)

    def _failed(self, message: Message, error: KafkaError) -> None:
        """Note what is no record but an error, or the end of a partition. It never moves a position."""
        key = (message.topic(), message.partition())
        if error.code() in {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE}:  # noqa: SLF001
            # Assigning anew looks at the watermarks, which tell how much is gone.
            self._assigned = False
        elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
            part = self._parts.get((str(key[0]), int(key[1] or 0)))
            if part is not None:
                part.end = message.offset() or 0
        else:
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
