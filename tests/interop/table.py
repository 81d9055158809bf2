"""The table that the suite prints: what was sent to each server, and what is there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

WITHOUT = {
    "gcp": "no registry has a server that speaks entries:write",
    "console": "a terminal keeps nothing that could be asked",
    "Fluent Bit": "the Debian registry has no package of it",
}
"""What no server is tried for, and why."""


@dataclass(frozen=True, slots=True)
class Row:
    """One destination at one server."""

    destination: str
    server: str
    variant: str
    sent: int
    delivered: int
    """As the ledger says."""
    dead: int
    """Dead letters."""
    there: int
    """What the server gave back."""
    missing: int
    twice: int
    altered: int
    """Messages that are not those that were sent."""
    requests: int
    seconds: float


ROWS: list[Row] = []
"""What this run has seen."""

_COLUMNS = ("destination", "server", "variant", "sent", "delivered", "dead", "there", "missing", "twice", "altered")


def lines() -> Iterator[str]:
    """Yield the lines of the table."""
    cells = [
        [*(str(getattr(row, name)) for name in _COLUMNS), str(row.requests), f"{row.seconds:.1f}"]
        for row in sorted(ROWS, key=lambda row: (row.destination, row.server, row.variant))
    ]
    head = [*_COLUMNS, "requests", "seconds"]
    widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
    for row in (head, *cells):
        yield "  ".join(
            f"{cell:<{width}}" if at < 3 else f"{cell:>{width}}"
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
    for name, why in WITHOUT.items():
        yield f"{name}: not tried, since {why}"
