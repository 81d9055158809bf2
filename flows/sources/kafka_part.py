"""One topic-partition of a Kafka source: its position, its turns, and what is lost of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, Protocol

from confluent_kafka import Message

from flows.sources.alignment import GRAIN, Lane
from flows.sources.base import SourceContext, SourcePartition
from flows.sources.kafka_position import Position, branch
from logweir.batch import Account, Batch, Low
from logweir.times import written_seconds

_RARE_SECONDS = 0.05
"""How long a turn that comes seldom waits for a fetch on its way, before it has all there is."""
TOMBSTONE = "tombstone"

# Of a record none of these is None, whatever their types say; mapped over a poll they cost no Python frame.
_OFFSET: Callable[[Any], int] = Message.offset  # type: ignore[assignment]
_VALUE: Callable[[Any], Any] = Message.value
_MILLIS = itemgetter(1)
"""Of a message's kind of timestamp and its milliseconds; where it has none, these are not above zero."""


class Reader(Protocol):
    """The consumer that a process's partitions share."""

    buffered: int
    """Bytes that wait in the buffers of all partitions."""

    def add(self, part: KafkaPart) -> None:
        """Take in a partition; it is assigned with the next poll."""

    def remove(self, part: KafkaPart) -> None:
        """Read no more of a partition."""

    def has_room(self, room: int) -> bool:
        """Tell whether to poll for more, where the flow has room for so many bytes."""
        ...

    def poll(self, seconds: float = 0.0) -> int:
        """Move messages into the buffers of their partitions; return how many."""
        ...

    def recorded(self, key: tuple[str, int], position: Position) -> None:
        """Note a position whose epoch is recorded."""

    def commit(self) -> None:
        """Commit the positions that were noted."""


def epoch_of(message: Message) -> int:
    """Return the epoch of the leader that took a message; negative where the broker doesn't tell."""
    epoch = message.leader_epoch()
    return -1 if epoch is None else epoch


class Messages:
    """The origin of a batch: the messages of one poll of one partition, by their offsets.

    Args:
        messages: In ascending order.
    """

    __slots__ = ("_messages", "_read_at", "epoch", "noted")

    def __init__(self, messages: list[Message]) -> None:
        self._messages = messages
        self.epoch = epoch_of(messages[-1]) if messages else -1
        self._read_at = time.time()
        self.noted = True

    def written(self, offsets: Sequence[Any]) -> Sequence[float]:
        """Return the timestamps of the messages of these offsets, which are among them, in epoch seconds."""
        messages = self.heads(offsets)
        millis = list(map(_MILLIS, map(Message.timestamp, messages)))
        # Where a message has no timestamp, its records' own times can't be doubted by it.
        self.noted = min(millis, default=1) > 0
        return written_seconds(millis, self._read_at)

    def heads(self, offsets: Sequence[Any]) -> Sequence[Message]:
        """Return the messages of these offsets, which are among them: they have the key, the headers and the time."""
        messages = self._messages
        if len(offsets) == len(messages):
            return messages
        if not offsets:
            return []
        first, last = _OFFSET(messages[0]), _OFFSET(messages[-1])
        if last - first + 1 == len(messages):  # they ascend, so nothing lies between
            return [messages[offset - first] for offset in offsets]
        by_offset = dict(zip(map(_OFFSET, messages), messages, strict=True))
        return list(map(by_offset.__getitem__, offsets))

    def tail(self) -> Sequence[float]:
        """Return the timestamps of the last messages."""
        return written_seconds(list(map(_MILLIS, map(Message.timestamp, self._messages[-GRAIN:]))), self._read_at)


class _Waiting:
    """Messages of this partition that are not handed out yet, since other partitions may be too far behind."""

    __slots__ = ("adopted", "log", "messages", "noted", "size", "written")

    def __init__(self, messages: list[Message], log: str, *, adopted: bool) -> None:
        self.messages = messages
        self.log = log
        self.adopted = adopted
        self.size = sum(map(len, messages))
        origin = Messages(messages)
        self.written = origin.written(messages)
        self.noted = origin.noted

    def cut(self, count: int) -> list[Message]:
        """Take away the first messages, and return them."""
        first, self.messages = self.messages[:count], self.messages[count:]
        self.written = self.written[count:]
        self.size -= sum(map(len, first))
        return first


class KafkaPart(SourcePartition):
    """One topic-partition."""

    lane: Lane

    def __init__(
        self,
        reader: Reader,
        topic: str,
        number: int,
        place: Position,
        context: SourceContext,
    ) -> None:
        super().__init__(context)
        self._reader = reader
        self.key = (topic, number)
        self.position = place.offset
        """The next offset to read; None until the brokers were asked."""
        self.log = place.log
        """Of that offset."""
        self.epoch = place.epoch
        """The leader's, of the record before it; negative where that isn't known."""
        self.adopted = place.adopted
        """The first position in this log was recorded without the log's name."""
        self.since = place.since
        """Where the position isn't known: it is the first that was written then, in epoch milliseconds, or later."""
        self.gone = False
        """Its topic doesn't exist any more."""
        self.readable = True
        """It exists, and has a leader."""
        self.issue = ""
        """Why it can't be read, in words."""
        self.cut_off = False
        """The log doesn't hold any more what was read of it last."""
        self.last_written = 0.0
        """When the record was written that was read last, in epoch seconds."""
        self.end = -1
        """The offset of the end that was reached last, as the broker told: behind it are no records at that time."""
        self.lane = context.alignment.lane(f"{topic}-{number}")
        self.waiting = 0
        """Bytes that are not handed out yet."""
        self.blocked = False
        """They wait for other partitions."""
        self._ready: list[Batch | _Waiting] = []
        self._gaps = 0
        self._handed_epoch = place.epoch
        self._turns = 0
        self._rare = False
        self._handed_out: Position | None = place if place.offset is not None else None
        self._recorded: Position | None = None
        reader.add(self)

    def take(self, messages: list[Message]) -> None:
        """Take in some messages of this partition, in order."""
        last = messages[-1]
        self.position, self.epoch = _OFFSET(last) + 1, epoch_of(last)
        self.last_written = max(0, last.timestamp()[1]) / 1000
        self.issue = ""
        waits = self.context.alignment.waits
        waiting = (
            _Waiting(messages, self.log, adopted=self.adopted)
            if waits
            else self._batch(messages, self.log, adopted=self.adopted)
        )
        if isinstance(waiting, _Waiting) and self.lane.front is None:
            self.context.alignment.wait(self.lane, waiting.written)
        self._ready.append(waiting)
        self.waiting += waiting.size
        self._reader.buffered += waiting.size

    def reach(self, offset: int) -> None:
        """Note an end that was reached: what lies between the last record and it is none, such as an aborted one."""
        self.end, self.issue = offset, ""
        if self.position is not None and offset > self.position:
            # Of what lies between nobody tells the epoch, and the last record's would look like that of a cut log.
            self.position, self.epoch = offset, -1

    def _batch(self, messages: list[Message], log: str, *, adopted: bool) -> Batch:
        topic, number = self.key
        first, last = _OFFSET(messages[0]), _OFFSET(messages[-1])
        # They ascend, so as many as lie between the first and the last are all of them.
        offsets: list[int] | range = range(first, last + 1)
        if len(offsets) != len(messages):
            offsets = list(map(_OFFSET, messages))
        values: list[Any] = list(map(_VALUE, messages))
        account = None
        if None in values:
            account = Account(len(values), sum(len(value) for value in values if value is not None))
            account.drop(TOMBSTONE, values.count(None))
            offsets = [offset for offset, value in zip(offsets, values, strict=True) if value is not None]
            messages = [message for message in messages if message.value() is not None]
            values = [value for value in values if value is not None]
        batch = Batch(topic, number, values, offsets, account, Messages(messages))
        batch.log, batch.adopted = log, adopted
        return batch

    def lose(self, low: int) -> None:
        """Go on from the first offset that exists, because those before it were deleted."""
        assert self.position is not None
        lost = low - self.position
        reason = f"offsets {self.position} to {low - 1} were deleted before they were read: raise the topic's retention"
        self._gaps += lost
        self._go_on(Position(low, self.log, adopted=self.adopted), lost, reason)

    def part_ways(self, offset: int) -> None:
        """Go on from where the log was cut off, which the position lies beyond."""
        assert self.position is not None
        reason = (
            f"the log was cut off at offset {offset}, and {self.position} would be read next: a leader was elected "
            f"that lacked its last records. It is read from {offset} on; what was read of the old ones stays delivered"
        )
        self.cut_off = False
        self._go_on(Position(offset, branch(self.log, self.epoch, offset)), 0, reason)

    def begin_anew(self, place: Position, reason: str) -> None:
        """Go on in another log."""
        self.gone = self.cut_off = False
        self._go_on(place, 0, reason)

    def _go_on(self, place: Position, lost: int, reason: str) -> None:
        self.position, self.log, self.epoch, self.adopted, self.since = place
        topic, number = self.key
        self.context.events.tell("source.gap", "error", topic=topic, partition=number, lost=lost, reason=reason)

    def read(self, room: int) -> list[Batch]:
        """Return one poll, which stays in the processor's cache on its way; if turns are rare, all there is room for.

        A poll brings records of other partitions too. They wait for their turns and count as room that is taken, or a
        partition with nothing to read would pile up what its neighbours have.
        """
        reader = self._reader
        if self._rare:
            while reader.has_room(room) and reader.poll(_RARE_SECONDS):
                pass
        elif reader.has_room(room):
            reader.poll()
        return self._hand_out() or self.pulse()

    def next_batch(self) -> list[Batch]:
        """Return batches within the room; what was already buffered goes out first."""
        self._commit_recorded()
        self._turns += 1
        if self._ready and not self.context.stopping.is_set():
            batches = self._hand_out()
            for batch in batches:
                self.context.taken(batch.account.read_bytes)
            self._idle = 0
            if batches:
                return batches
        return super().next_batch()

    def snapshot(self) -> dict[str, Any] | None:
        """Return the next position to be handed out: what waits in the buffer is read again after a restart."""
        # A barrier that outlasts the epoch interval leaves an epoch one turn: then it has to be used.
        self._rare = self._turns <= 1
        self._turns = 0
        self._recorded = self._handed_out
        return self._handed_out.to_dict() if self._handed_out is not None else None

    def close(self) -> None:
        """Leave the assignment."""
        self._reader.remove(self)
        # A partition is closed at its end, so the snapshot before was its last; its epoch is recorded as the flow ends.
        if self._recorded is not None:
            self._reader.recorded(self.key, self._recorded)

    def _read_in_step(self, room: int) -> list[Batch]:
        return self.read(room)

    def _hand_out(self) -> list[Batch]:
        alignment = self.context.alignment
        low = alignment.mark() if alignment.active and self._ready else Low()
        batches: list[Batch] = []
        while self._ready:
            batch = self._next()
            if batch is None:
                break
            batch.low = low
            if isinstance(batch.origin, Messages):
                self._handed_epoch = batch.origin.epoch
            batches.append(batch)
        if batches and low:
            alignment.carry(low.time)
        self.blocked = bool(self._ready)
        if self._gaps:
            topic, number = self.key
            if not batches:
                batches = [Batch(topic, number, [], [])]
            batches[0].account.gaps += self._gaps
            self._gaps = 0
        first = self._ready[0] if self._ready else None
        if isinstance(first, _Waiting):
            self._handed_out = Position(_OFFSET(first.messages[0]), first.log, self._handed_epoch, first.adopted)
        elif self.position is not None:
            self._handed_out = Position(self.position, self.log, self.epoch, self.adopted)
        return batches

    def _next(self) -> Batch | None:
        """Return the next batch that may be handed out, if there is one."""
        first, alignment = self._ready[0], self.context.alignment
        if isinstance(first, Batch):
            batch = first
            if alignment.active and isinstance(batch.origin, Messages):
                alignment.allowed(self.lane, batch.origin.tail())
            self._ready.pop(0)
        else:
            count = alignment.allowed(self.lane, first.written)
            if not count:
                return None
            written = first.written[:count]
            batch = self._batch(first.cut(count), first.log, adopted=first.adopted)
            if len(batch) == count and isinstance(batch.origin, Messages):
                batch.written, batch.origin.noted = written, first.noted
            if not first.messages:
                self._ready.pop(0)
        self.waiting -= batch.size
        self._reader.buffered -= batch.size
        return batch

    def _commit_recorded(self) -> None:
        """Commit the last epoch's position: this epoch could only begin because that one is recorded."""
        if self._recorded is not None:
            self._reader.recorded(self.key, self._recorded)
            self._recorded = None
            self._reader.commit()
