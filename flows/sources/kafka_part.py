"""One topic-partition of a Kafka source: its position, its turns, and what is lost of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, Protocol

from confluent_kafka import Message

from flows.sources.base import SourceContext, SourcePartition
from logweir.batch import Account, Batch
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

    def poll(self, seconds: float = 0.0) -> int:
        """Move messages into the buffers of their partitions; return how many."""
        ...

    def recorded(self, key: tuple[str, int], offset: int) -> None:
        """Note a position whose epoch is recorded."""

    def commit(self) -> None:
        """Commit the positions that were noted."""


class Messages:
    """The origin of a batch: the messages of one poll of one partition, by their offsets.

    Args:
        messages: In ascending order.
    """

    __slots__ = ("_messages", "_read_at")
    noted = True

    def __init__(self, messages: list[Message]) -> None:
        self._messages = messages
        self._read_at = time.time()

    def written(self, offsets: Sequence[int]) -> Sequence[float]:
        """Return the timestamps of the messages of these offsets, which are among them, in epoch seconds."""
        messages = self._messages
        if len(offsets) < len(messages):
            by_offset = dict(zip(map(_OFFSET, messages), messages, strict=True))
            messages = list(map(by_offset.__getitem__, offsets))
        return written_seconds(list(map(_MILLIS, map(Message.timestamp, messages))), self._read_at)


class KafkaPart(SourcePartition):
    """One topic-partition."""

    def __init__(
        self,
        reader: Reader,
        topic: str,
        number: int,
        position: int | None,
        context: SourceContext,
    ) -> None:
        super().__init__(context)
        self._reader = reader
        self.key = (topic, number)
        self.position = position
        """The next offset to read; None until the brokers were asked."""
        self._ready: list[Batch] = []
        self._gaps = 0
        self._turns = 0
        self._rare = False
        self._handed_out = position
        self._recorded: int | None = None
        reader.add(self)

    def take(self, messages: list[Message]) -> None:
        """Make a batch of some messages of this partition, in order."""
        topic, number = self.key
        first, last = _OFFSET(messages[0]), _OFFSET(messages[-1])
        # They ascend, so as many as lie between the first and the last are all of them.
        offsets: list[int] | range = range(first, last + 1)
        if len(offsets) != len(messages):
            offsets = list(map(_OFFSET, messages))
        self.position = last + 1
        values: list[Any] = list(map(_VALUE, messages))
        account = None
        if None in values:
            account = Account(len(values), sum(len(value) for value in values if value is not None))
            account.drop(TOMBSTONE, values.count(None))
            offsets = [offset for offset, value in zip(offsets, values, strict=True) if value is not None]
            messages = [message for message in messages if message.value() is not None]
            values = [value for value in values if value is not None]
        batch = Batch(topic, number, values, offsets, account, Messages(messages))
        self._ready.append(batch)
        self._reader.buffered += batch.size

    def lose(self, low: int, high: int) -> None:
        """Go on from `low`, the first offset that exists, because the position doesn't."""
        topic, number = self.key
        assert self.position is not None
        if self.position < low:
            lost = low - self.position
            reason = (
                f"offsets {self.position} to {low - 1} were deleted before they were read: raise the topic's retention"
            )
        else:
            lost = 0
            # Behind what was read before, which waits with offsets of the old topic.
            anew = Batch(topic, number, [], [])
            anew.anew = True
            self._ready.append(anew)
            reason = f"offset {self.position} is beyond the end {high}: was the topic made anew? It is read from {low}"
        self._gaps += lost
        self.position = low
        self.context.events.tell("source.gap", "error", topic=topic, partition=number, lost=lost, reason=reason)

    def read(self, room: int) -> list[Batch]:
        """Return one poll, which stays in the processor's cache on its way; if turns are rare, all there is room for.

        A poll brings records of other partitions too. They wait for their turns and count as room that is taken, or a
        partition with nothing to read would pile up what its neighbours have.
        """
        reader = self._reader
        if self._rare:
            while reader.buffered < room and reader.poll(_RARE_SECONDS):
                pass
        elif reader.buffered < room:
            reader.poll()
        return self._hand_out()

    def next_batch(self) -> list[Batch]:
        """Return batches within the room; what was already buffered goes out first."""
        self._commit_recorded()
        self._turns += 1
        if self._ready and not self.context.stopping.is_set():
            batches = self._hand_out()
            for batch in batches:
                self.context.taken(batch.account.read_bytes)
            self._idle = 0
            return batches
        return super().next_batch()

    def snapshot(self) -> int | None:
        """Return the next offset to be handed out: what waits in the buffer is read again after a restart."""
        # A barrier that outlasts the epoch interval leaves an epoch one turn: then it has to be used.
        self._rare = self._turns <= 1
        self._turns = 0
        self._recorded = self._handed_out
        return self._handed_out

    def close(self) -> None:
        """Leave the assignment."""
        self._reader.remove(self)
        # A partition is closed at its end, so the snapshot before was its last; its epoch is recorded as the flow ends.
        if self._recorded is not None:
            self._reader.recorded(self.key, self._recorded)

    def _hand_out(self) -> list[Batch]:
        batches, self._ready = self._ready, []
        self._reader.buffered -= sum(batch.size for batch in batches)
        if self._gaps:
            topic, number = self.key
            if not batches:
                batches = [Batch(topic, number, [], [])]
            batches[0].account.gaps += self._gaps
            self._gaps = 0
        if self.position is not None:
            self._handed_out = self.position
        return batches

    def _commit_recorded(self) -> None:
        """Commit the last epoch's position: this epoch could only begin because that one is recorded."""
        if self._recorded is not None:
            self._reader.recorded(self.key, self._recorded)
            self._recorded = None
            self._reader.commit()
