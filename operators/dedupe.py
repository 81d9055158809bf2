"""Deduplication: of the records of one key, the first passes, and then none for the length of a window.

Partitions are read one further than another, so a key's windows come in any order of time. Some of each are remembered:
else two partitions that are a window apart would end each other's, and every record of both would pass.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from logweir.recorded import version_of
from operators.limiter_state import Ask, Suppressed, numbers, packed, unpacked

STATE_VERSION = 2
"""Of what `to_dict` returns."""
OVER_KEYS = "dedupe: key forgotten"
_FORGOTTEN = 100
"""Where there is no room for a new key, one in so many is forgotten: to look for the oldest for each takes long."""
_WINDOWS = 1000
"""Of one key that are remembered, the newest ones."""


@dataclass(slots=True)
class _Seen:
    first: int
    """When the record happened that has passed, in epoch seconds."""
    dropped: int = 0
    """How many did not, and were not told of yet."""
    told: int = 0
    """How often was told of them."""
    older: tuple[_Seen, ...] = ()
    """The key's windows before this one, from the oldest on."""


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
        self._older = 0
        """Windows before the newest, of all keys: each takes the room of a key."""
        self._reached = 0.0
        """The watermark."""
        self._ended: list[Suppressed] = []
        """What windows have dropped that ended and were not told of yet."""
        self._part = 0
        """How often any window was told of that was forgotten before its time: it may come again, and goes on then."""
        self._late_part = 0
        """How often any window was told of that has ended: one that comes too late for it goes on from there."""
        self.notices: Counter[str] = Counter()

    def take(self, key: str, second: int, count: int) -> int:
        """Return how many of `count` records of one key and second pass: one, or none."""
        seen = self._seen.get(key)
        if seen is not None and abs(second - seen.first) < self._window:
            seen.dropped += count
            return 0
        if seen is not None:
            return self._take_apart(key, seen, second, count)
        if len(self._seen) + self._older >= self._max_keys:
            self._forget(max(1, self._max_keys // _FORGOTTEN))
        self._seen[key] = self._begun(second, count)
        return 1

    def _take_apart(self, key: str, newest: _Seen, second: int, count: int) -> int:
        """Return what `take` does of a key whose newest window is another than that of these records."""
        for each in newest.older:
            if abs(second - each.first) < self._window:
                each.dropped += count
                return 0
        windows = sorted([*newest.older, newest, self._begun(second, count)], key=lambda each: each.first)
        open_from = self._open_from
        kept = [each for each in windows[:-1] if each.first > open_from][1 - _WINDOWS :]
        for each in windows[: len(windows) - 1 - len(kept)]:
            self._tell(key, each)
        if windows[-1] is not newest:
            # What comes late for it is told of by itself, as another part.
            self._tell(key, newest)
            del self._seen[key]
            self._seen[key] = windows[-1]
        self._older += len(kept) - len(newest.older)
        newest.older = ()
        windows[-1].older = tuple(kept)
        if len(self._seen) + self._older > self._max_keys:
            self._forget(max(1, self._max_keys // _FORGOTTEN), key)
        return 1

    def take_all(self, asks: Sequence[Ask]) -> list[int]:
        """Return how many of each pass; the same as to `take` one after another."""
        keys = {ask[0] for ask in asks}
        alone = len(keys) == len(asks) and self._seen.keys().isdisjoint(keys)
        if alone and len(self._seen) + self._older + len(asks) <= self._max_keys:
            begun, late, open_from = self._part, self._late_part, self._open_from
            self._seen.update(
                (key, _Seen(second, count - 1, begun if second > open_from else late)) for key, second, count in asks
            )
            return [1] * len(asks)
        return [self.take(*ask) for ask in asks]

    def read_until(self, reached: float) -> list[Suppressed]:
        """Note how far all partitions have been read; return what was dropped in the windows that have ended."""
        self._reached = reached = max(self._reached, reached)
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
        for key, newest in self._seen.items():
            for seen in (*newest.older, newest):
                if seen.dropped:
                    told.append(self._suppressed(key, seen))
                    seen.dropped, seen.told = 0, seen.told + 1
        return told

    def configure(self, settings: int, lateness: float, max_keys: int) -> list[Suppressed]:
        """Go on with another window in seconds, which holds at once for the keys that have been seen."""
        if settings + lateness > self._window + self._lateness:
            # What has ended may come again.
            self._part = self._late_part
        self._window, self._lateness, self._max_keys = settings, lateness, max_keys
        self._forget(len(self._seen) + self._older - max_keys)
        ended, self._ended = self._ended, []
        return ended

    def to_dict(self) -> dict[str, Any]:
        """Return a copy as plain values, for a snapshot: each key as often as it has windows, the newest last."""
        keys: Collection[str] = self._seen
        windows: Collection[_Seen] = self._seen.values()
        if any([each.older for each in windows]):  # noqa: C419  quicker for many keys
            keys = [key for key, newest in self._seen.items() for _ in range(1 + len(newest.older))]
            windows = [each for newest in self._seen.values() for each in (*newest.older, newest)]
        columns = [[each.first, each.dropped, each.told] for each in windows]
        seen = (packed(keys), array("q", chain.from_iterable(columns)).tobytes())
        return {
            "version": STATE_VERSION,
            "seen": seen,
            "ended": list(self._ended),
            "watermark": {"reached": self._reached},
            "parts": (self._part, self._late_part),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a snapshot."""
        if version_of(state, STATE_VERSION) > 1:
            keys, columns = state["seen"]
            found = iter(numbers("q", columns))
            for key, first, dropped, told in zip(unpacked(keys), found, found, found, strict=True):
                older = self._seen.get(key)
                self._seen[key] = newest = _Seen(first, dropped, told)
                if older is not None:
                    newest.older, older.older = (*older.older, older), ()
        else:
            self._seen = {key: _Seen(*each) for key, *each in state["seen"]}
        self._ended = list(state["ended"])
        self._part, self._late_part = state.get("parts", (0, 0))
        self._older = sum(len(each.older) for each in self._seen.values())
        self._reached = state["watermark"]["reached"]

    def _forget(self, count: int, spared: str | None = None) -> None:
        """Forget the oldest keys, but for one."""
        oldest = [key for key in islice(self._seen, max(0, count)) if key != spared]
        for key in oldest:
            self._end(key)
        if oldest:
            self.notices[OVER_KEYS] += len(oldest)

    def _end(self, key: str) -> None:
        newest = self._seen.pop(key)
        self._older -= len(newest.older)
        for seen in (*newest.older, newest):
            self._tell(key, seen)

    @property
    def _open_from(self) -> float:
        """The second after which windows have begun that can still get records."""
        return self._reached - self._window - self._lateness

    def _begun(self, second: int, count: int) -> _Seen:
        return _Seen(second, count - 1, self._part if second > self._open_from else self._late_part)

    def _tell(self, key: str, seen: _Seen) -> None:
        """Tell what a window has dropped that is remembered no longer."""
        if seen.dropped:
            self._ended.append(self._suppressed(key, seen))
            seen.dropped, seen.told = 0, seen.told + 1
        self._late_part = max(self._late_part, seen.told)
        if seen.first > self._open_from:
            self._part = max(self._part, seen.told)

    def _suppressed(self, key: str, seen: _Seen) -> Suppressed:
        return Suppressed(key, seen.first, self._window, seen.dropped, seen.told)
