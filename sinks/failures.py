"""Telling of dead letters: seldom, and each time how many since the last."""

from __future__ import annotations

import threading
import time

from logweir.events import Events
from logweir.ledger import Ledger

_SECONDS = 10.0
"""They are told at most this often, and at each barrier."""


class Failures:
    """What was dead-lettered and no event has told of yet.

    Args:
        stream: The destination's name.
        events: Where it is told.
        ledger: Counts them; what it has counted before was told before.
        lock: Held where the ledger is changed.
    """

    def __init__(self, stream: str, events: Events, ledger: Ledger, lock: threading.Condition) -> None:
        self._stream = stream
        self._events = events
        self._ledger = ledger
        self._lock = lock
        self._untold: dict[str, str] = {}
        """cause -> the last reason."""
        self._told = ledger.dead_lettered.copy()
        self._told_at = -_SECONDS

    def note(self, reasons: dict[str, str]) -> None:
        """Note the causes of what was counted just now, each with its last reason."""
        with self._lock:
            self._untold.update(reasons)

    def tell(self, pause: float = _SECONDS) -> None:
        """Tell what was noted since the last time, unless that was a moment ago."""
        with self._lock:
            now = time.monotonic()
            if not self._untold or now - self._told_at < pause:
                return
            untold, self._untold, self._told_at = self._untold, {}, now
            counts = self._ledger.dead_lettered - self._told
            self._told = self._ledger.dead_lettered.copy()
        for cause, reason in untold.items():
            self._events.tell(
                "stream.failed", "warn", stream=self._stream, records=counts[cause], cause=cause, reason=reason
            )
