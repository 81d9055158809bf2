from __future__ import annotations

import gc
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from sinks.destination import Retry
from sinks.http import HttpClient, Response
from tests.servers.elastic import FakeElastic, Fault

NDJSON = {"content-type": "application/x-ndjson"}


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Nothing is freed but by counting references."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (None, Response),
        (Fault(503), Response),
        (Fault(close="before"), Retry),
        (Fault(close="after"), Retry),
        (Fault(hang=True), Retry),
    ],
    ids=["answered", "503", "closed before", "closed after", "timed out"],
)
def test_a_body_is_freed_with_its_answer(elastic: FakeElastic, fault: Fault | None, expected: type) -> None:
    """However a request ends, nothing holds its body afterwards: workers hardly ever collect garbage."""
    elastic.fault = fault
    client = HttpClient(elastic.url, {}, timeout=0.2)
    body = b'{"create":{"_id":"1"}}\n{}\n' * 100
    held = sys.getrefcount(body)
    for _ in range(3):
        assert isinstance(client.request("POST", "/logs/_bulk", body, NDJSON), expected)
    client.close()
    assert sys.getrefcount(body) == held


def test_an_outage_frees_bodies_too(elastic: FakeElastic, uncollected: None) -> None:
    """A refused connection holds nothing either."""
    elastic.stop()
    client = HttpClient(elastic.url, {})
    body = b"x" * 100
    held = sys.getrefcount(body)
    assert isinstance(client.request("POST", "/logs/_bulk", body, NDJSON), Retry)
    client.close()
    assert sys.getrefcount(body) == held


def test_a_health_check_beside_senders_that_wait(elastic: FakeElastic) -> None:
    """Where every sender waits for an answer there is a connection left, so a health check is answered."""
    client = HttpClient(elastic.url, {}, connections=2, timeout=10)
    elastic.script(Fault(hang=True), Fault(hang=True))
    body = b'{"create":{"_id":"1"}}\n{}\n'
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(client.request, "POST", "/logs/_bulk", body, NDJSON) for _ in range(2)]
        while elastic.peak < 2:
            time.sleep(0.01)
        found = client.request("GET", "/")
        assert isinstance(found, Response)
        assert not any(each.done() for each in waiting)
        elastic.release()
    client.close()
