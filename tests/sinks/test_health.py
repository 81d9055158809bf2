from __future__ import annotations

import threading
from typing import Any

import pytest

from logweir.events import Events
from sinks.destination import Delivered, Hold, Probed, Retry
from sinks.health import Health, HealthChecks


class Watched:
    """A destination's health and what was told of it."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, str]] = []
        events = Events()
        events.listen(lambda entry: self.told.append((entry["severity"], entry["status"], entry["issue"])))
        self.health = Health("search", events)


def test_a_change_is_told_once() -> None:
    """Each change of status or issue is one event; the same again is none."""
    watched = Watched()
    health = watched.health
    health.failing("503")
    health.failing("503")
    health.taken()
    health.taken()
    health.failing("503")
    health.holding("401: check api_key")
    health.taken()
    assert watched.told == [
        ("error", "connecting", "503"),
        ("info", "connected", ""),
        ("error", "reconnecting", "503"),
        ("error", "error", "401: check api_key"),
        ("info", "connected", ""),
    ]


def test_a_check_ends_only_what_a_check_has_found() -> None:
    """A destination that refuses records but answers checks stays in error until it takes one."""
    health = Watched().health
    health.checked(Hold("403: check token"), 0.1)
    health.checked(Delivered(), 0.1)
    assert health.issue == ""
    health.holding("unknown index: check index")
    health.checked(Delivered(), 0.1)
    assert (health.status, health.issue) == ("error", "unknown index: check index")
    health.taken()
    assert health.issue == ""


@pytest.mark.parametrize(
    ("found", "status"), [(Delivered(), "connected"), (Retry("away"), "connecting"), (Hold("mend it"), "error")]
)
def test_what_a_first_check_finds(found: Probed, status: str) -> None:
    """Before anything was sent the checks alone tell the status."""
    health = Watched().health
    health.checked(found, 0.25)
    said: dict[str, Any] = health.to_dict()
    assert (said["status"], said["check_seconds"]) == (status, 0.25)


class Probing:
    """A destination that counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = threading.Semaphore(0)
        self.closed = threading.Event()

    def probe(self) -> Probed:
        """Answer well."""
        self.asked.release()
        return Delivered()

    def close(self) -> None:
        """Note that it was released."""
        self.closed.set()


def test_an_idle_destination_is_asked_again_and_again() -> None:
    """Without any answer to records, each interval brings a check; the end releases its connections."""
    destination, health = Probing(), Watched().health
    checks = HealthChecks(health, lambda: destination, 0.02)  # type: ignore[arg-type,return-value]
    for _ in range(3):
        assert destination.asked.acquire(timeout=10)
    assert health.status == "connected"
    checks.close()
    assert destination.closed.wait(10)


def test_a_busy_destination_is_not_asked() -> None:
    """Answers to records are checks enough."""
    destination, health = Probing(), Watched().health
    busy = threading.Event()

    def answer() -> None:
        while not busy.wait(0.01):
            health.heard()

    health.heard()
    thread = threading.Thread(target=answer)
    thread.start()
    checks = HealthChecks(health, lambda: destination, 0.5)  # type: ignore[arg-type,return-value]
    assert not destination.asked.acquire(timeout=1.2)
    busy.set()
    thread.join()
    assert destination.asked.acquire(timeout=10)
    checks.close()
