"""Records for people: one line each, in colour on a terminal, with stacks below."""

from __future__ import annotations

import os
import sys
from typing import IO, Any

import orjson

from logweir_logger.levels import LEVELS
from logweir_logger.outputs import Output
from logweir_logger.outputs.stream import StreamOutput
from logweir_logger.visible import one_line

_COLOURS = ("\x1b[90m", "\x1b[36m", "\x1b[32m", "\x1b[33m", "\x1b[31m", "\x1b[1;41m")
_DIM = "\x1b[2m"
_BOLD = "\x1b[1m"
_END = "\x1b[0m"
_HIDDEN = {"service", "environment", "version", "host"}
"""The same on each line of a development machine."""
_SHOWN = 8
"""Digits of a trace id that are enough to tell it from others."""


class ConsoleOutput(Output):
    """Records for people, on a terminal of a developer.

    Args:
        stream: "stdout", "stderr" or an open file.
        level: The least severe level that is shown.
        colour: None: where it is a terminal, unless NO_COLOR is set; FORCE_COLOR has colours everywhere.
    """

    def __init__(self, stream: str | IO[Any] = "stderr", level: str = "trace", *, colour: bool | None = None) -> None:
        super().__init__(level)
        self._out = StreamOutput(stream)
        self._stream = stream
        self._colour = colour

    def write(self, line: bytes, severity: int) -> None:
        """Write one record."""
        record = orjson.loads(line)
        text = render(record, severity, colour=self._coloured())
        # Control characters of a record can't move the cursor or fake lines; newlines of a stack are our own.
        self._out.write(text.encode(), severity)

    def _coloured(self) -> bool:
        if self._colour is not None:
            return self._colour
        if os.environ.get("NO_COLOR"):
            return False
        if os.environ.get("FORCE_COLOR"):
            return True
        named = {"stdout": sys.stdout, "stderr": sys.stderr}
        stream: Any = named[self._stream] if isinstance(self._stream, str) else self._stream
        isatty = getattr(stream, "isatty", None)
        return bool(isatty and isatty())


def render(record: dict[str, Any], severity: int, *, colour: bool) -> str:
    """Return a record as text of one line, and more for a stack."""

    def paint(code: str, text: str) -> str:
        return f"{code}{text}{_END}" if colour and text else text

    time = record["timestamp"][11:23]
    parts = [paint(_DIM, time), paint(_COLOURS[severity], f"{LEVELS[severity]:<5}")]
    parts.append(paint(_BOLD, one_line(record["message"])))
    fields = {**record.get("metadata", {}), **_but(record.get("context", {}), _HIDDEN)}
    performance = record.get("performance", {})
    if "duration" in performance:
        duration = performance["duration"]
        fields["duration"] = f"{duration:g}ms" if isinstance(duration, (int, float)) else duration
    if "traceId" in record.get("trace", {}):
        fields["trace"] = str(record["trace"]["traceId"])[:_SHOWN]
    parts += [f"{paint(_DIM, f'{one_line(name)}=')}{_value(value)}" for name, value in fields.items()]
    error = record.get("error")
    if error:
        stack = error.get("stack") or f"{error.get('name')}: {error.get('message')}"
        parts.append("\n" + "\n".join(f"    {one_line(line)}" for line in str(stack).splitlines()))
    return " ".join(parts)


def _but(fields: dict[str, Any], hidden: set[str]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in hidden}


def _value(value: Any) -> str:
    if isinstance(value, str) and value and value.isprintable() and " " not in value and '"' not in value:
        return value
    return one_line(orjson.dumps(value).decode())
