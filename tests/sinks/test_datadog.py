from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from logweir.times import rfc3339
from operators.formats import ECS, OTEL, PINO, Format
from sinks.datadog import (
    MAX_RECORD_BYTES,
    MAX_REQUEST_BYTES,
    MAX_REQUEST_RECORDS,
    Datadog,
    DatadogDestination,
)
from sinks.datadog_answers import read_answer
from sinks.destination import Delivered, Hold, Invalid, Outcome, Retry, TooLarge
from sinks.http import Response
from sinks.window import TOO_NEW, TOO_OLD
from tests.servers.cloud import Answer
from tests.servers.datadog import (
    BAD_REQUEST,
    FORBIDDEN,
    TOO_LARGE,
    TOO_MANY,
    UNAUTHORIZED,
    UNAVAILABLE,
    FakeDatadog,
)
from tests.sinks.cloud_support import ODD, Encoder, engine

KEY = "pl4nted-api-k3y"
ARRIVED = 1_790_000_000.0
PLAIN = b'{"id":"1","timestamp":"2026-11-01T10:00:00.000Z","level":"error","message":"m"}'


@pytest.fixture
def server() -> Iterator[FakeDatadog]:
    """A new stand-in for the intake, which at the end has seen nothing that may not be sent."""
    with FakeDatadog(KEY) as fake:
        yield fake
    assert fake.violations == []


def configured(url: str = "http://127.0.0.1:9", **changes: Any) -> Datadog:
    """Return settings as a flow file gives them."""
    return TypeAdapter(Datadog).validate_python({"type": "datadog", "api_key": KEY, "url": url, **changes})


encoded = Encoder(configured, ARRIVED)


def log(value: bytes, **changes: Any) -> dict[str, Any]:
    """Return one record as the intake reads it."""
    found: dict[str, Any] = json.loads(encoded(value, **changes)[0])
    return found


def sized(size: int, **changes: Any) -> bytes:
    """Return a record whose log has exactly this many bytes."""
    empty = b'{"timestamp":"%b","message":""}' % rfc3339(time.time()).encode()
    missing = size - len(encoded(empty, **changes)[0])
    return empty.replace(b'""', b'"%b"' % (b"x" * missing))


NAMES = ["ddsource", "ddtags", "hostname", "service", "status", "dd.trace_id", "dd.span_id", "dd"]
PART = st.none() | st.text(max_size=5) | st.integers(-(2**53), 2**53) | st.lists(st.integers(0, 3), max_size=2)
HEX = st.text("0123456789abcdef", min_size=32, max_size=32)
RECORDS = st.fixed_dictionaries(
    {},
    optional={
        "timestamp": st.sampled_from(
            ["2026-11-01T10:00:00Z", 1767323045678, 1767323045, "garbage", "", None, [1], {"a": 1}]
        ),
        "message": st.text(max_size=10)
        | st.none()
        | st.integers(-(2**53), 2**53)
        | st.lists(st.text(max_size=3), max_size=1),
        "level": st.sampled_from(["info", "WARNING", "fatal", 30, "odd", None, True, ["error"]]),
        "context": st.none()
        | st.fixed_dictionaries({}, optional=dict.fromkeys(("service", "host", "environment", "version"), PART)),
        "trace": st.fixed_dictionaries(
            {},
            optional={
                "traceId": HEX | st.sampled_from(["", None, 5, "x" * 32, " " * 32, "0" * 32, "ab" * 8, "a\tb" * 10]),
                "spanId": st.sampled_from(["00f067aa0ba902b7", "", None, "ff", "0" * 16]),
            },
        ),
        **dict.fromkeys(NAMES, st.none() | st.text(max_size=4)),
    },
)


class TestEncode:
    @given(st.lists(RECORDS, min_size=1, max_size=4))
    def test_each_log_is_its_record_and_more(self, some: list[dict[str, Any]]) -> None:
        """Whatever the fields hold, nothing that the record says is lost, and no name is there twice."""
        pieces = encoded(*map(orjson.dumps, some))
        for record, piece in zip(some, pieces, strict=True):
            pairs: list[tuple[str, Any]] = json.loads(piece, object_pairs_hook=lambda pairs: pairs)
            assert len({name for name, _ in pairs}) == len(pairs)
            found = json.loads(piece)
            assert "message" in found
            assert isinstance(found["ddsource"], str)
            for name, value in record.items():
                if value is not None and name != "timestamp":
                    assert value in (found[name], found.get(f"_RESERVED_{name}"))

    @given(st.lists(RECORDS, min_size=1, max_size=4))
    def test_neighbours_change_nothing(self, some: list[dict[str, Any]]) -> None:
        """A record is sent alike whether or not its neighbours take the fast path."""
        values = list(map(orjson.dumps, some))
        alone = [json.loads(encoded(value, PLAIN)[0]) for value in values]
        assert [json.loads(piece) for piece in encoded(*values, PLAIN)[:-1]] == alone
        every = lambda _self, records: range(len(records))  # noqa: E731  # a stand-in
        with patch.object(DatadogDestination, "_odd", every):
            assert [json.loads(piece) for piece in encoded(*values)] == alone

    def test_a_plain_record_is_its_own_bytes(self) -> None:
        """What most applications log is spliced, not encoded again."""
        with patch.object(DatadogDestination, "_general", side_effect=AssertionError):
            (piece,) = encoded(PLAIN)
        assert piece == b'{"ddsource":"logweir","status":"error",' + PLAIN[1:]

    @pytest.mark.parametrize("value", ODD)
    def test_odd_values_are_kept_as_they_are(self, value: bytes) -> None:
        """Huge integers, escapes and nulls reach the intake with the very bytes that they came in."""
        found = json.loads(encoded(value)[0])
        for name, each in json.loads(value).items():
            if name not in {"timestamp", "message"} or each not in {None, 17}:
                assert found[name] == each
        if b"1234567890123" in value:
            assert b"123456789012345678901234567890" in encoded(value)[0]
            assert b"1.5e-300" in encoded(value)[0]

    def test_reserved_attributes(self) -> None:
        """Service, host, status and tags come from the record, else from the settings."""
        given = {"service": "fallback", "hostname": "h0", "tags": ["team:shop"], "source": "python"}
        said = log(
            b'{"level":"fatal","message":"m","context":{"service":"cart","host":"h1","environment":"prod","version":"1,2"}}',
            **given,
        )
        expected = {"ddsource": "python", "status": "critical", "service": "cart", "hostname": "h1"}
        assert {name: said[name] for name in expected} == expected
        assert said["ddtags"] == "team:shop,env:prod,version:1_2"
        silent = log(b'{"message":"m"}', **given)
        assert (silent["service"], silent["hostname"], silent["ddtags"]) == ("fallback", "h0", "team:shop")
        assert "status" not in silent

    @pytest.mark.parametrize("own", [200, {"name": "own"}, ["a"], True, 1.5])
    @pytest.mark.parametrize("name", ["service", "status", "hostname", "ddsource", "ddtags"])
    def test_a_reserved_attribute_that_is_no_text_goes_elsewhere(self, name: str, own: Any) -> None:
        """Datadog reads text there, so what logweir knows takes the name, and the record's own is kept beside it."""
        record = {"message": "m", "level": "error", "context": {"service": "cart", "host": "h", "environment": "prod"}}
        found = log(orjson.dumps({**record, name: own, f"_RESERVED_{name}": "taken"}))
        expected = {"service": "cart", "status": "error", "hostname": "h", "ddsource": "logweir", "ddtags": "env:prod"}
        assert {each: found[each] for each in expected} == expected
        assert (found[f"__RESERVED_{name}"], found[f"_RESERVED_{name}"]) == (own, "taken")
        assert log(orjson.dumps({**record, name: "own text"}))[name] == "own text"

    @pytest.mark.parametrize(
        "time", [b'"2026-11-01T10:00:00.123Z"', b"1793527200.123", b'"2026-11-01 11:00:00,123+01:00"']
    )
    def test_times_as_numbers(self, time: bytes) -> None:
        """Where an intake wants milliseconds, every record says them, whatever it says itself."""
        value = b'{"id":"1","level":"error","message":"m","timestamp":%b,"metadata":{"timestamp":%b}}' % (time, time)
        found = log(value, timestamps="milliseconds")
        assert found["timestamp"] == 1_793_527_200_123
        assert found["metadata"] == json.loads(value)["metadata"]
        assert log(b'{"message":"m"}', timestamps="milliseconds")["timestamp"] == int(ARRIVED * 1000)
        assert log(b'{"timestamp":null}', timestamps="milliseconds")["timestamp"] == int(ARRIVED * 1000)

    def test_every_record_of_ecs_has_its_service(self) -> None:
        """ECS nests it where Datadog reads text."""
        value = b'{"@timestamp":"2026-12-01T03:00:00.000Z","log.level":"ERROR","message":"m","service":{"name":"pay"}}'
        found = log(value, layout=ECS)
        assert (found["service"], found["status"], found["_RESERVED_service"]) == ("pay", "error", {"name": "pay"})

    @pytest.mark.parametrize(
        ("trace", "expected"),
        [
            (
                {"traceId": "4bf92f3577b34da6a3ce929d0e0e4736", "spanId": "00f067aa0ba902b7"},
                ("11803532876627986230", "67667974448284343"),
            ),
            (
                {"traceId": "a3ce929d0e0e4736", "spanId": "00f067aa0ba902b7"},
                ("11803532876627986230", "67667974448284343"),
            ),
            ({"traceId": "4bf92f3577b34da6a3ce929d0e0e4736"}, ("11803532876627986230", None)),
            ({"traceId": "ffffffffffffffffffffffffffffffff", "spanId": "x"}, (str(2**64 - 1), None)),
            ({"traceId": "no hex", "spanId": "00f067aa0ba902b7"}, (None, None)),
            ({}, (None, None)),
        ],
    )
    def test_trace_ids_are_those_that_datadog_joins_on(
        self, trace: dict[str, str], expected: tuple[str | None, str | None]
    ) -> None:
        """The low 64 bits of the hexadecimal ids, in decimal."""
        found = log(orjson.dumps({"message": "m", "timestamp": "2026-11-01T10:00:00Z", "trace": trace}))
        assert (found.get("dd.trace_id"), found.get("dd.span_id")) == expected

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            (b'{"message":"m","timestamp":"2026-11-01T10:00:00+01:00"}', "2026-11-01T10:00:00+01:00"),
            (b'{"message":"m","timestamp":1767323045}', "2026-01-02T03:04:05.000Z"),
            (b'{"message":"m","timestamp":1767323045678}', 1767323045678),
            (b'{"message":"m","timestamp":null}', "2026-09-21T14:13:20.000Z"),
            (b'{"message":"m"}', "2026-09-21T14:13:20.000Z"),
            (b'{"message":"m","timestamp":"yesterday"}', "yesterday"),
        ],
    )
    def test_time(self, value: bytes, expected: str) -> None:
        """A time that Datadog reads stays, a number becomes text, and a missing one is the time of arrival."""
        assert log(value)["timestamp"] == expected

    @pytest.mark.parametrize(
        ("layout", "value"),
        [
            (
                PINO,
                b'{"level":50,"time":1767323045678,"msg":"said","hostname":"h","name":"cart","err":{"message":"x"}}',
            ),
            (ECS, b'{"@timestamp":"2026-01-02T03:04:05.678Z","log.level":"error","message":"said","host.name":"h"}'),
            (OTEL, b'{"timeUnixNano":"1767323045678000000","severityNumber":17,"body":{"stringValue":"said"}}'),
        ],
        ids=["pino", "ecs", "otel"],
    )
    def test_other_programs_logs(self, layout: Format, value: bytes) -> None:
        """The message, time and level of another format stand where Datadog looks for them."""
        found = log(value, layout=layout)
        assert (found["message"], found["timestamp"], found["status"]) == ("said", "2026-01-02T03:04:05.678Z", "error")

    def test_truncate(self) -> None:
        """With `oversize: truncate` the message is cut to fit to the byte, between characters, and says so."""
        for filler in (b"x", "é".encode(), "\U0001f600".encode(), rb"\ud83d\ude00", b'\\"'):
            (piece,) = encoded(
                b'{"message":"%b","n":12345678901234567890123}' % (filler * 200_000 * 6), oversize="truncate"
            )
            assert MAX_RECORD_BYTES - 12 <= len(piece) <= MAX_RECORD_BYTES
            assert json.loads(piece)["message"].endswith("...TRUNCATED...")
            assert json.loads(piece)["n"] == 12345678901234567890123
        hopeless = b'{"message":"m","other":"%b"}' % (b"x" * MAX_RECORD_BYTES)
        assert len(encoded(hopeless, oversize="truncate")[0]) > MAX_RECORD_BYTES


def answered(planted: Answer) -> Outcome:
    """Return what an answer means."""
    headers = {name.lower(): value for name, value in planted.headers.items()}
    return read_answer(Response(planted.status, headers, planted.body))


class TestAnswers:
    def test_what_the_intake_says(self) -> None:
        """Each recorded answer has its meaning, with the intake's own words and the setting to mend."""
        assert answered(Answer(202, b"{}")) == Delivered()
        assert answered(Answer(200, b"")) == Delivered()
        assert answered(BAD_REQUEST) == Invalid("refused by Datadog", "400: Bad Request: Invalid log")
        assert answered(TOO_LARGE) == TooLarge("413: Request Entity Too Large")
        assert answered(TOO_MANY) == Retry("429: Too Many Requests", 0.0)
        assert answered(UNAVAILABLE) == Retry("503: Service Unavailable")
        for planted in (UNAUTHORIZED, FORBIDDEN):
            outcome = answered(planted)
            assert isinstance(outcome, Hold)
            assert "api_key" in outcome.issue
            assert "site" in outcome.issue

    @pytest.mark.parametrize("status", [200, 204, 408, 429, 500, 502, 504])
    def test_a_page_of_a_proxy_is_no_receipt(self, status: int) -> None:
        """Only the intake's own answer counts as delivered."""
        assert isinstance(answered(Answer(status, b"<html>Log in</html>")), Retry)

    @pytest.mark.parametrize("status", [301, 404, 405, 415])
    def test_a_wrong_address_holds(self, status: int) -> None:
        """What no repetition mends waits for a person."""
        outcome = answered(Answer(status, b"\xff\xfe"))
        assert isinstance(outcome, Hold)
        assert "site" in outcome.issue

    @pytest.mark.parametrize(
        ("header", "least", "most"),
        [("7", 7, 7), ("in 1000 s", 900, 1000), ("1000000001", 0, 0)],
    )
    def test_rate_limit_reset(self, header: str, least: float, most: float) -> None:
        """X-RateLimit-Reset is waited for, in seconds or as a moment."""
        if header == "in 1000 s":
            header = str(int(time.time()) + 1000)
        outcome = answered(Answer(429, b"", {"X-RateLimit-Reset": header}))
        assert isinstance(outcome, Retry)
        assert outcome.after is not None
        assert least <= outcome.after <= most


class TestSettings:
    def test_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The key and the site are read from their usual variables."""
        monkeypatch.setenv("DATADOG_API_KEY", f"{KEY}\n")
        monkeypatch.setenv("DATADOG_SITE", "datadoghq.eu")
        settings = TypeAdapter(Datadog).validate_python({"type": "datadog"})
        assert (settings.api_key.get_secret_value(), settings.site) == (KEY, "datadoghq.eu")

    @pytest.mark.parametrize(
        "changes",
        [{"site": "example.com"}, {"tags": ["a,b"]}, {"tags": [""]}, {"api_key": f"{KEY}\nx"}, {"source": ""}],
    )
    def test_findings(self, changes: dict[str, Any]) -> None:
        """A site, a tag or a key that can't work is a finding, which doesn't show the key."""
        with pytest.raises(ValidationError) as raised:
            configured(**changes)
        assert KEY not in str(raised.value)


class TestDelivery:
    def test_limits(self, server: FakeDatadog, tmp_path: Path) -> None:
        """A log and a request of exactly the most are sent; one log a byte too large costs only itself."""
        good = [sized(200 + number) for number in range(999)]
        with engine(configured(server.url), tmp_path) as running:
            running.deliver(*good[:500], sized(MAX_RECORD_BYTES + 1), *good[500:])
            assert len(server.logs) == 999
            running.deliver(sized(MAX_RECORD_BYTES))
            assert [letter["cause"] for letter in running.letters()] == ["record too large"]
            assert running.delivery.ledger.delivered == 1000

    @pytest.mark.parametrize("over", [0, 1])
    def test_a_request_at_its_limits(self, server: FakeDatadog, tmp_path: Path, over: int) -> None:
        """A request has up to 5 MB and 1,000 logs; one more makes two of it."""
        size = (MAX_REQUEST_BYTES - 2 - 5) // 6
        whole = [sized(size) for _ in range(5)] + [sized(MAX_REQUEST_BYTES - 7 - 5 * size + over)]
        with engine(configured(server.url), tmp_path) as running:
            running.deliver(*whole)
            assert [len(body) == MAX_REQUEST_BYTES for body in server.bodies] == ([False] * 2 if over else [True])
            server.bodies.clear()
            running.deliver(*[PLAIN] * (MAX_REQUEST_RECORDS + over))
            assert len(server.bodies) == 1 + over
            assert not running.letters()

    @pytest.mark.parametrize("compression", [True, False, "gzip", "zstd"])
    def test_odd_records_arrive(self, server: FakeDatadog, tmp_path: Path, compression: bool | str) -> None:
        """Unicode, control characters, huge numbers, nulls and empty messages pass, however they are compressed."""
        with engine(configured(server.url, compression=compression), tmp_path) as running:
            running.deliver(*ODD, PLAIN)
            assert len(server.logs) == len(ODD) + 1
            assert not running.letters()

    def test_a_refused_request_costs_one_record(self, server: FakeDatadog, tmp_path: Path) -> None:
        """A 400 is traced to the log at fault, which goes to the dead letter with Datadog's words."""
        server.poison = b"poison"
        values = [PLAIN.replace(b'"m"', b'"poison"' if number == 37 else b'"%d"' % number) for number in range(100)]
        with engine(configured(server.url), tmp_path) as running:
            running.deliver(*values)
            (letter,) = running.letters()
        assert letter["reason"] == "400: Bad Request: Invalid log"
        assert sorted(int(each["message"]) for each in server.logs) == [number for number in range(100) if number != 37]

    @pytest.mark.parametrize(
        "planted",
        [
            TOO_MANY,
            UNAVAILABLE,
            Answer(500, b"\xff garbage"),
            Answer(200, b"<html>"),
            Answer(408),
            Answer(close=True),
            TOO_LARGE,
        ],
        ids=["429", "503", "500", "page", "408", "reset", "413"],
    )
    def test_what_passes_loses_nothing(self, server: FakeDatadog, tmp_path: Path, planted: Answer) -> None:
        """Each record is delivered once after any fault that passes."""
        server.script.append(planted)
        with engine(configured(server.url), tmp_path) as running:
            running.deliver(*[PLAIN.replace(b'"m"', b'"%d"' % number) for number in range(10)])
            assert not running.letters()
        assert sorted(each["message"] for each in server.logs) == [str(number) for number in range(10)]

    def test_a_wrong_key_holds_until_it_is_mended(self, server: FakeDatadog, tmp_path: Path) -> None:
        """An invalid key loses nothing, names the setting, and shows no secret anywhere."""
        server.api_key = "other"
        settings = configured(server.url)
        with engine(settings, tmp_path, flush_interval=0.05) as running:
            running.write(PLAIN)
            issue = running.issue()
            assert "API key is invalid: check api_key" in issue
            server.api_key = KEY
            running.deliver()
            assert len(server.logs) == 1
            assert KEY not in running.said() + repr(settings) + str(settings) + repr(running.destination)


class TestWindow:
    @pytest.mark.parametrize("policy", ["deliver", "dead_letter"])
    def test_records_outside_the_window(self, server: FakeDatadog, tmp_path: Path, policy: str) -> None:
        """Older than 18 h and newer than 2 h ahead is counted as a cause of its own, or set aside with it."""
        hours = (-19, -18.1, -17.9, 0, 1.9, 2.1)
        values = [
            orjson.dumps({"message": str(hour), "timestamp": rfc3339(time.time() + hour * 3600)}) for hour in hours
        ]
        values += [b'{"message":"none"}', b'{"message":"number","timestamp":%d}' % (time.time() - 19 * 3600)]
        with engine(configured(server.url, time_window=policy), tmp_path) as running:
            running.deliver(*values)
            notices = running.delivery.status()["notices"]
            causes = [letter["cause"] for letter in running.letters()]
        if policy == "deliver":
            assert (notices, causes, len(server.logs)) == ({TOO_OLD: 3, TOO_NEW: 1}, [], 8)
        else:
            assert (notices, sorted(causes), len(server.logs)) == ({}, sorted([TOO_OLD] * 3 + [TOO_NEW]), 4)
