"""What can go wrong between a flow and any destination, and the words for what then becomes of the records."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from tests.servers.proxy import Way

Word = Literal["delivered", "retried", "held", "split", "dead-lettered", "ends the flow", "n.a."]


@dataclass(frozen=True, slots=True)
class Fault:
    """A row of the table."""

    name: str
    word: Word
    """What has to become of the records, wherever this can happen at all."""
    way: Way = ""
    """How the proxy fails, where it is the network that does."""
    status: int = 0
    """Of the answer, where there is one to the whole request."""

    def __str__(self) -> str:
        return self.name


REFUSED = Fault("connection refused", "retried", way="refused")
CUT = Fault("cut within a request", "retried", way="cut")
UNANSWERED = Fault("cut before the answer", "retried", way="unanswered")
SLOW = Fault("slow answer", "delivered", way="slow")
SILENT = Fault("no answer", "retried", way="silent")
WRONG_NAME = Fault("certificate of another name", "held")
UNAUTHORIZED = Fault("401, credential refused", "held", status=401)
FORBIDDEN = Fault("403, no permission", "held", status=403)
PROXY_AUTH = Fault("407, a proxy wants credentials", "held", status=407)
TIMED_OUT = Fault("408", "retried", status=408)
TOO_LARGE = Fault("413, request too large", "split", status=413)
TOO_MANY = Fault("429", "retried", status=429)
TOLD_TO_WAIT = Fault("429 with Retry-After", "retried", status=429)
BROKEN = Fault("500", "retried", status=500)
UNAVAILABLE = Fault("503", "retried", status=503)
GARBAGE = Fault("garbage as a success", "retried", status=200)
ONE_REFUSED = Fault("one record refused", "dead-lettered")
ONE_IN_OTHER_WORDS = Fault("its request refused in unknown words", "dead-lettered", status=400)
ONE_BREAKS_IT = Fault("its request breaks the service", "dead-lettered", status=500)
ALL_REFUSED = Fault("every record refused, none ever taken", "held", status=400)
SOME_BUSY = Fault("some records not taken now", "retried")
NO_ROOM = Fault("no room left", "held")

FAULTS = (
    REFUSED,
    CUT,
    UNANSWERED,
    SLOW,
    SILENT,
    WRONG_NAME,
    UNAUTHORIZED,
    FORBIDDEN,
    PROXY_AUTH,
    TIMED_OUT,
    TOO_LARGE,
    TOO_MANY,
    TOLD_TO_WAIT,
    BROKEN,
    UNAVAILABLE,
    GARBAGE,
    ONE_REFUSED,
    ONE_IN_OTHER_WORDS,
    ONE_BREAKS_IT,
    ALL_REFUSED,
    SOME_BUSY,
    NO_ROOM,
)
POISONED = (ONE_REFUSED, ONE_IN_OTHER_WORDS, ONE_BREAKS_IT)
"""Where one record is at fault."""
NETWORK = (REFUSED, CUT, UNANSWERED, SLOW, SILENT, WRONG_NAME)
ANSWERS = (TIMED_OUT, TOO_LARGE, TOO_MANY, TOLD_TO_WAIT, BROKEN, UNAVAILABLE, GARBAGE)

_MEND = re.compile(r": ((?:check|set|let|allow|enable|free|create)\b.*)$")
"""What a person is told to do begins behind what the service said."""


class Outcome(NamedTuple):
    """A cell of the table."""

    word: Word
    detail: str = ""
    """For `held` what a person is told to do, for `dead-lettered` the cause, for `n.a.` why it can't happen."""

    def __str__(self) -> str:
        return f"{self.word}: {self.detail}" if self.detail else self.word


def read(told: Sequence[dict[str, Any]], causes: Sequence[str], most: int) -> Outcome:
    """Return what became of some records, as those who watch the flow learn it.

    Args:
        told: The events since the fault began.
        causes: Of the dead letters.
        most: How often the record that is there most often is there.
    """
    issues = [each["issue"] for each in told if each["event"] == "stream.health" and each["status"] == "error"]
    retries = [each for each in told if each["event"] == "stream.retry"]
    requests = [each for each in told if each["event"] == "stream.flushed"]
    if causes:
        return Outcome("dead-lettered", ", ".join(sorted(set(causes))))
    if issues:
        found = _MEND.search(issues[-1])
        assert found, f"an issue that doesn't say what to do: {issues[-1]}"
        return Outcome("held", found[1])
    twice = "there twice" if most > 1 else ""
    if retries:
        return Outcome("retried", twice)
    return Outcome("split" if len(requests) > 1 else "delivered", twice)
