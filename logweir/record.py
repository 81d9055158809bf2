"""The vocabulary of one record: its levels, however other programs spell them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from logweir.times import epoch_seconds, rfc3339

__all__ = ["LEVELS", "OTEL_LEVELS", "PINO_LEVELS", "SEVERITY", "LevelTable", "epoch_seconds", "rfc3339"]

LEVELS = ("trace", "debug", "info", "warn", "error", "fatal")
"""From the least severe to the most."""

SEVERITY = {level: rank for rank, level in enumerate(LEVELS)}

_ALIASES = {
    "trace": ("trace", "verbose", "finest", "finer", "silly", "t", "trc"),
    "debug": ("debug", "fine", "d", "dbg"),
    "info": ("info", "information", "informational", "notice", "i", "inf", "log"),
    "warn": ("warn", "warning", "w", "wrn"),
    "error": ("error", "err", "e", "severe"),
    "fatal": ("fatal", "critical", "crit", "alert", "emerg", "emergency", "panic", "f", "ftl"),
}
_BY_NAME = {alias: level for level, aliases in _ALIASES.items() for alias in aliases}

PINO_LEVELS = {10: "trace", 20: "debug", 30: "info", 40: "warn", 50: "error", 60: "fatal"}
"""The numbers of pino and bunyan."""

OTEL_LEVELS = {number: LEVELS[(number - 1) // 4] for number in range(1, 25)}
"""SeverityNumber of the OpenTelemetry log data model."""


class LevelTable(dict[Any, str | None]):
    """Maps a level as it stands in a record to one of `LEVELS`, or to None where it is none of them.

    A subclass of dict because one lookup a record is the hot path; what isn't known yet is normalised once.

    Args:
        numbers: What the numbers of this format mean.
    """

    _CACHE_LIMIT = 1000

    def __init__(self, numbers: Mapping[int, str] = PINO_LEVELS) -> None:
        super().__init__({None: None})
        for alias, level in _BY_NAME.items():
            for spelling in (alias, alias.upper(), alias.title()):
                self[spelling] = level
        self._numbers = dict(numbers)
        for number, level in numbers.items():
            self[number] = level
            self[str(number)] = level

    def __missing__(self, value: Any) -> str | None:
        level = _BY_NAME.get(value.strip().lower()) if isinstance(value, str) else None
        if len(self) < self._CACHE_LIMIT:
            self[value] = level
        return level
