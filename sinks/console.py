"""Standard output as a destination: for people, or the raw records for the next program.

What a record says can't act on the terminal: control characters, escape sequences and text-direction overrides are
written as what they are. When the reader of a pipe goes away (`| head`), nothing can ever be delivered again, so the
flow ends with an error that says so, instead of holding records for a reader that won't come back.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from typing import Any, Literal

from pydantic import Field

from logweir.errors import DestinationError
from logweir.json_text import text_of
from logweir.record import trace_of
from logweir.terminal import visible
from sinks.destination import Delivered, Getter, Hold, Limits, Outcome, Probed, Records
from sinks.settings import CommonDestination

FIELDS = (
    "timestamp",
    "level",
    "category",
    "message",
    "context.service",
    "context.requestId",
    "context.userId",
    "performance.duration",
    "metadata",
    "error",
    "error.name",
    "error.message",
    "error.stack",
    "trace.traceId",
)
"""What a line for people shows."""
_PAIRS = {
    "context.requestId": "requestId",
    "context.userId": "userId",
}
_COLOURS = {"trace": "90", "debug": "36", "info": "32", "warn": "33", "error": "31", "fatal": "1;37;41"}
_DIM = "2"
_BOLD = "1"
_SERVICE_WIDTH = 15
_VALUE_LENGTH = 200
"""Longer values are cut: the record itself is in the other destinations."""


class Console(CommonDestination):
    """Standard output."""

    type: Literal["console"] = Field("console", description="Standard output.")
    style: Literal["pretty", "json"] = Field(
        "pretty", description="pretty: a line for people; json: the record as it is, a line each."
    )

    def fields(self) -> set[str]:
        """Return the fields of a pretty line."""
        return set(FIELDS) if self.style == "pretty" else set()

    def open(self, getter: Callable[[str], Getter], resume: Any, *, partition: int = 0) -> Terminal:  # noqa: ARG002
        """Return the destination. Partitions share the terminal: each writes whole lines."""
        if self.style == "json":
            return Terminal(None)
        colours = os.isatty(1) and not os.environ.get("NO_COLOR")
        return Terminal(Pretty(getter, colours))


class Terminal:
    """Writes each request at once.

    Args:
        pretty: Makes the lines; None writes the records as they are.
        descriptor: Where to write.
    """

    limits = Limits()
    compression: str | None = None
    serial = True

    def __init__(self, pretty: Pretty | None, descriptor: int = 1) -> None:
        self._pretty = pretty
        self._descriptor = descriptor
        # The supervisor draws a counter line on the same terminal; it is wiped before the records, not mixed with them.
        status_line = os.environ.get("LOGWEIR_STATUS_LINE") == "1" and os.isatty(descriptor)
        self._before = b"\r\x1b[K" if status_line else b""

    def encode(self, records: Records) -> list[bytes]:
        """Return the line of each record."""
        return self._pretty.lines(records) if self._pretty else records.values

    def frame(self, pieces: list[bytes]) -> bytes:
        """Return the lines as one text."""
        return self._before + b"\n".join(pieces) + b"\n"

    def send(self, body: bytes, count: int) -> Outcome:  # noqa: ARG002
        """Write it all.

        Raises:
            DestinationError: The reader has gone away.
        """
        rest = memoryview(body)
        try:
            while rest:
                try:
                    rest = rest[os.write(self._descriptor, rest) :]
                except BlockingIOError:
                    time.sleep(0.01)  # somebody made the terminal non-blocking: it takes more in a moment
        except BrokenPipeError as error:
            msg = "standard output is closed: whoever read it has ended"
            raise DestinationError(msg) from error
        except OSError as error:
            if len(rest) < len(body):
                msg = f"write standard output: {error.strerror}, in the midst of a line"
                raise DestinationError(msg) from error
            return Hold(f"write standard output: {error.strerror}: check where it is redirected to")
        return Delivered()

    def probe(self) -> Probed:
        """Look whether standard output is open, and somebody reads it."""
        poll = select.poll()
        poll.register(self._descriptor, 0)
        for _, event in poll.poll(0):
            if event & select.POLLNVAL:
                return Hold("standard output is closed: start logweir with one")
            if event & select.POLLERR:
                return Hold("standard output is closed: whoever read it has ended")
        return Delivered()

    def checkpoint(self) -> None:
        """Keep no state: what is on a screen can't be taken back."""

    def close(self) -> None:
        """Leave standard output open: it is the process's."""


class Pretty:
    """Makes lines for people.

    Args:
        getter: Gives the reader of a field.
        colours: Whether the reader understands ANSI colours.
        dated: Whether the date is shown too.
    """

    def __init__(self, getter: Callable[[str], Getter], colours: bool, *, dated: bool = False) -> None:
        self._shown = slice(0, 23) if dated else slice(11, 23)
        self._get = {path: getter(path) for path in FIELDS}
        self._colours = colours

    def lines(self, records: Records) -> list[bytes]:
        """Return the line of each record, which is several where there is a stack."""
        columns = zip(records.records, records.times, records.levels, strict=True)
        return [self.line(*each).encode() for each in columns]

    def line(self, record: Any, time: str, level: str | None) -> str:
        """Return the line of one record.

        Args:
            record: The projected record.
            time: When it happened, as RFC 3339 text in UTC.
            level: Its level; None for one that nobody knows, which is shown as it stands there.
        """
        value = {path: get(record) for path, get in self._get.items()}
        level = level or _text(value["level"]) or "-"
        pairs = "".join(f" {self._paint(_text(name) + '=', _DIM)}{text}" for name, text in _pairs(value))
        parts = [
            self._paint(_clock(time)[self._shown].replace("T", " "), _DIM),
            self._paint(f"{level.upper():<5}", _COLOURS.get(level, _BOLD)),
            f"{_text(value['context.service']) or '-':<{_SERVICE_WIDTH}}",
            self._paint(_text(value["message"]), _BOLD if level in {"error", "fatal"} else "") + pairs,
        ]
        return " ".join(parts) + self._error(value)

    def _error(self, value: dict[str, Any]) -> str:
        name, message, stack = (value[f"error.{part}"] for part in ("name", "message", "stack"))
        if not (name or message) and isinstance(value["error"], str):
            # zap, zerolog, logrus and slog write an error as its text.
            message = value["error"]
        head = ": ".join(_text(part) for part in (name, message) if part)
        lines = [head] if head else []
        if isinstance(stack, str):
            frames = [_text(line.replace("\t", "    ").rstrip()) for line in stack.splitlines()]
            # Most runtimes repeat the name and the message on the stack's first line.
            lines += frames[1:] if frames and frames[0] == head else frames
        return "".join(
            f"\n    {self._paint(line, _COLOURS['error'] if at == 0 else _DIM)}" for at, line in enumerate(lines)
        )

    def _paint(self, text: str, colour: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._colours and colour and text else text


def _clock(time: str) -> str:
    """Return the time with milliseconds."""
    return f"{time[:19]}.{time[20:-1]:0<3}"


def _pairs(value: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what is shown as name=value."""
    pairs: dict[str, Any] = {}
    if value["category"]:
        pairs["category"] = value["category"]
    metadata = value["metadata"]
    pairs |= metadata if isinstance(metadata, dict) else {"metadata": metadata}
    duration = value["performance.duration"]
    pairs["duration"] = f"{round(duration, 2)}ms" if isinstance(duration, int | float) else duration
    pairs |= {name: value[path] for path, name in _PAIRS.items()}
    pairs["traceId"] = trace_of(value["trace.traceId"])
    return [(name, _cut(_quoted(each))) for name, each in pairs.items() if each is not None]


def _quoted(value: Any) -> str:
    """Return a value so that its end is seen: text with blanks in quotes."""
    if isinstance(value, str) and (not value or " " in value or '"' in value):
        return '"' + _text(value).replace('"', '\\"') + '"'
    return _text(value)


def _cut(text: str) -> str:
    return text if len(text) <= _VALUE_LENGTH else text[:_VALUE_LENGTH] + "…"


def _text(value: Any) -> str:
    """Return a value as text that can't act on a terminal."""
    if value is None:
        return ""
    if not isinstance(value, str):
        value = text_of(value)
    return visible(value)
