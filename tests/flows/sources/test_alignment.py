"""Which partitions wait for which, so that limits can close their windows and nobody waits for ever."""

from __future__ import annotations

from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from flows.sources.alignment import ENDED, GRAIN, PATIENCE, Alignment, Lane
from logweir.events import Events
from operators.watermark import Standing, Watermark

NOW = 1_790_000_000.0
AHEAD = 60.0


def aligned(total: int, *, worker: int = 0, events: Events | None = None, now: float = NOW) -> Alignment:
    """Return what keeps the partitions of a source in step, of which one process reads all or some."""
    alignment = Alignment(events or Events(), AHEAD, lambda: total, worker, lambda: now)
    alignment.active = True
    return alignment


def lanes(alignment: Alignment, count: int) -> list[Lane]:
    """Take in some partitions."""
    return [alignment.lane(f"logs-{number}") for number in range(count)]


def column(begin: float, count: int) -> list[float]:
    """Return times of one record a second."""
    return [begin + number for number in range(count)]


def test_those_ahead_wait_for_the_slowest() -> None:
    """A partition is handed out as far as it may be ahead, and the slowest one never waits."""
    alignment = aligned(2)
    first, second = lanes(alignment, 2)
    begin = NOW - 10_000
    assert alignment.allowed(first, column(begin, 600)) == 0
    alignment.wait(second, column(begin + 200, 600))
    assert AHEAD <= alignment.allowed(first, column(begin, 600)) <= AHEAD + GRAIN
    assert alignment.allowed(second, column(begin + 200, 600)) == 0
    assert begin < alignment.low == first.reached <= begin + AHEAD + GRAIN


def test_nobody_goes_before_all_are_known() -> None:
    """A partition that has given nothing yet counts from the start; it doesn't once it is read to its end."""
    alignment = aligned(2)
    first, empty = lanes(alignment, 2)
    some = column(NOW - 1000, 30)
    assert alignment.allowed(first, some) == 0
    assert alignment.empty() == [empty]
    alignment.read_to_end(empty, NOW)
    assert alignment.allowed(first, some) == 30
    assert alignment.empty() == []


def test_to_be_empty_is_no_progress_by_itself() -> None:
    """A partition that was read to its end an hour ago, and since then nobody knows, is asked for again."""
    alignment = aligned(2)
    first, empty = lanes(alignment, 2)
    alignment.read_to_end(empty, NOW - 3600)
    assert alignment.allowed(first, column(NOW - 3555, 10)) > 0
    assert alignment.allowed(first, column(NOW - 100, 30)) == 0
    assert alignment.empty() == [empty]


def test_one_record_that_is_ahead_moves_nothing() -> None:
    """Of sixteen in a row all have to be ahead; what lies in the future never counts."""
    alignment = aligned(2)
    first, second = lanes(alignment, 2)
    times = column(NOW - 5000, 40)
    times[20] += 1800
    alignment.wait(second, column(NOW - 5000, 30))
    assert alignment.allowed(first, times) == 40
    assert first.until == min(times[-GRAIN:])
    future = [NOW + 1800 + number for number in range(30)]
    assert alignment.allowed(first, future) == 30
    assert first.until == min(times[-GRAIN:])


def test_a_partition_that_cannot_be_read_is_waited_for_so_long() -> None:
    """Then it is told, once, and the others go on; when it gives something it counts again."""
    told: list[dict[str, Any]] = []
    events = Events()
    events.listen(told.append, "info")
    alignment = aligned(2, events=events)
    first, dead = lanes(alignment, 2)
    some = column(NOW - 1000, 30)
    for _ in range(int(PATIENCE)):
        assert alignment.allowed(first, some) == 0
        alignment.missed(dead, 1.0)
    alignment.missed(dead, 1.0)
    assert alignment.allowed(first, some) == 30
    assert [each["partition"] for each in told if each["event"] == "source.behind"] == ["logs-1"]
    assert alignment.allowed(dead, column(NOW - 1000, 5)) == 5
    assert dead.stand == NOW - 1000


def test_partitions_of_other_workers_count() -> None:
    """Nobody goes before all workers have told how far they are; then the slowest of all counts."""
    alignment = aligned(3)
    (own,) = lanes(alignment, 1)
    some = column(NOW - 1000, 30)
    alignment.heard(Standing(1, NOW - 5000, NOW - 5000, 1, 3))
    assert alignment.allowed(own, some) == 0
    alignment.heard(Standing(2, NOW - 1000, NOW - 1000, 1, 3))
    assert alignment.allowed(own, some) == 0
    alignment.heard(Standing(1, NOW - 1050, NOW - 1050, 1, 3))
    assert alignment.allowed(own, some) > 0
    alignment.heard(Standing(1, ENDED, NOW - 900, 1, 3))
    alignment.heard(Standing(2, ENDED, NOW - 900, 1, 3))
    assert alignment.allowed(own, some) == 30


def test_partitions_that_are_made_later_count() -> None:
    """After a start the engine makes them one by one: until the last one is there, and known, nobody goes."""
    alignment = aligned(2)
    first = alignment.lane("logs-0")
    alignment.wait(first, column(NOW - 1000, 30))
    assert alignment.low == NOW - 1000
    alignment.carry(alignment.low)
    second = alignment.lane("logs-1")
    assert (alignment.low, alignment.allowed(first, column(NOW - 1000, 30))) == (0.0, 0)
    alignment.wait(second, column(NOW - 5000, 30))
    assert alignment.low == NOW - 5000
    assert alignment.due()


def test_what_was_known_before_a_partition_was_made_says_nothing_of_it() -> None:
    """A batch is told of when it has come through the steps before: by then the worker may have another partition."""
    alignment = aligned(2)
    alignment.wait(alignment.lane("logs-0"), column(NOW - 1000, 30))
    carried = alignment.mark()
    alignment.lane("logs-1")
    watermark = Watermark()
    assert watermark.read_until(alignment.standing(carried)) == 0.0
    other = aligned(2)
    other.heard(alignment.standing(carried))
    assert other.horizon() == 0.0


def test_nobody_waits_where_nothing_counts_by_event_time() -> None:
    """Without such a limit, and with one partition, everything is handed out at once."""
    idle, alone = aligned(2), aligned(1)
    idle.active = False
    for alignment in (idle, alone):
        (lane,) = lanes(alignment, 1)
        assert alignment.allowed(lane, column(NOW - 10_000, 5000)) == 5000
        assert alignment.low == NOW - 10_000 + 5000 - GRAIN


def test_files_are_read_a_few_at_a_time() -> None:
    """How far a file has been read is known only from what was decoded of it; one that has ended holds up nobody."""
    alignment = aligned(2)
    first, second = lanes(alignment, 2)
    assert alignment.may_read(first)
    alignment.read("logs-0", [NOW - 100])
    assert not alignment.may_read(first)
    assert alignment.may_read(second)
    alignment.read("logs-1", [NOW - 5000])
    assert not alignment.may_read(first)
    alignment.end(second)
    assert alignment.may_read(first)


TIMES = st.lists(st.lists(st.floats(NOW - 20_000, NOW + 5000), min_size=1, max_size=40), min_size=1, max_size=4)


class Sources:
    """The partitions of some workers, each with what it has been given in pieces.

    Args:
        columns: Of each partition, the pieces.
        workers: How many.
    """

    def __init__(self, columns: list[list[list[float]]], workers: int) -> None:
        self._workers = [aligned(len(columns), worker=worker) for worker in range(workers)]
        self.left = []
        for number, pieces in enumerate(columns):
            alignment = self._workers[number % workers]
            self.left.append((alignment, alignment.lane(f"logs-{number}"), list(pieces)))

    def turn(self, index: int) -> int:
        """Give a partition its turn; return how many records it hands out."""
        alignment, lane, pieces = self.left[index]
        handed = 0
        while pieces:
            count = alignment.allowed(lane, pieces[0])
            handed += count
            if count < len(pieces[0]):
                pieces[0] = pieces[0][count:]
                break
            pieces.pop(0)
        if not pieces:
            alignment.end(lane)
        for each in self._workers:
            for other in self._workers:
                if other is not each and other.low:
                    each.heard(other.standing(other.mark()))
        return handed


@given(st.lists(TIMES, min_size=1, max_size=5), st.sampled_from([1, 2, 4]), st.randoms(use_true_random=False))
def test_all_is_handed_out_whatever_the_times(columns: list[list[list[float]]], workers: int, dice: Random) -> None:
    """However times are mixed, in the future or the past, somebody can always go on until everything is handed out."""
    sources = Sources(columns, min(workers, len(columns)))
    # In the first rounds those are met that know nothing of each other yet.
    for _ in range(2):
        for index in dice.sample(range(len(columns)), len(columns)):
            sources.turn(index)
    while any(pieces for _, _, pieces in sources.left):
        assert sum(map(sources.turn, range(len(columns))))
