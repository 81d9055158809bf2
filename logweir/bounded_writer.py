"""A text stream that nobody has to read: writing to it never waits.

A terminal that is paused, or a log driver that blocks, must not hold up the work that is told of. So text waits in a
bounded buffer for a thread that writes it; what there is no room for is left out, counted, and told once there is.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from typing import IO

MAX_BYTES = 1_000_000
"""Of text that waits to be written."""


class BoundedWriter:
    """Writes to a stream's file descriptor from a thread of its own; to a stream without one at once.

    Args:
        stream: Where to.
        left_out: Makes the text that tells how many pieces were left out.
        most: Bytes that may wait.
    """

    def __init__(self, stream: IO[str], left_out: Callable[[int], str] = lambda _: "", most: int = MAX_BYTES) -> None:
        self._stream = stream
        self._tell_left_out = left_out
        self._most = most
        self.left_out = 0
        """Pieces of text that there was no room for, ever."""
        self._untold = 0
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._writing = False
        try:
            self._descriptor: int | None = stream.fileno()
        except (OSError, ValueError, AttributeError):
            self._descriptor = None
        else:
            stream.flush()
            threading.Thread(target=self._write_always, name="told", daemon=True).start()

    def write(self, text: str) -> int:
        """Let a piece of text be written, or leave it out; return its length."""
        if self._descriptor is None:
            return self._stream.write(text)
        data = text.encode(errors="backslashreplace")
        with self._changed:
            if self._bytes + len(data) > self._most:
                self.left_out += 1
                self._untold += 1
                return len(text)
            if self._untold and (said := self._tell_left_out(self._untold)):
                self._put(said.encode())
            self._untold = 0
            self._put(data)
            self._changed.notify_all()
        return len(text)

    def flush(self) -> None:
        """Wait for nothing; of a stream without a descriptor, flush it."""
        if self._descriptor is None:
            self._stream.flush()

    def isatty(self) -> bool:
        """Tell whether it is a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """Return the stream's descriptor."""
        return self._stream.fileno()

    def close(self, timeout: float) -> bool:
        """Return whether all that waits is written, after these seconds at most. The stream stays open."""
        if self._descriptor is None:
            self._stream.flush()
            return True
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and not self._writing, timeout)

    def _put(self, data: bytes) -> None:
        self._waiting.append(data)
        self._bytes += len(data)

    def _write_always(self) -> None:
        assert self._descriptor is not None
        while True:
            with self._changed:
                self._writing = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: bool(self._waiting))
                data = self._waiting.popleft()
                self._writing = True
            rest = memoryview(data)
            while rest:
                try:
                    rest = rest[os.write(self._descriptor, rest) :]
                except OSError:  # nobody will ever read it: a closed pipe or terminal
                    break
            with self._changed:
                self._bytes -= len(data)
