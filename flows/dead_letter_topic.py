"""Dead letters in a Kafka topic, read to be sent again by a consumer group of their own.

The group's committed offsets are how far they are settled, so any Kafka tool shows what is left as lag. With an offset
is committed, as its metadata, what else a redrive has to remember: the causes that are further, and what the
destination resumes from. Members of the group keep each other out: a second redrive is refused.
"""

from __future__ import annotations

import time
from typing import Any

import orjson
from confluent_kafka import Consumer, ConsumerGroupState, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient

from flows.dead_letter_messages import parse
from flows.dead_letters import READ_BYTES, Passed, Place, Read, Wanted
from flows.sources.kafka_consumer import COORDINATOR_SOON, committed_offsets, consumer_settings, first_described
from logweir.errors import LogweirError, SourceError
from logweir.events import Events
from logweir.librdkafka import teller

_ASK_SECONDS = 15.0
_SESSION_MS = 10_000
"""After a crash the group keeps its member so long, and the next redrive waits for that."""
_JOIN_SECONDS = 30.0
_COMMIT_SECONDS = 60.0
_PAUSE_SECONDS = 0.2
_WAIT_SECONDS = 0.5
_NOT_TAKEN = {"group.protocol", "group.instance.id"}
"""Settings of the flow's own membership: a redrive is one of the plain kind, with a session timeout."""
_PASSING = COORDINATOR_SOON | {KafkaError._TIMED_OUT, KafkaError._WAIT_COORD, KafkaError._TRANSPORT}  # noqa: SLF001
"""Why a commit may fail that succeeds a moment later."""
_FENCED = {KafkaError.ILLEGAL_GENERATION, KafkaError.UNKNOWN_MEMBER_ID, KafkaError.REBALANCE_IN_PROGRESS}
_GONE = {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE}  # noqa: SLF001
_METADATA_BYTES = 4000
"""Brokers take 4096 with an offset, unless `offset.metadata.max.bytes` says otherwise."""
_TOLD = 20
"""Messages that are told one by one when they are no dead letters; the rest is counted."""


def _session_of(settings: dict[str, Any]) -> int:
    """Return the milliseconds after which the group gives up a member that is gone.

    Raises:
        SourceError: The settings have none that can be.
    """
    given = settings.get("session.timeout.ms", _SESSION_MS)
    try:
        return int(given)
    except ValueError:
        msg = f"source.settings: session.timeout.ms: {given!r} is no whole number of milliseconds"
        raise SourceError(msg) from None


class LetterTopic:
    """The letters of one destination in a topic.

    Args:
        settings: librdkafka's settings of the cluster: brokers, TLS, SASL.
        topic: Such as `dead.search`.
        group: The consumer group of this destination's redrives.
        wanted: Which letters.
        events: Where it tells of messages that are no dead letters.
        claim: Whether they are going to be sent, by this process alone; otherwise nothing is committed.

    Raises:
        LogweirError: Another redrive is at work.
        SourceError: The brokers can't be reached, or refuse something.
    """

    def __init__(
        self, settings: dict[str, Any], topic: str, group: str, wanted: Wanted, events: Events, *, claim: bool = True
    ) -> None:
        self._topic = topic
        self._group = group
        self._wanted = wanted
        self._events = events
        self._claim = claim
        self._error = ""
        self._told = 0
        self._lost = self._login_refused = False
        self.passed = Passed()
        self.state: Any = None
        self._settings = settings
        self._session = _session_of(settings)
        self._said = teller(settings)
        self._consumer = self._consume()
        self._places: dict[int, Place] = {}
        self._at: dict[int, int] = {}
        """The next offset of each partition."""
        self._bounds: dict[int, int] = {}
        """Where each partition ended when this began; only of those that are not read to there."""
        try:
            self._begin()
        except KafkaException as error:
            self._consumer.close()
            raise self._refused(error) from error
        except LogweirError:
            self._consumer.close()
            raise

    def is_empty(self) -> bool:
        """Tell whether there is nothing to read, or no more."""
        return not self._bounds

    def read(self, most: int, size: int = READ_BYTES) -> list[Read] | None:
        """Return the next letters."""
        found: list[Read] = []
        while self._bounds and len(found) < most and size > 0:
            try:
                message = self._consumer.poll(0 if found else _PAUSE_SECONDS)
                read = None if message is None or self._lost else self._take(message)
            except KafkaException as error:
                raise self._refused(error) from error
            if self._lost:
                raise self._taken_over()
            if message is None:
                return found
            if read is not None:
                found.append(read)
                size -= len(read.letter.value)
        return found or (None if not self._bounds else [])

    def record(self, state: Any) -> None:
        """Commit how far each partition is settled."""
        self.state = state
        if not self._claim or not self._places:
            return
        for number, place in self._places.items():
            place.advance(self._at[number], self._wanted.causes)
        first = min(self._places)
        offsets = [
            TopicPartition(self._topic, number, place.done, self._metadata(place, with_state=number == first))
            for number, place in self._places.items()
        ]
        deadline = time.monotonic() + _COMMIT_SECONDS
        while True:
            try:
                self._consumer.commit(offsets=offsets, asynchronous=False)
            except KafkaException as error:
                code = error.args[0].code()
                if code in _FENCED or self._lost:
                    raise self._taken_over() from error
                if code not in _PASSING or time.monotonic() > deadline:
                    raise self._refused(error) from error
                time.sleep(_WAIT_SECONDS)
            else:
                return

    def finish(self) -> None:
        """Leave the topic as it is: its retention removes what is old."""

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()

    def _consume(self) -> Consumer:
        """Return the consumer.

        Raises:
            SourceError: Its settings are wrong.
        """
        plain = {name: value for name, value in self._settings.items() if name not in _NOT_TAKEN}
        try:
            return Consumer(
                {
                    **consumer_settings(plain, self._group),
                    "enable.partition.eof": True,
                    "session.timeout.ms": self._session,
                    "heartbeat.interval.ms": self._session // 10,
                    # A destination that holds may take long: a day, which is the most that can be set.
                    "max.poll.interval.ms": 86_400_000,
                    "error_cb": self._on_error,
                    "logger": self._events.logger("source.log"),
                }
            )
        except KafkaException as error:
            msg = f"source.settings: {self._said(error.args[0])}"
            raise SourceError(msg) from None

    def _begin(self) -> None:
        """Find out where to begin and where to end, and keep others out."""
        numbers = self._partitions()
        if not numbers:
            return
        if self._claim:
            self._join(numbers)
        parts = [TopicPartition(self._topic, number) for number in numbers]
        for each in committed_offsets(self._consumer, parts):
            self._place(each)
        self._assign()

    def _assign(self) -> None:
        """Have the partitions read on that are not at their end."""
        self._consumer.assign([TopicPartition(self._topic, number, self._at[number]) for number in self._bounds])

    def _partitions(self) -> list[int]:
        """Return the topic's partitions; none when there is no such topic, and so no letter."""
        found = first_described(self._consumer, self._topic, lambda: self._login_refused)
        if found.error is None:
            return sorted(found.partitions)
        if found.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            return []
        raise KafkaException(found.error)

    def _join(self, numbers: list[int]) -> None:
        """Become the only member of the group.

        Raises:
            LogweirError: There is another one.
        """
        deadline = time.monotonic() + 1.5 * self._session / 1000
        told = False
        while self._members():
            if time.monotonic() > deadline:
                raise self._taken_over()
            if not told:
                told = True
                reason = f"the group {self._group} has a member: another redrive, or one that was killed a moment ago"
                self._events.tell("redrive.waiting", "info", reason=reason)
            time.sleep(_WAIT_SECONDS)
        assigned: list[TopicPartition] = []

        def on_assign(consumer: Consumer, parts: list[TopicPartition]) -> None:
            assigned.extend(parts)
            consumer.assign([])  # the places to begin at are looked up once others are kept out

        self._consumer.subscribe(
            [self._topic],
            on_assign=on_assign,
            on_revoke=self._on_lost,
            on_lost=self._on_lost,
        )
        deadline = time.monotonic() + _JOIN_SECONDS
        while not assigned:
            self._consumer.poll(_PAUSE_SECONDS)
            if time.monotonic() > deadline:
                msg = f"join the group {self._group}: no answer: {self._error or 'check source.brokers'}"
                raise SourceError(msg)
        if self._lost or sorted(each.partition for each in assigned) != numbers:
            raise self._taken_over()

    def _members(self) -> int:
        """Return how many consumers the group has."""
        # The client has to outlive its future.
        client = AdminClient({"log_level": 4, **self._settings})
        deadline = time.monotonic() + _ASK_SECONDS
        while True:
            try:
                asked = client.describe_consumer_groups([self._group], request_timeout=_ASK_SECONDS)
                group = asked[self._group].result()
            except KafkaException as error:
                code = error.args[0].code()
                if code == KafkaError.GROUP_ID_NOT_FOUND:
                    return 0
                if code not in COORDINATOR_SOON or time.monotonic() > deadline:
                    raise
                time.sleep(_PAUSE_SECONDS)
            else:
                return 0 if group.state == ConsumerGroupState.DEAD else len(group.members)

    def _place(self, committed: TopicPartition) -> None:
        """Note where a partition is to be read from and to."""
        number = committed.partition
        low, high = self._consumer.get_watermark_offsets(TopicPartition(self._topic, number), timeout=_ASK_SECONDS)
        remembered = self._remembered(committed) if committed.offset >= 0 else {}
        place = Place(max(0, committed.offset), remembered.get("causes", {}))
        if place.end > high:
            reason = f"offset {place.end} is beyond the end {high}: was the topic made anew? It is read from {low}"
            self._events.tell("redrive.changed", "warn", topic=self._topic, partition=number, reason=reason)
            place = Place()
        elif committed.offset >= 0 and place.start(self._wanted) < low:
            self.passed.gone += low - place.start(self._wanted)
        place.advance(low, ())
        if "destination" in remembered:
            self.state = remembered["destination"]
        self._places[number] = place
        self._at[number] = place.start(self._wanted)
        if self._at[number] < high:
            self._bounds[number] = high

    def _skip_gone(self) -> None:
        """Go on behind what retention has deleted in the meantime."""
        for number, bound in list(self._bounds.items()):
            part = TopicPartition(self._topic, number)
            low = min(bound, self._consumer.get_watermark_offsets(part, timeout=_ASK_SECONDS)[0])
            self.passed.gone += max(0, low - self._at[number])
            self._at[number] = max(low, self._at[number])
            if low == bound:
                del self._bounds[number]
        self._assign()

    def _remembered(self, committed: TopicPartition) -> dict[str, Any]:
        """Return what was committed with an offset; nothing where another program has committed it."""
        try:
            found = orjson.loads(committed.metadata or "{}")
            causes = {str(cause): int(at) for cause, at in found.get("causes", {}).items()}
        except (ValueError, AttributeError, TypeError):
            return {}
        return {**found, "causes": causes}

    def _metadata(self, place: Place, *, with_state: bool) -> str:
        """Return what is committed with an offset."""
        memory: dict[str, Any] = {"causes": place.causes} if place.causes else {}
        if with_state and self.state is not None:
            memory["destination"] = self.state
        text = orjson.dumps(memory).decode()
        if len(text) > _METADATA_BYTES:
            msg = f"the group {self._group} can't hold how far each cause is: redrive once without --cause"
            raise SourceError(msg)
        return text

    def _take(self, message: Message) -> Read | None:
        """Return the letter of a message if it is one that is wanted."""
        number, offset = message.partition(), message.offset()
        error = message.error()
        if error is not None and error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001
            if error.code() == KafkaError._MAX_POLL_EXCEEDED:  # noqa: SLF001
                raise self._taken_over()
            if error.code() in _GONE:
                self._skip_gone()
                return None
            self._events.tell("source.error", "warn", topic=self._topic, reason=f"{error.name()}: {self._said(error)}")
            return None
        if number not in self._bounds or number is None or offset is None:
            return None
        bound = self._bounds[number]
        if error is not None or offset >= bound:
            # The end: either of the partition as it is now, or as it was when this began.
            if error is None or offset >= bound:
                self._at[number] = bound
                del self._bounds[number]
            return None
        self._at[number] = offset + 1
        if offset + 1 == bound:
            del self._bounds[number]
        return self._wanted_letter(message, number, offset)

    def _wanted_letter(self, message: Message, number: int, offset: int) -> Read | None:
        try:
            destination, letter = parse(message)
        except ValueError as error:
            self.passed.unreadable += 1
            self._told += 1
            if self._told <= _TOLD:
                place = f"{self._topic}-{number}-{offset}"
                reason = f"{error}; it is left where it is"
                self._events.tell("redrive.unreadable", "warn", place=place, reason=reason)
            return None
        if not self._wanted.is_ours(destination, letter.topic):
            self.passed.foreign += 1
        elif not self._places[number].is_settled(letter.cause, offset):
            if self._wanted.is_chosen(letter.cause):
                _, millis = message.timestamp()
                return Read(letter, millis / 1000 if millis > 0 else time.time())
            self.passed.others[letter.cause] += 1
        return None

    def _on_error(self, error: KafkaError) -> None:
        self._login_refused |= error.code() == KafkaError._AUTHENTICATION  # noqa: SLF001
        if self._said(error) != self._error:
            self._error = self._said(error)
            self._events.tell("source.error", "warn", reason=f"{error.name()}: {self._said(error)}")

    def _on_lost(self, _consumer: Consumer, _parts: list[TopicPartition]) -> None:
        self._lost = True

    def _taken_over(self) -> LogweirError:
        return LogweirError(
            f"another redrive of these dead letters is at work, or the brokers have lost sight of this one (group "
            f"{self._group}): wait for it, or stop it; what is settled by then is not sent again"
        )

    def _refused(self, error: KafkaException) -> SourceError:
        # The callback knows more than a timeout does, such as a refused password.
        code = error.args[0].code()
        said = self._error if code == KafkaError._TIMED_OUT and self._error else self._said(error.args[0])  # noqa: SLF001
        return SourceError(
            f"dead letter topic {self._topic}: {said}: check source.brokers and source.settings, "
            f"and that this user may read the topic and the group {self._group}"
        )
