"""What `logweir run` shows on the terminal: one running line of counters, and at the end the ledger."""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

from flows.config import Flow
from logweir.ledger import Ledger
from logweir.units import format_bytes

_DRAW_SECONDS = 0.5


class Display:
    """Draws on stderr: the line only where that is a terminal, the closing ledger always.

    Args:
        flow: The flow that runs.
    """

    def __init__(self, flow: Flow) -> None:
        self._name = flow.name
        self._live = sys.stderr.isatty()
        self._shown = False
        self._drawn = 0.0
        self._last: tuple[float, int] = (time.monotonic(), 0)
        self._rate = 0.0
        self._lock = threading.Lock()

    def draw(self, report: dict[str, Any]) -> None:
        """Draw the counters, twice a second."""
        now = time.monotonic()
        if not self._live or now - self._drawn < _DRAW_SECONDS:
            return
        read = max((each["ledger"].read for each in report.values()), default=0)
        then, before = self._last
        self._rate = 0.5 * self._rate + 0.5 * max(0, read - before) / max(now - then, 1e-9)
        self._last = (now, read)
        self._drawn = now
        cells = [f"{read:,} read ({self._rate:,.0f}/s)"]
        for name, each in report.items():
            ledger: Ledger = each["ledger"]
            issue = next((part["issue"] for part in each["partitions"] if part["issue"]), "")
            state = f" !! {issue[:60]}" if issue else "" if each["running"] else " (restarting)"
            cells.append(f"{name}: {ledger.delivered:,} delivered, {ledger.in_flight:,} in flight{state}")
        with self._lock:
            sys.stderr.write("\r\x1b[K" + " | ".join(cells)[:250])
            sys.stderr.flush()
            self._shown = True

    def clear(self) -> None:
        """Make room for a line of text."""
        with self._lock:
            if self._shown:
                sys.stderr.write("\r\x1b[K")
                self._shown = False

    def close(self, report: dict[str, Any]) -> None:
        """Print the ledger of every destination."""
        self.clear()
        sys.stderr.write(ledger_text({name: each["ledger"] for name, each in report.items()}) + "\n")
        sys.stderr.flush()


def ledger_text(ledgers: dict[str, Ledger]) -> str:
    """Return the ledgers as text: what was read, and by rule and cause what became of it."""
    lines = []
    for name, ledger in ledgers.items():
        lines.append(f"{name}: {ledger.read:,} read ({format_bytes(ledger.read_bytes)})")
        rows = [("delivered", ledger.delivered)]
        rows += [(f"dropped by {rule}", count) for rule, count in ledger.dropped.most_common()]
        rows += [(f"dead-lettered: {cause}", count) for cause, count in ledger.dead_lettered.most_common()]
        rows.append(("in flight", ledger.in_flight))
        lines += [f"  {count:>14,}  {what}" for what, count in rows if count or what == "delivered"]
        if ledger.duplicates:
            lines.append(f"  {ledger.duplicates:>14,}  of the delivered were there already")
        if ledger.gaps:
            lines.append(f"  {ledger.gaps:>14,}  offsets were gone before they could be read")
    return "\n".join(lines)
