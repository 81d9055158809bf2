from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import TypeAdapter, ValidationError

from logweir.times import rfc3339
from sinks.cloudwatch import (
    EVENT_OVERHEAD,
    MAX_EVENTS,
    MAX_MESSAGE_BYTES,
    MAX_REQUEST_BYTES,
    CloudWatch,
    CloudWatchDestination,
)
from sinks.cloudwatch_answers import EXPIRED, read_answer, read_error
from sinks.destination import Delivered, Hold, Invalid, Outcome, Partial, Records, Retry, TooLarge
from sinks.window import TOO_NEW, TOO_OLD
from tests.servers.cloud import Answer, Refused
from tests.servers.cloudwatch import NO_GROUP, FakeCloudWatch, error
from tests.sinks.cloud_support import ODD, engine

SECRET = "pl4nted/s3cret+key"
TOKEN = "pl4nted-t0ken"
HOUR = 3600.0


@pytest.fixture
def server() -> Iterator[FakeCloudWatch]:
    """A new stand-in for CloudWatch Logs, which at the end has seen nothing that may not be sent."""
    with FakeCloudWatch(SECRET) as fake:
        yield fake
    assert fake.violations == []


def configured(url: str = "http://127.0.0.1:9", **changes: Any) -> CloudWatch:
    """Return settings as a flow file gives them."""
    given = {
        "type": "cloudwatch",
        "region": FakeCloudWatch.region,
        "log_group": "logs",
        "log_stream": "stream",
        "access_key_id": FakeCloudWatch.access_key,
        "secret_access_key": SECRET,
        "endpoint_url": url,
    }
    return TypeAdapter(CloudWatch).validate_python({**given, **changes})


def at(seconds: float, size: int = 0, **more: Any) -> bytes:
    """Return a record of this time, as many bytes long."""
    value = orjson.dumps({"timestamp": rfc3339(seconds), **more, "pad": ""})
    return value[:-2] + b"x" * (size - len(value)) + value[-2:]


class TestSettings:
    @pytest.mark.parametrize(
        "changes",
        [
            {"log_group": "with space"},
            {"log_group": "g" * 513},
            {"log_stream": "a:b"},
            {"log_stream": "*"},
            {"secret_access_key": None},
            {"access_key_id": None, "secret_access_key": None, "session_token": TOKEN},
        ],
    )
    def test_what_the_service_would_refuse_is_a_finding(self, changes: dict[str, Any]) -> None:
        """A name or half a credential that can't work is refused before anything is sent."""
        with pytest.raises(ValidationError):
            configured(**changes)

    def test_a_full_batch_fits(self) -> None:
        """With the default settings no request is larger than the service takes, so none is split."""
        batch = configured().batch
        assert batch.max_bytes + batch.max_records * EVENT_OVERHEAD <= MAX_REQUEST_BYTES


class TestTimes:
    @pytest.mark.parametrize(
        ("time", "expected"),
        [
            ("2026-01-02T03:04:05Z", 1767323045000),
            ("2026-01-02T03:04:05.678901Z", 1767323045679),
            ("1970-01-01T00:00:00.005Z", 5),
            ("9999-12-31T23:59:59Z", 253402300799000),
        ],
    )
    def test_a_time(self, time: str, expected: int) -> None:
        """An event's time is the record's in milliseconds."""
        taker = CloudWatchDestination(configured())
        (piece,) = taker.encode(Records([b"{}"], ["1"], [None], [time]))
        assert piece == b"%25d{}" % expected

    def test_the_size_of_a_body_is_the_services_formula(self) -> None:
        """The body that the engine measures is as long as what the service counts."""
        taker = CloudWatchDestination(configured())
        values = [b'{"a":1}', '{"é":"\U0001f600"}'.encode()]
        body = taker.frame(taker.encode(Records(values, ["1", "2"], [None, None], ["2026-01-02T03:04:05Z"] * 2)))
        assert len(body) == sum(len(value) + EVENT_OVERHEAD for value in values)


class TestDelivery:
    def test_odd_records_arrive_as_they_are(self, server: FakeCloudWatch, tmp_path: Path) -> None:
        """Unicode, control characters, empty messages, huge numbers and nulls arrive byte for byte."""
        odd = [value.replace(b'"timestamp":17', b'"timestamp":1') for value in ODD]
        with engine(configured(server.url), tmp_path) as run:
            run.deliver(*odd)
        dead = [letter["record"] for letter in run.letters()]
        assert sorted([*server.messages(), *dead]) == sorted(value.decode() for value in odd)
        assert [letter["cause"] for letter in run.letters()] == [TOO_OLD]

    def test_events_are_in_order_within_a_request(self, server: FakeCloudWatch, tmp_path: Path) -> None:
        """Records out of order, also of several topics, are sent in the order of their time."""
        now = time.time()
        values = [at(now - second, number=number) for number, second in enumerate([5, 1, 9, 3, 3, 7])]
        with engine(configured(server.url), tmp_path) as run:
            run.deliver(*values)
        assert server.messages() == [values[index].decode() for index in [2, 5, 0, 3, 4, 1]]
        assert server.puts == [6]

    def test_refused_events_are_set_aside_one_by_one(self, server: FakeCloudWatch, tmp_path: Path) -> None:
        """Events that an answer of 200 refuses are dead letters with the reason, wherever they stand in the request."""
        server.retention_days = 3
        now = time.time()
        ages = {"old": 15 * 24, "expired": 4 * 24, "new": -3, "now": 0, "soon": -1.9, "yesterday": 20}
        for some in (list(ages), list(reversed(ages))):
            server.streams["logs"]["stream"].clear()
            with engine(configured(server.url), tmp_path / some[0]) as run:
                run.deliver(*[at(now - ages[name] * HOUR, name=name) for name in some])
            assert {orjson.loads(each)["name"] for each in server.messages()} == {"now", "soon", "yesterday"}
            causes = {orjson.loads(letter["record"])["name"]: letter["cause"] for letter in run.letters()}
            assert causes == {"old": TOO_OLD, "expired": EXPIRED, "new": TOO_NEW}
            assert run.delivery.ledger.delivered == 3

    def test_a_span_over_a_day_is_sent_in_parts(self, server: FakeCloudWatch, tmp_path: Path) -> None:
        """Exactly 24 hours are one request, a millisecond more is two, and interleaved days are not halved away."""
        now = round(time.time(), 3)
        with engine(configured(server.url), tmp_path / "a") as run:
            run.deliver(at(now), at(now - 24 * HOUR))
        with engine(configured(server.url), tmp_path / "b") as run:
            run.deliver(at(now), at(now - 24 * HOUR - 0.001))
        with engine(configured(server.url), tmp_path / "c") as run:
            run.deliver(*[at(now - 25 * HOUR * (number % 3)) for number in range(30)])
        assert server.puts == [2, 1, 1, 10, 10, 10]

    def test_a_part_that_fails_is_sent_again_alone(self, server: FakeCloudWatch, tmp_path: Path) -> None:
        """Of a request over several days, what was taken is never sent again."""
        now = time.time()
        for planted in (Answer(503), error(400, "InvalidParameterException", "planted"), error(400, "Odd", "planted")):
            server.script.extend([None, planted])
            with engine(configured(server.url), tmp_path) as run:
                run.deliver(*[at(now - 25 * HOUR * (number % 3), n=f"{number} {planted}") for number in range(9)])
        assert max(Counter(server.messages()).values()) == 1
        assert len(server.messages()) == 27

    def test_the_number_of_events(self, server: FakeCloudWatch, tmp_path: Path) -> None:
        """10,000 events go in one request, one more goes in another."""
        value = at(time.time())
        with engine(configured(server.url), tmp_path, max_records=MAX_EVENTS + 1) as run:
            run.deliver(*[value] * MAX_EVENTS)
            assert server.puts == [MAX_EVENTS]
            run.deliver(*[value] * (MAX_EVENTS + 1))
        assert sorted(server.puts) == [1, MAX_EVENTS, MAX_EVENTS]

    def test_the_size_of_a_request(self, server: FakeCloudWatch, tmp_path: Path) -> None:
        """A request of exactly 1,048,576 bytes is sent whole, one byte more is halved."""
        now, half = time.time(), MAX_REQUEST_BYTES // 2 - EVENT_OVERHEAD
        with engine(configured(server.url), tmp_path) as run:
            run.deliver(at(now, half), at(now, half))
            run.deliver(at(now, half), at(now, half + 1))
        assert server.puts == [2, 1, 1]

    def test_the_size_of_an_event(self, server: FakeCloudWatch, tmp_path: Path) -> None:
        """The largest event that fits a request is sent; one byte more costs that record alone among 999 others."""
        now = time.time()
        with engine(configured(server.url), tmp_path) as run:
            run.deliver(at(now, MAX_MESSAGE_BYTES))
            run.deliver(*[at(now)] * 500, at(now, MAX_MESSAGE_BYTES + 1), *[at(now)] * 499)
        assert [letter["cause"] for letter in run.letters()] == ["record too large"]
        assert len(server.messages()) == 1000

    def test_a_refused_request_is_looked_into(self, server: FakeCloudWatch, tmp_path: Path) -> None:
        """What the service calls invalid is halved until the record at fault is alone."""
        bad = error(400, "InvalidParameterException", "planted")
        server.script.extend([bad, None, bad, bad, None])
        with engine(configured(server.url), tmp_path) as run:
            run.deliver(*[at(time.time(), n=number) for number in range(4)])
        assert [letter["cause"] for letter in run.letters()] == ["rejected: InvalidParameterException"]
        assert len(server.messages()) == 3


class TestTrouble:
    @pytest.mark.parametrize(
        "fault",
        [
            error(400, "ThrottlingException", "Rate exceeded"),
            error(503, "ServiceUnavailableException", "The service cannot complete the request."),
            Answer(500, b'{"__type":"InternalFailure"}'),
            Answer(502, b"<html>Bad Gateway</html>", {"Content-Type": "text/html"}),
            Answer(200, b"<html>a captive portal</html>", {"Content-Type": "text/html"}),
            Answer(200, b""),
            Answer(200, b"[]"),
            Answer(200, b"\xff"),
            Answer(400, b"[]"),
            Answer(close=True),
        ],
    )
    def test_what_passes_is_retried(self, server: FakeCloudWatch, tmp_path: Path, fault: Answer) -> None:
        """Throttling, outages and answers that are none cost nothing but time."""
        server.script.extend([fault, fault])
        with engine(configured(server.url), tmp_path) as run:
            run.deliver(at(time.time()))
        assert len(server.messages()) == 1
        assert run.delivery.stats.retries == 2

    @pytest.mark.parametrize("changes", [{"secret_access_key": "wrong-" + SECRET}, {"session_token": TOKEN}])
    def test_wrong_credentials_hold(self, server: FakeCloudWatch, tmp_path: Path, changes: dict[str, str]) -> None:
        """A wrong secret or token keeps everything, names the setting, and shows neither."""
        settings = configured(server.url, **changes)
        with engine(settings, tmp_path) as run:
            run.write(at(time.time()))
            issue = run.issue()
            assert f"check {'secret_access_key' if 'secret_access_key' in changes else 'access_key_id'}" in issue
            server.secret, server.token = changes.get("secret_access_key", SECRET), changes.get("session_token", "")
            run.deliver()
        assert len(server.messages()) == 1
        assert "pl4nted" not in run.said() + repr(settings) + repr(run.destination)

    def test_a_quoted_token_is_not_shown(self, server: FakeCloudWatch, tmp_path: Path) -> None:
        """Though the service quotes the signed headers, no issue has the session token."""
        server.token = TOKEN
        with engine(configured(server.url, session_token=TOKEN, secret_access_key="other"), tmp_path) as run:
            run.write(at(time.time()))
            assert run.issue().startswith("400 InvalidSignatureException: The request signature we calculated")
        assert TOKEN not in run.said()

    def test_expired_credentials_are_found_anew(
        self, server: FakeCloudWatch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Credentials of the usual AWS chain that are renewed, or come late, are used without a restart."""
        shared = tmp_path / "credentials"
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(shared))
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
            monkeypatch.delenv(name, raising=False)
        with engine(configured(server.url, access_key_id=None, secret_access_key=None), tmp_path) as run:
            run.write(at(time.time()))
            assert "access_key_id and secret_access_key" in run.issue()
            server.fault = error(400, "ExpiredTokenException", "The security token included in the request is expired")
            shared.write_text(f"[default]\naws_access_key_id={server.access_key}\naws_secret_access_key={SECRET}\n")
            run.until(lambda: "session_token is past its time" in run.delivery.status()["issue"])
            server.fault = None
            run.deliver()
        assert len(server.messages()) == 1

    def test_a_missing_group_holds(self, server: FakeCloudWatch, tmp_path: Path) -> None:
        """Without `create` a missing group is for a person to mend, and what waits is delivered then."""
        with engine(configured(server.url, log_group="later"), tmp_path) as run:
            run.write(at(time.time()))
            assert run.issue().endswith("check log_group, log_stream and region, or set `create: true`")
            server.streams["later"] = {"stream": []}
            run.deliver()
        assert len(server.messages("later")) == 1

    def test_group_and_stream_are_created(self, server: FakeCloudWatch, tmp_path: Path) -> None:
        """With `create` they are made when they are missed, also by several senders at once, and only then."""
        with engine(configured(server.url, log_group="new", create=True), tmp_path, max_records=1) as run:
            run.deliver(*[at(time.time())] * 20)
            made = Counter(server.operations)
            run.deliver(*[at(time.time())] * 20)
        assert len(server.messages("new")) == 40
        assert made["CreateLogStream"] >= 1
        assert Counter(server.operations)["CreateLogStream"] == made["CreateLogStream"]

    @pytest.mark.parametrize("planted", ["ResourceAlreadyExistsException", "OperationAbortedException"])
    @pytest.mark.parametrize("what", ["_CreateLogGroup", "_CreateLogStream"])
    def test_another_creates_it_meanwhile(
        self, server: FakeCloudWatch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, planted: str
    ) -> None:
        """Where several create at once, and the service says so to the others, that is no error."""
        create = getattr(server, what)

        def raced(**names: str) -> None:
            create(**names)
            raise Refused(error(400, planted, "A conflicting operation is in progress"))

        monkeypatch.setattr(server, what, raced)
        with engine(configured(server.url, log_group="new", create=True), tmp_path, max_records=1) as run:
            run.deliver(*[at(time.time())] * 20)
            assert [each for each in run.told if each["event"] == "stream.health" and each["status"] == "error"] == []
            assert run.delivery.stats.retries == 0
        assert len(server.messages("new")) == 20

    def test_what_was_created_is_there_later(self, server: FakeCloudWatch, tmp_path: Path) -> None:
        """A stream that the service doesn't know yet after it was created is tried again."""
        server.script.extend([NO_GROUP, None, NO_GROUP])
        with engine(configured(server.url, create=True, log_stream="later"), tmp_path) as run:
            run.deliver(at(time.time()))
            assert run.delivery.stats.retries == 1
            assert "is not there yet" in run.said()
        assert len(server.messages(stream="later")) == 1

    def test_creating_may_be_forbidden(self, server: FakeCloudWatch, tmp_path: Path) -> None:
        """When creating is what is forbidden, the issue says so."""
        forbidden = error(400, "AccessDeniedException", "User: x is not authorized to perform: logs:CreateLogStream")
        server.script.extend([NO_GROUP, forbidden])
        with engine(configured(server.url, create=True), tmp_path) as run:
            run.write(at(time.time()))
            assert "logs:CreateLogStream: allow these credentials" in run.issue()
            run.deliver()
        assert len(server.messages()) == 1

    def test_nobody_listens(self, tmp_path: Path) -> None:
        """A refused connection is retried."""
        with engine(configured(), tmp_path) as run:
            run.write(at(time.time()))
            run.until(lambda: run.delivery.stats.retries)
            assert "EndpointConnectionError" in run.said()

    def test_a_region_that_is_none(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without a region anywhere the issue asks for it."""
        for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
        with engine(configured(region=None), tmp_path) as run:
            run.write(at(time.time()))
            assert run.issue().endswith("set region")

    def test_many_senders(self, server: FakeCloudWatch, tmp_path: Path) -> None:
        """Requests that are sent side by side don't take each other's bodies or answers."""
        now = time.time()
        with engine(configured(server.url), tmp_path, max_records=3, concurrency=8) as run:
            run.deliver(*[at(now - (number % 7 == 0) * 20 * 24 * HOUR, n=number) for number in range(700)])
        assert sorted(orjson.loads(each)["n"] for each in server.messages()) == [n for n in range(700) if n % 7]
        assert [orjson.loads(letter["record"])["n"] % 7 for letter in run.letters()] == [0] * 100


class TestAnswers:
    @pytest.mark.parametrize(
        ("status", "code", "kind"),
        [
            (400, "ThrottlingException", Retry),
            (400, "OperationAbortedException", Retry),
            (500, "InternalFailure", Retry),
            (503, "ServiceUnavailableException", Retry),
            (408, "", Retry),
            (413, "", TooLarge),
            (400, "InvalidParameterException", Invalid),
            (400, "SerializationException", Invalid),
            (400, "AccessDeniedException", Hold),
            (400, "UnrecognizedClientException", Hold),
            (400, "ExpiredTokenException", Hold),
            (403, "", Hold),
            (404, "UnknownOperationException", Hold),
            (400, "ResourceNotFoundException", Hold),
        ],
    )
    def test_errors(self, status: int, code: str, kind: type[Outcome]) -> None:
        """Each error of the service has its outcome."""
        assert type(read_error(status, code, "said")) is kind

    @pytest.mark.parametrize(
        ("info", "rejected"),
        [
            ({}, {}),
            ({"tooOldLogEventEndIndex": 1}, {2: TOO_OLD}),
            ({"expiredLogEventEndIndex": 2}, {2: EXPIRED, 0: EXPIRED}),
            ({"tooOldLogEventEndIndex": 1, "expiredLogEventEndIndex": 2}, {2: TOO_OLD, 0: EXPIRED}),
            ({"tooNewLogEventStartIndex": 2}, {1: TOO_NEW}),
            ({"tooNewLogEventStartIndex": 0}, {2: TOO_NEW, 0: TOO_NEW, 1: TOO_NEW}),
        ],
    )
    def test_rejected_events(self, info: dict[str, int], rejected: dict[int, str]) -> None:
        """Indexes of the answer, which count the events in order of time, are those of the records."""
        outcome = read_answer(orjson.dumps({"nextSequenceToken": "1", "rejectedLogEventsInfo": info}), [2, 0, 1])
        found = {index: cause for index, (cause, _) in outcome.rejected.items()} if isinstance(outcome, Partial) else {}
        assert found == rejected
        assert rejected or outcome == Delivered()

    @pytest.mark.parametrize(
        "info",
        [
            {"tooOldLogEventEndIndex": 4},
            {"tooOldLogEventEndIndex": -1},
            {"expiredLogEventEndIndex": 9},
            {"tooNewLogEventStartIndex": 4},
            {"tooNewLogEventStartIndex": 1, "tooOldLogEventEndIndex": 2},
        ],
    )
    def test_ranges_of_another_request(self, info: dict[str, int]) -> None:
        """Ranges that don't fit the events that were sent are no verdict on any of them."""
        assert isinstance(read_answer(orjson.dumps({"rejectedLogEventsInfo": info}), [2, 0, 1]), Retry)

    @pytest.mark.parametrize("body", [b"", b"5", b"[]", b"<html>", b'{"rejectedLogEventsInfo":5}', b"\xff"])
    def test_garbage(self, body: bytes) -> None:
        """An answer that is none of the service's is not believed."""
        assert isinstance(read_answer(body, [0]), Retry)


def test_moto(moto: str, tmp_path: Path) -> None:
    """An independent server of the API takes what is sent, creates what is asked for, and gives the messages back."""
    now = time.time()
    values = [*ODD[:4], *[at(now - number % 5, n=number) for number in range(50)]]
    with engine(configured(moto, create=True), tmp_path, max_records=10) as run:
        run.deliver(*values)
        client = run.destination._aws.connected()  # type: ignore[attr-defined]
        got = client.get_log_events(logGroupName="logs", logStreamName="stream", startFromHead=True)["events"]
    assert sorted(event["message"] for event in got) == sorted(value.decode() for value in values)
