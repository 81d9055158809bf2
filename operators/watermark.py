"""How far all partitions have been read, in event time: what lies before it can be closed."""

from __future__ import annotations

from typing import Any

IDLE_SECONDS = 60.0
"""Of the system's clock: a partition that was silent for so long is not waited for."""


class Watermark:
    """The event time up to which the slowest partition has been read; it never goes back."""

    def __init__(self) -> None:
        self.reached = 0.0
        self._progress: dict[str, tuple[float, float]] = {}
        """partition -> until when it has been read, in event time, and when that was, by the system's clock."""

    def read_until(self, partition: str, moment: float, now: float) -> float:
        """Note how far a partition has been read; return the watermark.

        Args:
            partition: Its name.
            moment: Event time, in epoch seconds. What lies in the future moves nothing.
            now: The system's clock.
        """
        before, _ = self._progress.get(partition, (0.0, 0.0))
        self._progress[partition] = (max(before, min(moment, now)), now)
        if any(now - seen >= IDLE_SECONDS for _, seen in self._progress.values()):
            self._progress = {name: each for name, each in self._progress.items() if now - each[1] < IDLE_SECONDS}
        self.reached = max(self.reached, min(reached for reached, _ in self._progress.values()))
        return self.reached

    def to_dict(self) -> dict[str, Any]:
        """Return a copy as plain values, for a snapshot."""
        return {"progress": dict(self._progress), "reached": self.reached}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a snapshot."""
        self._progress, self.reached = dict(state["progress"]), state["reached"]
