from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from operators.formats import PINO
from sinks.decide import Policy
from sinks.destination import Delivered, Hold, Invalid, Outcome, Partial, Retry, TooLarge
from sinks.http import Response
from sinks.splunk import Splunk, SplunkDestination
from sinks.splunk_answers import EventNumbers, read_answer
from tests.servers.cloud import Answer
from tests.servers.splunk import (
    ACK_DISABLED,
    BUSY,
    DISABLED,
    INCORRECT_INDEX,
    INTERNAL,
    INVALID_TOKEN,
    NO_CHANNEL,
    NO_DATA,
    QUEUE_FULL,
    TOO_LARGE,
    UNAUTHORIZED,
    FakeSplunk,
)
from tests.sinks.cloud_support import ODD, Encoder, engine

TOKEN = "pl4nted-t0ken"
ARRIVED = 1_790_000_000.0


@pytest.fixture
def server() -> Iterator[FakeSplunk]:
    """A new stand-in for the collector, which at the end has seen nothing that may not be sent."""
    with FakeSplunk(TOKEN) as fake:
        yield fake
    assert fake.violations == []


def configured(url: str = "http://127.0.0.1:9", **changes: Any) -> Splunk:
    """Return settings as a flow file gives them."""
    return TypeAdapter(Splunk).validate_python({"type": "splunk", "token": TOKEN, "url": url, **changes})


encoded = Encoder(configured, ARRIVED)


def numbered(count: int, *poison: int) -> list[bytes]:
    """Return records, of which these can't be taken."""
    return [
        b'{"timestamp":"2026-11-01T10:00:00.000Z","message":"%b%d"}' % (b"poison" if number in poison else b"", number)
        for number in range(count)
    ]


TIMES = st.sampled_from(
    [
        "2026-01-02T03:04:05.678Z",
        "2026-01-02T03:04:05.6781234Z",
        "2026-01-02T03:04:05.1Z",
        "2026-01-02T03:04:05.x23Z",
        "2026-13-02T03:04:05.678Z",
        "1960-01-02T03:04:05.678Z",
        "2026-01-02T03:04:05.²²²Z",
        "2026-01-02T03:04:05+01:00",
        1767323045678,
        1767323045,
        -1,
        None,
        True,
        [1],
        {"a": 1},
        "garbage",
        "",
    ]
)
PART = st.none() | st.text(max_size=5) | st.integers(-(2**53), 2**53) | st.lists(st.integers(0, 3), max_size=2)
RECORDS = st.fixed_dictionaries(
    {},
    optional={
        "timestamp": TIMES,
        "message": st.text(max_size=10),
        "level": st.sampled_from(["info", "WARNING", "fatal", 30, "odd", None, True, ["error"]]),
        "context": st.none()
        | st.fixed_dictionaries({}, optional=dict.fromkeys(("service", "host", "environment"), PART)),
    },
)


class TestEncode:
    @given(st.lists(RECORDS, min_size=1, max_size=4))
    def test_each_event_is_its_record(self, some: list[dict[str, Any]]) -> None:
        """Whatever the fields hold, the event is the record's own bytes; neighbours change nothing."""
        values = list(map(orjson.dumps, some))
        pieces = encoded(*values)
        for value, record, piece in zip(values, some, pieces, strict=True):
            assert piece.endswith(b'"event":' + value + b"}")
            event = json.loads(piece)
            assert event["event"] == record
            assert event["time"] >= 0
            assert all(isinstance(each, str) for each in event.get("fields", {}).values())
        assert pieces == [encoded(value)[0] for value in values]

    def test_metadata(self) -> None:
        """Host and fields come from the record, what it doesn't say from the settings."""
        value = b'{"timestamp":"2026-01-02T03:04:05.678Z","level":"WARNING","context":{"service":"cart","host":"h1"}}'
        (piece,) = encoded(value, index="main", sourcetype="app", host="h0")
        assert piece == (
            b'{"time":1767323045.678,"host":"h1","source":"logweir","sourcetype":"app","index":"main",'
            b'"fields":{"level":"warn","service":"cart"},"event":' + value + b"}"
        )
        assert json.loads(encoded(b"{}", host="h0")[0]) == {
            "time": ARRIVED,
            "host": "h0",
            "source": "logweir",
            "sourcetype": "_json",
            "event": {},
        }

    @pytest.mark.parametrize(
        ("time", "expected"),
        [
            ('"2026-01-02T03:04:05.678Z"', b"1767323045.678"),
            ('"2026-01-02T03:04:05.678912Z"', b"1767323045.678"),
            ('"2026-01-02T03:04:05Z"', b"1767323045.000"),
            ('"2026-01-02T04:04:05.5+01:00"', b"1767323045.500"),
            ("1767323045678", b"1767323045.678"),
            ("1767323045", b"1767323045.000"),
            ('"1960-01-02T03:04:05.678Z"', b"1790000000.000"),
            ('"garbage"', b"1790000000.000"),
            ("null", b"1790000000.000"),
        ],
    )
    def test_time(self, time: str, expected: bytes) -> None:
        """The time is in seconds with milliseconds; without a usable one, it is that of the arrival."""
        assert encoded(b'{"timestamp":%b}' % time.encode())[0].startswith(b'{"time":%b,' % expected)

    def test_seconds_are_remembered_up_to_a_bound(self) -> None:
        """Timestamps without end don't fill the memory."""
        with patch("sinks.splunk._SECONDS_LIMIT", 10):
            for second in range(50):
                encoded(b'{"timestamp":"2026-01-02T03:04:%02d.000Z"}' % second, source="bound")
        taker = encoded.made["logweir {'source': 'bound'}"][1]
        assert isinstance(taker, SplunkDestination)
        assert len(taker._seconds) <= 10

    def test_other_programs_logs(self) -> None:
        """Level, time and host are found where their format has them."""
        event = json.loads(encoded(b'{"level":50,"time":1767323045678,"msg":"m","hostname":"h"}', layout=PINO)[0])
        assert (event["time"], event["host"], event["fields"]) == (1767323045.678, "h", {"level": "error"})


def answered(planted: Answer, count: int = 10, numbers: EventNumbers | None = None, *, ack: bool = False) -> Outcome:
    """Return what an answer means."""
    headers = {name.lower(): value for name, value in planted.headers.items()}
    return read_answer(
        Response(planted.status, headers, planted.body), count, numbers or EventNumbers(), acknowledged=ack
    )


def refused(number: Any, status: int = 400, code: int = 6) -> Answer:
    """Return a recorded refusal that names an event."""
    text = {6: "Invalid data format", 9: "Server is busy", 12: "Event field is required"}[code]
    return Answer(status, orjson.dumps({"text": text, "code": code, "invalid-event-number": number}))


class TestAnswers:
    def test_what_the_collector_says(self) -> None:
        """Each recorded answer has its meaning, with the collector's own words."""
        assert answered(Answer(200, b'{"text":"Success","code":0}')) == Delivered()
        assert answered(NO_DATA) == Invalid("refused by Splunk", "400: code 5: No data")
        assert answered(INTERNAL) == Retry("500: code 8: Internal server error")
        assert answered(BUSY) == Retry("503: code 9: Server is busy")
        assert answered(QUEUE_FULL) == Retry("429: code 26: Queue at capacity")
        assert answered(TOO_LARGE) == TooLarge("413: The request is too large")
        assert answered(Answer(503, b"", {"Retry-After": "7"})) == Retry("503: ", 7.0)

    @pytest.mark.parametrize(
        ("planted", "setting"),
        [
            (INVALID_TOKEN, "token"),
            (UNAUTHORIZED, "token"),
            (DISABLED, "token"),
            (Answer(401, b"<html>"), "token"),
            (INCORRECT_INDEX, "index"),
            (NO_CHANNEL, "ack: true"),
            (ACK_DISABLED, "ack: false"),
            (Answer(404, b"not found"), "url"),
            (Answer(301, b""), "url"),
        ],
    )
    def test_what_a_person_has_to_mend_holds(self, planted: Answer, setting: str) -> None:
        """A wrong token, index or address loses nothing; the issue names the setting."""
        outcome = answered(planted)
        assert isinstance(outcome, Hold)
        assert setting in outcome.issue

    @pytest.mark.parametrize(
        "body", [b"", b"<html>", b"[]", b"\xff", b'{"code":"0"}', b'{"code":17}', b'{"code":false}']
    )
    def test_garbage_is_no_receipt(self, body: bytes) -> None:
        """Only the collector's own success counts as delivered."""
        assert isinstance(answered(Answer(200, body)), Retry)

    @pytest.mark.parametrize("number", [-1, 11, "3", None, 1.5, True])
    def test_a_number_that_names_no_event(self, number: Any) -> None:
        """A refusal that names no event is traced by halves."""
        assert isinstance(answered(refused(number)), Invalid)

    def test_how_events_are_counted_is_learned(self) -> None:
        """Until an answer leaves no doubt, the doubtful event goes last; none before it is sent again."""
        for sure, first in ((0, 0), (10, 1)):
            numbers = EventNumbers()
            assert answered(refused(4), 10, numbers) == Partial({}, [4, 5, 6, 7, 8, 9, 3], after=0.0)
            cause = ("rejected: Invalid data format", "400: code 6: Invalid data format")
            culprit = sure - first
            outcome = answered(refused(sure), 10, numbers)
            assert outcome == Partial({culprit: cause}, list(range(culprit + 1, 10)), after=0.0)
            outcome = answered(refused(4), 10, numbers)
            assert outcome == Partial({4 - first: cause}, list(range(5 - first, 10)), after=0.0)
            assert isinstance(answered(refused(4, code=12), 10, numbers), Partial)
            assert 4 not in getattr(answered(refused(4, code=12), 10, numbers), "rejected", {})

    def test_busy_in_the_middle(self) -> None:
        """Of a request that the collector stopped to process, what it had taken isn't sent again."""
        assert answered(refused(4, 503, 9)) == Partial({}, range(3, 10), "503: code 9: Server is busy")
        assert answered(refused(4, 503, 9), ack=True) == Retry("503: code 9: Server is busy")
        for number in (0, 1, 11, -5):
            assert isinstance(answered(refused(number, 503, 9)), Retry)


class TestSettings:
    def test_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Address, token and index are read from their usual variables."""
        monkeypatch.setenv("SPLUNK_HEC_URL", "https://splunk:8088/services/collector/event")
        monkeypatch.setenv("SPLUNK_HEC_TOKEN", f"{TOKEN}\n")
        monkeypatch.setenv("SPLUNK_INDEX", "main")
        settings = TypeAdapter(Splunk).validate_python({"type": "splunk"})
        assert (settings.url, settings.index) == ("https://splunk:8088", "main")
        assert settings.token.get_secret_value() == TOKEN

    def test_a_token_that_no_header_holds_is_a_finding(self) -> None:
        """The finding doesn't show the token."""
        with pytest.raises(ValidationError) as raised:
            configured(token=f"{TOKEN}\r\nx")
        assert TOKEN not in str(raised.value)


SOON = {"flush_interval": 0.05}
STRICT = {"policy": Policy(max_retries=2, backoff=0.01, max_backoff=0.03, on_failure="dead_letter")}


class TestDelivery:
    @pytest.mark.parametrize("compression", [True, False])
    def test_odd_records_arrive(self, server: FakeSplunk, tmp_path: Path, compression: bool) -> None:
        """Unicode, control characters, huge numbers, nulls and empty messages pass."""
        with engine(configured(server.url, compression=compression), tmp_path) as running:
            running.deliver(*ODD, b"{}")
            assert [each["event"] for each in server.events] == [*map(json.loads, ODD), {}]

    def test_sizes(self, server: FakeSplunk, tmp_path: Path) -> None:
        """A request of exactly the limit passes, one byte more is split, one event too large is set aside."""
        with engine(configured(server.url), tmp_path) as running:
            values = numbered(1000)
            exact = len(running.destination.frame(running.destination.encode(running.records(*values))))
            running._offset = 0
            server.max_content_length = exact
            running.deliver(*values)
            assert server.requests == 1
            server.max_content_length = exact - 1
            running.deliver(*values)
            assert server.requests == 4
            running.deliver(*values[:500], b'{"message":"%b"}' % (b"x" * exact), *values[501:])
            (letter,) = running.letters()
            assert (letter["cause"], len(server.events)) == ("too large", 2999)

    @pytest.mark.parametrize("first", [0, 1])
    @pytest.mark.parametrize("bad", [{37}, {0}, {1}, {99}, {0, 1, 2, 50, 98, 99}, set(range(100))], ids=len)
    def test_refused_events(self, server: FakeSplunk, tmp_path: Path, first: int, bad: set[int]) -> None:
        """Each refused event goes to the dead letter alone, whichever way the collector counts, and none is lost."""
        server.poison, server.first = "poison", first
        with engine(configured(server.url), tmp_path, **STRICT) as running:
            running.deliver(*numbered(100, *bad))
            assert [each["cause"] for each in running.letters()] == ["rejected: Invalid data format"] * len(bad)
        assert {each["event"]["message"] for each in server.events} == {str(n) for n in range(100) if n not in bad}
        # At most one event, once, before it is known how the collector counts.
        assert sum(server.sent.values()) <= 100 - len(bad) + (first == 0)

    @pytest.mark.parametrize("first", [0, 1])
    def test_busy_in_the_middle(self, server: FakeSplunk, tmp_path: Path, first: int) -> None:
        """What was taken before the collector was busy isn't sent again, but for one event where it counts from 0."""
        server.busy_at, server.first = 40, first
        with engine(configured(server.url), tmp_path) as running:
            running.deliver(*numbered(100))
        assert sorted(server.sent.values()) == [1] * 100 if first else [1] * 99 + [2]

    @pytest.mark.parametrize(
        "planted",
        [BUSY, QUEUE_FULL, INTERNAL, TOO_LARGE, Answer(408), Answer(200, b"<html>"), Answer(close=True)],
        ids=["503", "429", "500", "413", "408", "page", "reset"],
    )
    def test_what_passes_loses_nothing(self, server: FakeSplunk, tmp_path: Path, planted: Answer) -> None:
        """Each record is delivered once after any fault that passes."""
        server.script.append(planted)
        with engine(configured(server.url), tmp_path) as running:
            running.deliver(*numbered(10))
            assert not running.letters()
        assert sorted(server.sent.values()) == [1] * 10

    @pytest.mark.parametrize("wrong", ["token", "index"])
    def test_what_is_wrong_holds_until_it_is_mended(self, server: FakeSplunk, tmp_path: Path, wrong: str) -> None:
        """A wrong token or index loses nothing, names the setting, and shows no secret anywhere."""
        setattr(server, wrong, "other")
        settings = configured(server.url, index="main")
        with engine(settings, tmp_path, **SOON) as running:
            running.write(*numbered(3))
            assert f"check {wrong}" in running.issue()
            setattr(server, wrong, {"token": TOKEN, "index": "main"}[wrong])
            running.deliver()
            assert len(server.events) == 3
            assert TOKEN not in running.said() + repr(settings) + str(settings) + repr(running.destination)


class TestAcknowledgement:
    def test_delivered_means_indexed(self, server: FakeSplunk, tmp_path: Path) -> None:
        """A record counts as delivered once its request is acknowledged."""
        server.acknowledges = True
        with engine(configured(server.url, ack=True), tmp_path) as running:
            running.deliver(*numbered(10))
            assert len(server.events) == 10
            assert max(server.questions.values()) >= 2

    def test_what_is_not_acknowledged_is_sent_again(self, server: FakeSplunk, tmp_path: Path) -> None:
        """A request that was received and lost before it was indexed is sent again after the timeout."""
        server.acknowledges, server.lost_acks = True, 1
        with engine(configured(server.url, ack=True, ack_timeout=0.5), tmp_path) as running:
            running.deliver(*numbered(10))
            assert [each["reason"] for each in running.told if each["event"] == "stream.retry"] == [
                "not acknowledged within 0.5 s"
            ]
        assert len(server.events) == 10
        assert sorted(server.sent.values()) == [2] * 10

    def test_a_token_without_acknowledgement_holds(self, server: FakeSplunk, tmp_path: Path) -> None:
        """Nothing is sent that could not be acknowledged: the issue says what to do, and nothing is there twice."""
        with engine(configured(server.url, ack=True), tmp_path, **SOON) as running:
            running.write(*numbered(3))
            assert "set ack: false" in running.issue()
            assert not server.sent
            server.acknowledges = True
            running.deliver()
        assert sorted(server.sent.values()) == [1] * 3

    def test_a_token_that_demands_it_holds(self, server: FakeSplunk, tmp_path: Path) -> None:
        """Without `ack` such a token takes nothing, and the issue says so."""
        server.acknowledges = True
        with engine(configured(server.url), tmp_path, **SOON) as running:
            running.write(*numbered(3))
            assert "set ack: true" in running.issue()

    @pytest.mark.parametrize("first", [0, 1])
    def test_a_refused_event_among_others(self, server: FakeSplunk, tmp_path: Path, first: int) -> None:
        """What a refused request had taken has no acknowledgement, so it is sent again until it has one."""
        server.acknowledges, server.poison, server.first = True, "poison", first
        with engine(configured(server.url, ack=True), tmp_path) as running:
            running.deliver(*numbered(20, 7))
            assert len(running.letters()) == 1
        assert {each["event"]["message"] for each in server.events} == {
            str(number) for number in range(20) if number != 7
        }
