"""Rate limits in fixed windows of event time: the state of one bucket of keys.

A window of a second, a minute or an hour begins at a whole one since 1970, in UTC. A record passes when each of the
rule's windows has room for its key, and takes a place in all of them; else it is dropped, and takes none.

Time is what the records say, so that a replay limits alike, but only as far as it can be believed: see
`operators.event_time`. Windows are kept until every partition has been read `lateness` beyond their end, so that no
record finds its window forgotten, however far partitions are apart. A record that comes later than that is counted in
its own window all the same, which begins anew if it is no longer known: nothing is dropped that isn't over the limit.

Memory is bounded by `max_keys` of each window and by a number of windows: keys beyond share one budget, and of more
windows the oldest are forgotten. Both are counted.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, count, groupby, repeat
from operator import add, itemgetter
from typing import Any, NamedTuple

from logweir.recorded import version_of
from operators.limiter_keys import OTHER_KEYS
from operators.limiter_state import Ask, Suppressed, numbers, packed, unpacked

STATE_VERSION = 2
"""Of what `to_dict` returns."""
MAX_WINDOWS = 5000
"""Windows of one length that a bucket keeps, beside those that lie within `lateness` of now."""
PAST_KEYS = 1000
"""Keys of windows that are closed, which a bucket remembers nevertheless: what comes too late is counted in them."""
_MOST_OPEN = 10_000
"""Seconds for which the windows are at hand."""
_NEVER = float("inf")

_RUN = 8
"""Groups of one second; fewer are taken one after another."""

OVER_KEYS = "rate limit: over max_keys"
OVER_WINDOWS = "rate limit: window forgotten"
LATE = "rate limit: window opened again"


class Limit(NamedTuple):
    """At most so many records in each window of so many seconds."""

    length: int
    most: int


@dataclass(slots=True)
class Window:
    """One window of one length."""

    counts: dict[str, int] = field(default_factory=dict)
    """key -> records that passed."""
    dropped: dict[str, int] = field(default_factory=dict)
    """key -> records that this window had no room for, and that were not told of yet."""
    told: int = 0
    """How often it was told of."""


class RateState:
    """The windows of one bucket of keys.

    Args:
        limits: In the order in which they are blamed for a drop.
        lateness: Seconds.
        max_keys: Of one window.
    """

    def __init__(self, limits: Sequence[Limit], lateness: float, max_keys: int) -> None:
        self._limits = tuple(limits)
        self._lateness = lateness
        self._max_keys = max_keys
        self._windows: dict[Limit, dict[int, Window]] = {limit: {} for limit in self._limits}
        """By limit: start in epoch seconds -> window."""
        self._open: dict[int, list[tuple[Window, int]]] = {}
        """Of the seconds that were asked for since `read_until`: the window of each limit, and the most it takes."""
        self._next_end = _NEVER
        """When the first of the windows ends; or before that."""
        self._reached = 0.0
        """The watermark."""
        self._past: dict[tuple[int, int], Window] = {}
        """Windows that are closed, by length and start, those that were closed last at the end."""
        self._past_keys = 0
        """And how many keys they have, and one more each."""
        self._late_part = 0
        """How often any window was told of that is closed."""
        self._ended: list[Suppressed] = []
        """What windows have dropped that were forgotten and not told of yet."""
        self._part = 0
        """How often any window was told of that was forgotten before its time: it may come again, and goes on then."""
        self.notices: Counter[str] = Counter()
        """What the bounds on memory have changed, since it was asked last."""

    def take(self, key: str, second: int, count: int) -> int:
        """Return how many of `count` records of one key and second pass."""
        passed, over = count, 0
        places: list[tuple[dict[str, int], str, int]] = []
        blamed: tuple[dict[str, int], str] | None = None
        for window, most in self._open.get(second) or self._opened(second):
            counts = window.counts
            place, taken = key, counts.get(key, 0)
            if not taken and len(counts) >= self._max_keys:
                place, taken, over = OTHER_KEYS, counts.get(OTHER_KEYS, 0), count
            places.append((counts, place, taken))
            if most - taken < passed:
                # Blamed is the window with the least room; the first of these.
                passed, blamed = most - taken, (window.dropped, place)
        passed = max(0, passed)
        if passed:
            for counts, place, taken in places:
                counts[place] = taken + passed
        if blamed is not None:
            dropped, place = blamed
            dropped[place] = dropped.get(place, 0) + count - passed
        if over:
            self.notices[OVER_KEYS] += over
        return passed

    def take_all(self, asks: Sequence[Ask]) -> list[int]:
        """Return how many of each pass; the same as to `take` one after another."""
        passed: list[int] = []
        for second, run in groupby(asks, key=itemgetter(1)):
            keys, _, records = zip(*run, strict=True)
            some = self._take_run(keys, second, records) if len(keys) >= _RUN else None
            passed += some or [self.take(key, second, each) for key, each in zip(keys, records, strict=True)]
        return passed

    def _take_run(self, keys: Sequence[str], second: int, records: Sequence[int]) -> Sequence[int] | None:
        """Take all of one second at once, if there is room for all of them in every window; else nothing."""
        if len(set(keys)) < len(keys):
            return None
        after = []
        for window, most in self._open.get(second) or self._opened(second):
            counts = window.counts
            taken = list(map(counts.get, keys, repeat(0)))
            then = list(map(add, taken, records))
            if max(then) > most or len(counts) + taken.count(0) > self._max_keys:
                return None
            after.append((counts, then))
        for counts, then in after:
            counts.update(zip(keys, then, strict=True))
        return records

    def read_until(self, reached: float) -> list[Suppressed]:
        """Note how far all partitions have been read; return what the windows have dropped that close by this."""
        self._reached = max(self._reached, reached)
        closed, self._ended = self._ended, []
        if self._reached < self._next_end + self._lateness:
            return closed
        self._open.clear()
        for limit, windows in self._windows.items():
            ended = [start for start in windows if self._is_past(limit, start)]
            for start in sorted(ended):
                window = windows.pop(start)
                closed += _suppressed(limit, start, window)
                self._close(limit, start, window)
        ends = (min(windows) + limit.length for limit, windows in self._windows.items() if windows)
        self._next_end = min(ends, default=_NEVER)
        return closed

    def told(self) -> list[Suppressed]:
        """Return what the open windows have dropped so far, and count anew; for when nothing more may come."""
        told, self._ended = self._ended, []
        for limit, windows in self._windows.items():
            for start, window in sorted(windows.items()):
                told += _suppressed(limit, start, window)
                window.told += bool(window.dropped)
                window.dropped = {}
        return told

    def configure(self, settings: Sequence[Limit], lateness: float, max_keys: int) -> list[Suppressed]:
        """Go on with other limits, which hold at once in the open windows of the same lengths; others begin empty.

        Returns:
            What was dropped in windows of lengths that there are no more.
        """
        before = {limit.length: (limit, windows) for limit, windows in self._windows.items()}
        self._limits = tuple(settings)
        self._lateness, self._max_keys = lateness, max_keys
        self._open.clear()
        self._windows = {limit: before.pop(limit.length, (limit, {}))[1] for limit in self._limits}
        self._past = {place: window for place, window in self._past.items() if place[0] not in before}
        self._past_keys = sum(1 + len(window.counts) for window in self._past.values())
        for limit, windows in before.values():
            for start, window in sorted(windows.items()):
                self._give_up(limit, start, window)
        ended, self._ended = self._ended, []
        return ended

    @property
    def open_windows(self) -> int:
        """Return how many windows there are."""
        return sum(map(len, self._windows.values()))

    def to_dict(self) -> dict[str, Any]:
        """Return a copy as plain values, for a snapshot: each key once, and its number in every window."""
        windows = [(limit, start, each) for limit, some in self._windows.items() for start, each in some.items()]
        by_length = {limit.length: limit for limit in self._limits}
        windows += [(by_length[length], start, each) for (length, start), each in self._past.items()]
        keys = dict.fromkeys(chain.from_iterable(window.counts for _, _, window in windows))
        number = dict(zip(keys, count())) if len(windows) > 1 else {}
        recorded = [
            (
                *limit,
                start,
                array("I", map(number.__getitem__, window.counts) if number else range(len(keys))).tobytes(),
                array("q", window.counts.values()).tobytes(),
                dict(window.dropped),
                window.told,
            )
            for limit, start, window in windows
        ]
        return {
            "version": STATE_VERSION,
            "keys": packed(keys),
            "windows": recorded,
            "watermark": {"reached": self._reached},
            "ended": list(self._ended),
            "part": self._part,
            "late_part": self._late_part,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a snapshot; windows of limits that the rule no longer has are forgotten."""
        is_packed = version_of(state, STATE_VERSION) > 1
        self._reached = state["watermark"]["reached"]
        self._late_part = state.get("late_part", 0)
        self._ended, self._part = list(state.get("ended", ())), state.get("part", 0)
        lengths = {limit.length: limit for limit in self._limits}
        keys = unpacked(state["keys"]) if is_packed else []
        for length, _, start, *counts, dropped, told in state["windows"]:
            if length not in lengths:
                continue
            if is_packed:
                some = map(keys.__getitem__, numbers("I", counts[0]))
                found = dict(zip(some, numbers("q", counts[1]), strict=True))
            else:
                (found,) = counts
            self._windows[lengths[length]][start] = Window(found, dropped, told)
            self._next_end = min(self._next_end, start + length)

    def _opened(self, second: int) -> list[tuple[Window, int]]:
        """Return the window of each limit that a record of this second is counted in, and the most that it takes."""
        if len(self._open) >= _MOST_OPEN:
            self._open.clear()
        opened = self._open[second] = [(self._window(limit, second), limit.most) for limit in self._limits]
        return opened

    def _window(self, limit: Limit, second: int) -> Window:
        windows, start = self._windows[limit], second - second % limit.length
        window = windows.get(start)
        if window is None:
            window = self._reopened(limit, start)
            if len(windows) >= MAX_WINDOWS + 2 * int(self._lateness) // limit.length:
                oldest = min(windows)
                forgotten = windows.pop(oldest)
                self.notices[OVER_WINDOWS] += len(forgotten.counts)
                self._give_up(limit, oldest, forgotten)
            windows[start] = window
            self._next_end = min(self._next_end, start + limit.length)
        return window

    def _is_past(self, limit: Limit, start: int) -> bool:
        return start + limit.length + self._lateness <= self._reached

    def _reopened(self, limit: Limit, start: int) -> Window:
        """Return a window to count in: a new one, or that which is closed already, if it is still known.

        What comes so late that it is not is counted anew: it may pass once more, but nothing is dropped that fits.
        """
        window = self._past.pop((limit.length, start), None)
        if window is not None:
            self._past_keys -= 1 + len(window.counts)
            return window
        if not self._is_past(limit, start):
            return Window(told=self._part)
        self.notices[LATE] += 1
        return Window(told=max(self._part, self._late_part))

    def _close(self, limit: Limit, start: int, window: Window) -> None:
        """Remember a window that is closed for as long as there is room."""
        window.told += bool(window.dropped)
        window.dropped = {}
        self._late_part = max(self._late_part, window.told)
        if len(window.counts) >= PAST_KEYS:
            return
        self._past[limit.length, start] = window
        self._past_keys += 1 + len(window.counts)
        while self._past_keys > PAST_KEYS:
            oldest = next(iter(self._past))
            self._past_keys -= 1 + len(self._past.pop(oldest).counts)

    def _give_up(self, limit: Limit, start: int, window: Window) -> None:
        """Tell what a window has dropped that could still get records."""
        self._open.clear()
        self._ended += _suppressed(limit, start, window)
        self._part = max(self._part, window.told + bool(window.dropped))


def _suppressed(limit: Limit, start: int, window: Window) -> list[Suppressed]:
    return [Suppressed(key, start, limit.length, count, window.told) for key, count in window.dropped.items()]
