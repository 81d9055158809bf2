"""What stands before a record's own bytes in a destination's format: few combinations differ, so each is made once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from sinks.columns import are_plain

_LIMIT = 10_000
"""Bounds the memory, however many hosts and services there are."""


class Heads(dict[tuple[Any, ...], str]):
    """The heads by what they are made of, such as level, service and environment.

    A host's name is no part of them: to find one head among thousands costs more than to write the name.

    Args:
        build: Makes one. What is neither text nor a whole number comes as None.
    """

    def __init__(self, build: Callable[..., str]) -> None:
        super().__init__()
        self._build = build

    def __missing__(self, key: tuple[Any, ...]) -> str:
        head = self._build(*(part if isinstance(part, str | int) else None for part in key))
        if len(self) >= _LIMIT:
            self.clear()
        self[key] = head
        return head

    def of(self, columns: list[list[Any]]) -> list[str]:
        """Return the heads of some records, one column for each part of the key."""
        try:
            return list(map(self.__getitem__, zip(*columns, strict=True)))
        except TypeError:  # a list or an object where a name should be
            columns = [[each if isinstance(each, str | int) else None for each in column] for column in columns]
            return list(map(self.__getitem__, zip(*columns, strict=True)))


class Member:
    """A member of JSON whose value each record says itself.

    Args:
        name: Its name.
        default: The value of records that have no text for it; without a default they have no such member.
    """

    def __init__(self, name: str, default: str | None) -> None:
        self._name, self._default = name, default

    def of(self, values: list[Any]) -> tuple[str, list[str], str]:
        """Return the member for each of some records, and what goes before and behind each.

        With these it ends with a comma, and where there is no such member it is empty.
        """
        if are_plain(values) and all(values):
            return f'"{self._name}":"', values, '",'
        missing = self._written(None)
        return "", [missing if value is None else self._written(value) for value in values], ""

    def _written(self, value: Any) -> str:
        text = said(value) or self._default
        return f"{orjson.dumps({self._name: text})[1:-1].decode()}," if text else ""


def said(value: Any) -> str | None:
    """Return text that says something, and None for all else."""
    return value if isinstance(value, str) and value else None
