"""How far the partitions of a source have been read, in event time, so that none runs ahead of those behind.

Limits count records in windows of event time. A window can close once every partition of the source was read beyond it;
until then it takes memory. So partitions that are ahead wait, and what is open at a time is bounded whatever the shape
of a backlog.

A partition stands at the time of what it will hand out next, or else of what it has handed out last. One that is empty
is read to its end when the brokers, or the file system, say so; silence is no sign of that. It holds up nobody until
the others are beyond the time at which that was asked. Times that lie in the future move nothing, and neither does one
record that is ahead of its neighbours. The slowest partition never waits, so that not all of them can.

A partition that can't be read would hold up the others for ever. It is waited for `PATIENCE` seconds in which others
could be read, and then told.

Workers tell each other how far they are through the dataflow: see flows/in_step.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cached_property

from logweir.batch import Low
from logweir.events import Events
from operators.watermark import Standing

PATIENCE = 60.0
"""Seconds for which a partition is waited for that gives nothing and isn't read to its end, while others can be."""
GRAIN = 16
"""Records in a row, of which the earliest tells where they are: a clock that is ahead has to be in all of them."""
STEP = 1.0
"""Of event time, in seconds: a smaller progress isn't told to others."""
_BEHIND = 0.5
"""Seconds by which an empty partition has to be behind before its end is asked for."""
ENDED = float("inf")


class Lane:
    """One partition, and where it stands.

    Args:
        name: Its name.
    """

    __slots__ = ("ended", "front", "given_up", "lacking", "name", "read_to", "until")

    def __init__(self, name: str) -> None:
        self.name = name
        self.until = 0.0
        """Up to when it was handed out, in epoch seconds; zero before the first record."""
        self.front: float | None = None
        """The time of what waits to be handed out, if something does."""
        self.read_to = 0.0
        """When it was known last to be read to its end; zero for never."""
        self.ended = False
        """It will never give anything again."""
        self.lacking = 0.0
        """For how many seconds it gave nothing that is known to be there, or can't be asked for."""
        self.given_up = False

    @property
    def reached(self) -> float:
        """Return the time of what it has given, or will give next."""
        return self.until if self.front is None else max(self.until, self.front)

    @property
    def stand(self) -> float:
        """Return the time before which nothing comes from it."""
        if self.ended or (self.given_up and self.front is None):
            return ENDED
        return self.reached if self.front is not None else max(self.until, self.read_to)


class Alignment:
    """The partitions that one process reads, and how far other workers are.

    Args:
        events: Where to tell of partitions that are waited for no longer.
        ahead: Seconds of event time by which a partition may be ahead of the slowest.
        total: Gives the number of the source's partitions, those of other workers too.
        worker: The number of this process.
        clock: Gives the system's time in epoch seconds.
    """

    def __init__(
        self,
        events: Events,
        ahead: float = 60.0,
        total: Callable[[], int] = lambda: 1,
        worker: int = 0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.active = False
        """Whether something counts by event time; else nobody waits for anybody."""
        self._events = events
        self._ahead = ahead
        self._total = total
        self._worker = worker
        self._clock = clock
        self._lanes: dict[str, Lane] = {}
        self._others: dict[int, Standing] = {}
        self._low = self._furthest = self._furthest_of_all = 0.0
        self._changed = True
        self._carried = self._told = 0.0

    @cached_property
    def total(self) -> int:
        """Return the number of the source's partitions."""
        return self._total()

    @property
    def waits(self) -> bool:
        """Tell whether partitions wait for each other."""
        return self.active and self.total > 1

    def lane(self, name: str) -> Lane:
        """Take in a partition of this process."""
        lane = self._lanes[name] = Lane(name)
        # The engine makes partitions one after another: how far the first ones are is not enough.
        self._low = self._carried = self._told = 0.0
        self._changed = True
        return lane

    @property
    def low(self) -> float:
        """Return the time before which nothing comes from this process's partitions; zero while one isn't known.

        Infinite when all have ended.
        """
        self._look()
        return self._low

    @property
    def furthest(self) -> float:
        """Return how far the partition is that is ahead of all, those of other workers too."""
        self._look()
        return self._furthest_of_all

    def mark(self) -> Low:
        """Return how far this process is now, which says nothing of a partition that comes later."""
        return Low(self.low, len(self._lanes))

    def standing(self, low: Low) -> Standing:
        """Return what others have to know, where no batch before this one is older than `low`."""
        return Standing(self._worker, low.time, self._furthest, low.lanes, self.total)

    def horizon(self) -> float:
        """Return up to when partitions may be handed out; zero while not all of the source are known."""
        if len(self._lanes) + sum(other.lanes for other in self._others.values()) < self.total:
            return 0.0
        low = min((other.low for other in self._others.values() if other.lanes), default=self.low)
        low = min(low, self.low) if self._lanes else low
        return low + self._ahead if low else 0.0

    def may_read(self, lane: Lane) -> bool:
        """Tell whether to read on in a partition that doesn't know what it will give next."""
        return not self.waits or not lane.until or lane.stand <= self.horizon()

    def allowed(self, lane: Lane, written: Sequence[float]) -> int:
        """Return how many of the next records of a partition may be handed out now; note where it stands by that.

        Args:
            lane: The partition.
            written: When its next records were written; of one record at least.
        """
        lane.lacking, lane.given_up = 0.0, False
        now = self._clock()
        if not self.waits:
            self._hand(lane, written, now)
            return len(written)
        self.wait(lane, written)
        horizon = self.horizon()
        if max(written) > horizon:
            for start in range(0, len(written), GRAIN):
                earliest = min(written[start : start + GRAIN])
                if horizon < earliest <= now and earliest > lane.until:
                    if start:
                        self._hand(lane, written[:start], now)
                        self.wait(lane, written[start : start + GRAIN])
                    return start
        self._hand(lane, written, now)
        return len(written)

    def wait(self, lane: Lane, written: Sequence[float]) -> None:
        """Note when the next records of a partition were written, which are still to be handed out."""
        earliest = min(written[:GRAIN])
        lane.front = earliest if earliest <= self._clock() else lane.until
        self._changed = True

    def read(self, name: str, moments: Sequence[float]) -> None:
        """Note what was handed out of a partition that has learnt its times only by being decoded."""
        lane = self._lanes.get(name)
        if lane is not None and moments:
            lane.lacking, lane.given_up = 0.0, False
            self._hand(lane, moments, self._clock())

    def read_to_end(self, lane: Lane, moment: float) -> None:
        """Note that at this moment, in epoch seconds, a partition had nothing that was not read."""
        lane.read_to = max(lane.read_to, moment)
        lane.lacking, lane.given_up = 0.0, False
        self._changed = True

    def give_up(self, lane: Lane) -> None:
        """Note that a partition can't be read now, so that it holds up no other."""
        lane.given_up = True
        self._changed = True

    def end(self, lane: Lane) -> None:
        """Note that a partition will never give anything again."""
        lane.ended, lane.front = True, None
        self._changed = True

    def holds_up(self, lane: Lane) -> bool:
        """Tell whether a partition has nothing to hand out and others are ahead: is it read to its end?"""
        return (
            self.waits
            and not lane.ended
            and lane.front is None
            and max(lane.until, lane.read_to) < self.furthest - _BEHIND
        )

    def empty(self) -> list[Lane]:
        """Return the partitions whose ends have to be asked for."""
        return [lane for lane in list(self._lanes.values()) if self.holds_up(lane)] if self.waits else []

    def missed(self, lane: Lane, seconds: float) -> None:
        """Note that for so long a partition gave nothing that is not read to its end, though the source can be read."""
        lane.lacking += seconds
        if lane.lacking >= PATIENCE and not lane.given_up:
            lane.given_up = True
            self._changed = True
            reason = (
                f"{lane.name} gives nothing and is not read to its end: limits no longer wait for it, and what it "
                "gives later is counted anew where its windows are closed by then"
            )
            self._events.tell("source.behind", "warn", partition=lane.name, reason=reason)

    def heard(self, standing: Standing) -> None:
        """Note how far another worker is."""
        self._others[standing.worker] = standing
        self._changed = True

    def carry(self, low: float) -> None:
        """Note that a batch has left the source that tells how far this process was before it."""
        self._carried, self._told = low, self._furthest

    def due(self) -> bool:
        """Tell whether there was a progress that no batch has carried, and that others have to know of."""
        return self.active and (self.low - self._carried >= STEP or self._furthest - self._told >= STEP)

    def _look(self) -> None:
        if not self._changed:
            return
        self._changed = False
        lanes = list(self._lanes.values())
        self._furthest = max((lane.reached for lane in lanes), default=0.0)
        self._furthest_of_all = max((other.furthest for other in self._others.values()), default=self._furthest)
        self._furthest_of_all = max(self._furthest_of_all, self._furthest)
        low = min((lane.stand for lane in lanes), default=0.0)
        # After one that had ended, or was given up, comes what is behind it.
        self._low = low if ENDED in (low, self._low) else max(self._low, low)

    def _hand(self, lane: Lane, written: Sequence[float], now: float) -> None:
        lane.front = None
        earliest = min(written[-GRAIN:])
        if earliest <= now:
            lane.until = max(lane.until, earliest)
        self._changed = True
