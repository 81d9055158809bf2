"""The streams that records belong to: their label sets, how many there may be, and which Loki is known to have taken.

In Loki each label set is a stream of its own, which costs memory and an index entry, and a tenant may have a limited
number of them: "Label best practices" in the Loki documentation. So no field of a record may make any number of them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from logweir.json_text import text_of

MAX_LABEL_VALUE_BYTES = 2048
"""Loki's max_label_value_length."""
FORGET_SECONDS = 1800.0
"""A stream without a record for this long, or up to twice as long, is forgotten: Loki's chunk_idle_period."""
OTHER = "other"
"""Stands for the values of a stream too many, and for a value that is too long."""
TOO_MANY = "stream over max_streams"
TOO_LONG = "label value too long for the destination"

_KEYS_LIMIT = 10_000
"""Bounds the cache, however many combinations of values lead to the same streams."""


class Streams(dict[tuple[Any, ...], str]):
    """The streams, as JSON objects of their labels, by the values that their labels come from.

    Args:
        labels: The labels that all have.
        names: The names of the labels that come from fields.
        limit: How many streams there may be at a time; the records of further ones share one stream.
        clock: Gives seconds.
    """

    def __init__(
        self,
        labels: Mapping[str, str],
        names: Sequence[str],
        limit: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._labels = dict(labels)
        self._names = list(names)
        self._limit = limit
        self._clock = clock
        self._rotate_at = clock() + FORGET_SECONDS
        self._lock = threading.Lock()
        self._recent: set[str] = set()
        self._earlier: set[str] = set()
        """Streams that were last seen before the last rotation; no stream is in both."""
        self._taken: set[str] = set()
        self._shortened: set[str] = set()
        """Streams one of whose values was too long."""
        self.shared = orjson.dumps(self._labels | dict.fromkeys(self._names, OTHER)).decode()
        """The stream of all records that are over the limit."""

    def __missing__(self, key: tuple[Any, ...]) -> str:
        stream, shortened = self._made(key)
        with self._lock:
            stream = self._admitted(stream)
            if shortened and stream != self.shared:
                self._shortened.add(stream)
            # True equals 1 and would be found under it; a long text would be kept for nothing.
            if not shortened and all(isinstance(part, str | int | None) and part not in (0, 1) for part in key):
                if len(self) >= _KEYS_LIMIT:
                    self.clear()
                self[key] = stream
        return stream

    def of(self, columns: list[list[Any]]) -> list[str]:
        """Return the streams of some records, one column for each label that comes from a field."""
        if self._clock() >= self._rotate_at:
            self._rotate()
        try:
            return list(map(self.__getitem__, zip(*columns, strict=True)))
        except TypeError:  # a list or an object where a name should be
            plain = [[each if isinstance(each, str | int | float) else None for each in column] for column in columns]
            return list(map(self.__getitem__, zip(*plain, strict=True)))

    def altered(self, streams: list[str]) -> dict[str, int]:
        """Return how many of these are not what the records say, by cause."""
        counts = {TOO_MANY: streams.count(self.shared)} if self._names else {}
        if self._shortened:
            counts[TOO_LONG] = sum(map(self._shortened.__contains__, streams))
        return {cause: count for cause, count in counts.items() if count}

    def is_known(self, stream: str) -> bool:
        """Tell whether Loki has taken records of this stream of late."""
        return stream in self._taken

    def known(self, stream: str) -> None:
        """Note that Loki has taken records of this stream, by a request of which they were all."""
        with self._lock:
            self._taken.add(stream)

    def _admitted(self, stream: str) -> str:
        """Return the stream if there is room for it, else the shared one."""
        if stream in self._earlier:
            self._earlier.remove(stream)
        elif stream not in self._recent and len(self._recent) + len(self._earlier) >= self._limit:
            return self.shared
        self._recent.add(stream)
        return stream

    def _rotate(self) -> None:
        """Forget what was not seen since the last rotation."""
        with self._lock:
            self._rotate_at = self._clock() + FORGET_SECONDS
            self._earlier, self._recent = self._recent, set()
            self._taken &= self._earlier
            self._shortened &= self._earlier
            # Each is looked up anew, so that it is seen.
            self.clear()

    def _made(self, key: tuple[Any, ...]) -> tuple[str, bool]:
        """Return the label set of these values, and whether one of them was too long; what is no text is left out."""
        labels, shortened = dict(self._labels), False
        for name, value in zip(self._names, key, strict=True):
            if isinstance(value, int | float):
                value = text_of(value)  # noqa: PLW2901
            if not isinstance(value, str) or not value:
                continue
            if len(value.encode()) > MAX_LABEL_VALUE_BYTES:
                value, shortened = OTHER, True  # noqa: PLW2901
            labels[name] = value
        return orjson.dumps(labels).decode(), shortened
