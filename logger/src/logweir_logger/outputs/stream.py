"""Lines of JSON to standard output, standard error or any open file.

A record is one `write` to the file descriptor, without a buffer in this process. So none is lost when the process ends,
whatever way, and none is written twice after a fork.
"""

from __future__ import annotations

import os
import select
import sys
import threading
from collections import deque
from typing import IO, Any
from weakref import WeakSet

from logweir_logger.outputs import Output, Write

_write = os.write
_WAIT_SECONDS = 60.0
"""How long a pipe that doesn't block and that nobody reads is waited for."""


class DescriptorWriter:
    """Writes whole lines to a file descriptor; threads take turns, and a line is never torn.

    Args:
        descriptor: The file's number.
        stream: Whose it is; once that is closed, the number may be another file's.
    """

    __slots__ = ("_acquire", "_busy", "_descriptor", "_release", "_waiting", "stream")

    def __init__(self, descriptor: int, stream: Any) -> None:
        self._descriptor = descriptor
        self.stream = stream
        self.renew()

    def renew(self) -> None:
        """Forget the threads that aren't there after a fork."""
        # One thread may enter twice: a signal handler that logs must not wait for what it interrupted.
        lock = threading.RLock()
        # A `with` statement would take twice as long.
        self._acquire, self._release = lock.acquire, lock.release
        self._busy = False
        self._waiting: deque[bytes] = deque()

    def write(self, line: bytes, severity: int = 0) -> None:  # noqa: ARG002
        """Write a line and a newline.

        Raises:
            OSError: The descriptor doesn't take it.
            ValueError: The stream is closed.
        """
        if self.stream.closed:
            msg = "its stream is closed"
            raise ValueError(msg)
        release = self._release
        line += b"\n"
        self._acquire()
        try:
            if self._busy:
                # A signal handler in the midst of a long line.
                self._waiting.append(line)
                return
            written = _write(self._descriptor, line)
            if written != len(line):
                self._rest(line[written:])
        except BlockingIOError:
            self._rest(line)
        finally:
            release()

    def _once(self, line: bytes) -> int:
        try:
            return _write(self._descriptor, line)
        except BlockingIOError:
            return 0

    def _rest(self, rest: bytes) -> None:
        """Write what a pipe didn't take at once, then what has come meanwhile."""
        self._busy = True
        try:
            while rest:
                if not select.select([], [self._descriptor], [], _WAIT_SECONDS)[1]:
                    msg = f"nobody has read the pipe for {_WAIT_SECONDS:.0f} s"
                    raise TimeoutError(msg)
                rest = rest[self._once(rest) :]
                if not rest and self._waiting:
                    rest = self._waiting.popleft()
        finally:
            self._busy = False


_WRITERS: dict[int, DescriptorWriter] = {}
"""One for each descriptor, so that all loggers which write to it take turns."""
_TEXT_WRITERS: WeakSet[_TextWriter] = WeakSet()


def _renew() -> None:
    for writer in list(_WRITERS.values()):
        writer.renew()
    for text_writer in list(_TEXT_WRITERS):
        text_writer.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)


class StreamOutput(Output):
    """Lines of JSON to a stream.

    Args:
        stream: "stdout", "stderr", or an open file of text or bytes. By name, whatever `sys.stdout` is at the moment
            is written to, so that redirection and tests' captures work.
        level: The least severe level that is written.
    """

    def __init__(self, stream: str | IO[Any] = "stdout", level: str = "trace") -> None:
        super().__init__(level)
        if isinstance(stream, str) and stream not in {"stdout", "stderr"}:
            msg = f"stream must be stdout, stderr or an open file, not {stream!r}; FileOutput takes a path"
            raise ValueError(msg)
        self._name = stream if isinstance(stream, str) else None
        self._stream: Any = None
        self._write: Write = _nowhere
        if not isinstance(stream, str):
            self._follow(stream)

    def writer(self) -> Write:
        """Return what writes a record: for an open file, without a step between."""
        return self.write if self._name is not None else self._write

    def write(self, line: bytes, severity: int) -> None:
        """Write one record."""
        name = self._name
        if name is not None:
            stream = sys.stdout if name == "stdout" else sys.stderr
            if stream is not self._stream:
                self._follow(stream)
        self._write(line, severity)

    def flush(self, timeout: float = 10.0) -> bool:
        """Return True: nothing is held back here."""
        del timeout
        return True

    def _follow(self, stream: Any) -> None:
        self._write = writer_to(stream)
        self._stream = stream


def _nowhere(_line: bytes, _severity: int) -> None:
    """Write nothing."""


def writer_to(stream: Any) -> Write:
    """Return a function that writes one record to this stream."""
    if stream is None:
        # A windowed application has no standard output.
        return _nowhere
    try:
        descriptor = stream.fileno()
        # What was printed so far comes first.
        stream.flush()
    except Exception:  # noqa: BLE001  # each replacement of a stream refuses in its own way
        return _TextWriter(stream).write
    found = _WRITERS.get(descriptor)
    if found is None or found.stream.closed:
        _WRITERS[descriptor] = found = DescriptorWriter(descriptor, stream)
    return found.write


class _TextWriter:
    """Writes to a stream that is no file: StringIO, a notebook's, a test's."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._bytes = False
        self.renew()
        _TEXT_WRITERS.add(self)

    def renew(self) -> None:
        """Forget the threads that aren't there after a fork."""
        self._lock = threading.RLock()

    def write(self, line: bytes, severity: int) -> None:  # noqa: ARG002
        line += b"\n"
        with self._lock:
            if not self._bytes:
                try:
                    self._stream.write(line.decode())
                except TypeError:
                    self._bytes = True
            if self._bytes:
                self._stream.write(line)
            flush = getattr(self._stream, "flush", None)
            if flush is not None:
                flush()
