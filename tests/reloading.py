"""Changing the file of a flow that runs, and what has to become of its records meanwhile."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tests.feeding import Feed
from tests.flowing import Running, write_flow
from tests.scenarios import new_name, stored_in
from tests.servers.elastic import FakeElastic
from tests.servers.kafka import Kafka

KEEP_ERRORS = {"name": "Always keep errors", "type": "level", "levels": ["error", "fatal"], "priority": 100}
NO_DEBUG = {"name": "No debug", "type": "level", "levels": ["debug", "trace"], "action": "exclude"}
SAMPLE = {"name": "Sample", "type": "sample", "sample_rate": 0.5}
LIMIT = {"name": "Limit", "type": "rate", "max_per_second": 100, "by": "context.service"}
OTHER_LIMIT = {"name": "Other limit", "type": "rate", "max_per_minute": 40_000, "levels": ["info"]}
TARGET = {"name": "Target", "type": "sample", "target_per_second": 300, "by": "context.service"}
REDACT = {"fields": ["user.ip"], "patterns": ["email"]}

SWAPS: list[dict[str, Any]] = [
    {"rules": [KEEP_ERRORS, NO_DEBUG, LIMIT]},
    {"rules": [KEEP_ERRORS, {**LIMIT, "max_per_second": 20}], "redact": REDACT},
    {"rules": [KEEP_ERRORS, SAMPLE, OTHER_LIMIT, LIMIT], "max_in_flight": "4MB"},
    {"rules": [KEEP_ERRORS, TARGET, LIMIT], "redact": REDACT},
    {"rules": [KEEP_ERRORS], "batch": {"max_records": 100, "flush_interval": "50ms"}},
    {
        "rules": [KEEP_ERRORS, OTHER_LIMIT],
        "own": [{**KEEP_ERRORS, "name": "Own errors"}, {**SAMPLE, "name": "Own"}],
        "redact": REDACT,
    },
]
"""Settings that are swapped; whatever they do, errors always pass."""


def change(flow: Path, alter: Callable[[dict[str, Any]], None], *, in_place: bool = False) -> None:
    """Change a flow file: replace it as editors do, or write it in place."""
    settings = json.loads(flow.read_text())
    alter(settings)
    fresh = flow if in_place else flow.with_suffix(".tmp")
    fresh.write_text(json.dumps(settings, indent=2))
    fresh.replace(flow)


class Changing:
    """A flow that runs and whose file changes.

    Args:
        flow: The file.
        running: The run.
    """

    def __init__(self, flow: Path, running: Running) -> None:
        self.flow = flow
        self.running = running

    def to(
        self,
        alter: Callable[[dict[str, Any]], None],
        *,
        outcome: str = "reloaded",
        in_place: bool = False,
        watched: bool = False,
    ) -> None:
        """Change the file, and wait for what becomes of that.

        Args:
            alter: Changes the settings.
            outcome: What has to become of it.
            in_place: Write into the file, instead of putting another in its place.
            watched: Leave it to the flow to notice, instead of asking it by a signal.
        """
        event, others = f"config.{outcome}", {"config.refused", "config.unchanged"} - {f"config.{outcome}"}
        before = len(self.running.events)
        change(self.flow, alter, in_place=in_place)
        if not watched:
            self.running.process.send_signal(signal.SIGHUP)

        def come() -> bool:
            since = [each for each in self.running.events[before:] if each["event"] in {event, *others}]
            assert not [each for each in since if each["event"] in others]
            return bool(since)

        self.running.until(come, event)


def swap(number: int) -> Callable[[dict[str, Any]], None]:
    """Return what puts one of SWAPS into a flow's settings, with something that makes it new each time."""

    def alter(settings: dict[str, Any]) -> None:
        wanted = SWAPS[number % len(SWAPS)]
        search = settings["destinations"]["search"]
        settings["rules"] = wanted["rules"]
        settings["stop_timeout"] = 30 + number
        settings["max_in_flight"] = wanted.get("max_in_flight", "16MB")
        search["batch"] = wanted.get("batch", {"flush_interval": "200ms"})
        search["rules"] = wanted.get("own", [])
        settings.pop("redact", None)
        if "redact" in wanted:
            settings["redact"] = wanted["redact"]

    return alter


def spoil(settings: dict[str, Any]) -> None:
    """Make a flow's settings wrong."""
    settings["rules"] = [{"name": "Wrong", "type": "level", "levels": ["nonsense"]}]


class Reloads(NamedTuple):
    """The figures of a flow whose file changed again and again."""

    sent: int
    delivered: int
    dropped: dict[str, int]
    swapped: int
    restarted: int
    refused: int
    seconds: list[float]
    """Of each change, until it was in force everywhere."""


def under_load(kafka: Kafka, elastic: FakeElastic, directory: Path, *, changes: int, rate: int) -> Reloads:
    """Change a flow's file again and again while records come in, and account for each of them.

    Of every ten changes one is wrong, one takes a restart, and eight are swapped.
    """
    topic = new_name("reload")
    flow = write_flow(directory, kafka, topic, {"search": {"url": elastic.url}}, rules=SWAPS[0]["rules"])
    refused = restarted = 0
    with (
        Feed(kafka, topic, judge=lambda record: "" if record["level"] in {"error", "fatal"} else "perhaps") as feed,
        Running(flow, "--workers", "2") as running,
    ):
        feed.start(rate)
        changing = Changing(flow, running)
        running.until(lambda: elastic.docs, "it delivers")
        for number in range(1, changes + 1):
            if number % 10 == 3:
                changing.to(spoil, outcome="refused")
                refused += 1
            elif number % 10 == 5:
                concurrency = 1 + number // 10 % 2

                def renew(settings: dict[str, Any], concurrency: int = concurrency) -> None:
                    settings["destinations"]["search"]["concurrency"] = concurrency

                changing.to(renew)
                restarted += 1
            else:
                changing.to(swap(number), in_place=number % 2 == 0, watched=number % 4 > 1)
        feed.stop()
        running.drain(kafka, topic, f"{topic}.search")
        assert running.stop() == 0
    assert running.told("flow.crashed") == running.told("flow.undelivered") == []
    reasons = [each["reason"] for each in running.told("flow.restarted")]
    assert reasons == ["changed: destinations.search.concurrency"] * restarted
    ledger = running.ledgers()["search"]
    found = stored_in(elastic)
    assert ledger.in_flight == ledger.gaps == ledger.duplicates == 0
    assert ledger.read == feed.sent
    # None is there twice, none was sent twice, and each that isn't there is in the count of a rule.
    assert len(found) == len(set(found)) == ledger.delivered
    assert set(elastic.creates.values()) == {1}
    assert feed.expected <= set(found)
    assert feed.sent - len(found) == ledger.dropped.total()
    seconds = [float(each["seconds"]) for each in running.told("config.reloaded")]
    swapped = len(seconds) - restarted
    return Reloads(feed.sent, ledger.delivered, dict(ledger.dropped), swapped, restarted, refused, seconds)


class Crashes(NamedTuple):
    """The figures of a flow whose workers were killed while its file changed."""

    sent: int
    delivered: int
    stored: int
    killed: int


def crashing(kafka: Kafka, elastic: FakeElastic, directory: Path, *, changes: int, rate: int) -> Crashes:
    """Kill a worker while a change is on its way, again and again, and account for each record."""
    topic = new_name("reload")
    flow = write_flow(directory, kafka, topic, {"search": {"url": elastic.url}}, rules=SWAPS[0]["rules"])
    dice = random.Random(topic)
    with (
        Feed(kafka, topic, judge=lambda record: "" if record["level"] in {"error", "fatal"} else "perhaps") as feed,
        Running(flow, "--workers", "2") as running,
    ):
        feed.start(rate)

        def more(event: str, act: Callable[[], object]) -> None:
            """Do something, and wait until it is told."""
            before = len(running.told(event))
            act()
            running.until(lambda: len(running.told(event)) > before, event)

        def kill() -> None:
            time.sleep(dice.random() * 0.5)
            os.kill(dice.choice(running.workers()), signal.SIGKILL)

        for number in range(1, changes + 1):
            stored = len(elastic.creates)
            running.until(lambda stored=stored: len(elastic.creates) > stored, "it delivers")  # type: ignore[misc]
            arrived = len(running.told("config.reloaded"))
            more("config.changed", lambda number=number: change(flow, swap(number)))  # type: ignore[misc]
            more("flow.crashed", kill)
            running.until(lambda arrived=arrived: len(running.told("config.reloaded")) > arrived, "it is in force")  # type: ignore[misc]
        feed.stop()
        running.drain(kafka, topic, f"{topic}.search", timeout=240)
        assert running.stop() == 0
    ledger = running.ledgers()["search"]
    found = stored_in(elastic)
    assert ledger.in_flight == ledger.gaps == 0
    assert ledger.read == feed.sent
    assert len(found) == len(set(found)) >= ledger.delivered
    assert feed.expected <= set(found)
    return Crashes(feed.sent, ledger.delivered, len(found), changes)
