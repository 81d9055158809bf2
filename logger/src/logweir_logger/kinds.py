"""The kinds of records that applications have in common, each with its category and a sensible level."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable

from logweir_logger.exceptions import text_of
from logweir_logger.levels import DEBUG, ERROR, INFO, WARN, severity
from logweir_logger.timers import Timer

_MAX_STATEMENT = 4_096
_MAX_VERB = 32
SLOW_QUERY_MS = 1_000.0
_CLIENT_ERROR = 400
_SERVER_ERROR = 500
_FAILED = {"failed", "failure", "error", "errored", "crashed", "timeout", "timed_out"}
_UNFINISHED = {"cancelled", "canceled", "aborted", "retrying", "skipped", "warning"}


class Kinds:
    """What StructuredLogger offers beside its levels."""

    __slots__ = ()

    _threshold: int

    def _log(
        self,
        number: int,
        message: str,
        metadata: Mapping[str, Any] | None = None,
        context: Mapping[str, Any] | None = None,
        performance: Mapping[str, Any] | None = None,
        category: str | None = None,
        error: Any = None,
    ) -> None:
        raise NotImplementedError

    def log_at(
        self,
        number: int,
        message: str,
        metadata: Mapping[str, Any] | None,
        performance: Mapping[str, Any] | None,
        category: str | None,
        error: Any,
        context: Mapping[str, Any] | None = None,
    ) -> None:
        """Log at the level of this severity, if it is enabled."""
        if number >= self._threshold:
            self._log(number, message, metadata, context, performance, category, error)

    def timer(
        self,
        name: str,
        *,
        level: str = "info",
        metadata: dict[str, Any] | None = None,
        category: str | None = None,
        memory: bool = False,
        cpu: bool = False,
    ) -> Timer:
        """Return a timer: a context manager (`with` and `async with`) and a decorator of functions, async ones too.

        Args:
            name: Of what is measured; it begins the message.
            level: Of the record, unless it fails.
            metadata: What the record says as well.
            category: The record's.
            memory: Say by how many bytes the process grew.
            cpu: Say what CPU the process used, in percent of one core.
        """
        return Timer(self, name, severity(level), metadata, category, memory=memory, cpu=cpu)

    def start_timer(
        self,
        name: str,
        *,
        level: str = "info",
        metadata: dict[str, Any] | None = None,
        category: str | None = None,
        memory: bool = False,
        cpu: bool = False,
    ) -> Callable[..., float]:
        """Begin to measure; return what ends it, logs it and returns the milliseconds.

        The returned function takes further metadata as keywords. The arguments are those of `timer`.
        """
        timer = self.timer(name, level=level, metadata=metadata, category=category, memory=memory, cpu=cpu)

        def stop(**more: Any) -> float:
            if more:
                timer.metadata = {**timer.metadata, **more}
            return timer.stop()

        return stop

    def metric(
        self,
        name: str,
        value: float,
        unit: str | None = None,
        tags: Mapping[str, Any] | None = None,
        *,
        level: str = "info",
    ) -> None:
        """Log a measured value.

        Args:
            name: Of what was measured.
            value: The number.
            unit: Such as ms, bytes, percent.
            tags: What the value belongs to.
            level: Of the record.
        """
        metadata = _given({"name": name, "value": value, "unit": unit, "tags": tags}, None)
        message = f"{name} {value}" if unit is None else f"{name} {value} {unit}"
        self.log_at(severity(level), message, metadata, None, "metric", None)

    def http_request(
        self,
        method: str,
        path: str,
        status: int,
        duration: float | None = None,
        *,
        metadata: Mapping[str, Any] | None = None,
        error: Any = None,
        level: str | None = None,
    ) -> None:
        """Log a request that was answered: at level error from status 500 on, warn from 400 on, else info.

        Args:
            method: Such as GET.
            path: Without what must not be logged.
            status: Of the answer.
            duration: Milliseconds.
            metadata: What else is to be known, under other names than these.
            error: Why it failed.
            level: Another level.
        """
        number = _of_status(status, error) if level is None else severity(level)
        merged = _given({"method": method, "path": path, "status": status}, metadata)
        self.log_at(number, f"{method} {path} {status}", merged, _took(duration), "http", error)

    def workflow_execution(
        self,
        workflow_id: str,
        execution_id: str,
        status: str,
        *,
        duration: float | None = None,
        metadata: Mapping[str, Any] | None = None,
        error: Any = None,
        level: str | None = None,
    ) -> None:
        """Log what became of a workflow: at error if it failed, warn if it was cancelled or is retried, else info.

        Args:
            workflow_id: Which workflow.
            execution_id: Which execution of it.
            status: Such as started, completed, failed.
            duration: Milliseconds.
            metadata: What else is to be known, under other names than these.
            error: Why it failed.
            level: Another level.
        """
        number = INFO
        if level is not None:
            number = severity(level)
        elif error is not None or str(status).lower() in _FAILED:
            number = ERROR
        elif str(status).lower() in _UNFINISHED:
            number = WARN
        merged = _given({"workflowId": workflow_id, "executionId": execution_id, "status": status}, metadata)
        self.log_at(number, f"workflow {workflow_id} {status}", merged, _took(duration), "workflow", error)

    def db_query(
        self,
        statement: str,
        duration: float,
        *,
        rows: int | None = None,
        database: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        error: Any = None,
        slow_ms: float = SLOW_QUERY_MS,
        level: str | None = None,
    ) -> None:
        """Log a query: at level error if it failed, warn if it was slow, else debug.

        Args:
            statement: With placeholders in place of what must not be logged.
            duration: Milliseconds.
            rows: How many came back or were changed.
            database: Which one.
            metadata: What else is to be known, under other names than these.
            error: Why it failed.
            slow_ms: From how many milliseconds on it is slow.
            level: Another level.
        """
        number = DEBUG
        if level is not None:
            number = severity(level)
        elif error is not None:
            number = ERROR
        elif _at_least(duration, slow_ms):
            number = WARN
        # The statement may be an object of some library's, such as SQLAlchemy's.
        shown = text_of(statement, _MAX_STATEMENT)
        verb = (shown.split(None, 1) or ["query"])[0][:_MAX_VERB].upper()
        merged = _given({"statement": shown, "rows": rows, "database": database}, metadata)
        outcome = "failed" if error is not None else f"took {_number(duration)} ms"
        self.log_at(number, f"{verb} {outcome}", merged, _took(duration), "database", error)

    def api_call(
        self,
        service: str,
        endpoint: str,
        status: int | None,
        *,
        method: str | None = None,
        duration: float | None = None,
        metadata: Mapping[str, Any] | None = None,
        error: Any = None,
        level: str | None = None,
    ) -> None:
        """Log a call to another service: at error if it failed or from status 500 on, warn from 400 on, else info.

        Args:
            service: Who was called.
            endpoint: What of it.
            status: Of the answer, None where there was none.
            method: Such as GET.
            duration: Milliseconds.
            metadata: What else is to be known, under other names than these.
            error: Why it failed.
            level: Another level.
        """
        number = _of_status(status, error) if level is None else severity(level)
        merged = _given({"service": service, "endpoint": endpoint, "status": status, "method": method}, metadata)
        outcome = "no answer" if status is None else str(status)
        self.log_at(number, f"{service} {endpoint} {outcome}", merged, _took(duration), "api", error)


def _given(fields: dict[str, Any], metadata: Any) -> dict[str, Any]:
    """Return the metadata and the fields that were given, which keep their names to themselves."""
    given = {name: value for name, value in fields.items() if value is not None}
    if metadata is None:
        return given
    try:
        more = dict(metadata) if isinstance(metadata, Mapping) else {"value": metadata}
    except Exception:  # noqa: BLE001  # a mapping that fails is told as it stands
        more = {"value": metadata}
    return {**{name: value for name, value in more.items() if name not in given}, **given}


def _took(duration: float | None) -> dict[str, Any] | None:
    return None if duration is None else {"duration": duration}


def _of_status(status: int | None, error: Any) -> int:
    if error is not None or status is None or _at_least(status, _SERVER_ERROR):
        return ERROR
    return WARN if _at_least(status, _CLIENT_ERROR) else INFO


def _at_least(value: Any, bound: float) -> bool:
    """Whether a number, which may be one in words, reaches this bound; what is no number doesn't."""
    try:
        return float(value) >= bound
    except (TypeError, ValueError, OverflowError):
        return False


def _number(value: Any) -> str:
    try:
        return f"{value:g}"
    except (TypeError, ValueError):
        return text_of(value)
