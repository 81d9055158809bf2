"""Middleware for WSGI applications: context for each request, and a record.

Flask, Django, Bottle and Pyramid are such; none of them is needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextvars import Context, copy_context
from typing import Any, Callable

from logweir_logger.logger import StructuredLogger
from logweir_logger.requests import REQUEST_ID, Request

Environment = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environment, StartResponse], Iterable[bytes]]


class WsgiMiddleware:
    """Sets the context of each request, and logs it once its answer is sent.

    All that is logged meanwhile, also while the answer is made piece by piece, has `requestId` (the caller's
    `x-request-id`, else a new one, which the answer tells) and belongs to the trace of the caller's `traceparent`, else
    to a new one.

    Args:
        application: What it wraps.
        logger: Logs the requests.
        skip: Paths that are not logged, such as those of health checks.
    """

    def __init__(self, application: Application, logger: StructuredLogger, skip: Iterable[str] = ()) -> None:
        self._application = application
        self._logger = logger
        self._skip = frozenset(skip)

    def __call__(self, environ: Environment, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""

        def header(name: str) -> str | None:
            found = environ.get("HTTP_" + name.upper().replace("-", "_"))
            return found if isinstance(found, str) else None

        path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
        request = Request(environ.get("REQUEST_METHOD", "GET"), path, header)

        def starting(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            request.status = int(status.split(" ", 1)[0])
            kept = [(name, value) for name, value in headers if name.lower() != REQUEST_ID]
            return start_response(status, [*kept, (REQUEST_ID, request.request_id)], *rest)

        # The pieces of an answer are asked for after this returns, by a server that may do something else between.
        context = copy_context()
        context.run(request.begin)
        try:
            pieces = context.run(self._application, environ, starting)
        except BaseException as error:
            context.run(self._log, request, error)
            raise
        return _Answer(self, request, pieces, context)

    def _log(self, request: Request, error: BaseException | None) -> None:
        if request.path not in self._skip or error is not None:
            request.end(self._logger, error)


class _Answer:
    """The pieces of an answer, each made in the request's context; logs the request when it is closed."""

    def __init__(self, middleware: WsgiMiddleware, request: Request, pieces: Iterable[bytes], context: Context) -> None:
        self._middleware = middleware
        self._request = request
        self._pieces = pieces
        self._context = context
        self._iterator: Iterator[bytes] | None = None
        self._error: BaseException | None = None
        self._closed = False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            if self._iterator is None:
                self._iterator = self._context.run(iter, self._pieces)
            piece = self._context.run(next, self._iterator)
        except StopIteration:
            raise
        except BaseException as error:
            self._error = error
            raise
        self._request.bytes += len(piece)
        return piece

    def close(self) -> None:
        """End the answer, as servers do."""
        if self._closed:
            return
        self._closed = True
        try:
            close = getattr(self._pieces, "close", None)
            if close is not None:
                self._context.run(close)
        except BaseException as error:
            self._error = error
            raise
        finally:
            self._context.run(self._middleware._log, self._request, self._error)  # noqa: SLF001  # one of its own
