"""Durations and sizes as people write them in a flow file: `5s`, `1m30s`, `1MB`, `64KiB`."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_BYTES = {
    "B": 1,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d|w))+")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(B|KB|MB|GB|KiB|MiB|GiB)")


def parse_duration(value: Any) -> float:
    """Return seconds for `5s`, `1m30s`, `250ms`, `1h`, `2d`, `1w`, or for a plain number of seconds."""
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        return float(value)
    if isinstance(value, str) and _DURATION.fullmatch(value):
        return sum(float(number) * _SECONDS[unit] for number, unit in _DURATION_PART.findall(value))
    msg = "must be a duration such as 500ms, 5s, 1m30s or 2h"
    raise ValueError(msg)


def parse_bytes(value: Any) -> int:
    """Return bytes for `1MB`, `64KiB`, `500B`, or for a plain whole number of bytes."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and (match := _SIZE.fullmatch(value)):
        return int(float(match[1]) * _BYTES[match[2]])
    msg = "must be a size such as 500KB, 1MB or 16MiB"
    raise ValueError(msg)


def format_duration(seconds: float) -> str:
    """Return the shortest spelling that `parse_duration` reads back, of seconds."""
    if seconds < 1:
        return f"{seconds * 1000:g}ms"
    for unit in ("w", "d", "h", "m"):
        if seconds % _SECONDS[unit] == 0:
            return f"{seconds / _SECONDS[unit]:g}{unit}"
    return f"{seconds:g}s"


def format_bytes(count: float) -> str:
    """Return bytes for a person: `512B`, `1.5MB`."""
    for unit in ("GB", "MB", "KB"):
        if count >= _BYTES[unit]:
            return f"{count / _BYTES[unit]:.3g}{unit}"
    return f"{count:g}B"


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    WithJsonSchema(
        {"anyOf": [{"type": "string", "pattern": f"^{_DURATION.pattern}$"}, {"type": "number", "minimum": 0}]}
    ),
]
"""Seconds, read from text such as `1m30s`."""

Bytes = Annotated[
    int,
    BeforeValidator(parse_bytes),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": f"^{_SIZE.pattern}$"}, {"type": "integer", "minimum": 0}]}),
]
"""A number of bytes, read from text such as `1MB`."""
