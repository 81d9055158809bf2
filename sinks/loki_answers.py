"""What the answers of Loki's push endpoint mean: "Troubleshoot log ingestion (WRITE)" in the Loki documentation.

An answer of 400 names entries that were refused, and the valid ones of the request are kept. It is text, one message
for each kind of trouble, of which some are left out; times in it are cut to the second. Loki recognises an entry that
it has by stream, time and line, so what isn't refused for certain is best sent again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sinks.destination import Delivered, Hold, Invalid, Outcome, Retry, TooLarge, blame_of
from sinks.http import Response
from sinks.loki_entries import SECOND
from sinks.window import TOO_NEW, TOO_OLD

LINE_TOO_LONG = "line too long for the destination"
TOO_FAR_BEHIND = "too far behind its stream"

_TIME = r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:Z|[+-]\d\d:\d\d))"
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_OLD = re.compile(
    f"entry for stream '[^']*' has timestamp too old: .{{1,40}}?, oldest acceptable timestamp is: {_TIME}"
)
_NEW = re.compile(f"entry for stream '[^']*' has timestamp too new: {_TIME}")
_LONG = re.compile(r"max entry size '(\d+)' bytes exceeded for stream")
_BEHIND = re.compile(f"entry too far behind.{{0,80}}?oldest acceptable timestamp is: {_TIME}")
_IGNORED = re.compile(
    r"entry with timestamp (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)(?:\.(\d{1,9}))? ([+-]\d{4}) \S+ ignored, "
    r"reason: 'entry (?:too far behind|out of order)"
)
_TOO_LARGE = re.compile(r"(?:message|request body)[^.;]{0,60}(?:too large|larger than)")
_MENDED = (
    ("ingestion blocked", "Loki's block_ingestion_until is set for this tenant"),
    ("structured metadata, but this feature is disallowed", "set `structured_metadata: {}`, or allow it in Loki"),
    ("array must ", "set `structured_metadata: {}`: this version of Loki does not know it"),
    ("missing required labels", "add them to labels or label_fields"),
    (" label names; limit", "take some out of labels and label_fields"),
    ("label name too long", "shorten it in labels or label_fields"),
    ("tenant ID", "check tenant"),
    ("org ID", "check tenant"),
)
"""What Loki says, as a 400 or by a status of its own, of things that are no fault of an entry."""
_LONGEST_REASON = 1000


@dataclass(frozen=True, slots=True)
class Sent:
    """The entries of a request, as columns: the i-th of each column is one entry."""

    times: Sequence[int]
    """Nanoseconds since 1970."""
    sizes: Sequence[int]
    """Bytes of the line."""
    alone: bool
    """Whether all are of the same stream."""


def read_answer(answer: Response) -> Outcome:
    """Return what an answer to a push means; `Invalid` is one that `refusals` may know more of."""
    status, said = answer.status, answer.excerpt()
    reason = f"{status}: {said}" if said else str(status)
    if status == 204 or (status == 200 and not said):  # noqa: PLR2004
        # 200 is what some proxies answer; a page of theirs is no receipt.
        return Delivered()
    words = _words(answer)
    mending = [mending for part, mending in _MENDED if part in words]
    if mending:
        outcome: Outcome = Hold(f"{reason}: {mending[0]}")
    elif status == 413 or (status in {400, 429, 500} and _TOO_LARGE.search(words)):  # noqa: PLR2004
        outcome = TooLarge(reason)
    elif status in {401, 403}:
        outcome = Hold(f"{reason}: check token, or username and password, and tenant", blame_of(status))
    elif status in {400, 422}:
        outcome = Invalid(_cause(words), reason)
    elif status in {200, 408, 425, 429} or status >= 500:  # noqa: PLR2004
        outcome = Retry(reason, answer.retry_after(), blame_of(status))
    elif status in {404, 405}:
        outcome = Hold(f"{reason}: check url, which is Loki's address without the path of its API")
    else:
        outcome = Hold(f"{reason}: check url, tenant and compression", blame_of(status))
    return outcome


def refusals(answer: Response, sent: Sent) -> dict[int, tuple[str, str]]:
    """Return the entries that were refused for certain, by index, with cause and reason.

    An entry that is refused for being new may share its second with one that was taken: both are named.

    Args:
        answer: One with status 400.
        sent: The entries of the request.
    """
    text = _words(answer)
    found: dict[int, tuple[str, str]] = {}
    oldest = max((_seconds(match[1]) * SECOND for match in _OLD.finditer(text)), default=0)
    newest = min((_seconds(match[1]) * SECOND for match in _NEW.finditer(text)), default=1 << 64)
    longest = min((int(match[1]) for match in _LONG.finditer(text)), default=1 << 64)
    # How far is too far differs from stream to stream.
    behind = _behind(text) if sent.alone else 0
    old, new, long = (_said(pattern, text) for pattern in (_OLD, _NEW, _LONG))
    far = _said(_BEHIND, text) or _said(_IGNORED, text)
    for index, (time, size) in enumerate(zip(sent.times, sent.sizes, strict=True)):
        if time < oldest:
            found[index] = (TOO_OLD, old)
        elif time >= newest:
            found[index] = (TOO_NEW, new)
        elif size > longest:
            found[index] = (LINE_TOO_LONG, f"{long}: {size} bytes")
        elif time < behind:
            found[index] = (TOO_FAR_BEHIND, far)
    return found


def _words(answer: Response) -> str:
    """Return what Loki says itself: labels are in quotes, and what they hold may look like one of its messages."""
    return _QUOTED.sub('""', answer.text())


def _behind(text: str) -> int:
    """Return the time before which all entries of the stream were refused; 0 where nothing is said of it.

    The entries of a stream are sent in order of their time, so that the refused ones come first.
    """
    moments = [_seconds(match[1]) * SECOND for match in _BEHIND.finditer(text)]
    for match in _IGNORED.finditer(text):
        moment = datetime.strptime(f"{match[1]} {match[3]}", "%Y-%m-%d %H:%M:%S %z")
        moments.append(int(moment.timestamp()) * SECOND + int((match[2] or "0").ljust(9, "0")) + 1)
    return max(moments, default=0)


def _seconds(text: str) -> int:
    try:
        return int(datetime.fromisoformat(text).astimezone(UTC).timestamp())
    except (ValueError, OverflowError):
        return 0


def _said(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    return match[0][:_LONGEST_REASON] if match else ""


def _cause(words: str) -> str:
    """Return a short fixed cause for an entry that is refused alone."""
    patterns: list[tuple[re.Pattern[str], str]] = [
        (_OLD, TOO_OLD),
        (_NEW, TOO_NEW),
        (_LONG, LINE_TOO_LONG),
        (_BEHIND, TOO_FAR_BEHIND),
        (_IGNORED, TOO_FAR_BEHIND),
    ]
    return next((cause for pattern, cause in patterns if pattern.search(words)), "refused by Loki")


def remaining(outcome: Outcome, retry: Sequence[int]) -> dict[str, Any]:
    """Return what a Partial says of the entries in `retry`, which met this outcome."""
    match outcome:
        case Hold(issue=issue, blame=blame):
            return {"retry": retry, "issue": issue, "blame": blame}
        case Retry(reason=reason, after=after, blame=blame):
            return {"retry": retry, "reason": reason, "after": after, "blame": blame}
    # The next request is of these alone, and is split if it is refused too: this one was no attempt of theirs.
    return {"retry": retry, "after": 0.0}
