"""Ids that are records' own, against answers that no sound server gives and keys that may not read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest
from pydantic import ValidationError

from sinks.destination import Delivered, Hold, Outcome, Partial, Retry
from tests.sinks.elasticsearch_support import configured, destination, records

Stored = Callable[[list[dict[str, str]]], tuple[int, Any]]


@contextmanager
def serving(stored: Stored) -> Iterator[str]:
    """Serve a cluster in which each id is taken; it says of the documents what `stored` returns."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.path.startswith("/_mget"):
                status, answer = stored(json.loads(body)["docs"])
            else:
                ids = [json.loads(line)["create"]["_id"] for line in body.splitlines()[::2]]
                items = [{"create": {"_index": "logs", "_id": each, "status": 409}} for each in ids]
                status, answer = 200, {"errors": True, "items": items}
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


VALUES = [b'{"id":"%d","n":%d}' % (number, number) for number in range(3)]


def sent(stored: Stored) -> Outcome:
    """Return what becomes of three records whose ids are taken."""
    with serving(stored) as url:
        taker = destination(url=url, document_id="own", compression=False)
        return taker.send(taker.frame(taker.encode(records(*VALUES))), len(VALUES))


def found(asked: list[dict[str, str]]) -> list[dict[str, Any]]:
    """Return the documents as they are stored, of a repetition that has another `@timestamp`."""
    return [
        {"found": True, "_source": {"@timestamp": "2020-01-01T00:00:00Z", "id": each["_id"], "n": int(each["_id"])}}
        for each in asked
    ]


def test_the_same_documents() -> None:
    """A repetition is told, whatever time it has been given."""
    assert sent(lambda asked: (200, {"docs": found(asked)})) == Delivered(3)


def test_others_and_some_that_are_gone() -> None:
    """Another record goes to the dead letter; what has gone meanwhile is sent again."""

    def stored(asked: list[dict[str, str]]) -> tuple[int, Any]:
        same, other, _ = found(asked)
        other["_source"]["n"] = "other"
        return 200, {"docs": [same, other, {"found": False}]}

    outcome = sent(stored)
    assert isinstance(outcome, Partial)
    assert outcome.duplicates == 1
    assert list(outcome.retry) == [2]
    assert outcome.rejected == {1: ("another record has this id", "409: logs has another document whose _id is '1'")}


@pytest.mark.parametrize("answer", [(200, {"docs": []}), (200, []), (200, {"docs": [1, 2, 3]}), (500, {}), (404, {})])
def test_an_answer_that_tells_nothing(answer: tuple[int, Any]) -> None:
    """Nothing counts as there already unless it was compared."""
    assert isinstance(sent(lambda _: answer), Retry)


def test_a_key_that_may_not_read() -> None:
    """The stream is held, and the setting named."""
    outcome = sent(lambda _: (403, {"error": {"type": "security_exception", "reason": "no"}}))
    assert isinstance(outcome, Hold)
    assert "allow read on index" in outcome.issue


@pytest.mark.parametrize("setting", [{"pipeline": "p"}, {"bulk_only": True}])
def test_what_can_not_be_compared(setting: dict[str, Any]) -> None:
    """A pipeline changes documents, and some servers have nothing to ask."""
    with pytest.raises(ValidationError, match="document_id: own"):
        configured(document_id="own", **setting)
