from __future__ import annotations

from collections.abc import Iterator

import pytest

from sinks.destination import Delivered, Retry
from tests.servers.cloud import Answer
from tests.servers.datadog import FORBIDDEN, TOO_MANY, UNAUTHORIZED, UNAVAILABLE, FakeDatadog
from tests.sinks.test_datadog import KEY, configured
from tests.sinks.troubles import WAYS, Trouble, Way, ask, held

HTML = {"Content-Type": "text/html"}
TROUBLES = [
    Trouble("wrong key", FORBIDDEN, ("API key is invalid", "check api_key", "site")),
    Trouble("wrong key, an older answer", Answer(403, b'{"errors":["Forbidden"]}'), ("check api_key", "site")),
    Trouble("no key", UNAUTHORIZED, ("Unauthorized", "check api_key", "site")),
    Trouble("firewall", Answer(403, b"<html>Blocked by policy</html>", HTML), ("url", "a proxy or a firewall")),
    Trouble("wrong address", Answer(404, b"404 page not found", HTML), ("check site, or url",)),
    Trouble(
        "redirection",
        Answer(301, b"", {"Location": "https://user:pw@app.datadoghq.com/login?next=s3cret"}),
        ("redirected to https://app.datadoghq.com/login: check site, or url",),
    ),
    Trouble(
        "an intake that wants numbers",
        Answer(400, b'cannot read DataDog protocol data: failed to parse timestamp for "timestamp":"\\"2026"'),
        ("failed to parse timestamp", "timestamps: milliseconds"),
    ),
    Trouble(
        "http to a port of https",
        Answer(400, b"<html>The plain HTTP request was sent to HTTPS port</html>", HTML),
        ("check site, or url",),
    ),
]


@pytest.fixture
def server() -> Iterator[FakeDatadog]:
    """A new stand-in for the intake, which at the end has seen nothing that may not be sent."""
    with FakeDatadog(KEY) as fake:
        yield fake
    assert fake.violations == []


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("trouble", TROUBLES, ids=str)
def test_what_a_person_has_to_mend(server: FakeDatadog, trouble: Trouble, way: Way) -> None:
    """A failure that time won't mend is held, and the issue names the setting to look at."""
    server.fault = trouble.answer
    issue = held(ask(configured(server.url), way), *trouble.words, secret=KEY)
    assert "s3cret" not in issue
    assert "pw@" not in issue


@pytest.mark.parametrize("way", WAYS)
def test_a_wrong_key(server: FakeDatadog, way: Way) -> None:
    """A health check finds a wrong key, as a record does, before any record is sent."""
    held(ask(configured(server.url, api_key="0ther-k3y"), way), "check api_key", secret="0ther-k3y")


@pytest.mark.parametrize("answer", [UNAVAILABLE, TOO_MANY, Answer(close=True)], ids=["503", "429", "closed"])
def test_what_passes(server: FakeDatadog, answer: Answer) -> None:
    """A health check of a busy intake says so, and no more."""
    server.fault = answer
    assert isinstance(ask(configured(server.url), "probe"), Retry)


def test_health(server: FakeDatadog) -> None:
    """A health check sends no log."""
    assert ask(configured(server.url), "probe") == Delivered()
    assert ask(configured(server.url, compression="zstd"), "probe") == Delivered()
    assert (server.logs, server.requests) == ([], 2)
