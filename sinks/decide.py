"""What to do after an answer: one pure function, and the circuit that spares a failing destination.

Both take the time as an argument, so that every path can be tested without waiting.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sinks.destination import Delivered, Hold, Invalid, Outcome, Partial, Retry, TooLarge
from sinks.memory import WRONG_SETTING, Standing

RETRY_AFTER_LIMIT = 300.0
"""Seconds: a longer Retry-After is cut to this, so that a destination's mistake can't stop a stream for a day."""

TRIES = 12
"""So often records are refused, while others are taken, until the reason is known to lie in them: about four minutes
with the default backoff. It is longer than a restart or a rollout of what stands before the service takes."""
ONLY_THESE = "refused while others are taken"
WITNESS = "sent once more as a witness"
"""The notice of a record that was taken before, and is sent again to tell a bad record from a bad service."""
_AGAIN = 2
_PROVEN = Standing()
_NEVER_TAKEN = (
    f"{WRONG_SETTING} records and more were refused one by one, and none was ever taken: check the settings of this "
    "destination, such as compression"
)


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
    issue: str = ""
    """What a person has to mend, where the outcome doesn't say it."""


@dataclass(frozen=True, slots=True)
class Split:
    """Send the two halves on their own, at `until`."""

    until: float = 0.0
    failed: bool = False
    """Whether that is told, and counts as an attempt: it is for a failure that may be the destination's own."""
    issue: str = ""


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


def reread(outcome: Outcome, count: int, *, ever: bool) -> Outcome:
    """Return what an answer to a request of `count` records means, whatever it says of each.

    A service that refuses every record in the same words may mean one of them: OpenSearch does so where a pipeline
    can't read one. And while nothing was ever taken, a verdict on every record is none yet: a setting may be wrong.

    Args:
        outcome: As the destination reads it.
        count: The records of the request.
        ever: Whether any record was ever taken.
    """
    if not isinstance(outcome, Partial) or outcome.certain or len(outcome.rejected) < count:
        return outcome
    verdicts = set(outcome.rejected.values())
    alike = count > 1 and len(verdicts) == 1 and outcome.blame != "each"
    return Invalid(*min(verdicts)) if not ever or alike else outcome


def decide(
    outcome: Outcome,
    attempt: int,
    now: float,
    policy: Policy,
    count: int,
    jitter: float,
    standing: Standing = _PROVEN,
    *,
    draining: bool = True,
) -> Action:
    """Return what becomes of a request after a sending.

    For a `Partial` the action concerns the records in its `retry`; what it rejected or took is settled.

    Args:
        outcome: Of the sending.
        attempt: How often it was sent, 1 for the first; 0 where it couldn't be sent at all.
        now: Seconds of the monotonic clock.
        policy: How to go on after a failure.
        count: Its records.
        jitter: A random number in [0, 1).
        standing: What is known of the destination and of these records.
        draining: Whether no further records come before these are settled.
    """
    later = now + backoff(max(attempt, 1), policy, jitter)
    match outcome:
        case Delivered() | Partial(retry=()):
            return Done()
        case Invalid() | TooLarge() if attempt == 0:
            # It is known here, and not by an answer.
            return Split() if count > 1 else _verdict(outcome)
        case Invalid() | TooLarge() | Hold(blame="request"):
            return _about_request(outcome, attempt, now, later, policy, count, standing, draining=draining)
        case Hold(blame="unclear") | Retry(blame="unclear") | Partial(blame="unclear" | "each"):
            if action := _lying_in_records(outcome, attempt, now, later, policy, count, standing):
                return action
    return _again(outcome, attempt, now, later, policy)


def _again(outcome: Outcome, attempt: int, now: float, later: float, policy: Policy) -> Action:
    """Return when a request is sent again as it is, or that it isn't."""
    match outcome:
        case Hold(issue=issue) | Partial(issue=issue) if issue:
            return Wait(later, holding=True)
        case Partial(after=after, reason=reason) | Retry(after=after, reason=reason):
            spent = attempt > policy.max_retries
            if spent and policy.on_failure == "dead_letter":
                return Reject("retries exhausted", reason)
            until = later
            if after is not None:
                asked = now + min(after, RETRY_AFTER_LIMIT)
                until = max(later, asked) if spent else asked
            return Wait(until, holding=spent)
    raise AssertionError(outcome)


def _about_request(
    outcome: Invalid | TooLarge | Hold,
    attempt: int,
    now: float,
    later: float,
    policy: Policy,
    count: int,
    standing: Standing,
    *,
    draining: bool,
) -> Action:
    """Return what becomes of a request that was refused for what is in it: the culprit alone is at fault.

    Unless nothing was ever taken: then a setting may be wrong. Others are tried meanwhile.
    """
    wrong = not standing.ever and standing.alone >= WRONG_SETTING
    issue = f"{_said(outcome)}: {_NEVER_TAKEN}" if wrong else ""
    if count > 1:
        return Split(later, failed=True, issue=issue) if wrong else Split(now)
    if wrong:
        return Wait(later, holding=True, issue=issue)
    if standing.ever:
        # A known answer is believed; one in words of its own once it stays so.
        if not isinstance(outcome, Hold) or standing.proofs or attempt > policy.max_retries:
            return _verdict(outcome)
        return Wait(later, holding=True)
    if isinstance(outcome, Hold):
        return Wait(later, holding=True)
    return _verdict(outcome) if draining and not standing.others else Wait(later)


def _lying_in_records(
    outcome: Hold | Retry | Partial,
    attempt: int,
    now: float,
    later: float,
    policy: Policy,
    count: int,
    standing: Standing,
) -> Action | None:
    """Return what becomes of records that may be at fault themselves, None if they are sent again as they are.

    Others that are taken meanwhile show that it is they. While none is, it may be the service: nothing is given up.
    """
    gives_up = policy.on_failure == "dead_letter" and isinstance(outcome, Retry) and attempt > policy.max_retries
    if outcome.blame == "unclear" and count > 1:
        # At once where others were taken, since then each half tells something.
        if standing.proofs:
            return Split(now, failed=True)
        return Split(later, failed=True) if attempt >= _AGAIN and not gives_up else None
    if standing.proofs and standing.outweighed and attempt >= (_AGAIN if standing.known else TRIES):
        return Reject(ONLY_THESE, _said(outcome))
    return None


def needs_witness(outcome: Outcome, attempt: int, count: int, standing: Standing, policy: Policy) -> bool:
    """Tell whether a record is refused while none else is left to try, so that nothing shows whose fault it is."""
    perhaps = getattr(outcome, "blame", "") in ("unclear", "each")
    return perhaps and count == 1 and standing.ever and not standing.proofs and attempt > policy.max_retries


def _verdict(outcome: Invalid | TooLarge | Hold) -> Reject:
    match outcome:
        case Invalid(cause=cause, reason=reason):
            return Reject(cause, reason)
        case TooLarge(reason=reason):
            return Reject("too large", reason)
    return Reject("refused in other words", _said(outcome))


def _said(outcome: Outcome) -> str:
    return str(getattr(outcome, "issue", "") or getattr(outcome, "reason", ""))


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
        self.rounds = 0
        """How often it opened since the last success."""
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
        self._failures = self.rounds = 0
        self._open_until = None
        self._probing = False

    def failed(self, until: float, *, at_once: bool = False) -> None:
        """Note a failure; `until` is when the failed request would be sent again. A hold opens the circuit at once."""
        self._failures += 1
        if at_once or self._probing or self._failures >= self._threshold:
            self.rounds += self.state != "open"
            self._open_until = until if self._open_until is None else max(until, self._open_until)
        self._probing = False
