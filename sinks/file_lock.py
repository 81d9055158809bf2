"""The lock on a file that one process alone may append to and take back from."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from contextlib import suppress
from pathlib import Path

IN_USE = "another flow or destination writes to it; give each a `path` of its own"
"""What a person can do where the lock is another's."""

_UNABLE = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
"""A file system that has no locks, such as NFS without its lock service. It is no reason to deliver nothing."""


class FileLock:
    """Keeps writers in other processes away for as long as it is held. Two of one process are told by `check`.

    Two files are locked: one beside the path, however that is spelt, which stays when the file is rotated; and the file
    itself, which hard links share.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held: list[int] = []

    def take(self) -> None:
        """Take the lock, unless it is held. A pipe or a device needs none.

        Raises:
            BlockingIOError: Another process has it.
        """
        if self._held:
            return
        real = Path(os.path.realpath(self._path))
        with suppress(FileNotFoundError):
            if not stat.S_ISREG(real.stat().st_mode):
                return
        flags = os.O_RDWR | os.O_CLOEXEC
        try:
            with suppress(PermissionError):  # a directory that takes no new file
                self._take(real.with_name(f".{real.name}.lock"), flags | os.O_CREAT)
            with suppress(FileNotFoundError):
                self._take(real, flags)
        except OSError:
            self.release()
            raise

    def release(self) -> None:
        """Let others have it."""
        held, self._held = self._held, []
        for descriptor in held:
            os.close(descriptor)

    def _take(self, path: Path, flags: int) -> None:
        descriptor = os.open(path, flags, 0o600)
        self._held.append(descriptor)
        try:
            # A record lock is the process's: it ends with it, whatever way, and a child doesn't have it.
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            raise BlockingIOError(errno.EWOULDBLOCK, "is locked", str(self._path)) from None
        except OSError as error:
            if error.errno not in _UNABLE:
                raise
