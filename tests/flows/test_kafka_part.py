"""A topic-partition whose position does not exist."""

from __future__ import annotations

from flows.sources.base import SourceContext
from flows.sources.kafka_part import KafkaPart
from logweir.batch import Batch
from logweir.events import Events


class Reader:
    """Gives nothing."""

    buffered = 0

    def add(self, part: KafkaPart) -> None:
        """Take in a partition."""

    def remove(self, part: KafkaPart) -> None:
        """Read no more of it."""

    def has_room(self, room: int) -> bool:
        """Take all there is."""
        return self.buffered < room

    def poll(self, seconds: float = 0.0) -> int:
        """Have nothing."""
        return 0

    def recorded(self, key: tuple[str, int], offset: int) -> None:
        """Note a position."""

    def commit(self) -> None:
        """Commit nothing."""


def part(position: int) -> KafkaPart:
    """Return a partition that stands there."""
    context = SourceContext(Events(), lambda: 1 << 30, lambda _count: None)
    return KafkaPart(Reader(), "logs", 0, position, context)


def test_a_topic_made_anew_is_marked_where_it_begins() -> None:
    """What was read of the old topic comes before the mark, and what comes after it has the offsets of the new one."""
    stands = part(100)
    stands._ready.append(Batch("logs", 0, [b"{}"], [99]))
    stands.lose(0, 5)
    old, mark = stands.next_batch()
    assert (old.anew, len(old)) == (False, 1)
    assert (mark.anew, len(mark)) == (True, 0)
    assert stands.snapshot() == 0
    stands._ready.append(Batch("logs", 0, [b"{}"], [0]))
    assert [each.anew for each in stands.next_batch()] == [False]


def test_a_gap_is_no_new_topic() -> None:
    """Offsets that retention has deleted are a gap alone."""
    stands = part(3)
    stands.lose(10, 20)
    (batch,) = stands.next_batch()
    assert (batch.anew, batch.account.gaps) == (False, 7)
