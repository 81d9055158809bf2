"""What waits to be sent: the records of batches, gathered into requests, each cut where it is full."""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

from logweir.batch import Batch, Rejected
from logweir.head import Headed, head_of
from sinks.deadletter import DeadLetter
from sinks.request import Request, cut


@dataclass(frozen=True, slots=True)
class Refused:
    """Records that a step before the sink rejected."""

    topic: str
    partition: int
    rejected: Sequence[Rejected]
    size: int
    """Raw bytes."""
    log: str
    heads: Sequence[Headed]
    """What the rejected ones have beside their values."""

    @classmethod
    def of(cls, batch: Batch, size: int) -> Refused:
        """Return the rejected records of a batch, `size` raw bytes in all."""
        rejected = batch.account.rejected
        heads = batch.origin.heads([each.offset for each in rejected])
        return cls(batch.topic, batch.partition, rejected, size, batch.log, heads)

    def letters(self) -> list[DeadLetter]:
        """Return the dead letters."""
        topic, partition, log = self.topic, self.partition, self.log
        return [
            DeadLetter(each.value, topic, partition, each.offset, each.cause, each.detail, 0, "", head_of(head), log)
            for each, head in zip(self.rejected, self.heads, strict=True)
        ]


class Backlog:
    """Requests in order, the last of which may still be open. Its owner holds a lock about each use.

    Args:
        max_records: Of one request.
        max_bytes: Of one request; a larger record goes alone.
        written: Whether requests keep when each record was written.
    """

    def __init__(self, max_records: int, max_bytes: int, *, written: bool = False) -> None:
        self._written = written
        self.max_records = max_records
        self.max_bytes = max_bytes
        self.open: Request | None = None
        """The one that is being filled."""
        self._ready: deque[Request | Refused] = deque()
        self._later: list[tuple[float, int, Request]] = []
        """A heap of what is sent again, by the monotonic time from which on it may be."""
        self._numbers = count()
        self._turn = False
        """Whether what was taken last had been sent before."""

    def __len__(self) -> int:
        """Return how much can be taken that is new."""
        return len(self._ready)

    @property
    def due(self) -> float | None:
        """Return when something may be sent again, None if nothing is."""
        return self._later[0][0] if self._later else None

    def again(self, request: Request, until: float) -> None:
        """Put in what is sent again, at a monotonic time or later."""
        heapq.heappush(self._later, (until, next(self._numbers), request))

    def append(self, batch: Batch, pieces: list[bytes]) -> None:
        """Put a batch's records and their encoded pieces into the open request, and cut it wherever it is full."""
        start = 0
        while start < len(batch):
            request = self.open
            if request is None:
                request = self.open = Request(time.monotonic())
            if start == 0 and self._is_better_sent(request, batch):
                self.seal()
                continue
            stop, size = cut(batch, start, self.max_records - len(request), self.max_bytes - request.size)
            if len(request) and request.size + size > self.max_bytes:
                self.seal()
                continue
            request.append(batch, pieces, start, stop, size, written=self._written)
            start = stop
            if start < len(batch) or self.is_full(request):
                self.seal()

    def refuse(self, refused: Refused) -> None:
        """Put in what is to be dead-lettered."""
        self._ready.append(refused)

    def seal(self) -> None:
        """Close the open request: it is sent as it is."""
        if self.open is not None:
            self._ready.append(self.open)
            self.open = None

    def take(self, now: float) -> Request | Refused | None:
        """Return what is to be sent next, and forget it; None where there is nothing.

        What is to be sent again takes turns with what is new, so that none of it can hold up the other.
        """
        due = bool(self._later) and self._later[0][0] <= now
        if due and not (self._turn and self._ready):
            self._turn = True
            return heapq.heappop(self._later)[2]
        self._turn = False
        return self._ready.popleft() if self._ready else None

    def is_full(self, request: Request) -> bool:
        """Tell whether a request has as much as it may have."""
        return len(request) >= self.max_records or request.size >= self.max_bytes

    def _is_better_sent(self, request: Request, batch: Batch) -> bool:
        """Tell whether a request is full enough to go without a part of a batch: cutting one looks at each record."""
        fits = len(request) + len(batch) <= self.max_records and request.size + batch.size <= self.max_bytes
        return not fits and (request.size > self.max_bytes // 2 or len(request) > self.max_records // 2)
