"""What the answers of Splunk's HTTP Event Collector mean: "Troubleshoot HTTP Event Collector", the table of codes."""

from __future__ import annotations

import threading
from typing import Any

from sinks.destination import Delivered, Hold, Invalid, Outcome, Partial, Retry, TooLarge, blame_of
from sinks.http import Response

NO_ACKNOWLEDGEMENT = "the token has no indexer acknowledgement: enable it for the token in Splunk, or set ack: false"

NO_DATA = 5
"""The code of the answer to a request without events; the token was looked at before that."""

_TAKEN = {0, 24, 25}
"""Success; 24 and 25 say beside it that a queue is nearly full."""
_ISSUES = {
    1: "the token is disabled: enable it in Splunk, or set another token",
    2: "check token, which a proxy on the way may have taken out",
    3: "check token",
    4: "check token: this collector has no such token",
    7: "check index, and that the token may write to it",
    10: "the token demands acknowledgement: set ack: true",
    14: NO_ACKNOWLEDGEMENT,
    16: "check token",
    21: "check token",
    22: "the token is disabled: enable it in Splunk, or set another token",
}
_ABOUT_AN_EVENT = {6, 12, 13, 15}
_LONGEST_TEXT = 500


class Reply:
    """The body of an answer, as far as it is one of the collector's.

    Args:
        answer: The answer.
    """

    def __init__(self, answer: Response) -> None:
        try:
            parsed = answer.json()
        except ValueError:
            parsed = None
        members: dict[str, Any] = parsed if isinstance(parsed, dict) else {}
        self.code = _whole(members.get("code"))
        self.number = _whole(members.get("invalid-event-number"))
        self.ack_id = _whole(members.get("ackId"))
        acks = members.get("acks")
        self.acks: dict[str, Any] | None = acks if isinstance(acks, dict) and answer.status == 200 else None  # noqa: PLR2004
        self.text = str(members.get("text", ""))[:_LONGEST_TEXT] or answer.excerpt()
        self.reason = f"{answer.status}: " + (f"code {self.code}: " if self.code is not None else "") + self.text


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


class EventNumbers:
    """Tells which event `invalid-event-number` means.

    Whether the first event is 0 or 1 is documented nowhere, and said to differ with the code. So it is learned, for
    each code, from the answers that leave no doubt: only a count from 0 can name 0, and only one from 1 the last.
    """

    def __init__(self) -> None:
        self._first: dict[int | None, int] = {}
        self._doubt = threading.local()
        """Of each sender thread, which sends the rest of a request next: the code of an answer that named 1."""

    def locate(self, code: int | None, number: int, count: int) -> int | None:
        """Return the index of the event that was refused, or None while it may be this one or the one before."""
        # The event that may be at fault stood first this time, and from 0 its number would have been 0.
        from_one = number == 1 and getattr(self._doubt, "code", -1) == code
        if number in {0, count} or from_one:
            self._first[code] = 0 if number == 0 else 1
        first = self._first.get(code)
        self._doubt.code = code if first is None and number == 1 else -1
        return None if first is None else number - first

    def forget(self) -> None:
        """Note that other events stand first in the next request of this thread."""
        self._doubt.code = -1


def read_answer(answer: Response, count: int, numbers: EventNumbers, *, acknowledged: bool) -> Outcome:
    """Return what an answer to a request of `count` events means.

    Args:
        answer: The answer.
        count: The events in the request.
        numbers: What is known of `invalid-event-number`; it learns from this answer.
        acknowledged: Whether delivered means indexed: then what was taken of a refused request, which gets no
            acknowledgement, is sent again.
    """
    status, reply = answer.status, Reply(answer)
    outcome: Outcome
    if reply.code in _ISSUES:
        outcome = Hold(f"{reply.reason}: {_ISSUES[reply.code]}")
    elif status == 200 and reply.code in _TAKEN:  # noqa: PLR2004
        outcome = Delivered()
    elif status == 413:  # noqa: PLR2004
        outcome = TooLarge(reply.reason)
    elif status in {200, 408, 429} or status >= 500:  # noqa: PLR2004
        outcome = _stopped(answer, reply, count, acknowledged=acknowledged)
        if isinstance(outcome, Partial):
            numbers.forget()
    elif status == 400 and reply.code is not None:  # noqa: PLR2004
        outcome = _refused(reply, count, numbers, acknowledged=acknowledged)
    elif status in {401, 403}:
        outcome = Hold(f"{reply.reason}: check token", blame_of(status))
    else:
        mend = "check url, whose port is the collector's own: 8088 unless it was changed"
        outcome = Hold(f"{reply.reason}: {mend}", blame_of(status))
    return outcome


def _stopped(answer: Response, reply: Reply, count: int, *, acknowledged: bool) -> Outcome:
    """Return what is to be sent again of a request that the collector stopped to process.

    It names the event at which it stopped. Whichever way it counts, all but the last of those before are taken.
    """
    taken = (reply.number or 0) - 1
    if acknowledged or not 0 < taken < count:
        return Retry(reply.reason, answer.retry_after(), blame_of(answer.status))
    return Partial({}, range(taken, count), reply.reason, answer.retry_after(), blame=blame_of(answer.status))


def _refused(reply: Reply, count: int, numbers: EventNumbers, *, acknowledged: bool) -> Outcome:
    """Return what a 400 means: that one event is at fault, which it may or may not name."""
    cause = f"rejected: {reply.text[:100]}" if reply.code in _ABOUT_AN_EVENT else "refused by Splunk"
    number = reply.number
    if number is None or not 0 <= number <= count:
        return Invalid(cause, reply.reason)
    index = numbers.locate(reply.code, number, count)
    if index is not None:
        before = range(index if acknowledged else 0)
        return Partial({index: (cause, reply.reason)}, [*before, *range(index + 1, count)], after=0.0)
    if acknowledged:
        return Invalid(cause, reply.reason)
    # The event of this number or the one before is at fault. All before those two are taken. With the doubtful one at
    # the end, the next answer names 0 or the last, which tells how the collector counts; no event is sent twice but
    # that one, and only where it counts from 0.
    return Partial({}, [*range(number, count), number - 1], after=0.0)
