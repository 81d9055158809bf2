"""Deduplication: of the records of one key, the first passes, and then none for the length of a window."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from operators.limiter_state import Ask, Suppressed, numbers, packed, unpacked
from operators.watermark import Watermark

OVER_KEYS = "dedupe: key forgotten"
_FORGOTTEN = 100
"""Where there is no room for a new key, one in so many is forgotten: to look for the oldest for each takes long."""


@dataclass(slots=True)
class _Seen:
    first: int
    """When the record happened that has passed, in epoch seconds."""
    dropped: int = 0
    """How many did not, and were not told of yet."""
    told: int = 0
    """How often was told of them."""


class DedupeState:
    """The keys of one bucket that have been seen.

    Args:
        window: Seconds from the first record of a key on, in event time.
        lateness: Seconds that a key is remembered beyond its window, for records that come late.
        max_keys: Of more, the oldest are forgotten: a repetition of theirs may pass again.
    """

    def __init__(self, window: int, lateness: float, max_keys: int) -> None:
        self._window = window
        self._lateness = lateness
        self._max_keys = max_keys
        self._seen: dict[str, _Seen] = {}
        """In the order in which their windows began to be counted."""
        self._most = 0
        """How many keys there were since it was made small last."""
        self._watermark = Watermark()
        self._ended: list[Suppressed] = []
        """What windows have dropped that ended and were not told of yet."""
        self.notices: Counter[str] = Counter()

    def take(self, key: str, second: int, count: int) -> int:
        """Return how many of `count` records of one key and second pass: one, or none."""
        seen = self._seen.get(key)
        if seen is not None and abs(second - seen.first) < self._window:
            seen.dropped += count
            return 0
        if seen is not None:
            self._end(key)
        elif len(self._seen) >= self._max_keys:
            self._forget(max(1, self._max_keys // _FORGOTTEN))
        self._seen[key] = _Seen(second, count - 1)
        return 1

    def take_all(self, asks: Sequence[Ask]) -> list[int]:
        """Return how many of each pass; the same as to `take` one after another."""
        keys = {ask[0] for ask in asks}
        alone = len(keys) == len(asks) and self._seen.keys().isdisjoint(keys)
        if alone and len(self._seen) + len(asks) <= self._max_keys:
            self._seen.update((key, _Seen(second, count - 1)) for key, second, count in asks)
            return [1] * len(asks)
        return [self.take(*ask) for ask in asks]

    def read_until(self, partition: str, moment: float, now: float) -> list[Suppressed]:
        """Note how far a partition has been read; return what was dropped in the windows that have ended."""
        reached = self._watermark.read_until(partition, moment, now)
        past = []
        for key, seen in self._seen.items():
            if seen.first + self._window + self._lateness > reached:
                break
            past.append(key)
        for key in past:
            self._end(key)
        self._most = max(self._most, len(self._seen) + len(past))
        if len(self._seen) < self._most // 2:
            # A dict from which keys are taken keeps the room that it had for them.
            self._seen = dict(self._seen)
            self._most = len(self._seen)
        ended, self._ended = self._ended, []
        return ended

    def told(self) -> list[Suppressed]:
        """Return what was dropped so far, and count anew; for when nothing more may come."""
        told, self._ended = self._ended, []
        for key, seen in self._seen.items():
            if seen.dropped:
                told.append(self._suppressed(key, seen))
                seen.dropped, seen.told = 0, seen.told + 1
        return told

    def configure(self, settings: int, lateness: float, max_keys: int) -> list[Suppressed]:
        """Go on with another window in seconds, which holds at once for the keys that have been seen."""
        self._window, self._lateness, self._max_keys = settings, lateness, max_keys
        self._forget(len(self._seen) - max_keys)
        ended, self._ended = self._ended, []
        return ended

    def to_dict(self) -> dict[str, Any]:
        """Return a copy as plain values, for a snapshot."""
        columns = [[each.first, each.dropped, each.told] for each in self._seen.values()]
        seen = (packed(self._seen), array("q", chain.from_iterable(columns)).tobytes())
        return {"version": 2, "seen": seen, "ended": list(self._ended), "watermark": self._watermark.to_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a snapshot."""
        if state["version"] > 1:
            keys, columns = state["seen"]
            found = iter(numbers("q", columns))
            self._seen = {key: _Seen(*each) for key, *each in zip(unpacked(keys), found, found, found, strict=True)}
        else:
            self._seen = {key: _Seen(*each) for key, *each in state["seen"]}
        self._ended = list(state["ended"])
        self._watermark.restore(state["watermark"])

    def _forget(self, count: int) -> None:
        """Forget the oldest keys."""
        oldest = list(islice(self._seen, max(0, count)))
        for key in oldest:
            self._end(key)
        if oldest:
            self.notices[OVER_KEYS] += len(oldest)

    def _end(self, key: str) -> None:
        seen = self._seen.pop(key)
        if seen.dropped:
            self._ended.append(self._suppressed(key, seen))

    def _suppressed(self, key: str, seen: _Seen) -> Suppressed:
        return Suppressed(key, seen.first, self._window, seen.dropped, seen.told)
