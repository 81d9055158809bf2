"""What a redrive tells at its end: what became of each letter that it read."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from flows.dead_letters import Passed
from logweir.ledger import Ledger
from logweir.terminal import visible


@dataclass(slots=True)
class Report:
    """The ledger of one redrive.

    read = delivered + dropped by a named rule + failed again + not records + in flight
    """

    destination: str
    passed: Passed
    ledger: Ledger = field(default_factory=Ledger)
    undeliverable: Counter[str] = field(default_factory=Counter)
    """By cause: what is no record; it is back in the dead letter as it was."""
    waiting: Counter[str] = field(default_factory=Counter)
    """By cause: what a dry run has found."""
    dry_run: bool = False
    complete: bool = False
    """Whether all were read that there were when it began."""
    stopped: bool = False
    untidy: bool = False
    """Whether what is settled could not be taken out of the files."""

    @property
    def failed(self) -> Counter[str]:
        """Return by cause what the destination has refused again."""
        return self.ledger.dead_lettered - self.undeliverable

    @property
    def exit_code(self) -> int:
        """Return 0 when every letter that was asked for is delivered, else 1."""
        if self.dry_run:
            return 0
        bad = self.ledger.dead_lettered.total() or self.ledger.in_flight or self.passed.unreadable or self.passed.gone
        bad = bad or self.passed.cut
        return int(bool(bad or self.stopped or self.untidy))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        common = {
            "destination": self.destination,
            "dry_run": self.dry_run,
            "other_causes": dict(self.passed.others),
            "other_flows": self.passed.foreign,
            "unreadable": self.passed.unreadable,
            "gone": self.passed.gone,
            "cut": self.passed.cut,
        }
        if self.dry_run:
            return {**common, "waiting": dict(self.waiting)}
        return {
            **common,
            "read": self.ledger.read,
            "delivered": self.ledger.delivered,
            "duplicates": self.ledger.duplicates,
            "dropped": dict(self.ledger.dropped),
            "failed": dict(self.failed),
            "not_records": dict(self.undeliverable),
            "in_flight": self.ledger.in_flight,
            "complete": self.complete,
            "stopped": self.stopped,
        }

    def text(self) -> str:
        """Return it as a table."""
        ledger = self.ledger
        if self.dry_run:
            head = f"{self.destination}: {self.waiting.total():,} dead letters would be sent"
            rows = [(cause, number) for cause, number in self.waiting.most_common()]
        else:
            head = f"{self.destination}: {ledger.read:,} dead letters read"
            rows = [("delivered", ledger.delivered)]
            rows += [(f"dropped by {rule}", number) for rule, number in ledger.dropped.most_common()]
            rows += [(f"failed again: {cause}", number) for cause, number in self.failed.most_common()]
            rows += [(f"no record, put back: {cause}", number) for cause, number in self.undeliverable.most_common()]
            rows.append(("in flight, still in the dead letter", ledger.in_flight))
            rows.append(("of the delivered were there already", ledger.duplicates))
        rows += [(f"of another cause, left: {cause}", number) for cause, number in self.passed.others.most_common()]
        rows.append(("of another flow's topics, left", self.passed.foreign))
        rows.append(("can't be read, left where they are", self.passed.unreadable))
        rows.append(("are beginnings of records that are gone from their topic, put back", self.passed.cut))
        rows.append(("were deleted by the topic's retention before they were sent", self.passed.gone))
        lines = [head, *(f"  {number:>14,}  {what}" for what, number in rows if number or what == "delivered")]
        if not (self.complete or self.dry_run):
            why = "Stopped" if self.stopped else "The limit is reached"
            lines.append(f"{why}; the next redrive goes on from here.")
        return "\n".join(map(visible, lines))
