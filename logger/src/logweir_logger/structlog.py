"""structlog joins: a last processor that turns its events into records like the application's own."""

from __future__ import annotations

import sys
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any

from logweir_logger.levels import INFO, severity
from logweir_logger.logger import StructuredLogger

_TRACE = {"trace_id": "traceId", "span_id": "spanId", "parent_span_id": "parentSpanId"}
_OURS = {"metadata", "context", "performance", "category"}


class StructlogProcessor:
    """The last of structlog's processors: logs the event with a logger, and lets structlog write nothing.

    `event` becomes the message, `exc_info` the error; `trace_id` and `span_id` go into the trace; `category`,
    `context`, `performance` and `metadata` where a record has them; everything else into the metadata. The level is
    that of the method called.

    Args:
        logger: Takes the events.
    """

    def __init__(self, logger: StructuredLogger) -> None:
        from structlog import DropEvent

        self._logger = logger
        self._written = DropEvent

    def __call__(self, _logger: Any, method: str, event: MutableMapping[str, Any]) -> Any:
        """Log one event.

        Raises:
            DropEvent: Always, which is how structlog is told that nothing remains to be written.
        """
        fields = dict(event)
        message = fields.pop("event", "")
        number = _number(fields.pop("level", method), method)
        # The record has a time of its own.
        fields.pop("timestamp", None)
        error = _error(fields.pop("exc_info", None), fields.pop("exception", None))
        given = {name: fields.pop(name) for name in _OURS & fields.keys()}
        context = dict(given["context"]) if isinstance(given.get("context"), dict) else {}
        context.update({ours: fields.pop(theirs) for theirs, ours in _TRACE.items() if theirs in fields})
        if isinstance(given.get("metadata"), dict):
            fields.update(given["metadata"])
        elif "metadata" in given:
            fields["metadata"] = given["metadata"]
        self._logger.log_at(
            number,
            message if isinstance(message, str) else str(message),
            fields or None,
            given.get("performance"),
            given.get("category"),
            error,
            context or None,
        )
        raise self._written


def _number(level: Any, method: str) -> int:
    for name in (level, method):
        with suppress(ValueError):
            return severity(name)
    return INFO


def _error(exc_info: Any, rendered: Any) -> Any:
    if exc_info is True:
        return sys.exc_info()[1]
    if isinstance(exc_info, tuple):
        return exc_info[1]
    if isinstance(exc_info, BaseException):
        return exc_info
    # A processor before this one has made text of it.
    return {"name": "Error", "message": str(rendered).rpartition("\n")[2], "stack": str(rendered)} if rendered else None
