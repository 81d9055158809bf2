from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from typing import Any, Callable
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import orjson
import pytest

from logweir_logger import LogContext, Output, StructuredLogger
from logweir_logger.asgi import AsgiMiddleware
from logweir_logger.wsgi import WsgiMiddleware

Make = Callable[..., StructuredLogger]
Records = list[dict[str, Any]]
TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"


async def receive() -> dict[str, Any]:
    """Return an empty request."""
    return {"type": "http.request", "body": b""}


def get(application: Any, path: str = "/orders", kind: str = "http", **headers: str) -> list[dict[str, Any]]:
    """Send a request to an ASGI application, and return what it sent."""
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": kind, "method": "GET", "path": path, "query_string": b"token=t", "headers": pairs}
    asyncio.run(application(scope, receive, send))
    return sent


def answering(logger: StructuredLogger, status: int = 200) -> Any:
    """Return an ASGI application that logs and answers."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        logger.info("inside")
        await send({"type": "http.response.start", "status": status, "headers": [(b"X-Request-Id", b"own")]})
        await send({"type": "http.response.body", "body": b"hello", "more_body": True})
        await asyncio.sleep(0)
        logger.info("still inside")
        await send({"type": "http.response.body", "body": b"!"})

    return application


def test_asgi(make: Make, records: Records) -> None:
    """All that a request logs has its id and the caller's trace, and the request itself is logged at its end."""
    logger = make()
    sent = get(AsgiMiddleware(answering(logger), logger), x_request_id="r-1", traceparent=f"00-{TRACE}-{SPAN}-01")
    assert sent[0]["headers"] == [(b"x-request-id", b"r-1")]
    assert [record["message"] for record in records] == ["inside", "still inside", "GET /orders 200"]
    assert {record["context"]["requestId"] for record in records} == {"r-1"}
    assert {(record["trace"]["traceId"], record["trace"]["parentSpanId"]) for record in records} == {(TRACE, SPAN)}
    assert records[2]["metadata"] == {"method": "GET", "path": "/orders", "status": 200, "bytes": 6}
    assert records[2]["performance"]["duration"] >= 0
    assert LogContext.get() == {}


@pytest.mark.parametrize("given", ["", "x" * 200, "ü", "a\tb"])
def test_unusable_request_ids(make: Make, records: Records, given: str) -> None:
    """A request id that doesn't belong into logs and headers is replaced."""
    logger = make()
    get(AsgiMiddleware(answering(logger), logger), x_request_id=given)
    assert len(records[0]["context"]["requestId"]) == 32
    assert len(records[0]["trace"]["traceId"]) == 32


def test_asgi_failure(make: Make, records: Records) -> None:
    """A request that fails is logged with the exception, which goes on to the server."""
    logger = make()

    async def failing(scope: Any, receive: Any, send: Any) -> None:
        raise ValueError("bad")  # noqa: EM101

    with pytest.raises(ValueError, match="bad"):
        get(AsgiMiddleware(failing, logger, skip=["/orders"]))
    assert (records[0]["level"], records[0]["metadata"]["status"]) == ("error", 500)
    assert records[0]["error"]["message"] == "bad"


def test_asgi_client_gone(make: Make, records: Records) -> None:
    """A request whose client goes away is no error of the server's."""
    logger = make()

    async def cancelled(scope: Any, receive: Any, send: Any) -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        get(AsgiMiddleware(cancelled, logger))
    assert (records[0]["level"], records[0]["metadata"]["status"]) == ("warn", 499)


def test_asgi_others(make: Make, records: Records) -> None:
    """Websockets have the context and no record, skipped paths no record, and lifespan is passed on."""
    logger = make()
    get(AsgiMiddleware(answering(logger), logger), kind="websocket")
    assert [record["message"] for record in records] == ["inside", "still inside"]
    assert "requestId" in records[0]["context"]
    get(AsgiMiddleware(answering(logger), logger, skip=["/health"]), path="/health")
    assert len(records) == 4
    get(AsgiMiddleware(answering(logger), logger), kind="lifespan")
    assert "requestId" not in records[-1]["context"]


def call(application: Any, **headers: str) -> tuple[list[Any], bytes]:
    """Send a request to a WSGI application as a strict server does, and return its head and body."""
    environ: dict[str, Any] = {}
    setup_testing_defaults(environ)
    environ.update({"PATH_INFO": "/orders", "QUERY_STRING": "token=t", **headers})
    started: list[Any] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        started[:] = [status, headers]
        return lambda _data: None

    pieces = validator(application)(environ, start_response)
    try:
        body = b"".join(pieces)
    finally:
        pieces.close()  # type: ignore[attr-defined]
    return started, body


def test_wsgi(make: Make, records: Records) -> None:
    """All that a request logs, also while its answer is made, has its id and trace; it is logged when it is closed."""
    logger = make()
    closed = []

    def application(environ: Any, start_response: Any) -> Iterator[bytes]:
        logger.info("inside")
        start_response("201 Created", [("Content-Type", "text/plain")])
        try:
            yield b"hello"
            logger.info("still inside")
            yield b"!"
        finally:
            closed.append(1)

    started, body = call(
        WsgiMiddleware(application, logger), HTTP_X_REQUEST_ID="r-1", HTTP_TRACEPARENT=f"00-{TRACE}-{SPAN}-01"
    )
    assert (started[0], body, closed) == ("201 Created", b"hello!", [1])
    assert ("x-request-id", "r-1") in started[1]
    assert [record["message"] for record in records] == ["inside", "still inside", "GET /orders 201"]
    assert {record["context"]["requestId"] for record in records} == {"r-1"}
    assert {record["trace"]["parentSpanId"] for record in records} == {SPAN}
    assert records[2]["metadata"]["bytes"] == 6
    assert LogContext.get() == {}


@pytest.mark.parametrize("late", [False, True])
def test_wsgi_failure(make: Make, records: Records, late: bool) -> None:
    """A request that fails, at once or while its answer is made, is logged once with the exception."""
    logger = make()

    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        if not late:
            raise ValueError("bad")  # noqa: EM101
        start_response("200 OK", [("Content-Type", "text/plain")])
        return pieces()

    def pieces() -> Iterator[bytes]:
        yield b"a"
        raise ValueError("bad")  # noqa: EM101

    with pytest.raises(ValueError, match="bad"):
        call(WsgiMiddleware(application, logger))
    (record,) = records
    assert (record["level"], record["metadata"]["status"], record["error"]["message"]) == ("error", 500, "bad")


def test_wsgi_skip(make: Make, records: Records) -> None:
    """Skipped paths are not logged."""
    logger = make()

    def application(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"ok"]

    call(WsgiMiddleware(application, logger, skip=["/orders"]))
    assert records == []


class Closed(Output):
    """Keeps what is written until it is closed."""

    def __init__(self, events: list[str]) -> None:
        super().__init__()
        self.events = events

    def write(self, line: bytes, severity: int) -> None:
        """Keep a record's message."""
        self.events.append(orjson.loads(line)["message"])

    def close(self) -> None:
        """Note when it is closed."""
        self.events.append("closed")


def live(application: Any, events: list[str]) -> None:
    """Take an ASGI application through its life as a server does."""
    messages = iter(["lifespan.startup", "lifespan.shutdown"])

    async def receive() -> dict[str, Any]:
        return {"type": next(messages)}

    async def send(message: dict[str, Any]) -> None:
        events.append(message["type"])

    asyncio.run(application({"type": "lifespan"}, receive, send))


def test_lifespan() -> None:
    """The outputs are closed once the application has shut down, before the server hears of it."""
    events: list[str] = []
    logger = StructuredLogger("s", host="h", outputs=[Closed(events)])

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        logger.info("going")
        await send({"type": "lifespan.shutdown.complete"})

    live(AsgiMiddleware(application, logger), events)
    assert events == ["lifespan.startup.complete", "going", "closed", "lifespan.shutdown.complete"]


@pytest.mark.parametrize("raises", [True, False])
def test_lifespan_of_an_application_that_has_none(raises: bool) -> None:
    """For an application that refuses the scope, or passes over it, the middleware answers, and closes the outputs."""
    events: list[str] = []
    logger = StructuredLogger("s", host="h", outputs=[Closed(events)])

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if raises:
            raise AssertionError(scope["type"])

    live(AsgiMiddleware(application, logger), events)
    assert events == ["lifespan.startup.complete", "closed", "lifespan.shutdown.complete"]


def test_lifespan_that_fails() -> None:
    """An application that fails while it starts is not spoken for: the server has to see its exception."""
    events: list[str] = []
    logger = StructuredLogger("s", host="h", outputs=[Closed(events)])

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        msg = "no database"
        raise RuntimeError(msg)

    with pytest.raises(RuntimeError, match="no database"):
        live(AsgiMiddleware(application, logger), events)
    assert events == []
