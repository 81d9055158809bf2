"""A topic-partition whose position does not exist."""

from __future__ import annotations

from flows.sources.base import SourceContext
from flows.sources.kafka_part import KafkaPart
from flows.sources.kafka_position import Position
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

    def recorded(self, key: tuple[str, int], position: Position) -> None:
        """Note a position."""

    def commit(self) -> None:
        """Commit nothing."""


def part(position: int) -> KafkaPart:
    """Return a partition that stands there."""
    context = SourceContext(Events(), lambda: 1 << 30, lambda _count: None)
    return KafkaPart(Reader(), "logs", 0, Position(position, "c/old", 4), context)


def batch(log: str, offset: int) -> Batch:
    """Return one that waits."""
    made = Batch("logs", 0, [b"{}"], [offset])
    made.log = log
    return made


def test_a_topic_made_anew() -> None:
    """What was read of the old topic keeps its log's name, and the position is one of the new log."""
    stands = part(100)
    stands._ready.append(batch("c/old", 99))
    stands.begin_anew(Position(0, "c/new"), "made anew")
    assert [each.log for each in stands.next_batch()] == ["c/old"]
    assert stands.snapshot() == Position(0, "c/new").to_dict()


def test_a_log_that_was_cut_off() -> None:
    """Other records have the same offsets from there on, so the log has another name, the same each time."""
    for _ in range(2):
        stands = part(100)
        stands.part_ways(80)
        assert stands.next_batch() == []
        assert Position.of(stands.snapshot()) == Position(80, "c/old#4-80")


def test_a_gap_is_no_new_topic() -> None:
    """Offsets that retention has deleted are a gap alone."""
    stands = part(3)
    stands.lose(10)
    (read,) = stands.next_batch()
    assert read.account.gaps == 7
    assert Position.of(stands.snapshot()) == Position(10, "c/old", -1)


def test_what_earlier_versions_recorded() -> None:
    """They recorded the offset alone."""
    assert Position.of(17) == Position(17)
    assert Position.of(None) is None
    assert Position.of(Position(17, "c/t", 3, True, 5).to_dict()) == Position(17, "c/t", 3, True, 5)
