"""How far all partitions of the source have been read, in event time: what lies before it can be closed."""

from __future__ import annotations

from typing import Any, NamedTuple

from logweir.batch import Low


class Standing(NamedTuple):
    """How far one worker has read its partitions; times are epoch seconds."""

    worker: int
    low: float
    """None of them will give what was written before, in the order of writing; infinite when all have ended."""
    furthest: float
    """How far the one is that is ahead of all."""
    lanes: int
    """How many partitions that is about."""
    total: int
    """How many the whole source has."""


class Watermark:
    """The event time up to which the slowest partition has been read; it never goes back.

    It counts every partition of the source from the start: until all workers have told how far theirs are, it stays.
    """

    def __init__(self) -> None:
        self.reached = 0.0
        self._standings: dict[int, Standing] = {}

    def read_until(self, standing: Standing) -> float:
        """Note how far a worker has read its partitions, and settled what was in them; return the watermark."""
        self._standings[standing.worker] = standing
        if sum(each.lanes for each in self._standings.values()) >= standing.total:
            low = min(each.low for each in self._standings.values())
            # That there is nothing more to read is no progress in time by itself.
            self.reached = max(self.reached, min(low, max(each.furthest for each in self._standings.values())))
        return self.reached

    def to_dict(self) -> dict[str, Any]:
        """Return a copy as plain values, for a snapshot."""
        return {"reached": self.reached}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a snapshot. How far workers were says nothing of how far they are after a restart."""
        self.reached = state["reached"]


class Outstanding:
    """What was asked and is not answered yet: as far as that, nothing can be closed.

    Answers come in any order, so what a batch before has asked may still be on its way to a limiter.
    """

    def __init__(self) -> None:
        self._lows: dict[int, Low] = {}
        """By turn, in the order of asking, the low of the batch: they ascend."""

    def asked(self, turn: int, low: Low) -> None:
        """Note a batch that waits for answers."""
        self._lows[turn] = low

    def settled(self, turn: int) -> None:
        """Note that all answers are there."""
        self._lows.pop(turn, None)

    def low(self, low: Low) -> Low:
        """Return how far the process is in what was settled, where no batch from now on is older than `low`."""
        first = next(iter(self._lows.values()), low)
        return Low(min(first.time, low.time), min(first.lanes, low.lanes))
