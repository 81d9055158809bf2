"""Everything that a destination can do wrong: nothing is lost, and the ledger says so."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest

from logweir.events import Events
from sinks.deadletter import DirectoryDeadLetters
from sinks.decide import Policy
from sinks.delivering import Delivering
from sinks.delivery import Delivery
from sinks.flight import Flight
from sinks.http import HttpClient
from tests.feeding import Feed, read_topic
from tests.flowing import Running, assert_ledger, until, wait_drained, write_flow
from tests.scenarios import assert_all_there, new_name, stored_in
from tests.servers.elastic import FakeElastic, Fault
from tests.servers.kafka import Kafka
from tests.sinks.elasticsearch_support import decoded, destination

RECORDS = 3000
BATCH = {"max_records": 200, "flush_interval": "200ms"}


@pytest.fixture
def other() -> Iterator[FakeElastic]:
    """A second destination."""
    with FakeElastic() as server:
        yield server


@pytest.mark.kafka
class TestFlow:
    @pytest.mark.parametrize(
        ("fault", "reason"),
        [
            (Fault(503), "503: unavailable_shards_exception"),
            (Fault(502, body=b"<html>Bad Gateway</html>"), "502: <html>Bad Gateway</html>"),
            (Fault(200, body=b"<html>Welcome</html>"), "not an answer of the Bulk API"),
            (Fault(close="before"), "Error: "),
            (Fault(close="after"), "Error: "),
            (Fault(close="stored"), "Error: "),
        ],
        ids=["503", "502", "garbage", "closed before", "closed after", "answer lost"],
    )
    def test_a_fault_loses_nothing(
        self, kafka: Kafka, elastic: FakeElastic, tmp_path: Path, fault: Fault, reason: str
    ) -> None:
        """While requests fail nothing is given up, also beyond the retries; then each record is there once."""
        elastic.fault = fault

        def beyond(running: Running) -> bool:
            return {each["attempt"] for each in running.told("stream.retry")} > {1, 2, 3}

        # Few requests, since one that failed waits while each other is tried.
        running = _run(kafka, elastic, tmp_path, beyond, clear=True, records=600)
        told = running.told("stream.retry")
        assert any(reason in each["reason"] for each in told)
        # Beyond the retries the stream is unhealthy, in words, and well again in the end.
        health = [each["status"] for each in running.told("stream.health")]
        assert set(health[:-1]) == {"connecting"}
        assert health[-1] == "connected"
        lost_answers = fault.close == "stored"
        assert (running.ledgers()["search"].duplicates > 0) == lost_answers

    def test_a_destination_that_is_down(self, kafka: Kafka, elastic: FakeElastic, tmp_path: Path) -> None:
        """A refused connection loses nothing; when the destination is there, it gets everything."""
        elastic.stop()
        running = _run(
            kafka,
            elastic,
            tmp_path,
            lambda running: len(running.told("stream.retry")) > 12,
            then=lambda _running: elastic.start(),
        )
        assert any("refused" in each["reason"] for each in running.told("stream.retry"))

    def test_a_destination_that_asks_to_wait(self, kafka: Kafka, elastic: FakeElastic, tmp_path: Path) -> None:
        """A request that was answered 429 is not sent again before the time that Retry-After asks for."""
        elastic.fault = lambda number, _request: Fault(429, {"Retry-After": "2"}) if number <= 4 else None
        _run(kafka, elastic, tmp_path, lambda _running: elastic.statuses[200])
        first: dict[tuple[str, ...], float] = {}
        waits = []
        for seen in sorted(elastic.seen, key=lambda seen: seen.at):
            key = tuple(seen.ids)
            if key in first:
                waits.append(seen.at - first[key])
            if seen.status == 429:
                first[key] = seen.at
        assert len(waits) >= 4
        assert min(waits) >= 2
        assert max(waits) < 4

    def test_a_credential_that_expired(self, kafka: Kafka, elastic: FakeElastic, tmp_path: Path) -> None:
        """A 401 in the middle of a stream holds it, says which setting to look at, and loses nothing."""

        def works(running: Running) -> bool:
            return elastic.statuses[200] > 2

        def expire(running: Running) -> None:
            elastic.authorization = "ApiKey renewed"
            until(lambda: elastic.statuses[401] > 2, "requests are refused")
            before = elastic.requests
            time.sleep(1.5)
            # One probe at a time, ever less often, instead of four senders.
            assert elastic.requests - before <= 12
            elastic.authorization = None

        elastic.fault = Fault(delay=0.2)
        running = _run(kafka, elastic, tmp_path, works, then=expire, api_key="planted-secret:x")
        issues = [each["issue"] for each in running.told("stream.health") if each["status"] == "error"]
        assert any("401: security_exception" in issue and "check api_key" in issue for issue in issues)
        assert "planted-secret" not in str(running.events) + str(running.text)

    def test_single_documents_that_are_refused(self, kafka: Kafka, elastic: FakeElastic, tmp_path: Path) -> None:
        """Refused documents are dead-lettered one by one with the destination's reason; busy items are sent again."""
        tries: dict[str, int] = {}

        def judge(identity: str, doc: bytes) -> tuple[int, dict[str, Any]] | None:
            tries[identity] = tries.get(identity, 0) + 1
            if identity.endswith("0"):
                return 400, {"type": "document_parsing_exception", "reason": f"planted for {identity}"}
            busy = identity.endswith("1") and tries[identity] < 3
            return (429, {"type": "es_rejected_execution_exception", "reason": "busy"}) if busy else None

        elastic.item_fault = judge
        topic = new_name("items")
        flow = write_flow(tmp_path, kafka, topic, {"search": {"url": elastic.url, "batch": BATCH}})
        with Feed(kafka, topic) as feed, Running(flow) as running:
            feed.send(RECORDS)
            wait_drained(kafka, topic, "search")
            assert running.stop() == 0
        refused = {identity for identity in feed.expected if identity.endswith("0")}
        assert refused
        assert set(stored_in(elastic)) == feed.expected - refused
        cause = "rejected: document_parsing_exception"
        assert_ledger(
            running.ledgers()["search"],
            read=RECORDS,
            delivered=RECORDS - len(refused),
            dropped={},
            dead={cause: len(refused)},
        )
        letters = read_topic(kafka, f"{topic}.dead.search")
        assert len(letters) == len(refused)
        for value, headers in letters:
            identity = orjson.loads(value)["id"]
            assert headers["logweir.reason"].endswith(f"planted for {identity}")
            assert feed.ids[int(headers["logweir.partition"])][int(headers["logweir.offset"])] == identity
            assert headers["logweir.attempts"] == "1"

    def test_giving_up(self, kafka: Kafka, elastic: FakeElastic, other: FakeElastic, tmp_path: Path) -> None:
        """With on_failure: dead_letter the records are set aside with reason and attempts, and the stream goes on."""
        elastic.fault = Fault(503)
        retry = {"max_retries": 2, "backoff": "50ms", "max_backoff": "100ms"}
        topic = new_name("give-up")
        destinations: dict[str, dict[str, Any]] = {
            "broken": {"url": elastic.url, "batch": BATCH, "retry": retry, "on_failure": "dead_letter"},
            "healthy": {"url": other.url},
        }
        flow = write_flow(tmp_path, kafka, topic, destinations)
        with Feed(kafka, topic) as feed, Running(flow) as running:
            feed.send(RECORDS)
            for name in destinations:
                wait_drained(kafka, topic, name)
            assert running.stop() == 0
        ledgers = running.ledgers()
        assert_ledger(ledgers["healthy"], read=RECORDS, delivered=RECORDS, dropped={}, dead={})
        assert_ledger(ledgers["broken"], read=RECORDS, delivered=0, dropped={}, dead={"retries exhausted": RECORDS})
        letters = read_topic(kafka, f"{topic}.dead.broken")
        assert {orjson.loads(value)["id"] for value, _ in letters} == feed.expected
        assert len(letters) == RECORDS
        for _, headers in letters:
            assert headers["logweir.reason"] == "503: unavailable_shards_exception: planted by the test"
            assert headers["logweir.attempts"] == "3"

    def test_a_destination_that_hangs_delays_no_other(
        self, kafka: Kafka, elastic: FakeElastic, other: FakeElastic, tmp_path: Path
    ) -> None:
        """Beside a destination that never answers, another gets each record at once; later the first has all too."""
        elastic.fault = Fault(hang=True)
        topic = new_name("hang")
        flow = write_flow(tmp_path, kafka, topic, {"hanging": {"url": elastic.url}, "healthy": {"url": other.url}})
        with Feed(kafka, topic) as feed, Running(flow) as running:

            def both_started() -> bool:
                feed.send(50)
                return len(running.told("stream.added")) == 2

            until(both_started, "both have started")
            latencies = []
            for _ in range(10):
                feed.send(50)
                latencies.append(until(lambda: len(other.docs) == feed.sent, "the healthy one has everything"))
                time.sleep(0.1)
            assert elastic.docs == {}
            elastic.fault = None
            elastic.release()
            for name in ("hanging", "healthy"):
                wait_drained(kafka, topic, name)
            assert running.stop() == 0
        assert sorted(latencies)[5] < 2
        for name, server in (("hanging", elastic), ("healthy", other)):
            assert_ledger(running.ledgers()[name], read=feed.sent, delivered=feed.sent, dropped={}, dead={})
            assert_all_there(stored_in(server), feed)


def _run(
    kafka: Kafka,
    elastic: FakeElastic,
    directory: Path,
    reached: Callable[[Running], object],
    *,
    then: Callable[[Running], None] = lambda _running: None,
    clear: bool = False,
    records: int = RECORDS,
    **settings: Any,
) -> Running:
    """Send records to a faulty destination, wait for something, mend it, and assert that all ends well."""
    topic = new_name("fault")
    flow = write_flow(directory, kafka, topic, {"search": {"url": elastic.url, "batch": BATCH, **settings}})
    with Feed(kafka, topic) as feed, Running(flow) as running:
        feed.send(records)
        until(lambda: reached(running), "the fault is noticed")
        then(running)
        if clear:
            assert running.told("stream.flushed") == []
            elastic.fault = None
        wait_drained(kafka, topic, "search")
        assert running.stop() == 0
    assert_all_there(stored_in(elastic), feed)
    assert_ledger(running.ledgers()["search"], read=records, delivered=records, dropped={}, dead={})
    assert read_topic(kafka, f"{topic}.dead.search") == []
    return running


class TestEngine:
    @pytest.fixture
    def delivery(self, elastic: FakeElastic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Delivery]:
        """Delivery to the stand-in, which waits 0.3 s for an answer."""
        monkeypatch.setattr("sinks.elasticsearch.HttpClient", partial(HttpClient, timeout=0.3))
        settings = Delivering("d", 10, 1_000_000, 0.05, 4, Policy(2, 0.02, 0.1))
        dead_letters = DirectoryDeadLetters(tmp_path, "d", 0)
        delivery = Delivery(settings, destination(url=elastic.url), dead_letters, Flight(1 << 30), Events())
        yield delivery
        delivery.close()

    def test_a_request_that_is_never_answered(self, elastic: FakeElastic, delivery: Delivery, tmp_path: Path) -> None:
        """A request that hangs is given up after the timeout and sent again, whatever became of the first."""
        elastic.fault = lambda number, _request: Fault(hang=True) if number <= 6 else None
        delivery.write([decoded([b'{"id":"%d"}' % number for number in range(100)])])
        delivery.barrier()
        assert len(elastic.docs) == delivery.ledger.delivered == 100
        assert delivery.ledger.in_flight == 0
        assert delivery.stats.retries >= 4
        assert not (tmp_path / "d.ndjson").exists()

    def test_an_answer_that_comes_too_late(self, elastic: FakeElastic, delivery: Delivery) -> None:
        """What was stored before its late answer is a duplicate of the next attempt, and counts once."""
        elastic.fault = lambda number, _request: Fault(delay=0.6) if number <= 4 else None
        delivery.write([decoded([b'{"id":"%d"}' % number for number in range(40)])])
        delivery.barrier()
        assert len(elastic.docs) == delivery.ledger.delivered == 40
        assert delivery.ledger.duplicates == 40
        assert set(elastic.creates.values()) == {2}

    def test_faults_of_every_kind_one_after_another(self, elastic: FakeElastic, delivery: Delivery) -> None:
        """However the faults follow each other, every document is stored once and the ledger balances."""
        kinds = [
            Fault(503),
            Fault(429, {"Retry-After": "0"}),
            Fault(401),
            Fault(404),
            Fault(413),
            Fault(hang=True),
            Fault(close="before"),
            Fault(close="after"),
            Fault(close="stored"),
            Fault(500, body=b""),
            Fault(200, body=b'{"errors":true,"items":[]}'),
            Fault(200, body=b"{"),
            Fault(301, {"Location": "http://127.0.0.1:9/"}),
        ]
        elastic.fault = lambda number, _request: kinds[number // 2 % len(kinds)] if number % 2 and number < 60 else None
        delivery.write([decoded([b'{"id":"%d"}' % number for number in range(300)])])
        delivery.barrier(lambda: time.monotonic() + 30)
        assert len(elastic.docs) == delivery.ledger.delivered == 300
        assert delivery.ledger.in_flight == 0
        assert elastic.violations == []
