from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from sinks.destination import Delivered, Retry
from tests.servers.cloud import Answer
from tests.servers.splunk import (
    BUSY,
    DISABLED,
    INCORRECT_INDEX,
    INVALID_TOKEN,
    NOT_FOUND,
    UNAUTHORIZED,
    UNHEALTHY,
    FakeSplunk,
)
from tests.sinks.test_splunk import TOKEN, configured
from tests.sinks.troubles import WAYS, Trouble, Way, ask, held

HTML = {"Content-Type": "text/html"}
TROUBLES = [
    Trouble("wrong token", INVALID_TOKEN, ("code 4: Invalid token", "check token")),
    Trouble("disabled token", DISABLED, ("code 1: Token disabled", "enable it in Splunk")),
    Trouble("no token", Answer(401, b'{"text":"Token is required","code":2}'), ("check token", "proxy")),
    Trouble("malformed token", UNAUTHORIZED, ("code 3: Invalid authorization", "check token")),
    Trouble(
        "token in the query",
        Answer(400, b'{"text":"Query string authorization is not enabled","code":16}'),
        ("check token",),
    ),
    Trouble("wrong index", INCORRECT_INDEX, ("code 7: Incorrect index", "check index", "the token may write to it")),
    Trouble("firewall", Answer(403, b"<html>Blocked</html>", HTML), ("check token",)),
    Trouble("wrong path", NOT_FOUND, ("check url", "8088")),
    Trouble(
        "Splunk's web interface",
        Answer(303, b"", {"Location": "http://127.0.0.1:8000/en-US/services/collector/event"}),
        ("redirected to http://127.0.0.1:8000/en-US/services/collector/event", "check url", "8088"),
    ),
    Trouble(
        "http to a port of https",
        Answer(400, b"<html>The plain HTTP request was sent to HTTPS port</html>", HTML),
        ("check url",),
    ),
]


@pytest.fixture
def server() -> Iterator[FakeSplunk]:
    """A new collector, which at the end has seen nothing that may not be sent."""
    with FakeSplunk(TOKEN) as fake:
        yield fake
    assert fake.violations == []


@pytest.mark.parametrize("ack", [False, True], ids=["received", "acknowledged"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("trouble", TROUBLES, ids=str)
def test_what_a_person_has_to_mend(server: FakeSplunk, trouble: Trouble, way: Way, ack: bool) -> None:
    """A failure that time won't mend is held, and the issue names the setting to look at."""
    server.fault = trouble.answer
    held(ask(configured(server.url, ack=ack), way), *trouble.words, secret=TOKEN)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("acknowledges", "changes", "words"),
    [
        (False, {"token": "0ther"}, "check token"),
        (True, {"token": "0ther", "ack": True}, "check token"),
        (True, {}, "set ack: true"),
        (False, {"ack": True}, "set ack: false"),
    ],
    ids=["wrong token", "wrong token, acknowledged", "acknowledgement demanded", "acknowledgement disabled"],
)
def test_what_the_collector_says(
    server: FakeSplunk, acknowledges: bool, changes: dict[str, Any], words: str, way: Way
) -> None:
    """A health check finds what is wrong with the token, though the collector calls itself healthy."""
    server.acknowledges = acknowledges
    held(ask(configured(server.url, **changes), way), words, secret="0ther")


@pytest.mark.parametrize(
    "path", ["/services/collector", "/services/collector/event/1.0", "/services/collector/raw", "/"]
)
def test_paths_that_people_write(server: FakeSplunk, path: str) -> None:
    """The collector's own path at the end of `url` is no mistake."""
    assert ask(configured(server.url + path), "send") == ask(configured(server.url + path), "probe") == Delivered()


@pytest.mark.parametrize("ack", [False, True])
def test_a_collector_that_is_full(server: FakeSplunk, ack: bool) -> None:
    """A health check of a busy collector says so, whether it is the health that says it or the next answer."""
    server.acknowledges = ack
    server.health = UNHEALTHY
    assert ask(configured(server.url, ack=ack), "probe") == Retry("503: code 18: HEC is unhealthy, queues are full")
    server.health = Answer(404, b"a proxy that knows of no health")
    assert ask(configured(server.url, ack=ack), "probe") == Delivered()
    server.fault = BUSY
    assert ask(configured(server.url, ack=ack), "probe") == Retry("503: code 9: Server is busy")


def test_health_takes_no_acknowledgement_away(server: FakeSplunk) -> None:
    """A health check sends no event, and asks in a channel of its own: what is told there is of no request."""
    server.acknowledges = True
    destination = configured(server.url, ack=True, compression=False).open(lambda _: lambda _: None, None)
    assert destination.probe() == Delivered()
    assert destination.send(destination.frame([b'{"time":1790000000.000,"event":{}}']), 1) == Delivered()
    asked = {channel for channel, _ in server.questions}
    assert len(asked) == 2
    assert len(server.events) == 1
    destination.close()
