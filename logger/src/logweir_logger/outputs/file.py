"""Lines of JSON to a file that begins anew when it grows large or old.

Several processes may write the same file, as a prefork server's do: each line is one append, one of them renames the
file when it is full, and the others notice.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from weakref import WeakSet

from logweir_logger.outputs import Output
from logweir_logger.outputs.stream import DescriptorWriter

_LOOK_SECONDS = 1.0
"""How often it is looked whether another process has renamed the file."""
_STAMP = "%Y%m%dT%H%M%SZ"


class FileOutput(Output):
    """Lines of JSON to a file.

    Args:
        path: Its name; folders are made.
        level: The least severe level that is written.
        rotate_bytes: Begin a new file before this one grows larger; where several processes write it, it may by a line
            of each. The finished one is renamed: `app.log` becomes
            `app.20261125T033300Z-000001.log`.
        rotate_seconds: Begin a new file with each such period of the clock (UTC), at the first record in it.
        keep: How many finished files stay; None keeps all.

    Raises:
        ValueError: A setting is wrong.
        OSError: The file can't be opened.
    """

    closed = False
    """For the writer, which is made anew with each file."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        level: str = "trace",
        *,
        rotate_bytes: int | None = None,
        rotate_seconds: float | None = None,
        keep: int | None = None,
    ) -> None:
        super().__init__(level)
        for name, value in (("rotate_bytes", rotate_bytes), ("rotate_seconds", rotate_seconds)):
            if value is not None and value <= 0:
                msg = f"{name} must be greater than 0, got {value}"
                raise ValueError(msg)
        if keep is not None and keep < 0:
            msg = f"keep must not be negative, got {keep}"
            raise ValueError(msg)
        self._path = Path(path)
        self._rotate_bytes = rotate_bytes
        self._rotate_seconds = rotate_seconds
        self._keep = keep
        self._lock = threading.RLock()
        self._descriptor = -1
        self._size = 0
        self._inode = 0
        self._begun = 0.0
        self._looked = 0.0
        with self._lock:
            self._open()
        _OUTPUTS.add(self)

    def write(self, line: bytes, severity: int) -> None:  # noqa: ARG002
        """Write one record."""
        with self._lock:
            if self._descriptor < 0:
                self._open()
            now = time.time()
            if now - self._looked >= _LOOK_SECONDS:
                self._look(now)
            if self._size and self._due(now, len(line) + 1):
                self._rotate(now, len(line) + 1)
            self._writer.write(line)
            if self._rotate_bytes is not None:
                # Behind what other processes have written as well.
                self._size = os.lseek(self._descriptor, 0, os.SEEK_CUR)
            else:
                self._size += len(line) + 1

    def flush(self, timeout: float = 10.0) -> bool:
        """Return True once the system has put all of it on the disk."""
        del timeout
        with self._lock:
            if self._descriptor >= 0:
                os.fsync(self._descriptor)
        return True

    def close(self) -> None:
        """Close the file; a later record opens it again."""
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1

    def renew(self) -> None:
        """Forget the threads that aren't there after a fork."""
        self._lock = threading.RLock()
        if self._descriptor >= 0:
            self._writer.renew()

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._writer = DescriptorWriter(self._descriptor, self)
        state = os.fstat(self._descriptor)
        self._size, self._inode = state.st_size, state.st_ino
        # Of a file that was there already, the last change is the nearest to when it began.
        self._begun = state.st_mtime if state.st_size else time.time()
        self._looked = time.time()

    def _look(self, now: float) -> None:
        """Follow the name: to the file that another process or program has put there."""
        self._looked = now
        try:
            state = self._path.stat()
        except FileNotFoundError:
            state = None
        if state is None or state.st_ino != self._inode:
            self.close()
            self._open()
        else:
            self._size = state.st_size

    def _due(self, now: float, more: int) -> bool:
        if self._rotate_bytes is not None and self._size + more > self._rotate_bytes:
            return True
        period = self._rotate_seconds
        return period is not None and now // period != self._begun // period

    def _rotate(self, now: float, more: int) -> None:
        with self._alone():
            # Another process may have done it meanwhile.
            self._look(now)
            if self._size and self._due(now, more):
                self._path.rename(self._finished_name())
                self.close()
                self._open()
                self._remove_oldest()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other processes from renaming meanwhile, where the system can."""
        try:
            import fcntl
        except ImportError:
            yield
            return
        lock = os.open(self._path.with_name(f".{self._path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _finished_name(self) -> Path:
        stamp = time.strftime(_STAMP, time.gmtime())
        number = 1 + max((int(found[1]) for found in map(self._pattern().fullmatch, self._names()) if found), default=0)
        return self._path.with_name(f"{self._path.stem}.{stamp}-{number:06d}{self._path.suffix}")

    def _pattern(self) -> Any:
        stem, suffix = re.escape(self._path.stem), re.escape(self._path.suffix)
        return re.compile(rf"{stem}\.\d{{8}}T\d{{6}}Z-(\d{{6,}}){suffix}")

    def _names(self) -> list[str]:
        return [each.name for each in self._path.parent.iterdir()]

    def _remove_oldest(self) -> None:
        if self._keep is None:
            return
        found = [each for each in map(self._pattern().fullmatch, self._names()) if each]
        found.sort(key=lambda each: int(each[1]))
        for each in found[: len(found) - self._keep]:
            with contextlib.suppress(FileNotFoundError):
                self._path.with_name(each[0]).unlink()


_OUTPUTS: WeakSet[FileOutput] = WeakSet()


def _renew() -> None:
    for output in list(_OUTPUTS):
        output.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
