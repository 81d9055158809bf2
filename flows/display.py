"""What `logweir run` shows on the terminal: one running line of counters, and at the end the ledger."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from flows.config import Flow
from flows.status import issues
from logweir.ledger import Ledger
from logweir.terminal import visible
from logweir.units import format_bytes

_DRAW_SECONDS = 0.5
_IDLE_SECONDS = 3.0
"""Workers report once a second: only after several reports without a record is the rate zero."""
_WIPE = "\r\x1b[K"
_WIDTH = 80
"""Columns of a terminal that doesn't say how wide it is."""


class Stream(Protocol):
    """What text is written to."""

    def write(self, text: str, /) -> int:
        """Write text."""
        ...

    def flush(self) -> None:
        """Hold nothing back."""
        ...


class Display:
    """Draws on stderr: the line only where that is a terminal, the closing ledger always.

    Args:
        flow: The flow that runs.
        out: Where to, which nothing waits for; stderr itself when left out.
    """

    def __init__(self, flow: Flow, out: Stream | None = None) -> None:
        self._name = flow.name
        self._out = out
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
        if read != before or now - then >= _IDLE_SECONDS:
            self._rate = max(0, read - before) / (now - then)
            self._last = (now, read)
        self._drawn = now
        cells = [f"{read:,} read ({self._rate:,.0f}/s)"]
        for name, each in report.items():
            ledger: Ledger = each["ledger"]
            issue = "; ".join(issues(each))
            state = f" !! {issue[:60]}" if issue else "" if each["running"] else " (restarting)"
            cells.append(f"{name}: {ledger.delivered:,} delivered, {ledger.in_flight:,} in flight{state}")
        with self._lock:
            self._write(_WIPE + _fitting(" | ".join(cells)))
            self._shown = True

    @property
    def environment(self) -> dict[str, str]:
        """What workers are told by: one that writes to the same terminal wipes the line first."""
        return {"LOGWEIR_STATUS_LINE": "1"} if self._live else {}

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Make room for text, and draw nothing meanwhile."""
        with self._lock:
            if self._shown:
                self._write(_WIPE)
                self._shown = False
            yield

    def close(self, report: dict[str, Any]) -> None:
        """Print the ledger of every destination."""
        with self.aside():
            self._write(ledger_text({name: each["ledger"] for name, each in report.items()}) + "\n")

    def _write(self, text: str) -> None:
        out = self._out or sys.stderr
        out.write(text)
        out.flush()


def _fitting(line: str) -> str:
    """Return what of a line fits the terminal, without what acts on it; a line that wraps could not be wiped."""
    try:
        width = os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, ValueError):  # no terminal, as in a test
        width = 0
    return visible(line)[: (width or _WIDTH) - 1]


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
        if ledger.made:
            lines.append(f"  {ledger.made:>14,}  beside those read are summaries of limits")
        lines += [f"  {count:>14,}  had something hidden: {by}" for by, count in ledger.redacted.most_common()]
        if ledger.duplicates:
            lines.append(f"  {ledger.duplicates:>14,}  of the delivered were there already")
        if ledger.gaps:
            lines.append(f"  {ledger.gaps:>14,}  offsets were gone before they could be read")
    return "\n".join(map(visible, lines))
