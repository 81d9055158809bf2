"""Middleware for ASGI applications: context for each request, and a record.

Starlette, FastAPI, Django, Quart and Litestar are such; none of them is needed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, MutableMapping
from typing import Any, Callable

from logweir_logger.logger import StructuredLogger
from logweir_logger.requests import REQUEST_ID, Request

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Any, Receive, Send], Awaitable[None]]


class AsgiMiddleware:
    """Sets the context of each request and websocket, and logs each request once its answer is sent.

    All that is logged meanwhile has `requestId` (the caller's `x-request-id`, else a new one, which the answer tells)
    and belongs to the trace of the caller's `traceparent`, else to a new one. When the server shuts down the logger's
    outputs are closed before the application's end is reported: servers such as uvicorn then end by the signal itself,
    which passes by everything that Python does at exit.

    Args:
        application: What it wraps.
        logger: Logs the requests.
        skip: Paths that are not logged, such as those of health checks.
    """

    def __init__(self, application: Application, logger: StructuredLogger, skip: Iterable[str] = ()) -> None:
        self._application = application
        self._logger = logger
        self._skip = frozenset(skip)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
            return
        if scope["type"] not in {"http", "websocket"}:
            await self._application(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope.get("headers", ())}
        request = Request(scope.get("method", "GET"), scope.get("path", ""), headers.get)

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                request.status = message["status"]
                message["headers"] = [*_without(message.get("headers", ())), (_NAME, request.request_id.encode())]
            elif message["type"] == "http.response.body":
                request.bytes += len(message.get("body", b""))
            await send(message)

        with request.begin():
            try:
                await self._application(scope, receive, sending)
            except asyncio.CancelledError:
                # The client went away.
                self._log(scope, request, None)
                raise
            except BaseException as error:
                self._log(scope, request, error)
                raise
            self._log(scope, request, None)

    async def _live(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Close the outputs once the application has shut down, also one that knows nothing of `lifespan`."""
        asked = answered = False

        async def receiving() -> Message:
            nonlocal asked
            asked = True
            return await receive()

        async def sending(message: Message) -> None:
            nonlocal answered
            answered = True
            if message["type"] in {"lifespan.shutdown.complete", "lifespan.shutdown.failed"}:
                await self._close()
            await send(message)

        try:
            await self._application(scope, receiving, sending)
        except Exception:
            # One that refuses the scope has not asked for a message: the protocol lets it raise then.
            if asked or answered:
                raise
        if answered:
            return
        if not asked:
            await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _close(self) -> None:
        # It may wait for brokers, and the loop has connections to end meanwhile.
        await asyncio.get_running_loop().run_in_executor(None, self._logger.close)

    def _log(self, scope: MutableMapping[str, Any], request: Request, error: BaseException | None) -> None:
        if scope["type"] != "http" or (request.path in self._skip and error is None):
            return
        if request.status is None and error is None:
            request.status = _CLIENT_GONE
        request.end(self._logger, error)


_NAME = REQUEST_ID.encode()
_CLIENT_GONE = 499
"""As nginx says it: nobody was left to answer."""


def _without(headers: Iterable[Any]) -> list[Any]:
    return [(name, value) for name, value in headers if bytes(name).lower() != _NAME]
