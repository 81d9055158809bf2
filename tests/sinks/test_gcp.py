from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from logweir.batch import Batch, ReadAt
from operators.decode import Decoder
from operators.formats import LOGWEIR
from operators.projection import Projection
from sinks.destination import Delivered, Hold, Invalid, Outcome, Partial, Records, Retry, TooLarge
from sinks.gcp import MAX_ENTRY_BYTES, MAX_REQUEST_BYTES, Gcp, GcpDestination
from sinks.gcp_answers import read_answer
from sinks.http import Response
from tests.servers.cloud import Answer
from tests.servers.gcp import PARTIAL, FakeLogging, error, key_pair
from tests.sinks.cloud_support import ODD, engine
from tests.sinks.test_elasticsearch import RECORDS, _safe

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture
def server() -> Iterator[FakeLogging]:
    """A new stand-in for Cloud Logging, which at the end has seen nothing that may not be sent."""
    with FakeLogging(key_pair()[1]) as fake:
        yield fake
    assert fake.violations == []


def configured(url: str = "http://127.0.0.1:9", **changes: Any) -> Gcp:
    """Return settings as a flow file gives them."""
    key = {"client_email": FakeLogging.email, "private_key": key_pair()[0]}
    given = {"type": "gcp", "project_id": "project-1", "log_name": "a/b", "credentials": key, "url": url}
    return TypeAdapter(Gcp).validate_python({**given, **changes})


def entries(*values: bytes, ids: list[str] | None = None, **changes: Any) -> list[dict[str, Any]]:
    """Return the entry that each record becomes."""
    settings = configured(**changes)
    projection = Projection(settings.fields(), LOGWEIR)
    taker = GcpDestination(settings, projection.getter)
    batch = Batch("logs", 0, list(values), range(len(values)), origin=ReadAt(1_790_000_000.0))
    Decoder(projection, identified=True)(batch)
    batch.identities = ids or [str(number) for number in range(len(values))]
    columns = Records.of(batch)
    found: list[dict[str, Any]] = json.loads(taker.frame(taker.encode(columns)))["entries"]
    taker.close()
    return found


def now(**more: Any) -> bytes:
    """Return a record of now."""
    return orjson.dumps({"timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **more})


class TestSettings:
    @pytest.mark.parametrize(
        "changes",
        [
            {"project_id": "My Project"},
            {"log_name": "a b"},
            {"log_name": ""},
            {"credentials_file": "/key.json"},
            {"labels": {str(number): "" for number in range(60)}, "label_fields": {f"f{n}": "level" for n in range(5)}},
        ],
    )
    def test_what_the_service_would_refuse_is_a_finding(self, changes: dict[str, Any]) -> None:
        """What can't work is refused before anything is sent."""
        with pytest.raises(ValidationError):
            configured(**changes)

    def test_the_key_from_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A service account's key is read from its usual variables, unless other credentials are named."""
        monkeypatch.setenv("GCP_SERVICE_ACCOUNT_EMAIL", "me")
        monkeypatch.setenv("GCP_PRIVATE_KEY", "key")
        settings = TypeAdapter(Gcp).validate_python({"type": "gcp", "project_id": "p"})
        assert settings.credentials is not None
        assert settings.credentials.private_key.get_secret_value() == "key"
        named = TypeAdapter(Gcp).validate_python({"type": "gcp", "project_id": "p", "credentials_file": "f"})
        assert named.credentials is None


class TestEncode:
    @given(st.lists(RECORDS, min_size=1, max_size=4))
    def test_each_payload_is_its_record(self, some: list[dict[str, Any]]) -> None:
        """Whatever the fields hold, an entry carries the record as it is, and is sent alike beside any other."""
        values = [orjson.dumps(_safe(record)) for record in some]
        ids = [str(record.get("id") or "-") for record in some]
        usual = entries(*values, ids=ids)
        assert [entry["jsonPayload"] for entry in usual] == [_safe(record) for record in some]
        odd = b'{"timestamp":"then","level":[],"trace":{"traceId":"7","spanId":"7"}}'
        assert entries(*values, odd, ids=[*ids, '"'])[:-1] == usual

    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            ("2026-11-01T10:00:00Z", "2026-11-01T10:00:00Z"),
            ("2026-11-01T10:00:00.123456789Z", "2026-11-01T10:00:00.123456789Z"),
            ("2026-11-01T10:00:00+02:00", "2026-11-01T08:00:00.000Z"),
            ("2026-11-01T10:00:00", "2026-11-01T10:00:00.000Z"),
            ("2026-02-30T10:00:00Z", "2026-09-21T14:13:20.000Z"),
            ("2026-11-01T24:00:00Z", "2026-09-21T14:13:20.000Z"),
            ("2026-11-01T10:00:00Z\n2026-11-01T10:00:00Z", "2026-09-21T14:13:20.000Z"),
            (1767323045678, "2026-01-02T03:04:05.678Z"),
            (1e21, "2026-09-21T14:13:20.000Z"),
            ("", "2026-09-21T14:13:20.000Z"),
            (None, "2026-09-21T14:13:20.000Z"),
        ],
    )
    def test_timestamp(self, given: Any, expected: str) -> None:
        """An entry's timestamp is one that the service can read: the record's, or that of its arrival."""
        (entry,) = entries(orjson.dumps({"timestamp": given}))
        assert entry["timestamp"] == expected

    @pytest.mark.parametrize(
        ("level", "severity"),
        [
            ("trace", "DEBUG"),
            ("debug", "DEBUG"),
            ("INFO", "INFO"),
            ("notice", "NOTICE"),
            ("warning", "WARNING"),
            (50, "ERROR"),
            ("critical", "CRITICAL"),
            ("Alert", "ALERT"),
            ("emergency", "EMERGENCY"),
            ("odd", "DEFAULT"),
            (None, "DEFAULT"),
            ([1], "DEFAULT"),
        ],
    )
    def test_severity(self, level: Any, severity: str) -> None:
        """Each level is one of the service's severities, which tell apart more than levels do."""
        assert entries(orjson.dumps({"level": level}))[0]["severity"] == severity

    @pytest.mark.parametrize(
        ("trace", "expected"),
        [
            ({"traceId": TRACE, "spanId": SPAN}, {"trace": f"projects/project-1/traces/{TRACE}", "spanId": SPAN}),
            ({"traceId": TRACE}, {"trace": f"projects/project-1/traces/{TRACE}"}),
            ({"traceId": TRACE, "spanId": "no"}, {"trace": f"projects/project-1/traces/{TRACE}"}),
            ({"traceId": TRACE, "spanId": 5}, {"trace": f"projects/project-1/traces/{TRACE}"}),
            ({"traceId": TRACE[1:], "spanId": SPAN}, {}),
            ({"traceId": TRACE[1:] + '"', "spanId": SPAN}, {}),
            ({"spanId": SPAN}, {}),
            ({"traceId": ["a"]}, {}),
            ("text", {}),
        ],
    )
    def test_trace(self, trace: Any, expected: dict[str, str]) -> None:
        """A trace is named as the service joins it; what is no id is left out, alone and among others."""
        value = orjson.dumps({"trace": trace})
        good = orjson.dumps({"trace": {"traceId": TRACE, "spanId": SPAN}})
        for entry in (entries(value)[0], entries(good, value, b"{}")[1]):
            assert {name: entry[name] for name in ("trace", "spanId") if name in entry} == expected

    def test_labels(self) -> None:
        """Labels that come from fields are text, and missing ones are left out."""
        fields = {"service": "context.service", "n": "metadata.n"}
        large = b'{"metadata":{"n":%b}}' % (b"1" * 40)
        got = entries(b'{"context":{"service":"a\\"b"},"metadata":{"n":[5]}}', b"{}", large, label_fields=fields)
        assert [entry.get("labels") for entry in got] == [{"service": 'a"b', "n": "[5]"}, None, {"n": "1" * 40}]

    def test_insert_ids(self) -> None:
        """Odd ids are escaped, long ones hashed."""
        odd = ['a"\\\n', "é", "x" * 512]
        got = [entry["insertId"] for entry in entries(*[b"{}"] * 4, ids=[*odd, "x" * 513])]
        assert got[:3] == odd
        assert len(got[3]) == 32


class TestDelivery:
    def test_odd_records_arrive_as_they_are(self, server: FakeLogging, tmp_path: Path) -> None:
        """Unicode, control characters, empty messages, huge numbers and nulls arrive; log and resource are named."""
        resource = {"type": "k8s_container", "labels": {"cluster_name": "c"}}
        with engine(configured(server.url, resource=resource, labels={"team": "a"}), tmp_path) as run:
            run.deliver(*ODD)
        assert server.payloads() == [json.loads(value) for value in ODD]
        assert server.common == {
            "logName": "projects/project-1/logs/a%2Fb",
            "resource": resource,
            "labels": {"team": "a"},
            "partialSuccess": True,
        }

    def test_without_compression(self, server: FakeLogging, tmp_path: Path) -> None:
        """Bodies go as they are if that is set."""
        with engine(configured(server.url, compression=False), tmp_path) as run:
            run.deliver(now())
        assert len(server.entries) == 1

    def test_entries_that_are_refused_are_set_aside(self, server: FakeLogging, tmp_path: Path) -> None:
        """Of one request the valid entries are written once, the others set aside with the service's words."""
        values = [now(n=0), b'{"n":1,"timestamp":"2099-01-01T00:00:00Z"}', now(n=2)]
        with engine(configured(server.url), tmp_path) as run:
            run.deliver(*values)
        assert [payload["n"] for payload in server.payloads()] == [0, 2]
        ((cause, reason),) = [(letter["cause"], letter["reason"]) for letter in run.letters()]
        assert cause == "rejected: INVALID_ARGUMENT"
        assert reason.endswith("more than 24 hours in the future.")
        assert server.writes == [3]

    def test_entries_that_may_pass_later_are_sent_again(self, server: FakeLogging, tmp_path: Path) -> None:
        """What only some entries meet, such as a quota, is waited for with these alone."""
        seen: list[int] = []

        def busy(entry: dict[str, Any]) -> tuple[int, str] | None:
            seen.append(entry["jsonPayload"]["n"])
            return (8, "Quota exceeded") if seen.count(1) == 1 and seen[-1] == 1 else None

        server.entry_fault = busy
        with engine(configured(server.url), tmp_path) as run:
            run.deliver(now(n=0), now(n=1), now(n=2))
        assert sorted(seen) == [0, 1, 1, 2]

    def test_the_size_of_an_entry(self, server: FakeLogging, tmp_path: Path) -> None:
        """The largest entry is sent; one byte more costs that record alone among 999 others."""
        with engine(configured(server.url), tmp_path) as run:
            (piece,) = run.destination.encode(run.records(now(id="0123", pad="")))
            room = MAX_ENTRY_BYTES - len(piece)
            run._offset = 0
            run.deliver(now(id="0123", pad="x" * room))
            others = [now(id=f"{n}") for n in range(10_000, 10_999)]
            run.deliver(*others[:500], now(id="0124", pad="x" * (room + 1)), *others[500:])
        assert [letter["cause"] for letter in run.letters()] == ["record too large"]
        assert len(server.entries) == 1000

    def test_the_size_of_a_request(self, server: FakeLogging, tmp_path: Path) -> None:
        """A request of exactly 10 MB is sent whole, one byte more is halved."""
        for more in (0, 1):
            with engine(configured(server.url), tmp_path) as run:
                values = [now(id=f"{n:03}", pad="x" * 200_000) for n in range(49)]
                pieces = run.destination.encode(run.records(*values, now(id="049", pad="")))
                rest = MAX_REQUEST_BYTES - len(run.destination.frame(pieces)) + more
                run._offset = 0
                server.writes.clear()
                run.deliver(*values, now(id="049", pad="x" * rest))
            assert server.writes == ([50] if not more else [25, 25])

    def test_a_refused_request_is_looked_into(self, server: FakeLogging, tmp_path: Path) -> None:
        """What is invalid as a whole is halved until the record at fault is alone."""
        bad = error(3, "Invalid JSON payload received. Value is out of range.")
        server.script.extend([bad, None, bad, bad, None])
        with engine(configured(server.url), tmp_path) as run:
            run.deliver(*[now(n=number) for number in range(4)])
        assert [letter["cause"] for letter in run.letters()] == ["request refused"]
        assert len(server.entries) == 3


class TestTrouble:
    @pytest.mark.parametrize(
        "fault",
        [
            error(8, "Quota exceeded for quota metric 'Write requests'"),
            error(13, "Internal error encountered."),
            Answer(503, b'{"error":{"code":503,"message":"The service is unavailable.","status":"UNAVAILABLE"}}'),
            Answer(504, b"<html>Gateway Timeout</html>"),
            Answer(200, b"<html>a captive portal</html>"),
            Answer(200, b"[]"),
            Answer(200, b""),
            Answer(close=True),
        ],
    )
    def test_what_passes_is_retried(self, server: FakeLogging, tmp_path: Path, fault: Answer) -> None:
        """Quotas, outages and answers that are none cost nothing but time."""
        server.script.extend([fault, fault])
        with engine(configured(server.url), tmp_path) as run:
            run.deliver(now())
        assert len(server.entries) == 1
        assert run.delivery.stats.retries == 2

    def test_a_refused_key_holds(self, server: FakeLogging, tmp_path: Path) -> None:
        """A key that the service doesn't know keeps everything, and no part of it is shown."""
        server.public_key, known = "-", server.public_key
        settings = configured(server.url)
        with engine(settings, tmp_path) as run:
            run.write(now())
            assert "check credentials, or credentials_file" in run.issue()
            server.public_key = known
            run.deliver()
        assert len(server.entries) == 1
        said = run.said() + repr(settings) + repr(run.destination)
        assert key_pair()[0].splitlines()[3][:20] not in said
        assert not any(token in said for token in server.tokens)

    def test_a_key_that_is_none_holds(self, server: FakeLogging, tmp_path: Path) -> None:
        """What is no key is named by its setting, and is not shown."""
        key = {"client_email": "me", "private_key": "pl4nted-s3cret"}
        with engine(configured(server.url, credentials=key), tmp_path) as run:
            run.write(now())
            assert "credentials.private_key is no private key" in run.issue()
        assert "pl4nted" not in run.said()

    def test_a_key_on_one_line(self, server: FakeLogging, tmp_path: Path) -> None:
        """A key from a variable may have its line breaks written as backslash and n."""
        key = {"client_email": server.email, "private_key": key_pair()[0].replace("\n", "\\n")}
        with engine(configured(server.url, credentials=key), tmp_path) as run:
            run.deliver(now())
        assert len(server.entries) == 1

    def test_a_credentials_file_that_is_mended(self, server: FakeLogging, tmp_path: Path) -> None:
        """A missing file of credentials holds the stream, and is read once it is there, without a restart."""
        file = tmp_path / "key.json"
        with engine(configured(server.url, credentials=None, credentials_file=str(file)), tmp_path) as run:
            run.write(now())
            assert "credentials_file" in run.issue()
            file.write_text("[]")
            run.until(lambda: "no object" in run.delivery.status()["issue"])
            info = {"type": "service_account", "client_email": server.email, "private_key": key_pair()[0]}
            file.write_text(json.dumps({**info, "token_uri": "http://127.0.0.1:9"}))
            run.deliver()
        assert len(server.entries) == 1

    def test_application_default_credentials(
        self, server: FakeLogging, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Without any setting the usual variable names the file."""
        file = tmp_path / "key.json"
        info = {"type": "service_account", "client_email": server.email, "private_key": key_pair()[0]}
        file.write_text(json.dumps({**info, "token_uri": "http://127.0.0.1:9"}))
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
        with engine(configured(server.url, credentials=None), tmp_path) as run:
            run.deliver(now())
        assert len(server.entries) == 1

    def test_a_token_is_renewed(self, server: FakeLogging, tmp_path: Path) -> None:
        """One token serves many requests, and is renewed before it expires."""
        with engine(configured(server.url), tmp_path) as run:
            run.deliver(now(n=1))
            run.deliver(now(n=2))
            assert len(server.tokens) == 1
            credentials = run.destination._tokens._credentials  # type: ignore[attr-defined]
            credentials.expiry = credentials.expiry.replace(year=2020)
            # A token of the same second would be the same.
            time.sleep(1.1)
            run.deliver(now(n=3))
        assert len(server.tokens) == 2

    def test_a_wrong_resource_holds(self, server: FakeLogging, tmp_path: Path) -> None:
        """A misspelt resource is for a person to mend: no record is set aside for it."""
        with engine(configured(server.url, resource={"type": "globe"}), tmp_path) as run:
            run.write(now())
            assert run.issue().endswith("check resource, log_name and project_id")
        assert run.letters() == []


def partial(errors: Any) -> bytes:
    """Return the body of an error that tells of entries."""
    return orjson.dumps({"error": {"code": 400, "details": [{"@type": PARTIAL, "logEntryErrors": errors}]}})


class TestAnswers:
    @pytest.mark.parametrize(
        ("answer", "kind"),
        [
            (Answer(), Delivered),
            (error(8, "m"), Retry),
            (Answer(500, b""), Retry),
            (Answer(413, b"<html>"), TooLarge),
            (error(16, "m"), Hold),
            (error(7, "Cloud Logging API has not been used in project 1 before or it is disabled."), Hold),
            (Answer(404, b"<html>"), Hold),
            (error(3, "Invalid value at 'entries[0].json_payload' (log_name)"), Invalid),
            (error(3, 'Name "log_name" is not a valid log name'), Hold),
            (Answer(400, b"\xff"), Hold),
            (Answer(400, partial({"0": {"code": 3, "message": "m"}})), Partial),
            (Answer(400, partial({"2": {"code": 3, "message": "m"}})), Retry),
            (Answer(400, partial({"-1": {"code": 3, "message": "m"}})), Retry),
            (Answer(400, partial({"x": {"code": 3}})), Invalid),
            (Answer(400, partial([1])), Invalid),
            (Answer(400, partial({"0": 5})), Invalid),
            (Answer(400, b'{"error":{"details":5}}'), Invalid),
            (Answer(400, b'{"error":5}'), Hold),
        ],
    )
    def test_whole(self, answer: Answer, kind: type[Outcome]) -> None:
        """Each answer has its outcome, and what can't be believed is looked into."""
        assert type(read_answer(Response(answer.status, {}, answer.body), 2)) is kind

    def test_entries(self) -> None:
        """Each entry's own code says what becomes of it."""
        codes = {"0": 3, "2": 14, "3": 7}
        body = partial({index: {"code": code, "message": f"m{code}"} for index, code in codes.items()})
        outcome = read_answer(Response(403, {}, body), 4)
        assert isinstance(outcome, Partial)
        assert outcome.rejected == {0: ("rejected: INVALID_ARGUMENT", "INVALID_ARGUMENT: m3")}
        assert outcome.retry == [2, 3]
        assert outcome.reason == "UNAVAILABLE: m14"
        assert "roles/logging.logWriter" in outcome.issue
