from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import TypeAdapter, ValidationError

from sinks.destination import Delivered, Hold, Invalid, Outcome, Retry, TooLarge
from sinks.http import Response
from sinks.http_endpoint import HttpEndpoint, read_answer
from tests.servers.cloud import Answer
from tests.servers.http_endpoint import FakeEndpoint
from tests.sinks.cloud_support import ODD, engine

TOKEN, PASSWORD, KEY = "pl4nted-t0ken", "pl4nted-passw0rd", "pl4nted-k3y"
BEARER = {"authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def server() -> Iterator[FakeEndpoint]:
    """A new endpoint, which at the end has seen nothing that may not be sent."""
    with FakeEndpoint(BEARER) as fake:
        yield fake
    assert fake.violations == []


def configured(url: str = "http://127.0.0.1:9", **changes: Any) -> HttpEndpoint:
    """Return settings as a flow file gives them."""
    given = {"type": "http", "url": f"{url}/ingest?source=a%20b", "token": TOKEN, **changes}
    return TypeAdapter(HttpEndpoint).validate_python(given)


def numbered(count: int) -> list[bytes]:
    """Return some records."""
    return [orjson.dumps({"n": number}) for number in range(count)]


class TestSettings:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"url": "logs.example.com/ingest"}, "must be a whole address"),
            ({"url": "ftp://logs.example.com"}, "must be a whole address"),
            ({"url": "http://h:99999/"}, "must be a whole address"),
            ({"url": "https://me:secret@logs.example.com/"}, "must not hold credentials"),
            ({"username": "me", "password": "p"}, "set either token, or username and password"),
            ({"token": None, "username": "me"}, "username and password go together"),
            ({"token": None, "username": "a:b", "password": "p"}, "must not hold a colon"),
            ({"token": "two words"}, "must be printable ASCII"),
            ({"headers": {"x y": "a"}}, "is no name of a header"),
            ({"headers": {"x": "a\nb"}}, "must be printable ASCII"),
            ({"headers": {"Content-Length": "5"}}, "is set by logweir itself"),
            ({"headers": {"x": "a", "X": "b"}}, "is there twice"),
            ({"headers": {"Authorization": "Basic x"}}, "set either the authorization header, or token"),
            ({"health_path": "healthz"}, "must be a path that begins with /"),
            ({"method": "GET"}, "must be 'POST' or 'PUT'"),
            ({"compression": "brotli"}, "compression"),
        ],
    )
    def test_wrong_ones_are_told(self, changes: dict[str, Any], message: str) -> None:
        """What can't work is named before anything is sent, and no value is shown."""
        with pytest.raises(ValidationError, match="validation error") as caught:
            configured(**changes)
        assert message in str(caught.value)
        assert "secret" not in str(caught.value)


class TestDelivery:
    @pytest.mark.parametrize("body", ["ndjson", "array"])
    @pytest.mark.parametrize("compression", [False, True, "gzip", "zstd"])
    def test_odd_records_arrive_as_they_are(
        self, server: FakeEndpoint, tmp_path: Path, body: str, compression: bool | str
    ) -> None:
        """Whatever the body and its compression, a receiver reads the very records."""
        server.body = body
        with engine(configured(server.url, body=body, compression=compression), tmp_path) as run:
            run.deliver(*ODD)
            run.deliver(b"{}")
        assert server.records == [*(json.loads(value) for value in ODD), {}]

    def test_method_headers_and_basic_authentication(self, server: FakeEndpoint, tmp_path: Path) -> None:
        """The method, further headers, a content type of one's own and a user are sent as they are set."""
        pair = base64.b64encode(f"me:{PASSWORD}é".encode()).decode()
        headers = {"X-Key": f"{KEY} and more", "Content-Type": "application/vnd.logs+json"}
        server.required = {"authorization": f"Basic {pair}", **{name.lower(): text for name, text in headers.items()}}
        server.method = "PUT"
        settings = configured(
            server.url, token=None, username="me", password=f"{PASSWORD}é", headers=headers, method="PUT"
        )
        with engine(settings, tmp_path) as run:
            run.deliver(b"{}")
        assert server.records == [{}]

    def test_a_record_that_is_refused(self, server: FakeEndpoint, tmp_path: Path) -> None:
        """A 400 is looked into until the culprit is alone, which is set aside with the endpoint's words."""
        server.poison = b'"n":13}'
        with engine(configured(server.url), tmp_path) as run:
            run.deliver(*numbered(20))
        assert sorted(record["n"] for record in server.records) == [n for n in range(20) if n != 13]
        (letter,) = run.letters()
        assert letter["cause"] == "refused by the endpoint"
        assert letter["reason"] == '400: {"error":"field n must not be 13"}'

    def test_a_request_that_is_too_large(self, server: FakeEndpoint, tmp_path: Path) -> None:
        """A 413 splits the request; a record that is too large by itself is set aside."""
        server.largest = 100
        with engine(configured(server.url), tmp_path) as run:
            run.deliver(*numbered(50), orjson.dumps({"pad": "x" * 100}))
        assert len(server.records) == 50
        assert [letter["cause"] for letter in run.letters()] == ["too large"]

    def test_the_batch_settings_bound_a_request(self, server: FakeEndpoint, tmp_path: Path) -> None:
        """No request has more records or bytes than `batch` says."""
        with engine(configured(server.url), tmp_path, max_records=7, max_bytes=40) as run:
            run.deliver(*numbered(50))
        assert len(server.records) == 50
        assert max(server.sizes) <= 7


class TestTrouble:
    @pytest.mark.parametrize(
        "fault",
        [
            Answer(408, b""),
            Answer(425, b""),
            Answer(429, b"slow down", {"Retry-After": "0"}),
            Answer(500, b"\xff"),
            Answer(503, b"<html>"),
            Answer(close=True),
        ],
    )
    def test_what_passes_is_retried(self, server: FakeEndpoint, tmp_path: Path, fault: Answer) -> None:
        """Outages and overload cost nothing but time."""
        server.script.extend([fault, fault])
        with engine(configured(server.url), tmp_path) as run:
            run.deliver(b"{}")
        assert server.records == [{}]
        assert run.delivery.stats.retries == 2

    @pytest.mark.parametrize(
        ("fault", "named"),
        [
            (Answer(401, b""), "token"),
            (Answer(403, b""), "token"),
            (Answer(407, b""), "HTTPS_PROXY"),
            (Answer(404, b""), "url"),
            (Answer(405, b""), "method"),
            (Answer(410, b""), "url"),
            (Answer(415, b""), "compression"),
            (Answer(418, b"teapot"), "teapot: check url"),
            (
                Answer(301, b"", {"Location": f"https://me:{KEY}@other.example:8443/new?k={KEY}"}),
                "other.example:8443/new",
            ),
            (Answer(307, b"", {"Location": f"/login?k={KEY}"}), "redirected to /login, "),
            (Answer(304, b""), "redirected, "),
        ],
    )
    def test_what_a_person_must_mend_is_held(
        self, server: FakeEndpoint, tmp_path: Path, fault: Answer, named: str
    ) -> None:
        """The issue names the setting to mend, no secret is told, and everything is delivered once it is mended."""
        server.fault = fault
        with engine(configured(server.url, headers={"x-key": KEY}), tmp_path) as run:
            run.write(b"{}")
            assert named in run.issue()
            assert "pl4nted" not in run.said() + repr(configured(headers={"x-key": KEY}))
            server.fault = None
            run.deliver()
        assert server.records == [{}]

    def test_an_answer_that_repeats_the_request(self, server: FakeEndpoint, tmp_path: Path) -> None:
        """A receiver that shows the headers it got does not bring a secret into a message."""
        server.fault = Answer(400, f"got authorization: Bearer {TOKEN}, x-key: {KEY}".encode())
        with engine(configured(server.url, headers={"x-key": KEY}), tmp_path) as run:
            run.deliver(b"{}")
        assert [letter["reason"] for letter in run.letters()] == ["400: got authorization: ***, x-key: ***"]


class TestProbe:
    def probed(self, url: str, **changes: Any) -> Outcome:
        """Return what a health check finds."""
        destination = configured(url, **changes).open(lambda path: lambda row: None, None)
        try:
            return destination.probe()
        finally:
            destination.close()

    @pytest.mark.parametrize(
        ("head", "kind"),
        [
            (Answer(200), Delivered),
            (Answer(404), Delivered),
            (Answer(405), Delivered),
            (Answer(501), Delivered),
            (Answer(302), Delivered),
            (Answer(403), Hold),
            (Answer(407), Hold),
            (Answer(429), Retry),
            (Answer(503), Retry),
            (None, Retry),
        ],
    )
    def test_head(self, server: FakeEndpoint, head: Answer | None, kind: type[Outcome]) -> None:
        """A HEAD tells of credentials and of load; whatever else is answered, the endpoint is reached."""
        server.head = head
        assert type(self.probed(server.url)) is kind
        assert server.looks == ["HEAD /ingest?source=a%20b"]

    def test_credentials(self, server: FakeEndpoint) -> None:
        """Wrong credentials are told, with their settings."""
        outcome = self.probed(server.url, token="other")
        assert isinstance(outcome, Hold)
        assert "token" in outcome.issue

    @pytest.mark.parametrize(
        ("health", "kind"),
        [(Answer(204), Delivered), (Answer(403), Hold), (Answer(404), Hold), (Answer(302), Hold), (Answer(503), Retry)],
    )
    def test_health_path(self, server: FakeEndpoint, health: Answer, kind: type[Outcome]) -> None:
        """With a path of health, its own answer counts, and nothing else is asked."""
        server.health = health
        assert type(self.probed(server.url, health_path="/healthz")) is kind
        assert server.looks == ["GET /healthz"]

    def test_nobody_there(self) -> None:
        """A server that can't be reached may be back later."""
        assert isinstance(self.probed("http://127.0.0.1:9"), Retry)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (200, Delivered),
        (202, Delivered),
        (204, Delivered),
        (400, Invalid),
        (422, Invalid),
        (413, TooLarge),
        (599, Retry),
    ],
)
def test_read_answer(status: int, kind: type[Outcome]) -> None:
    """Each status has its outcome."""
    assert type(read_answer(Response(status, {}, b""))) is kind
