"""How much is in flight between a dataflow's source and one destination, and how much more may be handed out."""

from __future__ import annotations

import threading


class Flight:
    """Counts raw bytes that were read and are not settled yet.

    Bytewax's queues within an epoch are unbounded, so the source asks here before it hands out more.

    Args:
        limit: Bytes; one batch may exceed it.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._bytes = 0
        self._lock = threading.Lock()

    @property
    def bytes(self) -> int:
        """Return the bytes in flight."""
        return self._bytes

    def room(self) -> int:
        """Return the bytes that may be handed out now; zero or less when there is enough in flight."""
        return self.limit - self._bytes

    def add(self, count: int) -> None:
        """Note bytes that the source has handed out."""
        with self._lock:
            self._bytes += count

    def release(self, count: int) -> None:
        """Note bytes that are delivered, dropped or dead-lettered."""
        with self._lock:
            self._bytes -= count
