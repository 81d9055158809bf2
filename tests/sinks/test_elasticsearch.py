from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from logweir.batch import Batch, ReadAt
from logweir.dates import OUTSIDE
from operators.decode import UNREAD_TIME, Decoder
from operators.identity import digests_of
from sinks.destination import Delivered, Hold, Invalid, Outcome, Partial, Records, Retry, TooLarge
from sinks.elasticsearch_answers import read_answer
from sinks.http import Response
from tests.servers.elastic import FakeElastic, Fault
from tests.sinks.cloud_support import engine
from tests.sinks.elasticsearch_support import ARRIVED, PROJECTION, configured, decoded, destination, records
from tests.sinks.troubles import ask

PLAIN = b'{"id":"1","timestamp":"2026-11-01T10:00:00.000Z","message":"m"}'


def sent(*values: bytes, **changes: Any) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return the action and the document of each record, as a server reads them."""
    taker = destination(**changes)
    body = taker.frame(taker.encode(records(*values)))
    taker.close()
    lines = body.split(b"\n")
    assert lines.pop() == b""
    return [(json.loads(lines[at])["create"], json.loads(lines[at + 1])) for at in range(0, len(lines), 2)]


TIMES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=30)
    | st.datetimes(timezones=st.just(UTC)).map(lambda moment: moment.isoformat().replace("+00:00", "Z"))
    | st.datetimes(timezones=st.timezones()).map(lambda moment: moment.isoformat())
    | st.sampled_from(["2026-11-01", "²", "9" * 5000, "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
)
RECORDS = st.fixed_dictionaries(
    {},
    optional={
        "id": st.text(max_size=20) | st.integers() | st.sampled_from(['"', "\\", "x" * 513, "é" * 300]),
        "timestamp": TIMES,
        "@timestamp": st.sampled_from(["2020-01-01T00:00:00Z", 5, None]),
        "message": st.text(max_size=10) | st.sampled_from(["@", '"@timestamp"', "@timestamp"]),
        "context": st.dictionaries(st.sampled_from(["@timestamp", "a@b"]), st.integers(0, 9), max_size=2),
    },
)


class TestEncode:
    @given(st.lists(RECORDS, min_size=1, max_size=4), st.sampled_from(["logs", "logs-%Y.%m.%d"]))
    @example([{"timestamp": "²"}], "logs-%Y.%m.%d")
    @example([{"timestamp": "0001-01-01T00:00:00+14:00"}], "logs-%Y.%m.%d")
    def test_each_document_is_its_record_with_a_timestamp(self, some: list[dict[str, Any]], index: str) -> None:
        """Whatever the fields hold, the document is the record with an `@timestamp`, and the `_id` is short enough."""
        for record, (action, document) in zip(
            some, sent(*map(orjson.dumps, map(_safe, some)), index=index), strict=True
        ):
            expected = _safe(record)
            assert 0 < len(action["_id"].encode()) <= 512
            assert "@timestamp" in document
            expected.setdefault("@timestamp", document["@timestamp"])
            assert document == expected

    @given(st.lists(RECORDS, min_size=1, max_size=4))
    def test_the_fast_path_gives_what_the_general_one_does(self, some: list[dict[str, Any]]) -> None:
        """A record is sent alike whether or not its neighbours are plain text."""
        values = [orjson.dumps(_safe(record)) for record in some]
        usual = sent(*values)
        with patch("sinks.elasticsearch._all_plain", return_value=False):
            assert sent(*values) == usual

    def test_plain_records_take_the_fast_path(self) -> None:
        """What most applications log is sent as its own bytes behind a timestamp."""
        taker = destination()
        with patch("sinks.elasticsearch.ElasticsearchDestination._document", side_effect=AssertionError):
            (piece,) = taker.encode(records(PLAIN))
        (digest,) = digests_of([PLAIN])
        action = b'{"create":{"_id":"1-%b"}}' % digest.encode()
        assert piece == action + b'\n{"@timestamp":"2026-11-01T10:00:00.000Z",' + PLAIN[1:]

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            (b"{}", "2026-09-21T14:13:20.000Z"),
            (b"{ }", "2026-09-21T14:13:20.000Z"),
            (b'{"timestamp":"2026-01-02T03:04:05Z"}', "2026-01-02T03:04:05Z"),
            (b'{"timestamp":1767323045}', "2026-01-02T03:04:05.000Z"),
            (b'{"timestamp":1767323045678}', "2026-01-02T03:04:05.678Z"),
            (b'{"timestamp":"1767323045678"}', "2026-01-02T03:04:05.678Z"),
            (b'{"timestamp":{"at":1}}', "2026-09-21T14:13:20.000Z"),
            (b'{"timestamp":-1}', "2026-09-21T14:13:20.000Z"),
            (b'{"timestamp":1e999}', "2026-09-21T14:13:20.000Z"),
            (b'{"timestamp":"2026-01-02T03:04:05Z","@timestamp":"own"}', "own"),
            (b'{"timestamp":"2026-01-02T03:04:05Z","a":{"@timestamp":"nested"}}', "2026-01-02T03:04:05Z"),
            (b'{"timestamp":"2026-01-02T03:04:05Z","a":"@timestamp","x":1e999}', "2026-01-02T03:04:05Z"),
        ],
    )
    def test_the_timestamp(self, value: bytes, expected: str) -> None:
        """`@timestamp` is the record's own, else its time, else when it arrived; never a second field of that name."""
        ((_, document),) = sent(value)
        assert document["@timestamp"] == expected
        taker = destination()
        assert taker.encode(records(value))[0].count(b'"@timestamp":') == 1 + value.count(b'{"@timestamp"')

    def test_ids(self) -> None:
        """Odd ids are escaped; one that is too long is hashed, always alike, so that a repetition is recognised."""
        odd = ['a"b', "back\\slash", "é", "x" * 512]
        taker = destination()
        pieces = taker.encode(records(*[b"{}"] * 6, ids=[*odd, "x" * 513, "é" * 257]))
        got = [json.loads(piece.split(b"\n")[0])["create"]["_id"] for piece in pieces]
        assert got[:4] == odd
        assert len(got[4]) == len(got[5]) == 32
        assert got[4] != got[5]
        assert taker.encode(records(b"{}", ids=["x" * 513]))[0] == pieces[4]


class TestIndex:
    def test_a_dated_index_is_that_of_the_records_time(self) -> None:
        """Each record goes to the index of its own day in UTC, and without a time to that of its arrival."""
        times = ['"2026-01-31T23:59:59Z"', '"2026-01-31T23:59:59-05:00"', "1767323045678", '"garbage"', "null", '""']
        values = [b'{"timestamp":%b}' % time.encode() for time in times]
        got = [action["_index"] for action, _ in sent(*values, index="logs-%Y.%m.%d")]
        assert got == [
            "logs-2026.01.31",
            "logs-2026.02.01",
            "logs-2026.01.02",
            *["logs-2026.09.21"] * 3,
        ]

    def test_a_record_without_a_time_goes_to_the_day_it_arrives(self) -> None:
        """The index of a record without a usable time changes at midnight, though nothing else does."""
        taker = destination(index="logs-%d")
        values = [b'{"timestamp":"no time"}', b"{}", b'{"timestamp":"2026-01-01T00:00:00Z"}']
        days = []
        for day in range(2):
            batch = Batch("logs", 0, list(values), range(3), origin=ReadAt(ARRIVED + day * 86400))
            Decoder(PROJECTION, identified=True)(batch)
            pieces = taker.encode(Records.of(batch, written=True))
            days.append([json.loads(piece.split(b"\n")[0])["create"]["_index"] for piece in pieces])
            assert batch.account.notices == {UNREAD_TIME: 1}
        assert days == [["logs-21", "logs-21", "logs-01"], ["logs-22", "logs-22", "logs-01"]]

    def test_a_date_out_of_bounds_makes_no_index(self) -> None:
        """A record of a clock that is wrong goes to the index of its arrival, as it is, and is counted."""
        values = [b'{"timestamp":"%d-01-01T00:00:00Z"}' % year for year in (1970, 2020, 2026, 9999)]
        got = sent(*values, index="logs-%Y.%m.%d")
        assert [action["_index"][5:] for action, _ in got] == ["2026.09.21", "2026.09.21", "2026.01.01", "2026.09.21"]
        assert [document["@timestamp"][:4] for _, document in got] == ["1970", "2020", "2026", "9999"]
        assert destination(index="logs-%Y.%m.%d").screen(decoded(values)) == {OUTSIDE: 3}
        assert destination(index="logs").screen(decoded(values)) == {}
        settings = {"index": "logs-%Y", "dates": {"past": "520w", "future": "1d"}}
        assert [each[0]["_index"][5:] for each in sent(*values, **settings)] == ["2026", "2020", "2026", "2026"]

    def test_names_of_indexes_are_remembered_up_to_a_bound(self) -> None:
        """Timestamps without end don't fill the memory."""
        taker = destination(index="logs-%Y")
        with patch("sinks.elasticsearch._TARGETS_LIMIT", 10):
            for second in range(100):
                taker.encode(records(b'{"timestamp":%d}' % (1767323045 + second)))
        assert len(taker._targets) <= 10

    def test_a_fixed_index_stands_in_the_url(self) -> None:
        """The index is in the path, so that no action line repeats it; the pipeline is a parameter."""
        taker = destination(index="logs", pipeline="a b")
        assert taker._path.startswith("/logs/_bulk?filter_path=errors,")
        assert taker._path.endswith("&pipeline=a%20b")
        assert destination(index="logs-%Y")._path.startswith("/_bulk?")

    @pytest.mark.parametrize("index", ["Logs", "_logs", "-x", "a b", "a/b", "logs,more", "*", "lo#gs", "logs-%Y-X", ""])
    def test_a_name_that_no_server_takes_is_a_finding(self, index: str) -> None:
        """An index name that would have every document refused is refused by the config."""
        with pytest.raises(ValidationError, match="must be lower case"):
            configured(index=index)

    @pytest.mark.parametrize("index", ["logs", ".hidden", "logs-%Y.%m.%d-%H", "%Y", "<logs-{now/d}>", "a_b-c+d", "été"])
    def test_a_name_that_servers_take_is_fine(self, index: str) -> None:
        """Data streams, dated, hidden and date math names pass."""
        assert configured(index=index).index == index


class TestAuthorization:
    @pytest.mark.parametrize(
        ("settings", "header"),
        [
            ({}, None),
            ({"api_key": "id:key"}, "ApiKey " + base64.b64encode(b"id:key").decode()),
            ({"api_key": "aWQ6a2V5"}, "ApiKey aWQ6a2V5"),
            (
                {"username": "me", "password": "p:ä"},
                "Basic " + base64.b64encode("me:p:ä".encode()).decode(),
            ),
        ],
    )
    def test_header(self, settings: dict[str, str], header: str | None) -> None:
        """A key goes as ApiKey, encoded unless it is already; a user goes as Basic."""
        assert configured(**settings).authorization().get("authorization") == header

    @pytest.mark.parametrize(
        "settings",
        [{"api_key": "a:b", "username": "u", "password": "p"}, {"username": "u"}, {"password": "p"}],
    )
    def test_half_and_double_credentials_are_findings(self, settings: dict[str, str]) -> None:
        """One way to authenticate, and all of it."""
        with pytest.raises(ValidationError):
            configured(**settings)


def _safe(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record whose integers every parser of the test takes."""
    return {
        key: value if not isinstance(value, int) or isinstance(value, bool) or abs(value) < 2**53 else float(value)
        for key, value in record.items()
    }


OK = {"create": {"status": 201}}


def item(status: int, kind: str = "some_exception", reason: str = "why", **more: Any) -> dict[str, Any]:
    """Return an item as filter_path leaves it."""
    return {"create": {"status": status, "error": {"type": kind, "reason": reason, **more}}}


def answered(*items: Any, status: int = 200, headers: dict[str, str] | None = None, count: int = 0) -> Outcome:
    """Return what an answer with these items means."""
    count = count or len(items)
    ids = list(map(str, range(count)))
    named = [{"create": {"_id": str(number), **each["create"]}} for number, each in enumerate(items)]
    body = orjson.dumps({"errors": any("error" in each["create"] for each in items), "items": named})
    return read_answer(Response(status, headers or {}, body), count, lambda: ids)


class TestOtherServers:
    def test_headers_and_params(self, tmp_path: Path) -> None:
        """Further headers and parameters go with each request, and nobody is shown their values."""
        with FakeElastic() as server:
            settings = configured(
                url=server.url, headers={"X-Scope": "pl4nted-one"}, params={"routing": "pl4nted two&/", "timeout": "9s"}
            )
            with engine(settings, tmp_path) as run:
                run.deliver(b'{"a":1}')
                server.fault = Fault(500, body=b'{"error":"/_bulk?routing=pl4nted%20two%26%2F pl4nted-one"}')
                run.write(b'{"a":2}')
                run.until(lambda: run.delivery.stats.retries)
                server.fault = None
                run.deliver()
                shown = run.said() + repr(settings) + str(settings) + settings.model_dump_json()
        assert not re.search("pl4nted|two", shown)
        assert all("&routing=pl4nted%20two%26%2F&timeout=9s" in each.path for each in server.seen)
        assert all(each.headers["x-scope"] == "pl4nted-one" for each in server.seen)

    @pytest.mark.parametrize(
        "settings",
        [
            {"params": {"filter_path": "x"}},
            {"params": {"pipeline": "x"}},
            {"params": {"": "x"}},
            {"headers": {"Content-Type": "x"}},
            {"headers": {"Authorization": "x"}, "api_key": "a:b"},
            {"headers": {"x": "line\nbreak"}},
        ],
    )
    def test_what_is_ours(self, settings: dict[str, Any]) -> None:
        """What logweir sets itself, and what no header can hold, is a finding."""
        with pytest.raises(ValidationError):
            configured(**settings)

    @pytest.mark.parametrize("index", ["logs", "logs-%Y"])
    def test_a_server_that_knows_only_bulk(self, tmp_path: Path, index: str) -> None:
        """With `bulk_only` nothing but `/_bulk` is asked for, and each document names its index."""
        with FakeElastic() as server:
            server.look = lambda method, path, body: pytest.fail(path)  # type: ignore[method-assign]
            with engine(configured(url=server.url, index=index, bulk_only=True, api_key="a:b"), tmp_path) as run:
                assert run.destination.probe() == Delivered()
                time = b'"timestamp":"2026-03-04T00:00:00Z"}'
                run.deliver(b"{" + time, b'{"@timestamp":"x",' + time)
            assert {index for index, _ in server.docs} == {index.replace("%Y", "2026")}
            assert {each.path.partition("?")[0] for each in server.seen} == {"/_bulk"}
        assert server.violations == []

    @pytest.mark.parametrize("status", [200, 400, 401, 404, 500])
    def test_its_health(self, status: int) -> None:
        """Whatever it says of a request without documents: it has let it in, unless it says that it hasn't."""
        with FakeElastic() as server:
            server.fault = Fault(status, body=b"no documents")
            found = ask(configured(url=server.url, bulk_only=True), "probe")
        assert (found == Delivered()) == (status in {200, 400})


class TestItems:
    def test_all_taken(self) -> None:
        """Without errors nothing more is read."""
        assert read_answer(Response(200, {}, b'{"took":1,"errors":false,"items":[]}'), 3) == Delivered()
        assert answered(OK, OK) == Delivered()

    def test_a_conflict_is_a_duplicate(self) -> None:
        """A 409 is a record that an earlier attempt has delivered."""
        conflict = item(409, "version_conflict_engine_exception", "[1]: version conflict, document already exists")
        assert answered(OK, conflict, conflict) == Delivered(duplicates=2)

    def test_each_item_has_its_own_outcome(self) -> None:
        """Of one request, some are taken, some dead-lettered with their reason, and some sent again."""
        outcome = answered(
            OK,
            item(400, "document_parsing_exception", "[1:6] failed to parse field [n]", caused_by={"reason": "For x"}),
            item(429, "es_rejected_execution_exception", "rejected execution of coordinating operation"),
            item(409, "version_conflict_engine_exception"),
            item(503, "unavailable_shards_exception", "primary shard is not active"),
        )
        assert outcome == Partial(
            rejected={
                1: (
                    "rejected: document_parsing_exception",
                    "400: document_parsing_exception: [1:6] failed to parse field [n]: For x",
                )
            },
            retry=[2, 4],
            reason="429: es_rejected_execution_exception: rejected execution of coordinating operation",
            duplicates=1,
        )

    @pytest.mark.parametrize(
        ("status", "kind", "reason"),
        [
            (404, "index_not_found_exception", "no such index [logs]"),
            (403, "security_exception", "action [indices:data/write/bulk[s]] is unauthorized for user [me]"),
            (403, "cluster_block_exception", "index [logs] blocked by: [FORBIDDEN/8/index write (api)];"),
            (400, "index_closed_exception", "closed"),
            (400, "illegal_argument_exception", "pipeline with id [missing] does not exist"),
        ],
    )
    def test_what_a_person_has_to_mend_holds(self, status: int, kind: str, reason: str) -> None:
        """A missing index, pipeline or permission loses nothing: the documents wait, with the issue in words."""
        outcome = answered(OK, item(status, kind, reason))
        assert isinstance(outcome, Partial)
        assert (outcome.rejected, outcome.retry) == ({}, [1])
        assert reason in outcome.issue
        assert "check index" in outcome.issue or "check pipeline" in outcome.issue

    @pytest.mark.parametrize(
        ("status", "kind"),
        [(500, "i_o_exception"), (500, "already_closed_exception"), (503, "x"), (502, "x"), (429, "x")],
    )
    def test_the_clusters_trouble_is_retried(self, status: int, kind: str) -> None:
        """A full disk or an overload says nothing of the document."""
        assert answered(item(status, kind)) == Partial({}, [0], f"{status}: {kind}: why")

    @pytest.mark.parametrize("kind", ["fail_processor_exception", "script_exception", "null_pointer_exception"])
    def test_a_document_that_breaks_a_pipeline_is_set_aside(self, kind: str) -> None:
        """A pipeline's failure on one document can't hold the stream: it would fail for ever."""
        outcome = answered(OK, item(500, kind, "planted"))
        assert outcome == Partial({1: (f"rejected: {kind}", f"500: {kind}: planted")}, [])

    def test_retry_after_of_a_partial_answer(self) -> None:
        """Items that are sent again wait as long as the header says."""
        outcome = answered(item(429), headers={"retry-after": "7"})
        assert isinstance(outcome, Partial)
        assert outcome.after == 7

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"<html>proxy</html>",
            b"[]",
            b"{}",
            b'{"errors":true}',
            b'{"errors":true,"items":5}',
            b'{"errors":true,"items":[5]}',
            b'{"errors":true,"items":[{}]}',
            b'{"errors":true,"items":[{"create":5}]}',
            b'{"errors":true,"items":[{"create":{}}]}',
            b'{"errors":true,"items":[{"create":{"status":"many"}}]}',
            b'{"errors":true,"items":[{"create":{"status":null}}]}',
            b"\xff\xfe",
        ],
    )
    def test_a_garbage_answer_is_retried(self, body: bytes) -> None:
        """What is no answer of the Bulk API says nothing of the documents; ids make a repetition harmless."""
        assert isinstance(read_answer(Response(200, {}, body), 1), Retry)

    def test_a_wrong_number_of_items_is_retried(self) -> None:
        """Outcomes that can't be told apart are not believed."""
        assert answered(OK, item(400), count=3) == Retry("2 items in the answer to 3 documents")
        assert answered(OK, OK, count=3) == Retry("2 items in the answer to 3 documents")
        assert answered(OK, OK, OK, count=2) == Retry("3 items in the answer to 2 documents")

    def test_the_order_of_items_says_nothing(self) -> None:
        """An item is about the document that has its id, wherever it stands: a pipeline's failures stand last."""
        outcome = sorted_by("c", "a", "b", a=201, b=400, c=201)
        assert isinstance(outcome, Partial)
        assert (set(outcome.rejected), outcome.retry) == ({2}, [])
        outcome = sorted_by("a", "b", "c", c=429, b=201, a=400)
        assert isinstance(outcome, Partial)
        assert (set(outcome.rejected), outcome.retry) == ({0}, [2])

    def test_items_of_other_documents(self) -> None:
        """Where a failed item is of no document of the request, nothing is believed until it is alone."""
        assert sorted_by("a", "b", a=201, x=400) == Retry(
            "the items of the answer have other ids than the documents of the request", blame="unclear"
        )
        assert sorted_by("a", "b", a=400, c=400, count=2) != Delivered()
        alone = sorted_by("a", x=400)
        assert isinstance(alone, Partial)
        assert alone.rejected.keys() == {0}

    def test_a_pipeline_that_gives_ids(self) -> None:
        """Where a pipeline has changed an id, and taken the document, the others' outcomes are as clear as ever."""
        outcome = sorted_by("a", "b", "c", changed=201, c=201, b=400)
        assert isinstance(outcome, Partial)
        assert (set(outcome.rejected), outcome.retry) == ({1}, [])

    def test_documents_with_the_same_id(self) -> None:
        """Two of one id are one document, of which one is taken and the other a duplicate; others keep theirs."""
        items = [("a", 201), ("b", 400), ("a", 409)]
        body = {
            "errors": True,
            "items": [
                {"create": {"_id": name, "status": status, "error": {"type": "x", "reason": "y"}}}
                for name, status in items
            ],
        }
        outcome = read_answer(Response(200, {}, orjson.dumps(body)), 3, lambda: ["a", "a", "b"])
        assert outcome == Partial({2: ("rejected: x", "400: x: y")}, [], duplicates=1)

    @given(st.permutations(range(6)), st.lists(st.sampled_from([201, 400, 409, 429]), min_size=6, max_size=6))
    def test_any_order_means_the_same(self, order: list[int], statuses: list[int]) -> None:
        """However a server orders its items, each document has its own outcome."""
        found = [{"create": {"_id": f'"{at}é', "status": statuses[at], "error": {"type": "x"}}} for at in range(6)]
        ids = [f'"{at}é' for at in range(6)]
        first, second = (
            read_answer(Response(200, {}, orjson.dumps({"errors": True, "items": items})), 6, lambda: ids)
            for items in (found, [found[at] for at in order])
        )
        assert first == second

    def test_an_error_that_is_text(self) -> None:
        """Old servers and proxies give an error as plain text."""
        outcome = answered({"create": {"status": 400, "error": "MapperParsingException[x]"}})
        assert outcome == Partial({0: ("rejected: error", "400: error: MapperParsingException[x]")}, [])


def sorted_by(*sent: str, count: int = 0, **statuses: int) -> Outcome:
    """Return what an answer with these items by id, in this order, means to a request of these documents."""
    items = [
        {"create": {"_id": name, "status": status, **({"error": {"type": "x", "reason": "y"}} if status > 299 else {})}}
        for name, status in statuses.items()
    ]
    body = orjson.dumps({"errors": any(status > 299 for status in statuses.values()), "items": items})
    return read_answer(Response(200, {}, body), count or len(sent), lambda: sent)


def whole(status: int, body: bytes = b"", **headers: str) -> Outcome:
    """Return what an answer to the whole request means."""
    return read_answer(Response(status, {name.replace("_", "-"): value for name, value in headers.items()}, body), 2)


SECURITY = b"""{"error":{"root_cause":[{"type":"security_exception","reason":"unable to authenticate user [me]"}],
"type":"security_exception","reason":"unable to authenticate user [me]"},"status":401}"""


class TestWhole:
    def test_a_refused_credential_holds(self) -> None:
        """A 401 or 403 keeps everything, and names the settings to look at."""
        for status in (401, 403):
            outcome = whole(status, SECURITY)
            assert isinstance(outcome, Hold)
            assert outcome.issue.startswith(
                f"{status}: security_exception: unable to authenticate user [me]: check username and password"
            )

    def test_a_wrong_address_holds(self) -> None:
        """A 404, or an answer that no Elasticsearch gives, is for a person to mend."""
        for status in (404, 405, 301):
            outcome = whole(status, b"no such page")
            assert isinstance(outcome, Hold)
            assert outcome.issue == f"{status}: no such page: check url, index and pipeline"

    def test_too_large_is_split(self) -> None:
        """A 413, also that of a proxy, halves the request."""
        assert whole(413, b"<html>nginx</html>") == TooLarge("413: <html>nginx</html>")

    def test_a_refused_body_is_looked_into(self) -> None:
        """A 400 for the whole is narrowed down to the record that causes it."""
        body = b'{"error":{"type":"illegal_argument_exception","reason":"id is too long"},"status":400}'
        assert whole(400, body) == Invalid("bulk request refused", "400: illegal_argument_exception: id is too long")

    @pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
    def test_overload_and_outage_are_retried(self, status: int) -> None:
        """What passes by itself is tried again."""
        assert whole(status, b"<html>Bad Gateway</html>") == Retry(f"{status}: <html>Bad Gateway</html>")

    @pytest.mark.parametrize(
        ("header", "check"),
        [
            ("7", lambda after: after == 7),
            ("0", lambda after: after == 0),
            (timedelta(hours=1), lambda after: 3500 < after <= 3600),
            (timedelta(hours=-1), lambda after: after == 0),
            ("Thu, 01 Jan 2026 00:00:00 -0000", lambda after: after == 0),
            ("soon", lambda after: after is None),
            ("-5", lambda after: after is None),
            ("²", lambda after: after is None),
            ("", lambda after: after is None),
        ],
    )
    def test_retry_after(self, header: str | timedelta, check: Callable[[Any], bool]) -> None:
        """Retry-After is a number of seconds or a date; what is neither is ignored."""
        if isinstance(header, timedelta):
            header = format_datetime(datetime.now(UTC) + header, usegmt=True)
        outcome = whole(429, b"{}", retry_after=header)
        assert isinstance(outcome, Retry)
        assert check(outcome.after)
