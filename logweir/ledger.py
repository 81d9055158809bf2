"""The ledger: what was read and what became of it, exactly, per destination.

read + made = delivered + dropped by a named rule + dead-lettered + in flight
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from logweir.batch import Account


class Ledger:
    """The sums of one sink partition, kept in its snapshot: consistent with the offsets, they survive a crash."""

    def __init__(self) -> None:
        self.read = 0
        self.read_bytes = 0
        self.made = 0
        """Records that the flow has added itself; not part of `read`."""
        self.delivered = 0
        self.duplicates = 0
        """Of the delivered, those that the destination already had."""
        self.gaps = 0
        """Offsets that no longer existed when they were to be read; not part of `read`."""
        self.dropped: Counter[str] = Counter()
        self.dead_lettered: Counter[str] = Counter()
        self.redacted: Counter[str] = Counter()
        """Records in which something was hidden, by the field or pattern; whatever became of them."""

    def add(self, account: Account) -> None:
        """Take over what a batch's steps have noted. Its rejected records count once they are dead-lettered."""
        self.read += account.read
        self.read_bytes += account.read_bytes
        self.made += account.made
        self.gaps += account.gaps
        self.dropped.update(account.dropped)
        self.redacted.update(account.redacted)

    @property
    def in_flight(self) -> int:
        """Records read or made that are neither delivered nor dropped nor dead-lettered."""
        return self.read + self.made - self.delivered - self.dropped.total() - self.dead_lettered.total()

    def merge(self, other: Ledger) -> None:
        """Add another partition's sums."""
        self.read += other.read
        self.read_bytes += other.read_bytes
        self.made += other.made
        self.delivered += other.delivered
        self.duplicates += other.duplicates
        self.gaps += other.gaps
        self.dropped.update(other.dropped)
        self.dead_lettered.update(other.dead_lettered)
        self.redacted.update(other.redacted)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for a snapshot or for JSON."""
        return {
            "read": self.read,
            "read_bytes": self.read_bytes,
            "made": self.made,
            "delivered": self.delivered,
            "duplicates": self.duplicates,
            "gaps": self.gaps,
            "dropped": dict(self.dropped),
            "dead_lettered": dict(self.dead_lettered),
            "redacted": dict(self.redacted),
            "in_flight": self.in_flight,
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Ledger:
        """Return the ledger that `to_dict` described."""
        ledger = cls()
        for name in ("read", "read_bytes", "delivered", "duplicates", "gaps"):
            setattr(ledger, name, state[name])
        ledger.made = state.get("made", 0)  # older stores have none
        ledger.dropped.update(state["dropped"])
        ledger.dead_lettered.update(state["dead_lettered"])
        # A ledger that was recorded by an older version has none.
        ledger.redacted.update(state.get("redacted", {}))
        return ledger
