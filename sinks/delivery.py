"""The delivery engine: what every destination shares.

The worker thread only appends to a buffer. Sender threads cut it into requests, send them and do what `decide` says.
`barrier` returns when all that was accepted is delivered or dead-lettered.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from logweir.batch import Batch
from logweir.errors import UndeliveredError
from logweir.events import Events
from logweir.ledger import Ledger
from sinks.backlog import Backlog, Refused
from sinks.compression import compress
from sinks.deadletter import DeadLetter, DeadLetters
from sinks.decide import Circuit, Done, Policy, Reject, Split, Wait, backoff, decide
from sinks.destination import Delivered, Destination, Hold, Outcome, Partial, Records, Retry, Screening, TooLarge
from sinks.failures import Failures
from sinks.flight import Flight
from sinks.health import Health
from sinks.prepare import prepared
from sinks.request import Request
from sinks.stats import Stats

_POLL_SECONDS = 0.5
"""Threads that wait look up this often, to notice a stop."""


@dataclass(frozen=True, slots=True)
class Delivering:
    """How one destination's records are delivered: its `batch`, `retry` and `concurrency` settings."""

    name: str
    max_records: int = 5000
    max_bytes: int = 1_000_000
    flush_interval: float = 5.0
    concurrency: int = 4
    policy: Policy = field(default_factory=Policy)


class Delivery:
    """One sink partition: takes batches, keeps the ledger, gives a barrier.

    Args:
        settings: How to deliver.
        destination: The wire format and the reading of answers.
        dead_letters: Where records go that can't be delivered.
        flight: Told of every byte that is settled.
        events: Where it tells what happens.
        ledger: The sums to go on from, after a recovery.
        health: What is known of the destination; sink partitions share it.
    """

    def __init__(
        self,
        settings: Delivering,
        destination: Destination,
        dead_letters: DeadLetters,
        flight: Flight,
        events: Events,
        ledger: Ledger | None = None,
        health: Health | None = None,
    ) -> None:
        self._settings = settings
        self._destination = destination
        self._screen = destination.screen if isinstance(destination, Screening) else None
        self._dead_letters = dead_letters
        self._flight = flight
        self._events = events
        self.ledger = ledger or Ledger()
        self.stats = Stats()
        self._health = health or Health(settings.name, events)
        self._circuit = Circuit()
        self._changed = threading.Condition()
        self._outstanding = 0
        """Records and refusals accepted and not settled."""
        self._closing = False
        self._abandoned = threading.Event()
        self._failures = Failures(settings.name, events, self.ledger, self._changed)
        self.defect: BaseException | None = None
        """What a sender thread died of; raised to the worker by the next call."""
        self._backlog, count = self._begin()
        self._threads = [
            threading.Thread(target=self._send_all, name=f"{settings.name}-sender-{number}", daemon=True)
            for number in range(count)
        ]
        for thread in self._threads:
            thread.start()
        events.tell("stream.added", stream=settings.name)

    def write(self, batches: Sequence[Batch]) -> None:
        """Accept batches. Returns at once: nothing here waits for the network."""
        # Encoding follows at once on decode, while the bytes are still in the processor's cache.
        batches, encoded = prepared(batches, self._screen, self._encode)
        with self._changed:
            self._raise_defect()
            before, waiting = len(self._backlog), self._backlog.open
            for batch, pieces in zip(batches, encoded, strict=True):
                self.ledger.add(batch.account)
                self.stats.notices.update(batch.account.notices)
                rejected = batch.account.rejected
                refused_bytes = sum(len(each.value) for each in rejected)
                # What the steps before have dropped is settled; the rest is when it is delivered or dead-lettered.
                self._flight.release(batch.account.read_bytes - batch.size - refused_bytes)
                if rejected:
                    self._backlog.refuse(Refused(batch.topic, batch.partition, rejected, refused_bytes))
                    self._outstanding += len(rejected)
                self._backlog.append(batch, pieces)
                self._outstanding += len(batch)
            # No more senders are woken than find work; one has to know when a new request will be old enough.
            opened = self._backlog.open not in (None, waiting)
            self._changed.notify(len(self._backlog) - before + opened)

    def notice(self, causes: dict[str, int]) -> None:
        """Count records by what was done to them on the way without a drop."""
        with self._changed:
            self.stats.notices.update(causes)

    def barrier(self, stop_by: Callable[[], float | None] = lambda: None) -> None:
        """Return when all that was accepted is settled and durable.

        Args:
            stop_by: Gives the monotonic time at which to give up, once the flow is stopping.

        Raises:
            UndeliveredError: The flow is stopping and the destination didn't take the rest in time.
        """
        with self._changed:
            self._backlog.seal()
            self._changed.notify_all()
            while self._outstanding and self.defect is None:
                deadline = stop_by()
                if deadline is not None and time.monotonic() >= deadline:
                    self._abandoned.set()
                    msg = (
                        f"{self._settings.name}: stopped with {self._outstanding} records in flight; "
                        "they are sent again from the last recorded epoch at the next start"
                    )
                    raise UndeliveredError(msg)
                self._changed.wait(_POLL_SECONDS)
            self._raise_defect()
        self._failures.tell(pause=0.0)
        self._insist("dead letters", self._dead_letters.flush)
        if self._abandoned.is_set():
            msg = f"{self._settings.name}: stopped before its dead letters were durable"
            raise UndeliveredError(msg)

    def configure(self, settings: Delivering) -> None:
        """Go on by other settings, from the next request on. `concurrency` stays."""
        with self._changed:
            # What has been gathered may be more than a request may hold from now on.
            self._backlog.seal()
            self._settings = settings
            self._backlog.max_records, self._backlog.max_bytes = self._bounds()
            self._changed.notify_all()

    def checkpoint(self) -> Any:
        """Return the destination's own state to resume from. Call it right after `barrier`."""
        return self._destination.checkpoint()

    def close(self) -> None:
        """End the threads and release the destination. What is in flight is abandoned."""
        self._abandoned.set()
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(timeout=5)
        self._destination.close()
        self._dead_letters.close()

    def status(self) -> dict[str, Any]:
        """Return live figures as plain JSON: they may run ahead of the ledger's last snapshot."""
        with self._changed:
            return {
                **self.stats.to_dict(),
                "issue": self._health.issue,
                "in_flight_records": self._outstanding,
                "circuit": self._circuit.state,
            }

    def _begin(self) -> tuple[Backlog, int]:
        """Return where records wait, and how many threads send."""
        one = self._destination.serial
        return Backlog(
            *self._bounds(), written=self._destination.limits.written
        ), 1 if one else self._settings.concurrency

    def _bounds(self) -> tuple[int, int]:
        """Return the most records and the most bytes of a request."""
        return min(self._settings.max_records, self._destination.limits.request_records), self._settings.max_bytes

    def _encode(self, batch: Batch) -> Any:
        """Return what the backlog takes of a batch."""
        return self._destination.encode(Records.of(batch, written=self._destination.limits.written)) if batch else []

    def _raise_defect(self) -> None:
        if self.defect is not None:
            raise self.defect

    def _send_all(self) -> None:
        """Be one sender thread."""
        try:
            while (work := self._next()) is not None:
                if isinstance(work, Refused):
                    self._bury(work.letters(), work.size)
                else:
                    self._deliver(work)
        except BaseException as error:  # noqa: BLE001  a sender that dies must stop the flow, not leave it waiting
            with self._changed:
                self.defect = self.defect or error
                self._changed.notify_all()

    def _next(self) -> Request | Refused | None:
        """Return the next piece of work, sealing the open request once it is old enough; None at the end."""
        with self._changed:
            while not self._closing:
                if self._backlog:
                    return self._backlog.take()
                wait = _POLL_SECONDS
                if self._backlog.open is not None:
                    wait = self._backlog.open.opened + self._settings.flush_interval - time.monotonic()
                    if wait <= 0:
                        self._backlog.seal()
                        continue
                self._changed.wait(wait)
        return None

    def _deliver(self, request: Request) -> None:
        """Send one request, and whatever it is split into, until all of it is settled."""
        parts = [request]
        while parts and not self._abandoned.is_set():
            part = parts.pop()
            outcome = self._send(part)
            if outcome is None:
                return
            if isinstance(outcome, Partial):
                part = self._settle_partial(part, outcome)
            action = decide(outcome, part.attempt, time.monotonic(), self._settings.policy, len(part), random.random())
            match action:
                case Done():
                    duplicates = outcome.duplicates if isinstance(outcome, Delivered) else 0
                    self._delivered(part, range(len(part)), duplicates)
                case Split():
                    parts.extend(reversed(part.halves()))
                case Reject(cause=cause, reason=reason):
                    if isinstance(outcome, Retry):
                        self._given_up(part)
                    self._dead_letter(part, dict.fromkeys(range(len(part)), (cause, reason)))
                case Wait():
                    self._failed(outcome, part, action)
                    if self._pause(action.until):
                        parts.append(part)

    def _prepare(self, request: Request) -> Outcome | None:
        """Encode and compress a request unless that has been done; return an outcome if it can't be sent."""
        limits = self._destination.limits
        if request.payload is None:
            pieces, request.pieces = request.pieces or self._destination.encode(request.records), []
            large = [index for index, piece in enumerate(pieces) if len(piece) > limits.record_bytes]
            if large:
                reason = f"{{}} bytes, the destination takes {limits.record_bytes} a record"
                rejected = {index: ("record too large", reason.format(len(pieces[index]))) for index in large}
                rest = [index for index in range(len(pieces)) if index not in rejected]
                return Partial(rejected, retry=rest, after=0.0)
            body = self._destination.frame(pieces)
            if len(body) > limits.request_bytes:
                return TooLarge(f"{len(body)} bytes, the destination takes {limits.request_bytes} a request")
            request.payload = compress(body, self._destination.compression)
        return None

    def _post(self, request: Request) -> tuple[Outcome, int]:
        """Send a request once; return the outcome and the bytes sent."""
        payload = request.payload or b""
        return self._destination.send(payload, len(request)), len(payload)

    def _send(self, request: Request) -> Outcome | None:
        """Prepare a request, and send it once; None when the flow gave up first."""
        if (unsent := self._prepare(request)) is not None:
            return unsent
        if not self._admitted():
            return None
        request.attempt += 1
        started = time.monotonic()
        outcome, size = self._post(request)
        with self._changed:
            self.stats.sent(size, time.monotonic() - started)
            failed = isinstance(outcome, Retry | Hold)
            self.stats.errors += failed
            if not failed:
                self._circuit.succeeded()
        self._health.heard()
        if not failed and not getattr(outcome, "issue", ""):
            self._health.taken()
        return outcome

    def _settle_partial(self, request: Request, outcome: Partial) -> Request:
        """Settle what was taken and what was rejected; return the rest."""
        if outcome.rejected:
            self._dead_letter(request, outcome.rejected)
        again = set(outcome.retry)
        taken = [index for index in range(len(request)) if index not in outcome.rejected and index not in again]
        self._delivered(request, taken, outcome.duplicates)
        rest = request.pick(outcome.retry)
        if not (outcome.reason or outcome.issue):
            rest.attempt = 0
        return rest

    def _delivered(self, request: Request, indexes: Sequence[int], duplicates: int) -> None:
        if not indexes:
            return
        values = request.records.values
        size = request.size if len(indexes) == len(request) else sum(len(values[index]) for index in indexes)
        with self._changed:
            self.ledger.delivered += len(indexes)
            self.ledger.duplicates += duplicates
            self.stats.delivered(len(indexes), size, time.time())
            self._settle(len(indexes), size)
        self._events.tell(
            "stream.flushed",
            "debug",
            stream=self._settings.name,
            records=len(indexes),
            bytes=size,
            attempts=request.attempt,
            seconds=round(time.monotonic() - request.opened, 3),
        )

    def _dead_letter(self, request: Request, rejected: dict[int, tuple[str, str]]) -> None:
        letters = [request.letter(index, cause, reason) for index, (cause, reason) in rejected.items()]
        self._bury(letters, sum(len(letter.value) for letter in letters))

    def _bury(self, letters: list[DeadLetter], size: int) -> None:
        """Dead-letter records, and count them by cause."""
        if not self._insist("dead letters", lambda: self._dead_letters.write(letters)):
            return
        causes = Counter(letter.cause for letter in letters)
        with self._changed:
            self.ledger.dead_lettered.update(causes)
            self.stats.failed += len(letters)
            self._settle(len(letters), size)
        self._failures.note({letter.cause: letter.reason for letter in letters})
        self._failures.tell()

    def _settle(self, records: int, size: int) -> None:
        """Note, under the lock, that records are settled."""
        self._outstanding -= records
        self._flight.release(size)
        if not self._outstanding:
            self._changed.notify_all()

    def _insist(self, what: str, act: Callable[[], None]) -> bool:
        """Do `act` until it succeeds; False when the flow gave up first."""
        attempt = 0
        while not self._abandoned.is_set():
            try:
                act()
            except OSError as error:
                attempt += 1
                self._health.holding(f"{what}: {error}")
                self._pause(time.monotonic() + backoff(attempt, self._settings.policy, random.random()))
            else:
                return True
        return False

    def _given_up(self, request: Request) -> None:
        """Tell the circuit of a last failure: it may have been the probe that every other sender waits for."""
        with self._changed:
            wait = backoff(request.attempt, self._settings.policy, random.random())
            self._circuit.failed(time.monotonic() + wait)

    def _failed(self, outcome: Outcome, request: Request, action: Wait) -> None:
        """Note a request that will be sent again."""
        issue = getattr(outcome, "issue", "")
        reason = issue or getattr(outcome, "reason", "")
        whole = isinstance(outcome, Retry | Hold)
        if not reason and not whole:
            return
        with self._changed:
            self.stats.retries += 1
            if whole:
                self._circuit.failed(action.until, at_once=action.holding)
            opened = self._circuit.state != "closed"
        self._events.tell(
            "stream.retry",
            "warn",
            stream=self._settings.name,
            records=len(request),
            reason=reason,
            attempt=request.attempt,
            wait=round(action.until - time.monotonic(), 3),
        )
        if issue:
            self._health.holding(issue)
        elif action.holding or opened:
            self._health.failing(reason)

    def _admitted(self) -> bool:
        """Wait for the circuit; False when the flow gave up first."""
        while not self._abandoned.is_set():
            with self._changed:
                wait = self._circuit.admit(time.monotonic())
            if wait is None:
                return True
            self._abandoned.wait(wait)
        return False

    def _pause(self, until: float) -> bool:
        """Wait; False when the flow gave up first."""
        return not self._abandoned.wait(max(0.0, until - time.monotonic()))
