"""A flow file while its flow runs: tells when there is another content to look at."""

from __future__ import annotations

import stat
from pathlib import Path

LOOK_SECONDS = 0.25
"""How often to look. What is found has to be the same at the next look, so that a file half written is left alone."""

_Mark = tuple[int, int, int, int, int]
"""Device, inode, times of the last change to the content and to anything, in nanoseconds, size."""


class FlowFile:
    """Looks at a flow file, by its path: editors put another file in its place, Kubernetes another link's target.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: _Mark | None = None
        # It may have changed since it was read for the start.
        self._read: _Mark | None = None
        self._next = 0.0
        # A pipe gives what it holds once; a regular file can be read again.
        self.is_regular = path.is_file()

    def changed(self, now: float) -> bool:
        """Tell whether the file is another one than was read last, and has been so for a while.

        Args:
            now: Monotonic time.
        """
        if not self.is_regular or now < self._next:
            return False
        self._next = now + LOOK_SECONDS
        mark, before = self._mark(), self._seen
        self._seen = mark
        return mark is not None and mark == before and mark != self._read

    def read(self) -> bytes:
        """Return the content.

        Raises:
            OSError: It can't be read.
        """
        self._read = self._seen = self._mark()
        return self.path.read_bytes()

    def _mark(self) -> _Mark | None:
        """Return what changes with the content; None while there is no such file, as while it is replaced."""
        try:
            found = self.path.stat()
        except OSError:
            return None
        if not stat.S_ISREG(found.st_mode):
            return None
        return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size
