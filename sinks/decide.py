"""What to do after an answer: one pure function, and the circuit that spares a failing destination.

Both take the time as an argument, so that every path can be tested without waiting.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sinks.destination import Delivered, Hold, Invalid, Outcome, Partial, Retry, TooLarge

RETRY_AFTER_LIMIT = 300.0
"""Seconds: a longer Retry-After is cut to this, so that a destination's mistake can't stop a stream for a day."""


@dataclass(frozen=True, slots=True)
class Policy:
    """The `retry` and `on_failure` settings of a destination."""

    max_retries: int = 3
    backoff: float = 1.0
    """Seconds before the first retry; doubled each time."""
    max_backoff: float = 30.0
    on_failure: Literal["hold", "dead_letter"] = "hold"


@dataclass(frozen=True, slots=True)
class Done:
    """The request is settled."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Send what is left again at `until`; `holding` when only a person or the destination's recovery can help."""

    until: float
    holding: bool = False


@dataclass(frozen=True, slots=True)
class Split:
    """Send the two halves on their own."""


@dataclass(frozen=True, slots=True)
class Reject:
    """Dead-letter every record of the request."""

    cause: str
    reason: str


Action = Done | Wait | Split | Reject


def backoff(attempt: int, policy: Policy, jitter: float) -> float:
    """Return seconds before the retry after `attempt` (1 for the first): doubling, capped, half of it random.

    Args:
        attempt: How often the request has been sent.
        policy: Its base and its cap.
        jitter: A random number in [0, 1), so that senders do not come back all at once.
    """
    full = min(policy.max_backoff, policy.backoff * 2.0 ** min(attempt - 1, 60))
    return full * (0.5 + jitter / 2)


def decide(outcome: Outcome, attempt: int, now: float, policy: Policy, count: int, jitter: float) -> Action:
    """Return what becomes of a request of `count` records after its `attempt`-th sending (1 for the first).

    For a `Partial` the action concerns the records in its `retry`; what it rejected or took is settled.
    """
    match outcome:
        case Delivered() | Partial(retry=()):
            return Done()
        case Hold(issue=issue) | Partial(issue=issue) if issue:
            return Wait(now + backoff(attempt, policy, jitter), holding=True)
        case Partial(after=after, reason=reason) | Retry(after=after, reason=reason):
            spent = attempt > policy.max_retries
            if spent and policy.on_failure == "dead_letter":
                return Reject("retries exhausted", reason)
            wait = backoff(attempt, policy, jitter)
            if after is not None:
                wait = max(wait, min(after, RETRY_AFTER_LIMIT)) if spent else min(after, RETRY_AFTER_LIMIT)
            return Wait(now + wait, holding=spent)
        case TooLarge(reason=reason):
            return Split() if count > 1 else Reject("too large", reason)
        case Invalid(cause=cause, reason=reason):
            return Split() if count > 1 else Reject(cause, reason)
    raise AssertionError(outcome)


class Circuit:
    """Lets one probe through while a destination fails, instead of every sender's request.

    Closed: all may send. Open: nobody, until its time has come. Half-open: one sender probes; its success closes the
    circuit, its failure opens it again. Not thread-safe: the engine calls it under its own lock.

    Args:
        threshold: Consecutive failures that open it.
    """

    def __init__(self, threshold: int = 5) -> None:
        self._threshold = threshold
        self._failures = 0
        self._open_until: float | None = None
        self._probing = False

    @property
    def state(self) -> Literal["closed", "open", "half-open"]:
        """Return the state in the usual words."""
        if self._open_until is None:
            return "closed"
        return "half-open" if self._probing else "open"

    def admit(self, now: float) -> float | None:
        """Return None when the caller may send now, else seconds after which to ask again."""
        if self._open_until is None:
            return None
        if self._probing:
            return 0.1
        if now < self._open_until:
            return self._open_until - now
        self._probing = True
        return None

    def succeeded(self) -> None:
        """Note an answer that shows the destination to be working."""
        self._failures = 0
        self._open_until = None
        self._probing = False

    def failed(self, until: float, *, at_once: bool = False) -> None:
        """Note a failure; `until` is when the failed request would be sent again. A hold opens the circuit at once."""
        self._failures += 1
        if at_once or self._probing or self._failures >= self._threshold:
            self._open_until = until if self._open_until is None else max(until, self._open_until)
        self._probing = False
