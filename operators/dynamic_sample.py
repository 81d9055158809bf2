"""Dynamic sampling: the state of one sample rule with a target, for one partition of the source.

How often a key comes is smoothed over windows (an exponentially weighted average with a weight of one half, as in
Honeycomb's dynsampler, EMAThroughput). At the end of a window the target is divided among the keys by max-min fairness
(Bertsekas and Gallager, Data Networks, 1992, section 6.5.2): a key that comes less often than the fair share is kept
whole, and what it leaves over is shared by the others. As the allocation of a stratified sample it is the senate of
Acharya, Gibbons and Poosala, Congressional Samples, SIGMOD 2000. A rate depends on what came before and never on the
record that it is for, so the sum of 1/rate over the kept records estimates the number read without bias (Horvitz and
Thompson, 1952).

Records of one partition have an order, those of two have none: which is read first differs from run to run. So each
partition has a state and a share of the target of its own, and a rate is decided by the records that stand before it
in the partition, and by nothing else: not by how they are cut into batches, by other partitions, nor by a clock.
Whoever reads the partition again, after a crash or years later, comes to the same rates.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from logweir.recorded import version_of
from operators.limiter_keys import OTHER_KEYS

STATE_VERSION = 1
"""Of what `to_dict` returns."""
OVER_KEYS = "dynamic sample: over max_keys"

HASHES = 1 << 64
"""A record's hash is a whole number from zero to below this."""

_WEIGHT = 0.5
"""Of what lies one window back."""
_FORGOTTEN = 0.5
"""Records in a window: a key that comes less often is forgotten."""
_DIGITS = 4
"""Of a rate, so that it is told exactly as it was used."""
_STRAYS = 100
"""So many records in a row that are too old, and as many as the last window had, are the new present."""


class _Key:
    """What is known of a key."""

    __slots__ = ("count", "pace")

    def __init__(self, pace: float | None = None, count: int = 0) -> None:
        self.pace = pace
        """Records a second, smoothed; None until a window has ended."""
        self.count = count
        """Records in this window."""


class DynamicState:
    """The rates of one partition's keys.

    Args:
        target: Records a second.
        window: Seconds for which rates hold.
        lateness: Seconds by which records may come late, or lie ahead, without being strays.
        max_keys: Further ones share a rate.
    """

    def __init__(self, target: float, window: int, lateness: float, max_keys: int) -> None:
        self._target = target
        self._window = window
        self._lateness = lateness
        self._max_keys = max_keys
        self._keys: dict[str, _Key] = {}
        self._level = math.inf
        """Records a second that are kept of a key at most."""
        self._since: int | None = None
        """The second of the record that began this window."""
        self._end = 0
        """The second from which on a record begins the next window."""
        self._count = 0
        """Records of this window."""
        self._last = 0
        """Records of the window before."""
        self._strays = 0
        self.notices: Counter[str] = Counter()
        """Records by what the bound on memory has changed, since it was asked last."""

    def take(
        self, keys: Sequence[str], which: Sequence[int], seconds: Sequence[int], hashes: Sequence[int]
    ) -> list[float]:
        """Return the rate at which each record is kept, in their order in the partition; zero: it is dropped.

        Args:
            keys: The different keys.
            which: The index of each record's key.
            seconds: When each happened, in epoch seconds.
            hashes: What decides about each.
        """
        if self._since is None and seconds:
            self._begin(seconds[0])
        count = len(seconds)
        if not count or (self._oldest <= min(seconds) and max(seconds) < self._end):
            self._strays = 0 if count else self._strays
            return self._stretch(keys, which, hashes)
        rates: list[float] = []
        start = 0
        while start < count:
            stop = self._until(seconds, start)
            rates += self._stretch(keys, which[start:stop], hashes[start:stop])
            if stop < count:
                self._open(seconds[stop])
            start = stop
        return rates

    def configure(self, target: float, window: int, lateness: float, max_keys: int) -> None:
        """Go on by changed settings, which are those of the constructor; they count from the next window on."""
        self._target, self._window, self._lateness, self._max_keys = target, window, lateness, max_keys

    def rate(self, key: str) -> float:
        """Return the rate at which records of a key are kept now."""
        known = self._keys.get(key)
        if known is None or known.pace is None or known.pace <= self._level:
            return 1.0
        return float(f"{self._level / known.pace:.{_DIGITS}g}")

    @property
    def keys(self) -> int:
        """Return how many keys are known."""
        return len(self._keys)

    def to_dict(self) -> dict[str, Any]:
        """Return a copy as plain values, for a snapshot."""
        return {
            "version": STATE_VERSION,
            "keys": [(key, each.pace, each.count) for key, each in self._keys.items()],
            "level": self._level,
            "since": self._since,
            "end": self._end,
            "counts": (self._count, self._last, self._strays),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a snapshot."""
        version_of(state, STATE_VERSION)
        self._keys = {key: _Key(pace, count) for key, pace, count in state["keys"]}
        self._level, self._since, self._end = state["level"], state["since"], state["end"]
        self._count, self._last, self._strays = state["counts"]

    @property
    def _oldest(self) -> float:
        """The second before which a record is a stray."""
        return self._end - self._window - self._lateness

    def _until(self, seconds: Sequence[int], start: int) -> int:
        """Return the index of the first record that begins a window.

        Windows only go forward. Where a clock that is far ahead has begun one, all others are strays, until nothing
        else comes: then time goes on from them.
        """
        for index in range(start, len(seconds)):
            second = seconds[index]
            if second >= self._end:
                self._strays = 0
                return index
            if second >= self._oldest:
                self._strays = 0
                continue
            self._strays += 1
            if self._strays >= max(_STRAYS, self._last):
                self._begin(second)
        return len(seconds)

    def _begin(self, second: int) -> None:
        self._since, self._strays = second, 0
        self._end = second - second % self._window + self._window

    def _open(self, second: int) -> None:
        """Learn from the window that ends, and begin the one of this second."""
        assert self._since is not None
        # Of a long silence, or a clock that is far ahead, is not known how long it lasted.
        span = max(1, second - self._since) if second < self._end + self._lateness else self._window
        weight = _WEIGHT ** (span / self._window)
        for key, known in list(self._keys.items()):
            seen = known.count / span
            known.pace = seen if known.pace is None else seen + (known.pace - seen) * weight
            known.count = 0
            if known.pace * self._window < _FORGOTTEN:
                del self._keys[key]
        self._level = fair_share([known.pace or 0.0 for known in self._keys.values()], self._target)
        self._last, self._count = self._count, 0
        self._begin(second)

    def _stretch(self, keys: Sequence[str], which: Sequence[int], hashes: Sequence[int]) -> list[float]:
        """Count some records within one window, and decide about them."""
        self._count += len(which)
        rates, bounds = [0.0] * len(keys), [0] * len(keys)
        for index, count in Counter(which).items():
            key = self._place(keys[index], count)
            self._keys[key].count += count
            rates[index] = rate = self.rate(key)
            bounds[index] = math.ceil(rate * HASHES)
        return [rates[index] if number < bounds[index] else 0.0 for index, number in zip(which, hashes, strict=True)]

    def _place(self, key: str, count: int) -> str:
        """Return the key under which records are counted, which is known then."""
        if key not in self._keys:
            if len(self._keys) >= self._max_keys:
                self.notices[OVER_KEYS] += count
                key = OTHER_KEYS
            self._keys.setdefault(key, _Key())
        return key


def fair_share(paces: Sequence[float], target: float) -> float:
    """Return how much of each pace can be kept at most, so that all together are the target; infinite if all fit."""
    left, others = target, len(paces)
    for pace in sorted(paces):
        if pace * others > left:
            return left / others
        left -= pace
        others -= 1
    return math.inf
