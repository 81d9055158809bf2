"""What stands before a record's own bytes in a destination's format: few combinations differ, so each is made once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from logweir.record import OTEL_LEVELS, PINO_LEVELS, LevelTable

_LIMIT = 10_000
"""Bounds the memory, however many hosts and services there are."""


class Heads(dict[tuple[Any, ...], bytes]):
    """The heads by what they are made of, such as level, service and host.

    Args:
        build: Makes one. What is neither text nor a whole number comes as None.
    """

    def __init__(self, build: Callable[..., bytes]) -> None:
        super().__init__()
        self._build = build

    def __missing__(self, key: tuple[Any, ...]) -> bytes:
        head = self._build(*(part if isinstance(part, str | int) else None for part in key))
        if len(self) >= _LIMIT:
            self.clear()
        self[key] = head
        return head

    def of(self, columns: list[list[Any]]) -> list[bytes]:
        """Return the heads of some records, one column for each part of the key."""
        try:
            return list(map(self.__getitem__, zip(*columns, strict=True)))
        except TypeError:  # a list or an object where a name should be
            columns = [[each if isinstance(each, str | int) else None for each in column] for column in columns]
            return list(map(self.__getitem__, zip(*columns, strict=True)))


class Levels(LevelTable):
    """The level that a value of any known format means; where pino and OpenTelemetry differ, it is pino's."""

    def __init__(self) -> None:
        super().__init__({**OTEL_LEVELS, **PINO_LEVELS})


def said(value: Any) -> str | None:
    """Return text that says something, and None for all else."""
    return value if isinstance(value, str) and value else None
