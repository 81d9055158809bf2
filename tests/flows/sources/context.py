"""A flow for sources to run in: it records the events that they tell."""

from __future__ import annotations

from typing import Any

from flows.sources.base import SourceContext, SourcePartition
from logweir.batch import Batch
from logweir.events import Events


class Flow:
    """What a source sees of a flow, and what it did with it."""

    def __init__(self, room: int = 1 << 30) -> None:
        self.told: list[dict[str, Any]] = []
        self.restarts: list[str] = []
        self.room = room
        self.taken = 0
        events = Events()
        events.listen(self.told.append)
        self.context = SourceContext(events, lambda: self.room, self._take, restart=self.restarts.append)

    def _take(self, count: int) -> None:
        self.taken += count


def drain(part: SourcePartition, polls: int = 1000) -> tuple[list[Batch], bool]:
    """Return what a partition gives until it has nothing at once, and whether it has ended."""
    batches: list[Batch] = []
    for _ in range(polls):
        try:
            got = part.next_batch()
        except StopIteration:
            return batches, True
        if not got:
            return batches, False
        batches += got
    return batches, False


def values(batches: list[Batch]) -> list[bytes]:
    """Return the records of batches."""
    return [value for batch in batches for value in batch.values]
