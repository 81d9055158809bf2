"""What metrics count: the ledger since the run began, never less than before.

A worker that crashes goes on from its last recorded epoch, so a ledger may fall by what it reads again; Prometheus
would take that for a restart from zero, and count the whole ledger once more. And a run begins at zero, as a counter
does.
"""

from __future__ import annotations

from typing import Any

from logweir.ledger import Ledger

_SUMS = ("read", "read_bytes", "made", "delivered", "duplicates", "gaps")
_BY_NAME = ("dropped", "dead_lettered", "redacted")


class RunCounters:
    """The ledgers of a run's destinations as counters."""

    def __init__(self) -> None:
        self._base: dict[str, Ledger] = {}
        """What each ledger was when the run first knew of it."""
        self._most: dict[str, Ledger] = {}

    def of(self, report: dict[str, Any]) -> dict[str, Any]:
        """Return a report whose ledgers are what was counted since the run began."""
        return {name: {**each, "ledger": self._counted(name, each["ledger"])} for name, each in report.items()}

    def _counted(self, name: str, ledger: Ledger) -> Ledger:
        base = self._base.setdefault(name, Ledger.from_dict(ledger.to_dict()))
        most = self._most.setdefault(name, Ledger())
        for field in _SUMS:
            setattr(most, field, max(getattr(most, field), getattr(ledger, field) - getattr(base, field)))
        for field in _BY_NAME:
            now, then, counted = getattr(ledger, field), getattr(base, field), getattr(most, field)
            for cause, count in now.items():
                counted[cause] = max(counted[cause], count - then[cause])
        return most
