"""What failures do to a destination: they open its circuit, and are told as events and as its health."""

from __future__ import annotations

import random
import threading
import time

from logweir.events import Events
from sinks.decide import Circuit, Policy, Wait, backoff
from sinks.destination import Delivered, Hold, Outcome, Partial, Retry
from sinks.health import Health
from sinks.request import Request
from sinks.stats import Stats


class Setbacks:
    """The circuit and the health of one sink partition. Its senders share it.

    Args:
        name: The destination's.
        events: Where failures are told.
        health: What is known of the destination.
        stats: Counts them.
        lock: Held about each change of the circuit and the counts.
        policy: How to go on after a failure.
    """

    def __init__(
        self, name: str, events: Events, health: Health, stats: Stats, lock: threading.Condition, policy: Policy
    ) -> None:
        self.health = health
        self.circuit = Circuit()
        self._name = name
        self._events = events
        self._stats = stats
        self._lock = lock
        self.policy = policy

    def admitted(self, abandoned: threading.Event) -> bool:
        """Wait for the circuit; False when the flow gave up first."""
        while not abandoned.is_set():
            with self._lock:
                wait = self.circuit.admit(time.monotonic())
            if wait is None:
                return True
            abandoned.wait(wait)
        return False

    def answered(self, outcome: Outcome, size: int, seconds: float, *, ever: bool) -> None:
        """Note what became of a request.

        Args:
            outcome: The answer's.
            size: The bytes that were sent.
            seconds: How long it took.
            ever: Whether the destination ever took a record; before that a refused request doesn't show it well.
        """
        failed = isinstance(outcome, Retry | Hold)
        with self._lock:
            self._stats.sent(size, seconds)
            self._stats.errors += failed
            if not failed:
                self.circuit.succeeded()
        self.health.heard()
        if not failed and not getattr(outcome, "issue", "") and (ever or isinstance(outcome, Delivered | Partial)):
            self.health.taken()

    def failed(self, outcome: Outcome, request: Request, action: Wait) -> None:
        """Note a request that will be sent again."""
        issue = action.issue or getattr(outcome, "issue", "")
        reason = issue or getattr(outcome, "reason", "")
        whole = isinstance(outcome, Retry | Hold) or bool(action.issue)
        if not reason and not whole:
            return
        with self._lock:
            self._stats.retries += 1
            if whole:
                # Others that are taken meanwhile need not wait for these.
                until = time.monotonic() if request.proofs else max(action.until, self._opens_until())
                self.circuit.failed(until, at_once=action.holding and not request.proofs)
            opened = self.circuit.state != "closed"
        self._events.tell(
            "stream.retry",
            "warn",
            stream=self._name,
            records=len(request),
            reason=reason,
            attempt=request.attempt,
            wait=round(action.until - time.monotonic(), 3),
        )
        if issue:
            self.health.holding(issue)
        elif action.holding or opened:
            self.health.failing(reason)

    def given_up(self, outcome: Outcome, wait: float) -> None:
        """Tell the circuit of a last failure: it may have been the probe that every other sender waits for.

        Args:
            outcome: Of the last sending.
            wait: Seconds that others wait.
        """
        if isinstance(outcome, Retry | Hold):
            with self._lock:
                self.circuit.failed(time.monotonic() + wait)
                self.circuit.rounds = 0

    def _opens_until(self) -> float:
        """Return until when the circuit stays open: ever longer, though each probe may be another request's first."""
        rounds = self.circuit.rounds + (self.circuit.state != "open")
        return time.monotonic() + backoff(rounds, self.policy, random.random())
