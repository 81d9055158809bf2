"""The events that a flow tells of itself, as structured log lines on stderr and to in-process listeners.

    stream.added     a destination has started
    stream.flushed   a request was delivered: records, bytes, seconds, attempts
    stream.failed    records were dead-lettered: records, cause
    stream.retry     a request is tried again: reason, attempt, wait
    stream.overflow  the in-flight limit is reached; the source waits
    stream.health    a destination became healthy or unhealthy: status, issue

Beside these, `source.*` and `flow.*` tell of what a source or a process met (a gap, a restart), `*.log` of what a
client library logs. Each has `timestamp`, `event`, `severity` (a level) and `stream` (the destination's name) where it
concerns one.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable
from typing import IO, Any

import orjson

from logweir.bounded_writer import BoundedWriter
from logweir.record import SEVERITY
from logweir.secrecy import Secrets
from logweir.terminal import visible_json
from logweir.times import rfc3339

Listener = Callable[[dict[str, Any]], None]


class Events:
    """Where a process tells its events: written from `threshold` up, listeners get every one.

    Args:
        out: A text stream for the log lines, None for none. Where nobody may wait for its reader, a BoundedWriter.
        threshold: The least severe level that is written.
        secrets: Never told, whatever an error quotes. Who makes an error leaves them out already where it is known.
    """

    def __init__(
        self, out: IO[str] | BoundedWriter | None = None, threshold: str = "info", secrets: Secrets | None = None
    ) -> None:
        self._out = out
        self._threshold = SEVERITY[threshold]
        self.secrets = secrets or Secrets()
        """May be changed with a flow's settings."""
        self._listeners: list[tuple[int, Listener]] = []
        self._lock = threading.Lock()

    def listen(self, listener: Listener, threshold: str = "trace") -> None:
        """Call `listener` with each event from this level up, on the thread that tells it. It must not block."""
        self._listeners.append((SEVERITY[threshold], listener))

    def tell(self, event: str, severity: str = "info", **fields: Any) -> None:
        """Tell one event. Values must be plain JSON and hold no secret."""
        level = SEVERITY[severity]
        written = self._out is not None and level >= self._threshold
        listeners = [listener for threshold, listener in self._listeners if level >= threshold]
        if not written and not listeners:
            return
        fields = self.secrets.hide_in(fields)
        entry = {"timestamp": rfc3339(time.time()), "event": event, "severity": severity, **fields}
        for listener in listeners:
            listener(entry)
        if written:
            line = visible_json(orjson.dumps(entry, default=str).decode()) + "\n"
            with self._lock:
                stream = self._out or sys.stderr
                stream.write(line)
                stream.flush()

    def logger(self, name: str) -> logging.Logger:
        """Return a logger whose lines become events of this name, for libraries that log by themselves."""
        # Not `getLogger`: another run in this process has events of its own.
        logger = logging.Logger(name)  # noqa: LOG001
        logger.addHandler(_TellingHandler(self, name))
        return logger


def left_out(count: int) -> str:
    """Return the line that tells how many others nobody has read in time."""
    entry = {"timestamp": rfc3339(time.time()), "event": "events.left_out", "severity": "warn", "lines": count}
    return orjson.dumps(entry).decode() + "\n"


class _TellingHandler(logging.Handler):
    """Tells a library's log lines as events."""

    def __init__(self, events: Events, name: str) -> None:
        super().__init__()
        self._events = events
        self._event = name

    def emit(self, record: logging.LogRecord) -> None:
        """Tell one line: what matters of it comes as an error too, and with a broker away it is said all the time."""
        self._events.tell(self._event, "debug", reason=record.getMessage())
