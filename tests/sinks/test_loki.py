from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from operators.formats import PINO
from sinks.destination import Delivered, Hold, Outcome, Retry
from sinks.loki import ALONE_BYTES, MAX_LINE_BYTES, Loki, LokiDestination
from sinks.loki_answers import LINE_TOO_LONG, TOO_FAR_BEHIND
from sinks.loki_entries import MAX_METADATA_BYTES, METADATA_TOO_LARGE
from sinks.loki_streams import TOO_LONG, TOO_MANY
from sinks.window import TOO_NEW, TOO_OLD
from tests.servers.cloud import Answer
from tests.servers.loki import NO_STREAMS, RATE_LIMITED, FakeLoki, said
from tests.sinks.cloud_support import ODD, Encoder, engine

PASSWORD, TOKEN = "pl4nted-passw0rd", "pl4nted-t0ken"
ARRIVED = 1_790_000_000.0
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PLAIN = b'{"id":"1","timestamp":"2026-11-01T10:00:00.000Z","level":"info","trace":{"traceId":"%b"}}' % TRACE.encode()
STREAM = '{job="logweir", level="info", service="shop"}'


@pytest.fixture
def server() -> Iterator[FakeLoki]:
    """A new Loki, which at the end has seen nothing that may not be sent."""
    with FakeLoki() as fake:
        yield fake
    assert fake.violations == []


def configured(url: str = "http://127.0.0.1:9", **changes: Any) -> Loki:
    """Return settings as a flow file gives them."""
    return TypeAdapter(Loki).validate_python({"type": "loki", "url": url, **changes})


encoded = Encoder(configured, ARRIVED)


def parts(value: bytes, *others: bytes, **changes: Any) -> tuple[dict[str, str], str, Any, bytes]:
    """Return the labels, the time, the structured metadata and the line of the first record."""
    head, line = encoded(value, *others, **changes)[0].split(b"\n")
    stream, moment, metadata = head.split(b"\t")
    return json.loads(stream), moment.decode(), json.loads(metadata or b"{}"), line


def stamped(age: float = 0.0, **members: Any) -> bytes:
    """Return a record of so many seconds ago."""
    moment = datetime.now(UTC) - timedelta(seconds=age)
    found = {"timestamp": moment.isoformat().replace("+00:00", "Z"), "level": "info", "context": {"service": "shop"}}
    return orjson.dumps(found | members)


class TestSettings:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"url": "loki:3100"}, "must be Loki's address"),
            ({"url": "http://me:secret@loki:3100"}, "without credentials"),
            ({"labels": {}}, "must not be empty"),
            ({"labels": {"a-b": "c"}}, "'a-b' is no name"),
            ({"label_fields": {"__a": "b"}}, "'__a' is no name"),
            ({"structured_metadata": {"1": "b"}}, "'1' is no name"),
            ({"labels": {"a": ""}}, "a must have 1 to 2048 bytes"),
            ({"labels": {"a": "é" * 1025}}, "a must have 1 to 2048 bytes"),
            ({"labels": {"level": "x"}}, "labels and label_fields both have level"),
            ({"labels": {f"a{n}": "x" for n in range(14)}}, "at most 15 together"),
            ({"tenant": "a|b"}, "must be 1 to 150 letters"),
            ({"tenant": ".."}, "must be 1 to 150 letters"),
            ({"token": TOKEN, "username": "me", "password": "p"}, "set either token, or username and password"),
            ({"compression": "zstd"}, "compression"),
            ({"max_streams": 0}, "must be at least 1"),
        ],
    )
    def test_wrong_ones_are_told(self, changes: dict[str, Any], message: str) -> None:
        """What Loki wouldn't take is named before anything is sent."""
        with pytest.raises(ValidationError) as caught:
            configured(**changes)
        assert message in str(caught.value)
        assert "secret" not in str(caught.value)

    @pytest.mark.parametrize("url", ["http://l:1/x", "http://l:1/x/", "http://l:1/x/loki/api/v1/push"])
    def test_the_address_may_have_the_path(self, url: str) -> None:
        """The address with the path of the push API is the same address."""
        assert configured(url).url == "http://l:1/x"

    def test_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is left out is read from the variables of Loki's own command line."""
        variables = {"LOKI_ADDR": "http://l:1", "LOKI_ORG_ID": "team", "LOKI_USERNAME": "me", "LOKI_PASSWORD": "p"}
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        settings = TypeAdapter(Loki).validate_python({"type": "loki"})
        assert (settings.url, settings.tenant, settings.username) == ("http://l:1", "team", "me")


PART = st.none() | st.text(max_size=5) | st.integers(-5, 5) | st.booleans() | st.lists(st.integers(-5, 5), max_size=1)
RECORDS = st.fixed_dictionaries(
    {},
    optional={
        "timestamp": st.sampled_from(["2026-11-01T10:00:00Z", "2026-11-01T10:00:00.5Z", 1767323045678, "x", None, [1]]),
        "message": st.text(max_size=10),
        "level": st.sampled_from(["info", "WARNING", 30, "odd", "", None, True, ["error"], 1.5]),
        "context": st.none() | st.fixed_dictionaries({}, optional={"service": PART}),
        "trace": st.fixed_dictionaries(
            {}, optional={"traceId": st.sampled_from([TRACE, "x" * 32, " " * 32, '"' * 32, "ab" * 15]) | PART}
        ),
    },
)


class TestEncode:
    @given(st.lists(RECORDS, min_size=1, max_size=4))
    def test_lines_are_the_records(self, some: list[dict[str, Any]]) -> None:
        """Whatever the fields hold, the line is the record, and all else is what Loki can read."""
        values = list(map(orjson.dumps, some))
        for value, piece in zip(values, encoded(*values), strict=True):
            head, line = piece.split(b"\n")
            stream, moment, metadata = head.split(b"\t")
            assert line == value
            assert all(isinstance(each, str) and each for each in json.loads(stream).values())
            assert len(moment) == 19
            assert moment.isdigit()
            assert all(isinstance(each, str) for each in json.loads(metadata or b"{}").values())

    @given(st.lists(RECORDS, min_size=1, max_size=4))
    def test_neighbours_change_nothing(self, some: list[dict[str, Any]]) -> None:
        """A record is sent alike whether or not its neighbours take the fast path."""
        for value in map(orjson.dumps, some):
            assert parts(value) == parts(value, PLAIN)

    @pytest.mark.parametrize(
        ("moment", "expected"),
        [
            ("2026-01-02T03:04:05Z", "1767323045000000000"),
            ("2026-01-02T03:04:05.6Z", "1767323045600000000"),
            ("2026-01-02T03:04:05.678Z", "1767323045678000000"),
            ("2026-01-02T03:04:05.123456789Z", "1767323045123456789"),
            ("2026-01-02T03:04:05.1234567891Z", "1767323045123456789"),
            ("2026-01-02T04:04:05.123456789+01:00", "1767323045123456789"),
            ("2026-01-02 03:04:05,5", "1767323045500000000"),
            ("2026-01-02T03:04:05.12x456Z", "1790000000000000000"),
            (1767323045, "1767323045000000000"),
            (1767323045678, "1767323045678000000"),
            ("1767323045678901", "1767323045678901000"),
            (1767323045123456789, "1767323045123456789"),
            (1767323045.5, "1767323045500000000"),
            ("2500-01-01T00:00:00.000Z", "9223372035000000000"),
            ("garbage", "1790000000000000000"),
            (None, "1790000000000000000"),
            ([1], "1790000000000000000"),
        ],
    )
    def test_time(self, moment: Any, expected: str) -> None:
        """A time is as exact as it is written, within what Loki can read; else it is that of the arrival."""
        value = orjson.dumps({"timestamp": moment})
        assert parts(value)[1] == parts(value, PLAIN)[1] == expected

    def test_labels_and_metadata(self) -> None:
        """Labels come from settings and fields, a level is normalised, what is missing is left out."""
        changes: dict[str, Any] = {
            "labels": {"job": "j"},
            "label_fields": {"app": "context.service", "severity": "level", "up": "context.up"},
            "structured_metadata": {"trace": "trace.traceId", "n": "metadata.n"},
        }
        value = (
            b'{"level":"WARNING","context":{"service":"a\\"b","up":true},"metadata":{"n":[5]},"trace":{"traceId":""}}'
        )
        stream, _, metadata, _ = parts(value, **changes)
        assert stream == {"job": "j", "app": 'a"b', "severity": "warn", "up": "true"}
        assert metadata == {"n": "[5]"}
        assert parts(b'{"level":"odd"}', **changes)[0] == {"job": "j", "severity": "odd"}
        assert parts(b'{"level":50,"time":1767323045678}', layout=PINO)[0] == {"job": "logweir", "level": "error"}
        assert parts(b"{}", label_fields={})[0] == {"job": "logweir"}
        assert parts(PLAIN)[2] == {"trace_id": TRACE}

    def test_numbers_beyond_all_bounds(self) -> None:
        """A whole number of more than 64 bits is a label, metadata and a time like others."""
        number = b"1" * 40
        value = b'{"timestamp":%b,"context":{"service":%b},"trace":{"traceId":%b}}' % (number, number, number)
        stream, moment, metadata, _ = parts(value)
        assert stream["service"] == metadata["trace_id"] == number.decode()
        assert moment == f"{int(ARRIVED)}000000000"


class TestDelivery:
    def test_odd_records_arrive_as_they_are(self, server: FakeLoki, tmp_path: Path) -> None:
        """Unicode, control characters, empty messages, huge numbers and nulls arrive as the lines they are."""
        odd = [value for value in ODD if b'"timestamp":17' not in value]
        with engine(configured(server.url), tmp_path) as run:
            run.deliver(*odd)
        found = [line for stream in server.streams.values() for _, line, _ in stream.entries]
        assert sorted(found) == sorted(value.decode() for value in odd)

    @pytest.mark.parametrize("compression", [True, False])
    @pytest.mark.parametrize("given", [{"token": TOKEN}, {"username": "me", "password": PASSWORD}])
    def test_headers(self, server: FakeLoki, tmp_path: Path, given: dict[str, str], compression: bool) -> None:
        """Credentials and tenant are sent with each request, compressed or not."""
        pair = base64.b64encode(f"me:{PASSWORD}".encode()).decode()
        known = f"Bearer {TOKEN}" if "token" in given else f"Basic {pair}"
        server.required = {"authorization": known, "x-scope-orgid": "team-a"}
        with engine(configured(server.url, tenant="team-a", compression=compression, **given), tmp_path) as run:
            run.deliver(stamped())
        assert len(server.lines()) == 1

    def test_streams_share_a_request_once_they_are_known(self, server: FakeLoki, tmp_path: Path) -> None:
        """A stream goes by itself until Loki has taken some of it: only so it tells of a stream too many."""
        values = [stamped(n=n, context={"service": f"s{n}"}) for n in range(3)]
        with engine(configured(server.url), tmp_path) as run:
            run.deliver(*values)
            run.deliver(*values)
        assert [len(push) for push in server.pushes] == [1, 1, 1, 3]

    def test_a_stream_too_many_is_never_lost(self, server: FakeLoki, tmp_path: Path) -> None:
        """Loki's limit of streams is met by a request of that stream alone, and waited for."""
        server.max_streams = 1
        with engine(configured(server.url), tmp_path) as run:
            run.write(*[stamped(n=n, context={"service": f"s{n}"}) for n in range(2)])
            assert "maximum active stream limit" in run.issue()
            server.max_streams = 2
            run.deliver()
        assert sorted(line["n"] for line in server.lines()) == [0, 1]

    def test_a_large_stream_goes_alone(self, server: FakeLoki, tmp_path: Path) -> None:
        """A stream of much of a request goes by itself: only so its rate limit is told of."""
        with engine(configured(server.url), tmp_path) as run:
            few = [stamped(context={"service": name}) for name in "abc"]
            run.deliver(*few)
            server.pushes.clear()
            run.deliver(
                *few, *[stamped(n=n, pad="x" * 1000, context={"service": "a"}) for n in range(ALONE_BYTES // 1000)]
            )
        assert sorted(len(push) for push in server.pushes) == [1, 2]

    def test_a_request_that_is_too_large(self, server: FakeLoki, tmp_path: Path) -> None:
        """What the ingester can't receive is split, though it is answered by 500."""
        server.max_bytes = 2000
        with engine(configured(server.url), tmp_path) as run:
            run.deliver(*[stamped(n=n) for n in range(50)], stamped(n=50, pad="x" * 2000))
        assert sorted(line["n"] for line in server.lines()) == list(range(50))
        assert [letter["cause"] for letter in run.letters()] == ["too large"]


class TestRefused:
    def causes(self, run: Any) -> dict[int, str]:
        """Return the cause of each dead letter by the number of its record."""
        return {json.loads(letter["record"])["n"]: letter["cause"] for letter in run.letters()}

    def test_each_for_its_own_reason(self, server: FakeLoki, tmp_path: Path) -> None:
        """Of one request the valid entries are stored once, each other is set aside with its cause."""
        server.max_line_size = 1000
        values = [stamped(n=n) for n in range(8)]
        values[1], values[2] = stamped(8 * 86_400, n=1), stamped(9 * 86_400, n=2)
        values[4], values[5] = stamped(-3600, n=4), stamped(n=5, pad="x" * 1000)
        values[6] = stamped(7 * 86_400 - 60, n=6)
        with engine(configured(server.url), tmp_path) as run:
            run.deliver(*values)
        assert self.causes(run) == {1: TOO_OLD, 2: TOO_OLD, 4: TOO_NEW, 5: LINE_TOO_LONG}
        assert sorted(line["n"] for line in server.lines()) == [0, 3, 6, 7]
        assert len(server.pushes) <= 6

    def test_too_far_behind(self, server: FakeLoki, tmp_path: Path) -> None:
        """Entries too far behind the newest of their stream are set aside, more of them than Loki names."""
        with engine(configured(server.url), tmp_path) as run:
            run.deliver(stamped(0, n=0))
            old = [stamped(3 * 3600 - n, n=n) for n in range(1, 60)]
            run.deliver(*old, *[stamped(60, n=n) for n in range(60, 70)])
        assert self.causes(run) == dict.fromkeys(range(1, 60), TOO_FAR_BEHIND)
        assert {line["n"] for line in server.lines()} == {0, *range(60, 70)}

    def test_old_streams_go_alone(self, server: FakeLoki, tmp_path: Path) -> None:
        """What Loki refuses of one stream is never hidden by another of the same request."""
        services = ("a", "b", "c")
        with engine(configured(server.url), tmp_path) as run:
            run.deliver(*[stamped(n=n, context={"service": name}) for n, name in enumerate(services)])
            run.deliver(
                *[stamped(7200, n=n, context={"service": name}) for n, name in enumerate(services, 10)],
                *[stamped(n=n, context={"service": name}) for n, name in enumerate(services, 20)],
            )
        assert self.causes(run) == dict.fromkeys((10, 11, 12), TOO_FAR_BEHIND)
        assert {line["n"] for line in server.lines()} == {0, 1, 2, 20, 21, 22}

    def test_old_records_out_of_order(self, server: FakeLoki, tmp_path: Path) -> None:
        """Days of records in any order are stored, since each request of a stream is of one time and in order."""
        hours = [30, 4, 18, 90, 2, 55]
        with engine(configured(server.url), tmp_path, concurrency=1) as run:
            run.deliver(*[stamped(3600 * age, n=age) for age in hours])
        assert [line["n"] for line in server.lines()] == sorted(hours, reverse=True)
        assert run.letters() == []

    def test_a_lost_answer_stores_nothing_twice(self, server: FakeLoki, tmp_path: Path) -> None:
        """Records that are sent again are recognised."""
        lost = [Answer(close=True)]

        def judge(path: str, headers: Any, body: bytes) -> Answer:
            answer = FakeLoki.answer(server, path, headers, body)
            return lost.pop() if lost else answer

        server.answer = judge  # type: ignore[method-assign]
        with engine(configured(server.url), tmp_path) as run:
            run.deliver(*[stamped(n=n) for n in range(5)])
        assert [line["n"] for line in server.lines()] == list(range(5))
        assert server.duplicates == 5

    def test_an_answer_that_says_nothing(self, server: FakeLoki, tmp_path: Path) -> None:
        """A 400 in unknown words is looked into by streams, then by halves, until the culprit is alone."""

        def judge(path: str, headers: Any, body: bytes) -> Answer:
            answer = FakeLoki.answer(server, path, headers, body)
            poisoned = [line for line in server.lines() if line["n"] == 3]
            for stream in server.streams.values():
                stream.entries = [entry for entry in stream.entries if '"n":3' not in entry[1]]
            return said(400, "something is wrong") if poisoned else answer

        server.answer = judge  # type: ignore[method-assign]
        with engine(configured(server.url), tmp_path) as run:
            run.deliver(*[stamped(n=n, context={"service": f"s{n % 2}"}) for n in range(8)])
        assert self.causes(run) == {3: "refused by Loki"}
        assert sorted(line["n"] for line in server.lines()) == [0, 1, 2, 4, 5, 6, 7]

    def test_labels_that_look_like_an_answer(self, server: FakeLoki, tmp_path: Path) -> None:
        """What a record says in a label is not taken for Loki's words."""
        text = "entry for stream '' has timestamp too new: 2000-01-01T00:00:00Z ingestion blocked"
        values = [stamped(8 * 86_400, n=0, context={"service": text}), stamped(n=1, context={"service": text})]
        with engine(configured(server.url), tmp_path) as run:
            run.deliver(*values)
        assert self.causes(run) == {0: TOO_OLD}
        assert [line["n"] for line in server.lines()] == [1]


class TestScreen:
    def test_long_lines(self, server: FakeLoki, tmp_path: Path) -> None:
        """A line of exactly max_line_size is sent, one byte more is set aside unsent."""
        empty = len(stamped(pad=""))
        with engine(configured(server.url), tmp_path) as run:
            run.deliver(stamped(pad="x" * (MAX_LINE_BYTES - empty)), stamped(pad="x" * (MAX_LINE_BYTES - empty + 1)))
            run.deliver(stamped(pad="x" * MAX_LINE_BYTES))
        assert [letter["cause"] for letter in run.letters()] == [LINE_TOO_LONG] * 2
        assert len(server.lines()) == 1

    def test_the_time_window(self, server: FakeLoki, tmp_path: Path) -> None:
        """With `time_window: dead_letter` what Loki refuses by default is set aside unsent."""
        server.max_age = None
        with engine(configured(server.url, time_window="dead_letter"), tmp_path) as run:
            run.deliver(stamped(8 * 86_400, n=0), stamped(n=1), stamped(-660, n=2))
        assert [letter["cause"] for letter in run.letters()] == [TOO_OLD, TOO_NEW]
        assert [line["n"] for line in server.lines()] == [1]

    def test_streams_over_the_limit(self, server: FakeLoki, tmp_path: Path) -> None:
        """Records of more streams than max_streams keep their lines, share one stream, and are counted."""
        with engine(configured(server.url, max_streams=3), tmp_path) as run:
            run.deliver(*[stamped(n=n, context={"service": f"s{n}"}) for n in range(10)])
            run.deliver(*[stamped(n=n, context={"service": f"s{n}"}) for n in range(10, 13)])
        assert len(server.lines()) == 13
        assert len(server.streams) == 4
        assert len(server.streams['{job="logweir", level="other", service="other"}'].entries) == 10
        assert run.delivery.stats.notices == {TOO_MANY: 10}

    def test_a_long_label_value(self, server: FakeLoki, tmp_path: Path) -> None:
        """A value that is too long for a label is replaced and counted; one of the greatest length stays."""
        values = [stamped(context={"service": "é" * length}) for length in (1024, 1025)]
        with engine(configured(server.url), tmp_path) as run:
            run.deliver(*values)
        assert set(server.streams) == {
            '{job="logweir", level="info", service="other"}',
            '{job="logweir", level="info", service=' + json.dumps("é" * 1024) + "}",
        }
        assert run.delivery.stats.notices == {TOO_LONG: 1}

    def test_large_metadata(self, server: FakeLoki, tmp_path: Path) -> None:
        """Structured metadata of the greatest size is sent; larger is left out and counted, its record delivered."""
        values = [stamped(n=n, pad="x" * (MAX_METADATA_BYTES - 1 + n)) for n in range(2)]
        with engine(configured(server.url, structured_metadata={"p": "pad"}), tmp_path) as run:
            run.deliver(*values)
        entries = server.streams[STREAM].entries
        assert [len(metadata) for _, _, metadata in entries] == [1, 0]
        assert run.delivery.stats.notices == {METADATA_TOO_LARGE: 1}


class TestTrouble:
    @pytest.mark.parametrize(
        "fault",
        [
            said(429, RATE_LIMITED, {"Retry-After": "0"}),
            said(500, "at least 2 live replicas required, could only find 1"),
            said(503, "circuit breaker open, request denied"),
            Answer(504, b"<html>"),
            Answer(200, b"<html>a captive portal</html>"),
            Answer(close=True),
        ],
    )
    def test_what_passes_is_retried(self, server: FakeLoki, tmp_path: Path, fault: Answer) -> None:
        """Rate limits, outages and answers that are none cost nothing but time."""
        server.script.extend([fault, fault])
        with engine(configured(server.url), tmp_path) as run:
            run.deliver(stamped())
        assert len(server.lines()) == 1
        assert run.delivery.stats.retries == 2

    def test_trouble_in_the_middle(self, server: FakeLoki, tmp_path: Path) -> None:
        """What was taken before an outage isn't sent again; the rest is."""
        server.script.extend([None, said(503, "down")])
        with engine(configured(server.url), tmp_path) as run:
            run.deliver(*[stamped(n=n, context={"service": f"s{n}"}) for n in range(3)])
        assert sorted(line["n"] for line in server.lines()) == [0, 1, 2]
        assert server.duplicates == 0

    @pytest.mark.parametrize(
        ("fault", "named"),
        [
            (said(401, "no org id"), "check token, or username and password, and tenant"),
            (said(403, ""), "check token"),
            (said(404, "404 page not found"), "check url"),
            (said(405, ""), "check url"),
            (
                said(260, "ingestion blocked for user 'fake' until '2026'"),
                "block_ingestion_until",
            ),
            (said(400, "ingestion blocked for user 'fake' until '2026'"), "block_ingestion_until"),
            (said(400, "tenant ID 'a b' contains unsupported character ' '"), "check tenant"),
            (said(400, "entry for stream '{a=\"b\"}' has 16 label names; limit 15"), "label_fields"),
            (said(302, ""), "check url"),
            (said(415, ""), "compression"),
        ],
    )
    def test_what_a_person_must_mend_is_held(self, server: FakeLoki, tmp_path: Path, fault: Answer, named: str) -> None:
        """The issue names the setting to mend, no secret is told, and everything is delivered once it is mended."""
        server.fault = fault
        settings = configured(server.url, token=TOKEN)
        with engine(settings, tmp_path) as run:
            run.write(stamped())
            assert named in run.issue()
            assert "pl4nted" not in run.said() + repr(settings)
            server.fault = None
            run.deliver()
        assert len(server.lines()) == 1

    def test_metadata_that_is_not_allowed_holds(self, server: FakeLoki, tmp_path: Path) -> None:
        """A Loki without structured metadata keeps everything waiting, and the setting is named."""
        server.allow_metadata = False
        with engine(configured(server.url), tmp_path) as run:
            run.write(stamped(trace={"traceId": TRACE}))
            assert "structured_metadata" in run.issue()
            server.allow_metadata = True
            run.deliver()
        assert len(server.lines()) == 1

    def test_a_label_that_is_required_holds(self, server: FakeLoki, tmp_path: Path) -> None:
        """A label that the tenant must have is for a person to add."""
        server.required_label = "team"
        with engine(configured(server.url), tmp_path) as run:
            run.write(stamped())
            assert "add them to labels" in run.issue()
        assert run.letters() == []


class TestProbe:
    def probed(self, url: str, **changes: Any) -> Outcome:
        """Return what a health check finds."""
        destination: LokiDestination = configured(url, **changes).open(lambda path: lambda row: None, None)
        try:
            return destination.probe()
        finally:
            destination.close()

    @pytest.mark.parametrize("empty", [None, Answer(204, b""), said(400, NO_STREAMS)])
    def test_well(self, server: FakeLoki, empty: Answer | None) -> None:
        """However the version answers to no streams, it is well, and nothing is stored."""
        server.empty = empty or server.empty
        assert self.probed(server.url) == Delivered()
        assert server.streams == {}

    @pytest.mark.parametrize(
        ("fault", "kind"),
        [(said(401, "no org id"), Hold), (said(404, ""), Hold), (said(503, ""), Retry), (said(400, "tenant ID"), Hold)],
    )
    def test_unwell(self, server: FakeLoki, fault: Answer, kind: type[Outcome]) -> None:
        """Credentials, a wrong address and an outage are told apart."""
        server.fault = fault
        assert type(self.probed(server.url)) is kind

    def test_nobody_there(self) -> None:
        """A server that can't be reached may be back later."""
        assert isinstance(self.probed("http://127.0.0.1:9"), Retry)
