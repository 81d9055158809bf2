"""Five destinations of one topic at full speed, of which one goes down: what that costs the others, and itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Literal, NamedTuple

from tests.feeding import NO_DEBUG, Feed, no_debug, read_topic
from tests.flowing import Positions, Running, assert_ledger, twice, write_flow
from tests.flows.redrive_support import redrive
from tests.scenarios import new_name
from tests.servers.apart import DEDUPING, KINDS, Apart, Failure
from tests.servers.kafka import Kafka
from tests.slow import peak_memory

EXHAUSTED = "retries exhausted"
TAKEN_BEFORE = 1
"""Requests that a destination takes before it goes down."""


class Outage(NamedTuple):
    """The figures of one outage."""

    broken: str
    records: int
    well: dict[str, float]
    """Records a second that each took while all five were well."""
    beside: dict[str, float]
    """Records a second that each of the others took while one was down."""
    missed: int
    """Records that the broken one had not when the others had everything."""
    dead: int
    """Of those, the ones that were dead-lettered."""
    caught_up: float
    """Seconds from its return until it had everything: by itself, or by a redrive."""
    memory: dict[str, float]
    """Peak memory of each dataflow's process in MB, before, during and after the outage."""

    def lines(self) -> Iterator[str]:
        """Return the figures as text."""
        again = "redriven" if self.dead else "caught up"
        yield f"{self.records:,} records, {self.broken} down: {self.missed:,} missed, {again} in {self.caught_up:.1f} s"
        for name, pace in self.well.items():
            beside = f"{self.beside[name]:,.0f}/s beside it" if name in self.beside else "down"
            yield f"  {name}: {pace:,.0f}/s when all are well, {beside}; {self.memory[name]:.0f} MB at most"


def outage(
    kafka: Kafka,
    directory: Path,
    *,
    broken: str,
    failure: Failure,
    on_failure: Literal["hold", "dead_letter"],
    records: int,
) -> Outage:
    """Deliver to five destinations, half of the records while all are well, and the rest while one is down.

    Args:
        kafka: The broker.
        directory: For the flow.
        broken: The one that goes down, and comes back when the others have everything.
        failure: How it is down.
        on_failure: What its records wait for: for itself, or in the dead letter for a redrive.
        records: How many.
    """
    topic = new_name("five")
    with ExitStack() as ended:
        servers = {kind: ended.enter_context(Apart(kind)) for kind in KINDS}
        destinations = {name: dict(server.settings) for name, server in servers.items()}
        retry = {"max_retries": 1, "backoff": "20ms", "max_backoff": "100ms"}
        destinations[broken] |= {"on_failure": on_failure, "retry": retry}
        flow = write_flow(directory, kafka, topic, destinations, rules=NO_DEBUG)
        # What isn't a record would come back into the dead letter with each redrive.
        plant = 1000 if on_failure == "hold" else 0
        feed = ended.enter_context(Feed(kafka, topic, judge=no_debug, plant=plant))
        feed.send(records // 2)
        first = _Half(kafka, topic, servers, len(feed.expected))
        with Running(flow) as running:
            well = first.paces(running, KINDS)
            memory = _memory(running)
            assert running.stop() == 0

        feed.send(records - records // 2)
        # The first requests of this half are still taken, so that it goes down while it delivers.
        asked = servers[broken].requests()
        servers[broken].fail(TAKEN_BEFORE, failure)
        others = [name for name in KINDS if name != broken]
        half = _Half(kafka, topic, servers, len(feed.expected))
        with Running(flow) as running:
            beside = half.paces(running, others, lambda: _go_down(servers[broken], asked, failure))
            for name in others:
                assert set(servers[name].ids()) == feed.expected, name
            missed = len(feed.expected - set(servers[broken].ids()))
            assert missed, f"{broken} was never down"
            assert any(each["stream"] == broken for each in running.told("stream.retry"))
            if on_failure == "dead_letter":
                running.drain(kafka, topic, f"{topic}.{broken}", timeout=600)
            dead = len(read_topic(kafka, f"{topic}.dead.{broken}")) if on_failure == "dead_letter" else 0
            servers[broken].mend()
            returned = time.monotonic()
            if on_failure == "dead_letter":
                _redrive_all(kafka, topic, flow, broken, dead)
            running.drain(kafka, topic, f"{topic}.{broken}", timeout=600)
            caught_up = time.monotonic() - returned
            memory = {name: max(megabytes, memory[name]) for name, megabytes in _memory(running).items()}
            assert running.stop() == 0
            assert running.told("flow.crashed") == []
        for name, ledger in running.ledgers().items():
            gone = {**feed.dead, **({EXHAUSTED: dead} if name == broken and dead else {})}
            delivered = len(feed.expected) - (dead if name == broken else 0)
            assert_ledger(ledger, read=feed.sent, delivered=delivered, dropped=feed.dropped, dead=gone)
            _assert_complete(servers[name], feed.expected, once=name != broken)
        assert len(running.ledgers()) == len(KINDS)
    return Outage(broken, feed.sent, well, beside, missed, dead, caught_up, memory)


def _go_down(server: Apart, before: int, failure: Failure) -> None:
    """Listen no more, once a server has begun to fail."""
    if failure == "refused" and server.requests() > before + TAKEN_BEFORE:
        server.stop()


def _assert_complete(server: Apart, expected: set[str], *, once: bool) -> None:
    """Assert that a server has exactly these ids; each once where it dedupes, or nothing was ever sent again."""
    found = server.ids()
    assert server.violations() == []
    assert expected - set(found) == set()
    assert set(found) - expected == set()
    if once or server.kind in DEDUPING:
        assert twice(found) == []


def _redrive_all(kafka: Kafka, topic: str, flow: Path, broken: str, dead: int) -> None:
    """Redrive what is dead, and assert that nothing is afterwards."""
    letters = read_topic(kafka, f"{topic}.dead.{broken}")
    assert {headers["logweir.cause"] for _, headers in letters} == {EXHAUSTED}
    assert all(headers["logweir.reason"] for _, headers in letters)
    said = redrive(flow, "--json", to=broken, timeout=600)
    assert said.code == 0, said
    assert (said.report["read"], said.report["delivered"]) == (dead, dead)
    with Positions(kafka, f"{topic}.dead.{broken}", f"{topic}.redrive.{broken}") as positions:
        assert positions.drained()
    left = redrive(flow, "--json", "--dry-run", to=broken, timeout=600)
    assert left.report["waiting"] == {}


def _memory(running: Running) -> dict[str, float]:
    """Return the peak memory of each dataflow's process in MB; they were started in the destinations' order."""
    workers = running.workers()
    assert len(workers) == len(KINDS)
    return {name: peak_memory(pid) for name, pid in zip(KINDS, workers, strict=True)}


class _Half:
    """The delivery of some records to all servers, as it is watched.

    Args:
        kafka: The broker.
        topic: The topic.
        servers: By the destinations' names.
        total: How many records each will have in the end.
    """

    def __init__(self, kafka: Kafka, topic: str, servers: Mapping[str, Apart], total: int) -> None:
        self._kafka, self._topic = kafka, topic
        self._servers = servers
        self._total = total
        self._before = {name: server.taken() for name, server in servers.items()}

    def paces(
        self, running: Running, names: Iterable[str], meanwhile: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """Wait until these have everything, and return the records a second of each, from its first one on."""
        names = list(names)
        begun = dict.fromkeys(names, running.started)
        ended: dict[str, float] = {}

        def look() -> bool:
            meanwhile()
            for name in names:
                now, taken = time.monotonic(), self._servers[name].taken()
                if taken == self._before[name]:
                    begun[name] = now
                if name not in ended and taken >= self._total:
                    ended[name] = time.monotonic()
            return len(ended) == len(names)

        running.until(look, "all is delivered", timeout=900)
        for name in names:
            running.drain(self._kafka, self._topic, f"{self._topic}.{name}")
        return {name: (self._total - self._before[name]) / (ended[name] - begun[name]) for name in names}
