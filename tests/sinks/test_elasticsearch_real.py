"""The Elasticsearch destination with its delivery engine against a real OpenSearch node."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pytest

from logweir.events import Events
from sinks.deadletter import DirectoryDeadLetters
from sinks.decide import Policy
from sinks.delivering import Delivering
from sinks.delivery import Delivery
from sinks.destination import Delivered
from sinks.flight import Flight
from tests.servers.opensearch import OpenSearch
from tests.sinks.cloud_support import PATIENCE_SECONDS
from tests.sinks.elasticsearch_support import configured, decoded, destination
from tests.sinks.troubles import WAYS, Way, ask, held

pytestmark = pytest.mark.opensearch

Deliver = Callable[..., Delivery]


@pytest.fixture
def index() -> str:
    """The name of an index that no other test uses."""
    return f"test-{uuid4().hex[:12]}"


@pytest.fixture
def deliver(tmp_path: Path) -> Iterator[Deliver]:
    """Starts delivery to a node."""
    opened: list[Delivery] = []

    def start(
        node: OpenSearch, index: str, *, max_records: int = 5000, concurrency: int = 4, **settings: Any
    ) -> Delivery:
        taker = destination(url=node.url, index=index, compression=True, concurrency=concurrency, **settings)
        delivering = Delivering("d", max_records, 1_000_000, 60.0, concurrency, Policy(2, 0.05, 0.2))
        delivery = Delivery(delivering, taker, DirectoryDeadLetters(tmp_path, "d", 0), Flight(1 << 30), Events())
        opened.append(delivery)
        return delivery

    yield start
    for delivery in opened:
        delivery.close()


def dead(tmp_path: Path) -> list[dict[str, Any]]:
    """Return the dead letters."""
    path = tmp_path / "d.ndjson"
    return [orjson.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


def documents(count: int, size: int = 10) -> list[bytes]:
    """Return records with ids from 0."""
    return [
        b'{"id":"%d","timestamp":"2026-11-01T10:00:00Z","n":%d,"m":"%s"}' % (n, n, b"x" * size) for n in range(count)
    ]


def stored(node: OpenSearch, index: str) -> int:
    """Return how many documents an index has."""
    node.request("POST", f"/{index}/_refresh")
    count: int = node.request("GET", f"/{index}/_count").get("count", 0)
    return count


def until(true: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it didn't happen in time"
        time.sleep(0.02)


class TestOutcomes:
    def test_a_repetition_counts_as_duplicates(self, opensearch: OpenSearch, index: str, deliver: Deliver) -> None:
        """What is sent again is in the index once; the ledger says how many were there already."""
        delivery = deliver(opensearch, index)
        for _ in range(2):
            delivery.write([decoded(documents(100))])
            delivery.barrier()
        assert stored(opensearch, index) == 100
        assert (delivery.ledger.delivered, delivery.ledger.duplicates) == (200, 100)

    def test_every_time_that_is_read_is_a_date_there(
        self, opensearch: OpenSearch, index: str, deliver: Deliver, tmp_path: Path
    ) -> None:
        """Whatever form a record has it in, `@timestamp` is one that a node's date takes; what is none is when it came.

        Half of a surrogate pair goes through as well.
        """
        times = {
            b'"2026-11-30 10:00:00,123"': "2026-11-30T10:00:00.123Z",
            b'"2026-11-30 10:00:00"': "2026-11-30T10:00:00Z",
            b'"2026-12-31T23:59:60Z"': "2027-01-01T00:00:00Z",
            b'""': "2026-09-21T14:13:20Z",
            b'"30/Nov/2026:10:00:00 +0000"': "2026-11-30T10:00:00Z",
            b'"1796040000.123"': "2026-11-30T12:00:00.123Z",
            b"1796040000123456789": "2026-11-30T12:00:00.123456789Z",
            b"0": "2026-09-21T14:13:20Z",
            b'"soon"': "2026-09-21T14:13:20Z",
            b"null": "2026-09-21T14:13:20Z",
        }
        fields = {"@timestamp": {"type": "date"}, "timestamp": {"type": "keyword"}}
        opensearch.request("PUT", f"/{index}", {"mappings": {"properties": fields}})
        delivery = deliver(opensearch, index)
        values = [b'{"id":"%d","timestamp":%b,"m":"\\ud83d"}' % (number, each) for number, each in enumerate(times)]
        batch = decoded(values)
        assert batch.account.notices == {"timestamp can't be read": 1}
        delivery.write([batch])
        delivery.barrier()
        assert dead(tmp_path) == []
        assert stored(opensearch, index) == len(times)
        asked = {"size": 100, "docvalue_fields": [{"field": "@timestamp", "format": "epoch_millis"}]}
        hits = opensearch.request("POST", f"/{index}/_search", asked)["hits"]["hits"]
        found = {hit["_source"]["id"]: int(hit["fields"]["@timestamp"][0]) for hit in hits}
        expected = [int(datetime.fromisoformat(time).timestamp() * 1000) for time in times.values()]
        assert [found[str(number)] for number in range(len(times))] == expected

    def test_a_mapping_error_costs_only_its_document(
        self, opensearch: OpenSearch, index: str, deliver: Deliver, tmp_path: Path
    ) -> None:
        """What doesn't fit the mapping is dead-lettered with the node's reason; its neighbours are stored."""
        delivery = deliver(opensearch, index)
        values = [*documents(3), b'{"id":"no","n":"no number"}', b'{"id":"deep","m":{"a":1}}', b'{"id":"last","n":7}']
        delivery.write([decoded(values, start=40)])
        delivery.barrier()
        letters = {letter["offset"]: letter for letter in dead(tmp_path)}
        assert sorted(letters) == [43, 44]
        assert letters[43]["cause"] == "rejected: mapper_parsing_exception"
        assert 'For input string: "no number"' in letters[43]["reason"]
        assert "failed to parse field [n]" in letters[43]["reason"]
        assert stored(opensearch, index) == delivery.ledger.delivered == 4
        assert delivery.ledger.in_flight == 0

    def test_odd_documents_end_stored_or_dead_lettered(
        self, opensearch: OpenSearch, index: str, deliver: Deliver, tmp_path: Path
    ) -> None:
        """No valid JSON object, however odd, is lost, holds the stream or spoils the request of its neighbours."""
        odd = [
            b'{"id":"inf","x":1e999}',
            b'{"id":"digits","x":%s}' % (b"9" * 5000),
            b'{"id":"empty name","":1}',
            b'{"id":"dot",".":1}',
            b'{"id":"twice","a":1,"a":2}',
            b'{"id":"deep","d":' + b'{"a":' * 100 + b"1" + b"}" * 101,
            b'{"id":"own","@timestamp":"yesterday"}',
            b'{"id":"zero","message":"\\u0000"}',
            b'{"id":"_underscore","_id":"mine","_index":"x"}',
            b"{}",
            b'{"id":"%s"}' % ("é" * 600).encode(),
        ]
        delivery = deliver(opensearch, index)
        delivery.write([decoded([documents(1)[0], *odd, documents(2)[1]])])
        delivery.barrier()
        assert delivery.ledger.in_flight == 0
        assert delivery.ledger.delivered == stored(opensearch, index)
        assert delivery.ledger.delivered + len(dead(tmp_path)) == len(odd) + 2
        ids = {orjson.loads(letter["record"])["id"] for letter in dead(tmp_path) if letter["offset"] not in {1, 2}}
        assert ids == {"empty name", "dot", "twice", "deep", "own", "_underscore"}

    def test_a_node_under_pressure_ends_with_everything(
        self, opensearch: OpenSearch, index: str, deliver: Deliver, tmp_path: Path
    ) -> None:
        """Whole requests turned away with 429 are tried again until all is stored, once."""
        # Requests wait, and are in the node's memory, as long as no node may have the index.
        place = "index.routing.allocation.require._name"
        opensearch.request("PUT", f"/{index}?wait_for_active_shards=0", {"settings": {place: "nobody"}})
        delivery = deliver(opensearch, index, concurrency=16)
        delivery.write([decoded(documents(1000, 20_000))])
        until(lambda: delivery.stats.retries)
        opensearch.request("PUT", f"/{index}/_settings", {place: None})
        delivery.barrier(lambda: time.monotonic() + 60)
        assert stored(opensearch, index) == delivery.ledger.delivered == 1000
        assert delivery.stats.retries > 0
        assert dead(tmp_path) == []

    def test_dated_indexes(self, opensearch: OpenSearch, index: str, deliver: Deliver) -> None:
        """One request fills the index of each record's day."""
        delivery = deliver(opensearch, f"{index}-%Y.%m.%d")
        values = [b'{"timestamp":"2026-01-%02dT00:00:00Z"}' % (day + 1) for day in range(3) for _ in range(2)]
        delivery.write([decoded(values)])
        delivery.barrier()
        assert [stored(opensearch, f"{index}-2026.01.0{day}") for day in (1, 2, 3)] == [2, 2, 2]

    def test_a_data_stream(self, opensearch: OpenSearch, index: str, deliver: Deliver) -> None:
        """A data stream takes every record, since each gets an `@timestamp`, and recognises a repetition."""
        template = {"index_patterns": [f"{index}*"], "data_stream": {}, "priority": 1}
        opensearch.request("PUT", f"/_index_template/{index}", template)
        delivery = deliver(opensearch, index)
        for _ in range(2):
            delivery.write([decoded([*documents(3), b"{}", b'{"timestamp":1767323045}'])])
            delivery.barrier()
        assert stored(opensearch, index) == 5
        assert (delivery.ledger.delivered, delivery.ledger.duplicates) == (10, 5)


class TestPipelines:
    def test_a_document_that_a_pipeline_fails_on(
        self, opensearch: OpenSearch, index: str, deliver: Deliver, tmp_path: Path
    ) -> None:
        """A poison document is set aside with the pipeline's own words, and the stream goes on, whatever the status."""
        converts, fails = {"convert": {"field": "n", "type": "integer"}}, {"fail": {"message": "planted"}}
        opensearch.request("PUT", f"/_ingest/pipeline/{index}", {"processors": [converts]})
        opensearch.request("PUT", f"/_ingest/pipeline/{index}-fail", {"processors": [fails]})
        delivery = deliver(opensearch, index, pipeline=index)
        delivery.write([decoded([b'{"id":"a","n":"7"}', b'{"id":"b","n":"no number"}'])])
        delivery.barrier()
        failing = deliver(opensearch, index, pipeline=f"{index}-fail")
        failing.write([decoded([b'{"id":"c","n":1}'], start=7)])
        failing.barrier()
        assert stored(opensearch, index) == 1
        assert [(letter["cause"], letter["reason"], letter["attempts"]) for letter in dead(tmp_path)] == [
            (
                "rejected: illegal_argument_exception",
                (
                    "400: illegal_argument_exception: unable to convert [no number] to integer: "
                    'For input string: "no number"'
                ),
                1,
            ),
            ("rejected: fail_processor_exception", "500: fail_processor_exception: planted", 1),
        ]

    @pytest.mark.parametrize("hashed", [False, True])
    def test_a_pipeline_that_drops_and_fails_some(
        self, opensearch: OpenSearch, index: str, deliver: Deliver, tmp_path: Path, *, hashed: bool
    ) -> None:
        """Of a request, each document has its own outcome: the node's answer puts those that failed behind the rest."""
        processors = [
            {"convert": {"field": "kept", "type": "integer", "on_failure": [{"drop": {}}]}},
            {"convert": {"field": "n", "type": "integer"}},
        ]
        opensearch.request("PUT", f"/_ingest/pipeline/{index}", {"processors": processors})
        delivery = deliver(opensearch, index, pipeline=index)
        pad = "é" * 400 if hashed else '\\\\\\"'
        values = [
            (
                f'{{"id":"{number}{pad}","timestamp":"2026-11-01T10:00:00Z",'
                f'"kept":{_WORD if number % 3 == 1 else 1},"n":{_WORD if number % 4 == 3 else 1}}}'
            ).encode()
            for number in range(60)
        ]
        delivery.write([decoded(values)])
        delivery.barrier()
        failed = {number for number in range(60) if number % 4 == 3 and number % 3 != 1}
        assert {letter["offset"] for letter in dead(tmp_path)} == failed
        assert all("unable to convert" in letter["reason"] for letter in dead(tmp_path))
        assert stored(opensearch, index) == 60 - 20 - len(failed)
        assert delivery.ledger.delivered == 60 - len(failed)

    def test_a_pipeline_that_does_not_exist(
        self, opensearch: OpenSearch, index: str, deliver: Deliver, tmp_path: Path
    ) -> None:
        """A missing pipeline holds the stream with the issue in words; once it is there, everything is delivered."""
        delivery = deliver(opensearch, index, pipeline=index)
        delivery.write([decoded(documents(3))])
        _sealed(delivery)
        until(lambda: f"pipeline with id [{index}] does not exist" in delivery.status()["issue"])
        assert dead(tmp_path) == []
        opensearch.request("PUT", f"/_ingest/pipeline/{index}", {"processors": []})
        delivery.barrier()
        assert stored(opensearch, index) == delivery.ledger.delivered == 3
        assert delivery.status()["issue"] == ""


_WORD = '"no number"'


class TestHolds:
    def test_a_missing_index(self, opensearch: OpenSearch, index: str, deliver: Deliver, tmp_path: Path) -> None:
        """Where indexes aren't made by themselves, the stream waits until a person has made it."""
        setting = {"transient": {"action.auto_create_index": f"-{index}*,+*"}}
        assert opensearch.request("PUT", "/_cluster/settings", setting)["acknowledged"]
        delivery = deliver(opensearch, index)
        delivery.write([decoded(documents(3))])
        _sealed(delivery)
        until(lambda: f"no such index [{index}]" in delivery.status()["issue"])
        assert "create the index or data stream" in delivery.status()["issue"]
        assert delivery.status()["in_flight_records"] == 3
        opensearch.request("PUT", f"/{index}", {})
        delivery.barrier()
        opensearch.request("PUT", "/_cluster/settings", {"transient": {"action.auto_create_index": None}})
        assert stored(opensearch, index) == 3
        assert dead(tmp_path) == []

    @pytest.mark.parametrize("state", ["closed", "blocked"])
    def test_an_index_that_takes_nothing(
        self, opensearch: OpenSearch, index: str, deliver: Deliver, tmp_path: Path, state: str
    ) -> None:
        """A closed index, and one with a write block, keep what comes until they are opened."""
        opensearch.request("PUT", f"/{index}", {})
        shut, reopen = {
            "closed": (("POST", f"/{index}/_close", None), ("POST", f"/{index}/_open", None)),
            "blocked": (
                ("PUT", f"/{index}/_settings", {"index.blocks.write": True}),
                ("PUT", f"/{index}/_settings", {"index.blocks.write": False}),
            ),
        }[state]
        opensearch.request(*shut)
        delivery = deliver(opensearch, index)
        delivery.write([decoded(documents(3))])
        _sealed(delivery)
        until(lambda: state in delivery.status()["issue"])
        opensearch.request(*reopen)
        delivery.barrier()
        assert stored(opensearch, index) == 3
        assert dead(tmp_path) == []


def _sealed(delivery: Delivery) -> None:
    """Have what was written sent now."""
    with delivery._changed:
        delivery._backlog.seal()
        delivery._changed.notify_all()


def test_the_bodies_that_the_unit_tests_know(opensearch: OpenSearch, index: str) -> None:
    """filter_path leaves of a real answer what the destination reads: status, type, reason and cause."""
    body = b'{"create":{"_id":"1"}}\n{"n":1}\n{"create":{"_id":"2"}}\n{"n":"x"}\n{"create":{"_id":"1"}}\n{"n":1}\n'
    answer = opensearch.request("POST", destination(index=index)._path, body)
    assert answer["errors"] is True
    statuses = [item["create"]["status"] for item in answer["items"]]
    assert statuses == [201, 400, 409]
    assert set(answer["items"][1]["create"]["error"]) == {"type", "reason", "caused_by"}
    assert len(json.dumps(answer)) < 1000


def test_health(opensearch: OpenSearch, index: str) -> None:
    """A health check of a real node, which knows no privileges, makes no index and finds one that nobody makes."""
    for name in (index, f"{index}-%Y.%m"):
        assert ask(configured(url=opensearch.url, index=name), "probe") == Delivered()
    assert opensearch.request("GET", f"/{index}")["status"] == 404
    setting = "action.auto_create_index"
    opensearch.request("PUT", "/_cluster/settings", {"persistent": {setting: "false"}})
    try:
        held(ask(configured(url=opensearch.url, index=index), "probe"), f"no such index: {index}")
    finally:
        opensearch.request("PUT", "/_cluster/settings", {"persistent": {setting: None}})


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("base", ["/base", "/_security/nothing"])
def test_a_wrong_path_drops_nothing(opensearch: OpenSearch, index: str, base: str, way: Way) -> None:
    """A real node answers 400 to a path that it doesn't know: that is no verdict on the records."""
    held(ask(configured(url=opensearch.url + base, index=index), way), "no handler found", "check url")


def test_an_alias_without_a_write_index_drops_nothing(opensearch: OpenSearch, index: str) -> None:
    """A real node refuses each document to such an alias: they wait until it has one."""
    for number in (1, 2):
        opensearch.request("PUT", f"/{index}-{number}", {"aliases": {index: {}}})
    held(ask(configured(url=opensearch.url, index=index), "send"), "give the alias a write index")


class TestOwnIds:
    def test_another_record_of_an_id_is_no_repetition(
        self, opensearch: OpenSearch, index: str, deliver: Deliver, tmp_path: Path
    ) -> None:
        """A repetition meets its own document; another record that has the id is dead-lettered, at once or later."""
        values = [b'{"id":"%d","message":"%s"}' % (each, text) for each, text in ((1, b"a"), (2, b"b"), (2, b"other"))]
        values.append(b'{"message":"no id"}')
        for repetition in range(2):
            delivery = deliver(opensearch, index, document_id="own")
            delivery.write([decoded(values)])
            delivery.barrier()
            assert delivery.ledger.delivered == 3
            assert delivery.ledger.duplicates == 3 * repetition
            assert dict(delivery.ledger.dead_lettered) == {"another record has this id": 1}
        assert [json.loads(each["record"])["message"] for each in dead(tmp_path)] == ["other", "other"]
        assert stored(opensearch, index) == 3
