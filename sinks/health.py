"""The health of one destination as one process sees it: from answers to what it is sent, and from checks in between.

connecting     nothing has been answered yet
connected      the last word was good
reconnecting   it was connected; now it can't be reached, is busy or fails, and is tried again
error          a person has to mend something: the issue says what
disconnected   nothing runs that would send to it
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Any, Literal

from logweir.events import Events
from sinks.destination import Delivered, Endpoint, Hold, Probed

Status = Literal["connecting", "connected", "reconnecting", "error", "disconnected"]

FIRST_CHECK_SECONDS = 3.0
"""A destination that has been sent nothing by then is asked for its health: most are sent something sooner."""


class Health:
    """What is known of one destination. The senders of all its sink partitions and its checks tell it.

    Args:
        name: The destination's name.
        events: Where changes are told.
    """

    def __init__(self, name: str, events: Events) -> None:
        self._name = name
        self._events = events
        self._lock = threading.Lock()
        self._started = time.time()
        self._heard: float | None = None
        self._ever = False
        self._by_check = False
        """Whether a check has found the trouble: then a check may find that it is over, too."""
        self.status: Status = "connecting"
        self.issue = ""
        """Why it is unhealthy, in words; empty when it is healthy."""
        self._since = self._started
        self._check_seconds: float | None = None

    def silence(self) -> float:
        """Return the seconds since anything was learned of it; infinite when nothing ever was."""
        return math.inf if self._heard is None else time.monotonic() - self._heard

    def heard(self) -> None:
        """Note any answer, or that none came: a check would learn nothing more."""
        self._heard = time.monotonic()

    def taken(self) -> None:
        """Note that it takes what it is sent."""
        if self.status != "connected":
            self._turn("connected", "", by_check=False)

    def failing(self, reason: str) -> None:
        """Note that it can't be reached or is busy, more than once in a row."""
        self._turn("reconnecting" if self._ever else "connecting", reason, by_check=False)

    def holding(self, issue: str) -> None:
        """Note that a person has to mend something."""
        self._turn("error", issue, by_check=False)

    def checked(self, outcome: Probed, seconds: float) -> None:
        """Note what a check has found. It can't end a trouble that only sending has shown."""
        self.heard()
        self._check_seconds = seconds
        match outcome:
            case Delivered():
                if self._by_check or not self.issue:
                    self._turn("connected", "", by_check=True)
            case Hold(issue=issue):
                self._turn("error", issue, by_check=True)
            case _:
                self._turn("reconnecting" if self._ever else "connecting", outcome.reason, by_check=True)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for the supervisor; times are epoch seconds."""
        with self._lock:
            return {
                "status": self.status,
                "issue": self.issue,
                "since": self._since,
                "started": self._started,
                "check_seconds": self._check_seconds,
            }

    def _turn(self, status: Status, issue: str, *, by_check: bool) -> None:
        with self._lock:
            news = (self.status, self.issue) != (status, issue)
            if self.status != status:
                self._since = time.time()
            self.status, self.issue, self._by_check = status, issue, by_check
            self._ever = self._ever or status == "connected"
        if news:
            severity = "error" if issue else "info"
            self._events.tell("stream.health", severity, stream=self._name, status=status, issue=issue)


class HealthChecks:
    """Asks a destination for its health on a thread of its own, whenever nothing else has told for an interval.

    Args:
        health: Told of what is found.
        open_destination: Gives a destination for checks alone.
        interval: Seconds.
    """

    def __init__(self, health: Health, open_destination: Callable[[], Endpoint], interval: float) -> None:
        self._health = health
        self._open = open_destination
        self.interval = interval
        """May be changed while the checks run."""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="health-checks", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the checks; one that waits for an answer is left to itself."""
        self._ended.set()

    def _run(self) -> None:
        destination: Endpoint | None = None
        wait = min(FIRST_CHECK_SECONDS, self.interval)
        while not self._ended.wait(wait):
            wait = self.interval - self._health.silence()
            if wait > 0:
                continue
            wait = self.interval
            if destination is None:
                destination = self._open()
            self._health.checked(*timed(destination.probe))
        if destination is not None:
            destination.close()


def timed(check: Callable[[], Probed]) -> tuple[Probed, float]:
    """Return what a check finds, and the seconds that it took."""
    started = time.monotonic()
    return check(), time.monotonic() - started
