"""How far all partitions have been read, by what each worker tells of its own."""

from __future__ import annotations

from logweir.batch import Low
from operators.watermark import Outstanding, Standing, Watermark

INFINITE = float("inf")


def stands(worker: int, low: float, lanes: int = 2, total: int = 4) -> Standing:
    """Return what a worker tells."""
    return Standing(worker, low, 700.0 if low == INFINITE else low, lanes, total)


def test_every_partition_counts_from_the_start() -> None:
    """Nothing closes before the partitions of all workers are known; then the slowest one counts."""
    mark = Watermark()
    assert mark.read_until(stands(0, 1000.0)) == 0.0
    assert mark.read_until(stands(0, 2000.0)) == 0.0
    assert mark.read_until(stands(1, 500.0)) == 500.0
    assert mark.read_until(stands(1, 3000.0)) == 2000.0


def test_it_never_goes_back() -> None:
    """A worker that is behind later, as after a restart, moves nothing."""
    mark = Watermark()
    mark.read_until(stands(0, 1000.0, lanes=4))
    assert mark.read_until(stands(0, 10.0, lanes=4)) == 1000.0


def test_after_a_restart_all_are_waited_for() -> None:
    """What was recorded says how far windows are closed, and not that a partition has been read any further."""
    before = Watermark()
    before.read_until(stands(0, 1000.0, lanes=4))
    mark = Watermark()
    mark.restore(before.to_dict())
    assert mark.reached == 1000.0
    assert mark.read_until(stands(0, 5000.0)) == 1000.0
    assert mark.read_until(stands(1, 2000.0)) == 2000.0
    older = Watermark()
    older.restore({"reached": 7.0, "progress": {"logs-0": (9.0, 9.0)}})
    assert older.reached == 7.0


def test_partitions_that_have_ended_hold_up_nothing() -> None:
    """A worker whose files are all read to their ends leaves it to the others; if all are, nothing moves."""
    mark = Watermark()
    mark.read_until(stands(0, INFINITE))
    assert mark.read_until(stands(1, 700.0)) == 700.0
    assert mark.read_until(stands(1, INFINITE)) == 700.0


def test_what_is_asked_and_not_answered_counts() -> None:
    """Answers come in any order: until those of the oldest batch are there, nothing after it counts as read."""
    outstanding = Outstanding()
    now = Low(50.0, 3)
    assert outstanding.low(now) == now
    outstanding.asked(1, Low(10.0, 2))
    outstanding.asked(2, Low(20.0, 3))
    outstanding.asked(5, Low(30.0, 3))
    outstanding.settled(2)
    assert outstanding.low(now) == Low(10.0, 2)
    outstanding.settled(1)
    assert outstanding.low(now) == Low(30.0, 3)
    outstanding.settled(5)
    assert outstanding.low(now) == now
