"""What the middlewares for ASGI and WSGI have in common: the context of a request, and its record."""

from __future__ import annotations

import time
from typing import Any, Callable

from logweir_logger.context import LogContext, Span
from logweir_logger.logger import StructuredLogger
from logweir_logger.trace import generate_trace_id

REQUEST_ID = "x-request-id"
_MAX_ID = 128
_STATUS_OF_FAILURE = 500


class Request:
    """One request, from its first byte to the end of its answer.

    Args:
        method: Such as GET.
        path: Without the query, in which secrets may stand.
        header: Returns a header of the request by its name in small letters, None where it has none.
        fields: Further fields for its context.
    """

    def __init__(
        self, method: str, path: str, header: Callable[[str], str | None], fields: dict[str, Any] | None = None
    ) -> None:
        self.method = method
        self.path = path
        self.request_id = _usable(header(REQUEST_ID)) or generate_trace_id()
        self.status: int | None = None
        self.bytes = 0
        self._traceparent = header("traceparent")
        self._fields = fields or {}
        self._started = time.perf_counter()

    def begin(self) -> Span:
        """Set the context: requestId, a span in the caller's trace or in a new one."""
        return LogContext.start_span(traceparent=self._traceparent, requestId=self.request_id, **self._fields)

    def end(self, logger: StructuredLogger, error: BaseException | None = None) -> None:
        """Log the request."""
        duration = round((time.perf_counter() - self._started) * 1000, 3)
        status = _STATUS_OF_FAILURE if self.status is None or (error is not None and self.status < 400) else self.status  # noqa: PLR2004
        logger.http_request(self.method, self.path, status, duration, metadata={"bytes": self.bytes}, error=error)


def _usable(given: str | None) -> str | None:
    """Return a request id that a caller gave, if it is one that may go into logs and headers."""
    return given if given and len(given) <= _MAX_ID and given.isascii() and given.isprintable() else None
