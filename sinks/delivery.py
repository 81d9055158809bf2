"""The delivery engine: what every destination shares.

The worker thread only appends to a buffer. Sender threads cut it into requests, send them and do what `decide` says.
`barrier` returns when all that was accepted is delivered or dead-lettered.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any

from logweir.batch import Batch
from logweir.errors import UndeliveredError
from logweir.events import Events
from logweir.ledger import Ledger
from sinks.backlog import Backlog, Refused
from sinks.deadletter import DeadLetter, DeadLetters
from sinks.decide import ONLY_THESE, WITNESS, Reject, Split, Wait, backoff, decide, needs_witness, reread
from sinks.delivering import Delivering
from sinks.destination import Delivered, Destination, Outcome, Partial, Records, Screening
from sinks.failures import Failures
from sinks.flight import Flight
from sinks.health import Health
from sinks.memory import Memory, Standing
from sinks.prepare import prepared
from sinks.request import Request
from sinks.setbacks import Setbacks
from sinks.stats import Stats

_POLL_SECONDS = 0.5
"""Threads that wait look up this often, to notice a stop."""


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
        self._memory = Memory(ever=settings.again)
        self._in_order: bool = getattr(destination, "serial", True)
        self._draining = False
        """Whether a barrier waits, so that nothing more comes."""
        self._changed = threading.Condition()
        self._health = health or Health(settings.name, events)
        self._setbacks = Setbacks(settings.name, events, self._health, self.stats, self._changed, settings.policy)
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
                    self._backlog.refuse(Refused.of(batch, refused_bytes))
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
            self._draining = True
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
            self._draining = False
            self._raise_defect()
        self._failures.tell(pause=0.0)
        self._insist("dead letters", self._dead_letters.flush, stop_by)
        if self._abandoned.is_set():
            msg = f"{self._settings.name}: stopped before its dead letters were durable"
            raise UndeliveredError(msg)

    def configure(self, settings: Delivering) -> None:
        """Go on by other settings, from the next request on. `concurrency` stays."""
        with self._changed:
            # What has been gathered may be more than a request may hold from now on.
            self._backlog.seal()
            self._settings = settings
            self._setbacks.policy = settings.policy
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
                "circuit": self._setbacks.circuit.state,
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
        limits = self._destination.limits
        return self._destination.encode(Records.of(batch, written=limits.written, heads=limits.heads)) if batch else []

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
                now = time.monotonic()
                if (work := self._backlog.take(now)) is not None:
                    return work
                wait = _POLL_SECONDS if self._backlog.due is None else min(_POLL_SECONDS, self._backlog.due - now)
                if self._backlog.open is not None:
                    left = self._backlog.open.opened + self._settings.flush_interval - now
                    if left <= 0:
                        self._backlog.seal()
                        continue
                    wait = min(wait, left) if self._backlog.due is not None else left
                self._changed.wait(wait)
        return None

    def _deliver(self, request: Request) -> None:
        """Send one request; what is left of it waits for its time, and others are sent meanwhile.

        Where the order matters the others wait.
        """
        parts = deque([request])
        while parts and not self._abandoned.is_set():
            left, until = self._attempt(parts.popleft())
            if self._in_order and left:
                parts.extendleft(reversed(left))
                self._pause(until)
            elif left:
                with self._changed:
                    for part in left:
                        self._backlog.again(part, until)
                    self._changed.notify(len(left))

    def _attempt(self, part: Request) -> tuple[list[Request], float]:
        """Send some records once; return what is to be sent again, and when."""
        outcome = self._send(part)
        if outcome is None:
            return [], 0.0
        taken = 0
        if isinstance(outcome, Partial):
            taken = len(part) - len(outcome.rejected) - len(outcome.retry)
            part = self._settle_partial(part, outcome)
        now = time.monotonic()
        if isinstance(outcome, Delivered) or not len(part):
            if len(part):
                self._delivered(part, range(len(part)), getattr(outcome, "duplicates", 0))
            return [], now
        with self._changed:
            standing = self._memory.refused(part, outcome, self._outstanding, taken)
        jitter, draining = random.random(), self._draining
        action = decide(
            outcome, part.attempt, now, self._settings.policy, len(part), jitter, standing, draining=draining
        )
        match action:
            case Reject(cause=cause, reason=reason):
                if cause == ONLY_THESE:
                    with self._changed:
                        self._memory.convicted(outcome)
                    self._setbacks.given_up(outcome, 0.0)
                else:
                    self._setbacks.given_up(outcome, backoff(max(part.attempt, 1), self._settings.policy, jitter))
                self._dead_letter(part, dict.fromkeys(range(len(part)), (cause, reason)))
            case Split(until=until, failed=failed, issue=issue):
                if failed:
                    self._setbacks.failed(outcome, part, Wait(until, holding=bool(issue), issue=issue))
                else:
                    self._setbacks.given_up(outcome, 0.0)
                    part.attempt = 0
                return part.halves(), until
            case Wait():
                self._setbacks.failed(outcome, part, action)
                self._ask_witness(part, outcome, standing)
                return [part], action.until
        return [], now

    def _ask_witness(self, part: Request, outcome: Outcome, standing: Standing) -> None:
        """Send again what was taken last, where only that shows whether the service takes anything: one copy more."""
        witness = self._memory.witness
        if not needs_witness(outcome, part.attempt, len(part), standing, self._settings.policy) or witness is None:
            return
        if self._prepare(witness) is None and isinstance(self._post(witness)[0], Delivered):
            with self._changed:
                self._memory.took(witness, [0])
                self.stats.notices[WITNESS] += 1

    def _prepare(self, request: Request) -> Outcome | None:
        """Encode and compress a request unless that has been done; return an outcome if it can't be sent."""
        return request.prepare(self._destination)

    def _post(self, request: Request) -> tuple[Outcome, int]:
        """Send a request once; return the outcome and the bytes sent."""
        payload = request.payload or b""
        return self._destination.send(payload, len(request)), len(payload)

    def _send(self, request: Request) -> Outcome | None:
        """Prepare a request, and send it once; None when the flow gave up first."""
        if (unsent := self._prepare(request)) is not None:
            return unsent
        if not self._setbacks.admitted(self._abandoned):
            return None
        request.attempt += 1
        started = time.monotonic()
        outcome, size = self._post(request)
        ever = self._memory.ever
        outcome = reread(outcome, len(request), ever=ever)
        self._setbacks.answered(outcome, size, time.monotonic() - started, ever=ever)
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
            self._memory.took(request, indexes)
            self._memory.settled(request)
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
        with self._changed:
            self._memory.settled(request)

    def _bury(self, letters: list[DeadLetter], size: int) -> None:
        """Dead-letter records, and count them by cause once they are durable."""
        if not self._insist("dead letters", lambda: self._dead_letters.write(letters)):
            return
        if not self._insist("dead letters", self._dead_letters.flush):
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

    def _insist(self, what: str, act: Callable[[], None], stop_by: Callable[[], float | None] = lambda: None) -> bool:
        """Do `act` until it succeeds; False when the flow gave up first."""
        attempt = 0
        while not self._abandoned.is_set():
            deadline = stop_by()
            if deadline is not None and time.monotonic() >= deadline:
                self._abandoned.set()
                break
            try:
                act()
            except OSError as error:
                attempt += 1
                self._health.holding(f"{what}: {error}")
                self._pause(time.monotonic() + backoff(attempt, self._settings.policy, random.random()))
            else:
                return True
        return False

    def _pause(self, until: float) -> bool:
        """Wait; False when the flow gave up first."""
        return not self._abandoned.wait(max(0.0, until - time.monotonic()))
