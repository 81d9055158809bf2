"""The vocabulary of one record: its levels, however other programs spell them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Self

from logweir.times import epoch_seconds, rfc3339

__all__ = [
    "LEVELS",
    "NO_TRACES",
    "OTEL_LEVELS",
    "PINO_LEVELS",
    "SEVERITY",
    "SYSLOG_LEVELS",
    "UNKNOWN_LEVEL",
    "USUAL_LEVELS",
    "Level",
    "LevelTable",
    "epoch_seconds",
    "rfc3339",
    "says_no_level",
    "trace_of",
]

LEVELS = ("trace", "debug", "info", "warn", "error", "fatal")
"""From the least severe to the most."""

SEVERITY = {level: rank for rank, level in enumerate(LEVELS)}

_ALIASES = {
    "trace": ("trace", "verbose", "finest", "finer", "silly", "spam", "t", "trc", "v", "vrb"),
    "debug": ("debug", "fine", "config", "http", "d", "dbg"),
    "info": ("info", "information", "informational", "notice", "success", "note", "i", "inf", "log"),
    "warn": ("warn", "warning", "w", "wrn"),
    "error": ("error", "err", "e", "severe"),
    "fatal": ("fatal", "critical", "crit", "alert", "emerg", "emergency", "panic", "dpanic", "f", "ftl", "crt"),
}
_BY_NAME = {alias: level for level, aliases in _ALIASES.items() for alias in aliases}

PINO_LEVELS = {10: "trace", 20: "debug", 30: "info", 40: "warn", 50: "error", 60: "fatal"}
"""The numbers of pino and bunyan."""

SYSLOG_LEVELS = dict(enumerate(("fatal", "fatal", "fatal", "error", "warn", "info", "info", "debug")))
"""The numbers of RFC 5424, which journald and GELF have too."""

USUAL_LEVELS = {**SYSLOG_LEVELS, **PINO_LEVELS}
"""Of all formats but OpenTelemetry's: no number means two things."""

OTEL_LEVELS = {number: LEVELS[(number - 1) // 4] for number in range(1, 25)}
"""SeverityNumber of the OpenTelemetry log data model."""

_ZAP_LEVELS = {-1: "debug", 0: "info", 1: "warn", 2: "error"}
"""What zap's `Level(n)` means; what lies below is trace, what lies above is fatal."""

_OTEL_STEPS = 4
"""SeverityNumbers of one level."""
_LONGEST = 100
"""Characters of a text that may be a level."""
_COLOUR = re.compile(r"\x1b?\[[0-9;]*m")
_ZAP = re.compile(r"level\((-?[0-9]{1,4})\)")
_NUMBER = re.compile(r"([0-9]{1,3})(?:\.0*)?")
_AROUND = "[]<>(){}\"'`:|*= \t\r\n"
_QUALIFIED = re.compile(
    r"(?:(?:log|syslog)?[ ._-]?(?:level|severity)(?:[ ._-]?number)?|lvl|log"
    r"|kern|user|mail|daemon|auth|authpriv|syslog|lpr|news|uucp|cron|ftp|local[0-7])[ ._:=/-]+(.+)"
)
"""A level behind its enumeration's name, such as `LogLevel.Error` or `LOG_ERR`, or behind a facility of syslog."""
_SHIFTED = re.compile(r"([a-z]+) ?([+-]) ?[0-9]{1,4}")
"""slog's `ERROR+4`."""
_STEPPED = re.compile(r"([a-z]+)([1-9])")
"""OpenTelemetry's `ERROR2`, and PostgreSQL's `D1` and `DEBUG1`."""
UNKNOWN_LEVEL = "level not known"
"""A notice: no rule and no destination sees the record at a level."""
NO_TRACES = frozenset(
    {"", "-", "null", "NULL", "Null", "None", "none", "nil", "undefined", "00000000-0000-0000-0000-000000000000"}
    | {"0" * digits for digits in range(1, 65)}
)
"""Texts that say that there is no trace: zeros are the invalid id of W3C and OpenTelemetry."""
_NO_LEVELS = frozenset({"", "-", "null", "none", "nil", "undefined", "unspecified", "notset", "default"})


class Level(str):
    """One of `LEVELS`, and how finely the record itself said it."""

    __slots__ = ("number", "text")
    number: int
    """OpenTelemetry's SeverityNumber, from 1 to 24."""
    text: str
    """As it stands in the record; empty where that is a SeverityNumber alone."""

    def __new__(cls, name: str, number: int, text: str) -> Self:
        """Return a level.

        Args:
            name: One of `LEVELS`.
            number: OpenTelemetry's SeverityNumber.
            text: As it stands in the record.
        """
        level = super().__new__(cls, name)
        level.number, level.text = number, text
        return level

    def __getnewargs__(self) -> tuple[str, int, str]:  # type: ignore[override]  # str's own are of text alone
        """Return what a copy in another process is made of."""
        return str(self), self.number, self.text


class LevelTable(dict[Any, Level | None]):
    """Maps a level as it stands in a record to one of `LEVELS`, or to None where it is none of them.

    A pair is looked up as its first, which is said in the words of its second: SeverityNumber and SeverityText.
    A subclass of dict because one lookup a record is the hot path; what isn't known yet is normalised once.

    Args:
        numbers: What the numbers of this format mean.
    """

    _CACHE_LIMIT = 1000

    def __init__(self, numbers: Mapping[int, str] = USUAL_LEVELS) -> None:
        super().__init__({None: None})
        self._numbers = dict(numbers)
        self._exact = OTEL_LEVELS.items() <= self._numbers.items()
        """Whether the numbers are SeverityNumbers themselves."""
        for alias in _BY_NAME:
            for spelling in (alias, alias.upper(), alias.title()):
                self[spelling] = self._read(spelling)
        for number in numbers:
            self[number] = self._read(number)
            self[str(number)] = self._read(str(number))

    def __missing__(self, value: Any) -> Level | None:
        if isinstance(value, tuple):
            level, text = self[value[0]], value[1]
            if level is not None and isinstance(text, str) and text:
                level = Level(level, level.number, text)
        else:
            level = self._read(value)
        if len(self) < self._CACHE_LIMIT:
            self[value] = level
        return level

    def _read(self, value: Any) -> Level | None:
        if isinstance(value, bool):
            return None
        if isinstance(value, int | float):
            return self._of_number(value, str(value)) if value in self._numbers else None
        if not isinstance(value, str) or len(value) > _LONGEST:
            return None
        text = _COLOUR.sub("", value).strip().lower()
        if zap := _ZAP.fullmatch(text):
            number = int(zap[1])
            name = _ZAP_LEVELS.get(number, "trace" if number < min(_ZAP_LEVELS) else "fatal")
            return Level(name, _severity(name), value)
        text = text.strip(_AROUND)
        if (number_text := _NUMBER.fullmatch(text)) is not None:
            return self._of_number(int(number_text[1]), value) if int(number_text[1]) in self._numbers else None
        if (found := _named(text)) is None and (qualified := _QUALIFIED.fullmatch(text)):
            found = _named(qualified[1].strip(_AROUND))
        return None if found is None else Level(*found, value)

    def _of_number(self, number: float, text: str) -> Level:
        name = self._numbers[int(number)]
        return Level(name, int(number), "") if self._exact else Level(name, _severity(name), text)


def says_no_level(value: Any) -> bool:
    """Tell whether a value that is no level says so itself, so that nothing is wrong with it."""
    if not isinstance(value, str):
        return value is None
    text = value.strip().lower()
    return text in _NO_LEVELS or text.endswith("unspecified")


def trace_of(value: Any) -> str | None:
    """Return the id of a trace or span; None where there is none."""
    return value if isinstance(value, str) and value not in NO_TRACES else None


def _named(text: str) -> tuple[str, int] | None:
    """Return the level that a name in lower case means, and its SeverityNumber."""
    name = _BY_NAME.get(text)
    if name is not None:
        return name, _severity(name)
    if shifted := _SHIFTED.fullmatch(text):
        name = _BY_NAME.get(shifted[1])
        if name is not None and len(shifted[1]) > 1:
            name = "trace" if shifted[2] == "-" and name == "debug" else name
            return name, _severity(name)
    if stepped := _STEPPED.fullmatch(text):
        name, step = _BY_NAME.get(stepped[1]), int(stepped[2])
        if name is not None and (len(stepped[1]) > 1 or stepped[1] == "d"):
            return name, _severity(name) + (step - 1 if step <= _OTEL_STEPS else 0)
    return None


def _severity(name: str) -> int:
    return 1 + _OTEL_STEPS * SEVERITY[name]
