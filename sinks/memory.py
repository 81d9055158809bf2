"""What one destination has taken and refused so far: by it a refusal is laid to a record, a setting or the service."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from sinks.destination import Hold, Invalid, Outcome, Partial, Retry, TooLarge
from sinks.request import Request

WRONG_SETTING = 20
"""So many records that were refused alone, while none was ever taken, show that a setting is wrong, and no record."""
_KNOWN = 100
_KNOWN_SECONDS = 600.0


class Standing(NamedTuple):
    """What is known when a request was refused."""

    ever: bool = True
    """Whether any record was taken since the destination was opened."""
    alone: int = 0
    """Records that were refused alone before that."""
    others: bool = False
    """Whether there are others that might be taken meanwhile."""
    proofs: int = 0
    """How often others were taken between two refusals of these."""
    outweighed: bool = False
    """Whether more records were taken since the first refusal than these are."""
    known: bool = False
    """Whether this reason was found to lie in the records a moment ago."""


class Memory:
    """The memory of one destination. Its owner holds a lock about each use.

    Args:
        ever: Whether it is known to take records.
    """

    def __init__(self, *, ever: bool = False) -> None:
        self.ever = ever
        self._answers = 0
        """By which anything was taken."""
        self._records = 0
        self._alone = 0
        self._waiting = 0
        """Records that were refused alone, and that wait for others to be taken."""
        self._known: dict[str, float] = {}
        self.witness: Request | None = None
        """One record that was taken last: where none else is left to try, it tells a bad record from a bad service."""

    def took(self, request: Request, indexes: Sequence[int]) -> None:
        """Note that records of a request were taken."""
        self.ever = True
        self._answers += 1
        self._records += len(indexes)
        # What is committed as columns is never refused for one of its records.
        if request.offsets and request is not self.witness:
            self.witness = request.pick(indexes[-1:])

    def settled(self, request: Request) -> None:
        """Note that a request is no longer waited for."""
        if request.alone:
            self._waiting -= 1
            request.alone = False

    def refused(self, request: Request, outcome: Outcome, outstanding: int, taken: int = 0) -> Standing:
        """Note that records were not taken, and return what is known of them.

        Args:
            request: The records.
            outcome: Why.
            outstanding: All records that are accepted and not settled.
            taken: Records of the same request that were taken by the same answer.
        """
        if isinstance(outcome, Partial) and not (outcome.reason or outcome.issue):
            # They were not looked at.
            return Standing(self.ever)
        if request.seen is None:
            request.before = self._records - taken
            request.proofs += taken > 0
        elif self._answers > request.seen:
            request.proofs += 1
        request.seen = self._answers
        if len(request) == 1 and not self.ever and not request.alone and is_of_request(outcome):
            request.alone = True
            self._alone += 1
            self._waiting += 1
        return Standing(
            self.ever,
            self._alone,
            outstanding > self._waiting,
            request.proofs,
            self._records - request.before >= len(request),
            time.monotonic() - self._known.get(_reason(outcome), -_KNOWN_SECONDS) < _KNOWN_SECONDS,
        )

    def convicted(self, outcome: Outcome) -> None:
        """Note that the reason of a refusal was found to lie in the records."""
        self._known.pop(_reason(outcome), None)
        self._known[_reason(outcome)] = time.monotonic()
        if len(self._known) > _KNOWN:
            del self._known[next(iter(self._known))]


def is_of_request(outcome: Outcome) -> bool:
    """Tell whether a refusal is about what was sent, as far as an answer can tell."""
    return isinstance(outcome, Invalid | TooLarge) or getattr(outcome, "blame", "") == "request"


def _reason(outcome: Outcome) -> str:
    match outcome:
        case Hold(issue=issue) | Partial(issue=issue) if issue:
            return issue
        case Retry(reason=reason) | Partial(reason=reason):
            return reason
    return ""
