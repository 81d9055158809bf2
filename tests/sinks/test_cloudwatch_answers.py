from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sinks.destination import Delivered, Retry
from tests.servers.cloud import Answer
from tests.servers.cloudwatch import NO_GROUP, FakeCloudWatch, denial, error
from tests.sinks.test_cloudwatch import SECRET, configured
from tests.sinks.troubles import WAYS, Trouble, Way, ask, held

TROUBLES = [
    Trouble(
        "unknown key",
        error(400, "UnrecognizedClientException", "The security token included in the request is invalid."),
        ("check access_key_id", "region"),
    ),
    Trouble(
        "wrong secret",
        error(400, "InvalidSignatureException", "The request signature we calculated does not match the signature"),
        ("check secret_access_key", "clock"),
    ),
    Trouble(
        "wrong clock",
        error(
            400, "InvalidSignatureException", "Signature expired: 20261124T100000Z is now earlier than 20261124T1015Z"
        ),
        ("this machine's clock",),
    ),
    Trouble(
        "expired token",
        error(400, "ExpiredTokenException", "The security token included in the request is expired"),
        ("session_token is past its time",),
    ),
    Trouble("no credentials", error(400, "MissingAuthenticationTokenException", "Missing"), ("access_key_id",)),
    Trouble("no such group", NO_GROUP, ("check log_group", "region", "create: true")),
    Trouble("another service", Answer(404, b"<html>Not Found</html>"), ("log_group", "endpoint_url")),
    Trouble("firewall", Answer(403, b"<html>Blocked</html>"), ("logs:PutLogEvents",)),
]


@pytest.fixture
def server() -> Iterator[FakeCloudWatch]:
    """A new stand-in for CloudWatch Logs, which at the end has seen nothing that may not be sent."""
    with FakeCloudWatch(SECRET) as fake:
        yield fake
    assert fake.violations == []


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("trouble", TROUBLES, ids=str)
def test_what_a_person_has_to_mend(server: FakeCloudWatch, trouble: Trouble, way: Way) -> None:
    """A failure that time won't mend is held, and the issue names the setting to look at."""
    server.fault = trouble.answer
    held(ask(configured(server.url), way), *trouble.words, secret=SECRET)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"access_key_id": "AKIDOTHER"}, "check access_key_id"),
        ({"secret_access_key": "0ther"}, "check secret_access_key"),
        ({"session_token": "0ther"}, "session_token"),
        ({"region": "us-east-1"}, "secret_access_key"),
        ({"log_group": "other"}, "check log_group"),
        ({"log_stream": "other"}, "log_stream"),
        ({"region": "no region"}, "set region"),
        ({"endpoint_url": "nowhere"}, "endpoint_url"),
    ],
    ids=lambda changes: next(iter(changes)) if isinstance(changes, dict) else "",
)
def test_wrong_settings(server: FakeCloudWatch, changes: dict[str, Any], words: str, way: Way) -> None:
    """A health check finds what a record would, before any record is sent."""
    held(ask(configured(**{"url": server.url, **changes}), way), words, secret="0ther")


@pytest.mark.parametrize("way", WAYS)
def test_no_credentials(server: FakeCloudWatch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: Way) -> None:
    """Where no credentials are found at all, the issue says where they may come from."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    found = ask(configured(server.url, access_key_id=None, secret_access_key=None), way)
    held(found, "Unable to locate credentials", "check region, endpoint_url, and access_key_id and secret_access_key")


def test_health(server: FakeCloudWatch) -> None:
    """A health check makes nothing and sends no event, also where the stream's name begins another's."""
    server.streams["logs"] = {"stream": [], "stream-2": [], "a": []}
    assert ask(configured(server.url), "probe") == Delivered()
    assert server.operations == ["DescribeLogStreams"]
    held(ask(configured(server.url, log_stream="strea"), "probe"), "log_stream strea isn't there", "create: true")


@pytest.mark.parametrize("changes", [{"log_group": "new"}, {"log_stream": "new"}], ids=["group", "stream"])
def test_what_is_yet_to_be_made(server: FakeCloudWatch, changes: dict[str, str]) -> None:
    """With `create` a missing group or stream is no issue, and a health check makes neither."""
    assert ask(configured(server.url, create=True, **changes), "probe") == Delivered()
    assert server.streams == {"logs": {"stream": []}}


def test_credentials_that_may_only_write(server: FakeCloudWatch) -> None:
    """Credentials that may not look for streams are healthy: the refusal has proven them."""
    server.denied = {"DescribeLogStreams"}
    assert ask(configured(server.url), "probe") == ask(configured(server.url), "send") == Delivered()
    server.denied = {"PutLogEvents"}
    held(ask(configured(server.url), "send"), "allow these credentials logs:PutLogEvents on log_group")


@pytest.mark.parametrize(
    "answer",
    [error(400, "ThrottlingException", "Rate exceeded"), Answer(503), Answer(200, b"<html>"), Answer(close=True)],
    ids=["throttled", "503", "no answer of the service", "closed"],
)
def test_what_passes(server: FakeCloudWatch, answer: Answer) -> None:
    """A health check of a busy service says so, and no more."""
    server.fault = answer
    assert isinstance(ask(configured(server.url), "probe"), Retry)


def test_a_refusal_to_tell_keeps_the_connection(server: FakeCloudWatch) -> None:
    """Health checks beside the stream don't make it connect anew each time."""
    server.fault = denial("DescribeLogStreams")
    destination = configured(server.url).open(lambda _: lambda _: None, None)
    assert destination.probe() == Delivered()
    client = destination._aws._client
    assert destination.probe() == Delivered()
    assert client is destination._aws._client is not None
    destination.close()
