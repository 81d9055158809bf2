"""The delivery engine for a destination that takes columns: batches stay whole and in order, one thread commits them.

Of a batch only its columns are kept, so that what waits for the next commit takes little more memory than its bytes.
All else (retries, holds, the ledger, the barrier) is that of sinks/delivery.py.
"""

from __future__ import annotations

import time
from typing import Any, cast

from logweir.batch import Batch
from logweir.events import Events
from logweir.ledger import Ledger
from sinks.backlog import Backlog
from sinks.deadletter import DeadLetters
from sinks.delivering import Delivering
from sinks.delivery import Delivery
from sinks.destination import Destination, Endpoint, Outcome, TableDestination
from sinks.flight import Flight
from sinks.health import Health
from sinks.request import Request

PARTITIONS = 500
"""Of the table, in one commit: what reaches so many is full. Each has a file, which waits in memory for the commit."""


class TableDelivery(Delivery):
    """One sink partition of a table."""

    def __init__(
        self,
        settings: Delivering,
        destination: TableDestination,
        dead_letters: DeadLetters,
        flight: Flight,
        events: Events,
        ledger: Ledger | None = None,
        health: Health | None = None,
    ) -> None:
        self._table = destination
        # Every use of it that is another destination's is overridden below.
        plain: Any = destination
        super().__init__(settings, plain, dead_letters, flight, events, ledger, health)

    def _begin(self) -> tuple[Backlog, int]:
        return _Whole(*self._bounds()), 1

    def _bounds(self) -> tuple[int, int]:
        return self._settings.max_records, self._settings.max_bytes

    def _encode(self, batch: Batch) -> Any:
        return self._table.columns(batch)

    def _prepare(self, request: Request) -> None:
        """Have nothing to do: columns are what is committed."""

    def _post(self, request: Request) -> tuple[Outcome, int]:
        assert isinstance(request, _Parts)
        return self._table.commit(request.parts)


def deliver_to(
    destination: Endpoint,
    settings: Delivering,
    dead_letters: DeadLetters,
    flight: Flight,
    events: Events,
    ledger: Ledger | None = None,
    health: Health | None = None,
) -> Delivery:
    """Return the delivery of one sink partition, as its destination takes records."""
    if isinstance(destination, TableDestination):
        return TableDelivery(settings, destination, dead_letters, flight, events, ledger, health)
    return Delivery(settings, cast("Destination", destination), dead_letters, flight, events, ledger, health)


class _Whole(Backlog):
    """Batches that are never cut."""

    def append(self, batch: Batch, pieces: Any) -> None:
        """Put a batch's columns into the open request, which is sealed once it is full."""
        if not batch:
            return
        request = self.open
        if not isinstance(request, _Parts):
            request = self.open = _Parts(time.monotonic())
        request.parts.append(pieces)
        request.partitions |= pieces.partitions
        request.rows += len(batch)
        request.size += batch.size
        if self.is_full(request) or len(request.partitions) >= PARTITIONS:
            self.seal()


class _Parts(Request):
    """The columns of some batches."""

    __slots__ = ("partitions", "parts", "rows")

    def __init__(self, opened: float) -> None:
        super().__init__(opened)
        self.parts: list[Any] = []
        self.partitions: frozenset[int] = frozenset()
        self.rows = 0

    def __len__(self) -> int:
        return self.rows
