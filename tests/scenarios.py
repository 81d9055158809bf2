"""What flows go through in the integration tests, and for longer in the proofs."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from tests.feeding import NO_DEBUG, SELECTIVE, Feed, no_debug, passes, selective
from tests.flowing import COMMAND, ROOT, Positions, Running, assert_ledger, twice, write_flow
from tests.servers.bulk import own_id
from tests.servers.elastic import FakeElastic, Fault
from tests.servers.kafka import Kafka
from tests.servers.opensearch import OpenSearch

PLANTED_FIELD = {"properties": {"metadata": {"properties": {"planted": {"type": "integer"}}}}}


def new_name(what: str) -> str:
    """Return a name for a topic, a group or an index that nothing else has."""
    return f"{what}-{uuid4().hex[:8]}"


def make_index(opensearch: OpenSearch, index: str) -> None:
    """Make an index that takes integers alone in `metadata.planted`."""
    mappings = {"dynamic": False, **PLANTED_FIELD}
    settings = {"number_of_shards": 1, "number_of_replicas": 0, "refresh_interval": "-1"}
    answer = opensearch.request("PUT", f"/{index}", {"settings": settings, "mappings": mappings})
    assert answer["acknowledged"]


def ids_in(opensearch: OpenSearch, index: str) -> list[str]:
    """Return the own id of the record that each document of an index is made of."""
    opensearch.request("POST", f"/{index}/_refresh")
    query = {"size": 10_000, "_source": False, "sort": ["_doc"], "track_total_hits": True}
    page = opensearch.request("POST", f"/{index}/_search?scroll=1m", query)
    total = page["hits"]["total"]["value"]
    found: list[str] = []
    while hits := page["hits"]["hits"]:
        found += [own_id(hit["_id"]) for hit in hits]
        page = opensearch.request("POST", "/_search/scroll", {"scroll": "1m", "scroll_id": page["_scroll_id"]})
    opensearch.request("DELETE", "/_search/scroll", {"scroll_id": page["_scroll_id"]})
    assert len(found) == total
    return found


def sent_to(opensearch: OpenSearch, index: str) -> int:
    """Return how many documents an index was sent, those that it refused too."""
    counts = opensearch.request("GET", f"/{index}/_stats/indexing")["_all"]["primaries"]["indexing"]
    return int(counts["index_total"]) + int(counts["index_failed"])


def assert_all_there(found: list[str], feed: Feed) -> None:
    """Assert that exactly the ids that have to arrive have arrived, each once."""
    assert twice(found) == []
    assert feed.expected - set(found) == set()
    assert set(found) - feed.expected == set()


def stored_in(elastic: FakeElastic) -> list[str]:
    """Return the id of every document, and assert that all requests were proper."""
    assert elastic.violations == []
    return [identity for _, identity in list(elastic.docs)]


class Accounts(NamedTuple):
    """The figures of one accounting."""

    sent: int
    delivered: int
    dropped: dict[str, int]
    dead: dict[str, int]
    seconds: float


def account(kafka: Kafka, opensearch: OpenSearch, directory: Path, *, rules: str, records: int, plant: int) -> Accounts:
    """Deliver a topic into an index and account for each of its records."""
    topic = new_name("account")
    make_index(opensearch, topic)
    judge = selective() if rules == "selective" else passes
    search = {"search": {"url": opensearch.url, "index": topic}}
    flow = write_flow(directory, kafka, topic, search, rules=SELECTIVE if rules == "selective" else [])
    with Feed(kafka, topic, judge=judge, plant=plant, rejecting=True) as feed:
        feed.send(records)
    with Running(flow) as running:
        running.drain(kafka, topic, f"{topic}.search", timeout=300)
        seconds = time.monotonic() - running.started
        assert running.stop() == 0
    assert running.told("flow.crashed") == []
    ledger = running.ledgers()["search"]
    assert_ledger(ledger, read=feed.sent, delivered=len(feed.expected), dropped=feed.dropped, dead=feed.dead)
    assert ledger.duplicates == 0
    assert_all_there(ids_in(opensearch, topic), feed)
    feed.assert_dead_letters("search", once=True)
    return Accounts(feed.sent, ledger.delivered, dict(ledger.dropped), dict(ledger.dead_lettered), seconds)


class Crashes(NamedTuple):
    """The figures of a flow that was killed again and again."""

    sent: int
    delivered: int
    again: int
    """Of the delivered, those that were there already when the recorded position was read again."""
    workers_killed: int
    supervisors_killed: int
    seconds: float


def crash(
    kafka: Kafka,
    url: str,
    index: str,
    directory: Path,
    *arguments: str,
    progress: Callable[[], int],
    found: Callable[[], list[str]],
    kills: int,
    rate: int,
    longest: float,
) -> Crashes:
    """Kill a flow at random moments while it delivers, its worker and its supervisor in turns, and account for it all.

    Args:
        kafka: The broker.
        url: Of the server that is delivered to.
        index: Where.
        directory: For the flow.
        arguments: Of `logweir run`, beside the flow.
        progress: How many documents were sent so far.
        found: The ids in the index.
        kills: How often.
        rate: Records a second that are produced meanwhile.
        longest: Seconds that it delivers before a kill at most.
    """
    topic = new_name("crash")
    flow = write_flow(directory, kafka, topic, {"search": {"url": url, "index": index}}, rules=NO_DEBUG)
    dice = random.Random(topic)
    started = time.monotonic()
    with Feed(kafka, topic, judge=no_debug, plant=300) as feed, ExitStack() as ended:
        feed.start(rate)
        running = ended.enter_context(Running(flow, *arguments))
        starts = 0
        for number in range(kills):
            kill_worker = number % 2 == 0
            _wait_delivering(running, starts, progress, dice.uniform(0, longest))
            starts = 0
            if kill_worker:
                starts = len(running.told("stream.added"))
                os.kill(dice.choice(running.workers()), signal.SIGKILL)
            else:
                running.kill()
                running = ended.enter_context(Running(flow, *arguments))
        feed.stop()
        # All may have been recorded before the last kill; stopped at once, it would tell of the killed worker.
        running.until(lambda: len(running.told("stream.added")) > starts, "a worker has started")
        running.drain(kafka, topic, f"{topic}.search", timeout=300)
        assert running.stop() == 0
    ledger = running.ledgers()["search"]
    assert_ledger(ledger, read=feed.sent, delivered=len(feed.expected), dropped=feed.dropped, dead=feed.dead)
    assert_all_there(found(), feed)
    feed.assert_dead_letters("search", once=False)
    seconds = time.monotonic() - started
    return Crashes(feed.sent, ledger.delivered, ledger.duplicates, (kills + 1) // 2, kills // 2, seconds)


def _wait_delivering(running: Running, starts: int, progress: Callable[[], int], longer: float) -> None:
    """Wait until a worker beyond so many has started and something was sent, and then some longer."""
    running.until(lambda: len(running.told("stream.added")) > starts, "a worker has started")
    before = progress()
    running.until(lambda: progress() > before, "it delivers")
    time.sleep(longer)


class Stops(NamedTuple):
    """The figures of a flow that was stopped again and again."""

    sent: int
    stops: int
    slowest: float
    """Seconds that a stop took."""
    seconds: float


def stop_often(kafka: Kafka, elastic: FakeElastic, directory: Path, *, stops: int, rate: int, longest: float) -> Stops:
    """Stop a flow at random moments, from before it delivers on, and see that nothing is ever sent twice."""
    topic = new_name("stop")
    # Answers take a moment, so that a stop finds requests in flight.
    elastic.fault = Fault(delay=0.1)
    flow = write_flow(directory, kafka, topic, {"search": {"url": elastic.url}})
    dice = random.Random(topic)
    started = time.monotonic()
    slowest = 0.0
    with Feed(kafka, topic) as feed:
        feed.start(rate)
        for _ in range(stops):
            with Running(flow) as running:
                running.until(lambda run=running: run.told("stream.added"), "it has started")  # type: ignore[misc]
                time.sleep(dice.uniform(0, longest))
                asked = time.monotonic()
                assert running.stop() == 0
                slowest = max(slowest, time.monotonic() - asked)
            assert running.ledgers()["search"].in_flight == 0
        feed.stop()
        with Running(flow) as running:
            running.drain(kafka, topic, f"{topic}.search")
            assert running.stop() == 0
    ledger = running.ledgers()["search"]
    assert_ledger(ledger, read=feed.sent, delivered=feed.sent, dropped={}, dead={})
    assert ledger.duplicates == 0
    assert_all_there(stored_in(elastic), feed)
    assert set(elastic.creates.values()) == {1}
    return Stops(feed.sent, stops, slowest, time.monotonic() - started)


def scale(kafka: Kafka, elastic: FakeElastic, directory: Path, *, records: int) -> dict[str, float]:
    """Deliver with two workers, then with one, then with two of which one is killed; return the seconds of each."""
    topic = new_name("scale")
    flow = write_flow(directory, kafka, topic, {"search": {"url": elastic.url}}, rules=NO_DEBUG)
    seconds: dict[str, float] = {}
    with Feed(kafka, topic, judge=no_debug, plant=300) as feed:
        for workers in (2, 1):
            feed.send(records)
            with Running(flow, "--workers", str(workers)) as running:
                running.drain(kafka, topic, f"{topic}.search")
                seconds[f"{workers} workers"] = time.monotonic() - running.started
                assert len(running.workers()) == workers
                assert running.stop() == 0
            _assert_settled(running, feed)
        feed.start(2000)
        with Running(flow, "--workers", "2") as running:
            _wait_delivering(running, 1, lambda: elastic.documents, 0.7)
            killed = time.monotonic()
            os.kill(running.workers()[-1], signal.SIGKILL)
            _wait_delivering(running, 3, lambda: elastic.documents, 0.5)
            seconds["from a kill to both deliver again"] = time.monotonic() - killed - 0.5
            feed.stop()
            running.drain(kafka, topic, f"{topic}.search")
            assert running.stop() == 0
        _assert_settled(running, feed, crashed=True)
    assert_all_there(stored_in(elastic), feed)
    return seconds


def _assert_settled(running: Running, feed: Feed, *, crashed: bool = False) -> None:
    """Assert that the ledger holds all that was ever sent, and nothing was sent twice unless something crashed."""
    ledger = running.ledgers()["search"]
    assert_ledger(ledger, read=feed.sent, delivered=len(feed.expected), dropped=feed.dropped, dead=feed.dead)
    assert ledger.duplicates == 0 or crashed


def commit(kafka: Kafka, elastic: FakeElastic, directory: Path, *, seconds: float, rate: int) -> int:
    """Watch the group while a flow delivers, then go on without the recovery directory; return how often was looked."""
    topic = new_name("commit")
    elastic.fault = Fault(delay=0.05)
    flow = write_flow(directory, kafka, topic, {"search": {"url": elastic.url}})
    looks = 0
    with Feed(kafka, topic) as feed, Positions(kafka, topic, f"{topic}.search") as positions:
        feed.start(rate)
        with Running(flow) as running:
            committed: list[int] = []
            begun = time.monotonic()
            while time.monotonic() < begun + seconds or not sum(committed):
                assert time.monotonic() < begun + 60, "nothing was committed while it ran"
                committed = positions.committed()
                for ids, offset in zip(feed.ids, committed, strict=True):
                    missing = [each for each in ids[:offset] if ("logs", each) not in elastic.docs]
                    assert missing == [], "committed before it was delivered"
                looks += 1
                time.sleep(0.05)
            assert running.stop() == 0
        feed.stop()
        delivered = running.ledgers()["search"].delivered
        assert sum(positions.committed()) == delivered == len(elastic.docs)
        shutil.rmtree(directory / "recovery")
        with Running(flow) as running:
            running.until(positions.drained, "the rest is read")
            assert running.stop() == 0
    ledger = running.ledgers()["search"]
    assert_ledger(ledger, read=feed.sent - delivered, delivered=feed.sent - delivered, dropped={}, dead={})
    assert_all_there(stored_in(elastic), feed)
    assert set(elastic.creates.values()) == {1}
    return looks


def start_up(kafka: Kafka, elastic: FakeElastic, directory: Path, *, records: int = 1000) -> float:
    """Return how many seconds it takes from the start of the command to the first record delivered."""
    topic = new_name("start")
    flow = write_flow(directory, kafka, topic, {"search": {"url": elastic.url}})
    with Feed(kafka, topic) as feed:
        feed.send(records)
    with Running(flow) as running:
        running.until(lambda: elastic.docs, "the first record is delivered")
        took = time.monotonic() - running.started
        running.drain(kafka, topic, f"{topic}.search")
        assert running.stop() == 0
    assert running.told("flow.crashed") == []
    assert_all_there(stored_in(elastic), feed)
    return took


def check_seconds(example: Path) -> float:
    """Return how long `logweir check` takes for a flow that is right."""
    started = time.monotonic()
    subprocess.run([*COMMAND, "check", str(example)], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - started


def together(kafka: Kafka, one: FakeElastic, two: FakeElastic, directory: Path, *, records: int) -> None:
    """Deliver to two destinations from one dataflow, each with its own rules."""
    topic = new_name("together")
    destinations: dict[str, dict[str, Any]] = {"one": {"url": one.url, "rules": NO_DEBUG}, "two": {"url": two.url}}
    flow = write_flow(directory, kafka, topic, destinations, isolation="none")
    with Feed(kafka, topic, judge=no_debug, plant=300) as feed:
        feed.send(records)
        for part in range(2):
            with Running(flow) as running:
                running.drain(kafka, topic, topic)
                assert len(running.workers()) == 1
                assert running.stop() == 0
            ledgers = running.ledgers()
            dropped = dict(feed.dropped)
            assert_ledger(ledgers["one"], read=feed.sent, delivered=len(feed.expected), dropped=dropped, dead=feed.dead)
            assert_all_there(stored_in(one), feed)
            passed = len(feed.expected) + dropped.pop("No debug")
            assert_ledger(ledgers["two"], read=feed.sent, delivered=passed, dropped=dropped, dead=feed.dead)
            assert set(stored_in(two)) >= feed.expected
            assert len(two.docs) == passed
            assert set(one.creates.values()) == set(two.creates.values()) == {1}
            if part == 0:
                feed.send(records)
    for name in destinations:
        feed.assert_dead_letters(name, once=True)


def only(kafka: Kafka, one: FakeElastic, two: FakeElastic, directory: Path, *, records: int) -> None:
    """Deliver to one of two destinations, then to both: the other begins where it stands itself."""
    topic = new_name("only")
    flow = write_flow(directory, kafka, topic, {"one": {"url": one.url}, "two": {"url": two.url}})
    with Feed(kafka, topic) as feed:
        feed.send(records)
    with Running(flow, "--only", "one") as running:
        running.drain(kafka, topic, f"{topic}.one")
        assert running.stop() == 0
    assert list(running.ledgers()) == ["one"]
    assert_all_there(stored_in(one), feed)
    assert two.requests == 0
    with Running(flow) as running:
        running.drain(kafka, topic, f"{topic}.two")
        assert running.stop() == 0
    for ledger in running.ledgers().values():
        assert_ledger(ledger, read=feed.sent, delivered=feed.sent, dropped={}, dead={})
    assert_all_there(stored_in(two), feed)
    assert set(one.creates.values()) == set(two.creates.values()) == {1}


class Outage(NamedTuple):
    """The figures of a healthy destination beside one that is down."""

    behind: list[int]
    """How many records the healthy one was behind what was produced, about ten times a second."""
    caught_up: float
    """Seconds from its return until the other had everything."""
    sent: int


def outage(
    kafka: Kafka, healthy: FakeElastic, broken: FakeElastic, directory: Path, *, seconds: float, rate: int
) -> Outage:
    """Take one of two destinations down for a while, and see that the other keeps its pace and that it catches up."""
    topic = new_name("outage")
    flow = write_flow(directory, kafka, topic, {"healthy": {"url": healthy.url}, "broken": {"url": broken.url}})
    behind: list[int] = []
    with Feed(kafka, topic) as feed, Running(flow) as running:
        feed.start(rate)
        running.until(lambda: healthy.docs and broken.docs, "both deliver")
        broken.stop()
        sent, down = feed.sent, time.monotonic()
        while time.monotonic() - down < seconds:
            behind.append(feed.sent - len(healthy.docs))
            time.sleep(0.1)
        assert any(each["stream"] == "broken" for each in running.told("stream.retry"))
        assert len(broken.docs) <= sent
        lately = feed.sent
        assert lately > sent
        running.until(lambda: len(healthy.docs) >= lately, "the other delivers what was sent meanwhile")
        broken.start()
        caught_up = running.until(lambda: feed.sent - len(broken.docs) < rate, "it has caught up")
        feed.stop()
        for name in ("healthy", "broken"):
            running.drain(kafka, topic, f"{topic}.{name}")
        assert running.stop() == 0
    for name, server in (("healthy", healthy), ("broken", broken)):
        ledger = running.ledgers()[name]
        assert_ledger(ledger, read=feed.sent, delivered=feed.sent, dropped={}, dead={})
        assert_all_there(stored_in(server), feed)
    assert set(healthy.creates.values()) == {1}
    return Outage(behind, caught_up, feed.sent)
