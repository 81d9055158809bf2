from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import TypeAdapter, ValidationError

from flows.sources.generate import Generator
from logweir.json_text import without_halves
from sinks.destination import Delivered, Hold, Outcome, Retry
from sinks.otlp import MAX_REQUEST_BYTES, Otlp
from sinks.otlp_answers import REJECTED, REJECTED_IN_PART
from tests.servers.cloud import Answer
from tests.servers.otlp import JSON, PROTOBUF, FakeOtlp, status, success
from tests.sinks.cloud_support import ODD, engine
from tests.sinks.otlp_support import KEY, configured, promised, told

ENCODINGS = {"protobuf": PROTOBUF, "json": JSON}


@pytest.fixture
def server() -> Iterator[FakeOtlp]:
    """A new server, which at the end has seen nothing that may not be sent."""
    with FakeOtlp({"authorization": f"Bearer {KEY}"}) as fake:
        yield fake
    assert fake.violations == []


def numbered(count: int, **members: Any) -> list[bytes]:
    """Return records that differ in their id alone."""
    moment = {"timestamp": "2026-11-01T10:00:00.000Z", "message": "m"}
    return [orjson.dumps({"id": str(number), **moment, **members}) for number in range(count)]


class TestSettings:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"url": "collector:4318"}, "must be a base address"),
            ({"url": "http://"}, "must be a base address"),
            ({"url": "http://c:0"}, "must be a base address"),
            ({"url": "http://c:x"}, "must be a base address"),
            ({"url": "http://c/?key=secret"}, "must be a base address"),
            ({"url": "http://me:secret@c"}, "must not hold credentials"),
            ({"headers": {"content-type": "secret"}}, "content-type is set by logweir itself"),
            ({"headers": {"a b": "secret"}}, "'a b' is no name of a header"),
            ({"headers": {"A": "secret", "a": "secret"}}, "is there twice"),
            ({"headers": {"a": "secret\nb"}}, "must be printable ASCII"),
            ({"headers": "secret"}, "must be a mapping, or text such as"),
            ({"headers": "=secret"}, "must be a mapping, or text such as"),
            ({"resource": {"": "a"}}, "an attribute must have a name"),
            ({"encoding": "grpc"}, "must be"),
            ({"compression": "snappy"}, "compression"),
        ],
    )
    def test_wrong_ones_are_told(self, changes: dict[str, Any], message: str) -> None:
        """What can't work is named before anything is sent, without what may be secret."""
        with pytest.raises(ValidationError) as caught:
            configured(**changes)
        assert message in str(caught.value)
        assert "secret" not in str(caught.value)

    @pytest.mark.parametrize("url", ["http://c:1/x", "http://c:1/x/", "http://c:1/x/v1/logs", "http://c:1/x/v1/logs/"])
    def test_the_address_may_have_the_path(self, url: str) -> None:
        """The address with the path of logs is the same address."""
        assert configured(url).url == "http://c:1/x"

    def test_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Address and headers are read from the variables that OpenTelemetry's own exporters read."""
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:1")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Basic%20YTpi, x-team = shop,")
        settings = TypeAdapter(Otlp).validate_python({"type": "otlp"})
        assert settings.url == "http://c:1"
        found = {name: value.get_secret_value() for name, value in settings.headers.items()}
        assert found == {"Authorization": "Basic YTpi", "x-team": "shop"}
        assert TypeAdapter(Otlp).validate_python({"type": "otlp", "headers": {}}).headers == {}


class TestDelivery:
    @pytest.mark.parametrize("encoding", ENCODINGS)
    @pytest.mark.parametrize("compression", [True, "gzip", "zstd", False])
    def test_odd_records_arrive(self, server: FakeOtlp, tmp_path: Path, encoding: str, compression: Any) -> None:
        """Unicode, control characters, empty messages, huge numbers and nulls arrive, however they are packed."""
        with engine(configured(server.url, encoding=encoding, compression=compression), tmp_path) as run:
            run.deliver(*ODD)
        found = [told(record, resource) for resource, record in server.records]
        expected = [promised(json.loads(without_halves(value)), offset) for offset, value in enumerate(ODD[:-2])]
        assert found[: len(expected)] == expected
        assert found[-1].body == "spaced"
        assert len(found) == len(ODD)

    @pytest.mark.parametrize("encoding", ENCODINGS)
    def test_each_resource_is_told_once(self, server: FakeOtlp, tmp_path: Path, encoding: str) -> None:
        """The records of a request are grouped by their resource, and none is missing."""
        values = [
            orjson.dumps({"id": str(n), "timestamp": "2026-11-01T10:00:00Z", "message": "m", "context": {"service": s}})
            for n, s in enumerate("abcabcabc")
        ]
        with engine(configured(server.url, encoding=encoding), tmp_path) as run:
            run.deliver(*values, b'{"id":"none"}')
        assert server.resources == [4]
        assert sorted(server.uids()) == [*map(str, range(9)), "none"]
        assert {resource.get("service.name") for resource, _ in server.records} == {"a", "b", "c", None}

    def test_many_records(self, server: FakeOtlp, tmp_path: Path) -> None:
        """The generator's records arrive, each once, beside others of every kind."""
        values = Generator(seed=3, start_time=1_793_527_200.0).batch(0, 3000)
        with engine(configured(server.url), tmp_path, max_records=500) as run:
            run.deliver(*values, *ODD)
        assert sorted(server.uids())[:3000] == sorted(orjson.loads(value)["id"] for value in values)
        assert len(server.records) == 3000 + len(ODD)

    def test_the_size_of_a_request(self, server: FakeOtlp, tmp_path: Path) -> None:
        """A request of exactly 15 MB is sent whole, one byte more is halved."""
        for more in (0, 1):
            server.sizes.clear()
            with engine(configured(server.url), tmp_path) as run:
                values = numbered(14, pad="x" * 1_000_000)
                # Beside this much text its lengths take as many bytes as beside the rest.
                (least,) = numbered(1, pad="x" * 500_000)
                pieces = run.destination.encode(run.records(*values, least))
                rest = MAX_REQUEST_BYTES - len(run.destination.frame(pieces)) + more
                run._offset = 0
                run.deliver(*values, *numbered(1, pad="x" * (500_000 + rest)))
            assert server.sizes == [MAX_REQUEST_BYTES] if not more else len(server.sizes) == 2

    def test_a_server_that_takes_less(self, server: FakeOtlp, tmp_path: Path) -> None:
        """A 413 halves the request; a record that is too large alone is set aside."""
        server.max_bytes = 3000
        with engine(configured(server.url), tmp_path) as run:
            run.deliver(*numbered(50), orjson.dumps({"id": "large", "message": "x" * 3000}))
        assert sorted(server.uids()) == sorted(map(str, range(50)))
        assert [letter["cause"] for letter in run.letters()] == ["too large"]

    def test_a_record_at_fault(self, server: FakeOtlp, tmp_path: Path) -> None:
        """A request that is refused as a whole is halved until the record at fault is alone."""
        bad = status(400, "invalid record", 3)
        server.script.extend([bad, None, bad, bad, None])
        with engine(configured(server.url), tmp_path) as run:
            run.deliver(*numbered(4))
        ((cause, reason),) = [(letter["cause"], letter["reason"]) for letter in run.letters()]
        assert (cause, reason) == ("request refused", "400: invalid record")
        assert len(server.records) == 3

    def test_the_credentials(self, server: FakeOtlp, tmp_path: Path) -> None:
        """A wrong key holds everything, is not shown, and what waited is delivered once the server knows it."""
        server.required = {"authorization": "Bearer other"}
        settings = configured(server.url)
        with engine(settings, tmp_path) as run:
            run.write(*numbered(1))
            assert "check `headers`" in run.issue()
            server.required = {"authorization": f"Bearer {KEY}"}
            run.deliver()
        assert len(server.records) == 1
        assert (
            KEY not in run.said() + repr(settings) + str(settings) + repr(run.destination) + settings.model_dump_json()
        )


class TestPartialSuccess:
    @pytest.mark.parametrize("encoding", ENCODINGS)
    def test_some_are_rejected(self, server: FakeOtlp, tmp_path: Path, encoding: str) -> None:
        """The request isn't sent again, and each of its records is kept, with the server's words and numbers."""
        server.reject = lambda attributes: "too old" if attributes["log.record.uid"] == "2" else ""
        with engine(configured(server.url, encoding=encoding), tmp_path) as run:
            run.deliver(*numbered(5))
        assert sorted(server.uids()) == ["0", "1", "3", "4"]
        assert server.requests == 1
        assert {letter["cause"] for letter in run.letters()} == {REJECTED_IN_PART}
        assert len(run.letters()) == 5
        assert "1 of the 5 records" in run.letters()[0]["reason"]
        assert run.delivery.ledger.dead_lettered == {REJECTED_IN_PART: 5}

    def test_one_by_one(self, server: FakeOtlp, tmp_path: Path) -> None:
        """With one record a request it is known which was rejected, and that one alone is set aside."""
        server.reject = lambda attributes: "too old" if attributes["log.record.uid"] == "2" else ""
        with engine(configured(server.url), tmp_path, max_records=1) as run:
            run.deliver(*numbered(5))
        assert sorted(server.uids()) == ["0", "1", "3", "4"]
        ((cause, reason),) = [(letter["cause"], letter["reason"]) for letter in run.letters()]
        assert (cause, reason) == (REJECTED, "too old")

    def test_all_are_rejected(self, server: FakeOtlp, tmp_path: Path) -> None:
        """Where all were rejected there is no doubt."""
        server.reject = lambda attributes: "no"
        with engine(configured(server.url), tmp_path) as run:
            run.deliver(*numbered(3))
        assert run.delivery.ledger.dead_lettered == {REJECTED: 3}


class TestTrouble:
    @pytest.mark.parametrize(
        "fault",
        [
            Answer(429, b"", {"Retry-After": "0"}),
            status(429, "rate limited", 8),
            status(500, "internal", 13),
            status(503, "unavailable", 14, JSON),
            Answer(502, b"<html>Bad Gateway</html>", {"Content-Type": "text/html"}),
            Answer(504, b""),
            Answer(200, b"<html>a captive portal</html>", {"Content-Type": "text/html"}),
            Answer(200, b"<html>", {"Content-Type": PROTOBUF}),
            Answer(close=True),
        ],
    )
    def test_what_passes_is_retried(self, server: FakeOtlp, tmp_path: Path, fault: Answer) -> None:
        """Limits, outages and answers that are none cost nothing but time."""
        server.script.extend([fault, fault])
        with engine(configured(server.url), tmp_path) as run:
            run.deliver(*numbered(2))
        assert sorted(server.uids()) == ["0", "1"]
        assert run.delivery.stats.retries == 2

    @pytest.mark.parametrize(
        ("encodings", "compression"), [(set[str](), True), ({"gzip"}, "zstd")], ids=["no gzip", "no zstd"]
    )
    def test_a_compression_that_is_unknown(
        self, server: FakeOtlp, tmp_path: Path, encodings: set[str], compression: Any
    ) -> None:
        """A server that can't unpack is for a person: no record is set aside for it."""
        server.encodings = encodings
        with engine(configured(server.url, compression=compression), tmp_path) as run:
            run.write(*numbered(2))
            assert "check `compression`" in run.issue()
            server.encodings = {"gzip", "zstd"}
            run.deliver()
        assert len(server.records) == 2

    def test_a_receiver_at_another_path(self, server: FakeOtlp, tmp_path: Path) -> None:
        """An address whose server has no receiver there is named by its setting."""
        with engine(configured(server.url + "/otlp"), tmp_path) as run:
            run.write(*numbered(1))
            assert "404: 404 page not found: check `url`" in run.issue()
        assert run.letters() == []


class TestProbe:
    def probed(self, url: str, **changes: Any) -> Outcome:
        """Return what a health check finds."""
        destination = configured(url, **changes).open(lambda path: lambda row: None, None)
        try:
            return destination.probe()
        finally:
            destination.close()

    @pytest.mark.parametrize("encoding", ENCODINGS)
    @pytest.mark.parametrize("compression", [True, "zstd", False])
    def test_well(self, server: FakeOtlp, encoding: str, compression: Any) -> None:
        """A server that is well says so, and takes no record."""
        assert self.probed(server.url, encoding=encoding, compression=compression) == Delivered()
        assert server.records == []
        assert server.requests == 1

    @pytest.mark.parametrize(
        ("fault", "kind"),
        [
            (status(401, "no"), Hold),
            (status(404, "no"), Hold),
            (status(503, "busy"), Retry),
            (status(400, "what is this"), Hold),
            (success(text="a warning"), Delivered),
            (Answer(200, b"<html>", {"Content-Type": "text/html"}), Retry),
        ],
    )
    def test_unwell(self, server: FakeOtlp, fault: Answer, kind: type[Outcome]) -> None:
        """Credentials, a wrong address and an outage are told apart."""
        server.fault = fault
        assert type(self.probed(server.url)) is kind

    def test_nobody_there(self) -> None:
        """A server that can't be reached may be back later."""
        assert isinstance(self.probed("http://127.0.0.1:9"), Retry)
