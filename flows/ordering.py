"""The order of reading, for destinations that need it: limiters answer in any."""

from __future__ import annotations

from collections.abc import Iterable

from logweir.batch import Batch


class InOrder:
    """Holds batches back until all that were read before them are there. All of them are at the end of an epoch.

    Turns are whole numbers from 1.
    """

    def __init__(self) -> None:
        self._due = 1
        self._early: dict[int, Batch] = {}

    def leave(self, batches: Iterable[Batch]) -> list[Batch]:
        """Take batches that are done; return those whose turn it is. What has no turn, as summaries, goes first."""
        free = []
        for batch in batches:
            if batch.turn:
                self._early[batch.turn] = batch
            else:
                free.append(batch)
        while self._due in self._early:
            free.append(self._early.pop(self._due))
            self._due += 1
        return free

    @property
    def waiting(self) -> int:
        """Return how many are held back."""
        return len(self._early)
