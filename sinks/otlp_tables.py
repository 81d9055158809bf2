"""What is made once of log records in protobuf and kept, in bounded tables of wire text.

The tables are plain dicts, which the encoder reads itself: `[]` of a subclass of dict takes three times as long.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from sinks.otlp_wire import ATTRIBUTE, any_value, field, key_value

Key = TypeVar("Key")

FIXED_TEXTS = 256
"""Bytes: texts below this length find what stands before them without a search."""
DOUBLE_HEAD = -1 << 29
_DOUBLE_BYTES = 8
_LONG = 1024
"""Bytes: longer values seldom share a length."""
_HEADS_LIMIT = 20_000
"""Bounds the memory of a group's names, whatever records hold: about 3 MB."""


class Table(Generic[Key]):
    """Texts by a key.

    Args:
        make: Makes one.
        limit: How many are kept.
    """

    def __init__(self, make: Callable[[Key], str], limit: int) -> None:
        self._make, self._limit = make, limit
        self.known: dict[Key, str] = {}

    def __call__(self, key: Key) -> str:
        """Return the text of any key."""
        made = self.known.get(key)
        if made is None:
            made = self._make(key)
            if len(self.known) >= self._limit:
                self.known.clear()
            self.known[key] = made
        return made


class Names:
    """What stands before the values of a group's attributes: tags, lengths and the attribute's name.

    Args:
        prefix: Stands before each name.
        renamed: Names in place of these.
    """

    def __init__(self, prefix: str = "", renamed: dict[str, str] | None = None) -> None:
        self._prefix, self._renamed, self._count = prefix, renamed or {}, 0
        self.known: dict[str, dict[int, str]] = {}
        """By the member's name, and by what comes behind: text of n bytes, `~n` any other AnyValue of n bytes,
        `DOUBLE_HEAD` the eight bytes of a double."""

    def attribute(self, name: str, value: Any) -> str:
        """Return an attribute; what stands before its value is known from now on.

        Args:
            name: The member's name, as wire text.
            value: Its value, with all text in it as wire text.
        """
        made = field(ATTRIBUTE, key_value(self._renamed.get(name, self._prefix + name), value))
        if type(value) is str:
            key = size = len(value)
        elif type(value) is float:
            key, size = DOUBLE_HEAD, _DOUBLE_BYTES
        else:
            size = len(any_value(value))
            key = ~size
        if size < _LONG:
            self._count += 1 if name in self.known else 2
            if self._count > _HEADS_LIMIT:
                self.known.clear()
                self._count = 2
            self.known.setdefault(name, {})[key] = made[: len(made) - size]
        return made


def fixed(name: str) -> list[str]:
    """Return what stands before text of each length below `FIXED_TEXTS` in the attribute of this name."""
    return [field(ATTRIBUTE, key_value(name, "-" * size))[: -size or None] for size in range(FIXED_TEXTS)]
