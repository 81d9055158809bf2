"""What a reload changes in the shares that rules drop: a rule that suddenly drops much more is named.

The shares before are those of the last minutes before the settings changed, the shares after those of the first records
that came by the new settings. Only rules that both flows have are compared: what a new rule drops is what it is for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from logweir.ledger import Ledger

SAMPLE_SECONDS = 10.0
SAMPLES = 60
"""So many sums are kept, one in `SAMPLE_SECONDS`: the shares before are those of ten minutes."""
ENOUGH_RECORDS = 1_000
ENOUGH_SECONDS = 10.0
"""A share is known once so many records have been read, over so long: fewer say little."""
TIMES, POINTS = 3.0, 0.01
"""A rule is named that drops so many times its share before, and so much more of all records."""


class _Sums(NamedTuple):
    at: float
    """Monotonic seconds."""
    read: int
    dropped: Mapping[str, int]


class Moved(NamedTuple):
    """The share of a destination's records that a rule drops, from 0 to 1."""

    before: float
    after: float

    @property
    def surprises(self) -> bool:
        """Tell whether it drops far more than it did."""
        return self.after >= TIMES * self.before and self.after - self.before >= POINTS


@dataclass(slots=True)
class _Change:
    rules: frozenset[str]
    before: dict[str, float]
    begun: _Sums | None = None
    """The sums when all workers ran by the new settings."""


class DropShares:
    """The shares of each destination's rules, over the time that a flow runs."""

    def __init__(self) -> None:
        self._sums: dict[str, deque[_Sums]] = {}
        self._changes: dict[str, _Change] = {}

    def observe(self, now: float, ledgers: Mapping[str, Ledger]) -> dict[str, dict[str, Moved]]:
        """Take the sums of now; return, once for each change, the shares that moved, by destination and rule.

        Args:
            now: Monotonic seconds.
            ledgers: By destination.
        """
        found = {}
        for name, ledger in ledgers.items():
            sums = self._sums.setdefault(name, deque(maxlen=SAMPLES))
            if sums and ledger.read < sums[-1].read:
                continue  # The workers are starting again and have not reported yet.
            if not sums or now - sums[-1].at >= SAMPLE_SECONDS:
                sums.append(_Sums(now, ledger.read, dict(ledger.dropped)))
            change = self._changes.get(name)
            if change is None or change.begun is None:
                continue
            if now - change.begun.at >= ENOUGH_SECONDS and ledger.read - change.begun.read >= ENOUGH_RECORDS:
                after = _shares(change.begun, _Sums(now, ledger.read, ledger.dropped))
                moved = {rule: Moved(change.before.get(rule, 0.0), after.get(rule, 0.0)) for rule in change.rules}
                found[name] = {rule: each for rule, each in sorted(moved.items()) if each.before != each.after}
                del self._changes[name]
        for gone in self._sums.keys() - ledgers.keys():
            del self._sums[gone]
            self._changes.pop(gone, None)
        return found

    def changed(self, ledgers: Mapping[str, Ledger], rules: Mapping[str, Collection[str]]) -> None:
        """Note that other settings are on their way.

        Args:
            ledgers: By destination.
            rules: By destination, the names of the rules that it had and still has.
        """
        for name, names in rules.items():
            sums, ledger = self._sums.get(name), ledgers.get(name)
            if sums and ledger is not None and ledger.read - sums[0].read >= ENOUGH_RECORDS:
                before = _shares(sums[0], _Sums(0.0, ledger.read, ledger.dropped))
                self._changes[name] = _Change(frozenset(names), before)
        self._sums.clear()

    def arrived(self, now: float, ledgers: Mapping[str, Ledger]) -> None:
        """Note that all workers run by the other settings."""
        for name, change in self._changes.items():
            if name in ledgers and change.begun is None:
                ledger = ledgers[name]
                change.begun = _Sums(now, ledger.read, dict(ledger.dropped))


def _shares(first: _Sums, last: _Sums) -> dict[str, float]:
    read = last.read - first.read
    return {rule: (count - first.dropped.get(rule, 0)) / read for rule, count in last.dropped.items()} if read else {}


def as_fields(moved: Mapping[str, Moved]) -> dict[str, Any]:
    """Return the fields of the event that names them: shares in per cent, and the rules that surprise."""
    shares = {rule: [round(100 * each.before, 1), round(100 * each.after, 1)] for rule, each in moved.items()}
    return {"percent_dropped": shares, "far_more": [rule for rule, each in moved.items() if each.surprises]}
