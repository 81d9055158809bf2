"""LogContext: what every record of a request, a task or a thread says without being told each time.

It lies in a context variable, so each asyncio task and each thread has its own: a task inherits that of whoever starts
it, a thread begins with none unless what it runs was wrapped (`LogContext.wrap`).
"""

from __future__ import annotations

import time
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from types import CoroutineType, TracebackType
from typing import TYPE_CHECKING, Any, Callable, Optional, TypeVar, cast

from logweir_logger.trace import TraceParent, generate_span_id, generate_trace_id, otel_ids, parse_traceparent

if TYPE_CHECKING:
    from logweir_logger.logger import StructuredLogger

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

_TRACE_KEYS = {
    "traceId": "traceId",
    "spanId": "spanId",
    "parentSpanId": "parentSpanId",
    "trace_id": "traceId",
    "span_id": "spanId",
    "parent_span_id": "parentSpanId",
}
_CACHED = 16


def split(
    fields: Mapping[str, Any],
) -> tuple[dict[str, Any], Optional[dict[str, Any]], Optional[Mapping[str, Any]]]:
    """Return fields by their place in a record: (context, trace, user); None for a place that has none."""
    if "user" not in fields and _TRACE_KEYS.keys().isdisjoint(fields):
        return dict(fields), None, None
    context: dict[str, Any] = {}
    trace: dict[str, Any] = {}
    user: Mapping[str, Any] | None = None
    for key, value in fields.items():
        if key in _TRACE_KEYS:
            if value is not None:
                trace[_TRACE_KEYS[key]] = value
        elif key == "user" and isinstance(value, Mapping):
            user = value
        else:
            context[key] = value
    return context, trace or None, user


class Scope:
    """One state of the context; it never changes, another takes its place.

    Args:
        context: What goes into a record's context.
        trace: The record's trace.
        user: The record's user.
        flags: Of the traceparent that the trace came with.
        span: The span that it belongs to.
    """

    __slots__ = ("_encoded", "context", "flags", "span", "trace", "user")

    def __init__(
        self,
        context: Mapping[str, Any],
        trace: Mapping[str, Any] | None = None,
        user: Mapping[str, Any] | None = None,
        flags: str = "01",
        span: Span | None = None,
    ) -> None:
        self.context = context
        self.trace = trace
        self.user = user
        self.flags = flags
        self.span = span
        self._encoded: dict[StructuredLogger, tuple[bytes, bytes]] = {}

    def encoded(self, logger: StructuredLogger) -> tuple[bytes, bytes]:
        """Return what this and the logger's own context make together, encoded: made once for each logger."""
        found = self._encoded.get(logger)
        if found is None:
            found = logger.encode_fixed(self)
            if len(self._encoded) >= _CACHED:
                self._encoded = {}
            self._encoded[logger] = found
        return found

    def extended(self, fields: Mapping[str, Any]) -> Scope:
        """Return this with further fields, which win."""
        context, trace, user = split(fields)
        return Scope(
            {**self.context, **context} if context else self.context,
            {**(self.trace or {}), **trace} if trace else self.trace,
            user if user is not None else self.user,
            self.flags,
            self.span,
        )


_NONE = Scope({})
CURRENT: ContextVar[Optional[Scope]] = ContextVar("logweir_logger", default=None)


class Span:
    """A stretch of work within a trace; as a context manager it ends with its block.

    Not made directly: `LogContext.start_span` does.
    """

    __slots__ = ("_started", "before", "duration", "name", "parent_span_id", "span_id", "trace_id")

    def __init__(self, name: str | None, trace_id: str, parent_span_id: str | None, before: Scope | None) -> None:
        self.name = name
        self.trace_id = trace_id
        self.span_id = generate_span_id()
        self.parent_span_id = parent_span_id
        self.duration: float | None = None
        """Milliseconds, once it has ended."""
        self.before = before
        """The context that it began in."""
        self._started = time.perf_counter()

    def end(self) -> None:
        """End it: the context is what it was before. Nothing happens the second time.

        Where it isn't under way, as in another thread or after a span around it has ended, the context stays as it is.
        """
        if self._stop() and self._is_under_way():
            self._leave()

    def __enter__(self) -> Span:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stop():
            self._leave()

    def _stop(self) -> bool:
        if self.duration is not None:
            return False
        self.duration = (time.perf_counter() - self._started) * 1000
        return True

    def _is_under_way(self) -> bool:
        scope = CURRENT.get()
        while scope is not None and scope.span is not None:
            if scope.span is self:
                return True
            scope = scope.span.before
        return False

    def _leave(self) -> None:
        before = self.before
        # Spans around it may have ended in the meantime.
        while before is not None and before.span is not None and before.span.duration is not None:
            before = before.span.before
        CURRENT.set(before)


class LogContext:
    """The context of whatever runs now. All methods are static; the state lies in a context variable.

    Fields go where a record has them: `traceId`, `spanId` and `parentSpanId` into its trace, `user` (a mapping) into
    its user, all others into its context.
    """

    generate_trace_id = staticmethod(generate_trace_id)
    generate_span_id = staticmethod(generate_span_id)
    parse_traceparent = staticmethod(parse_traceparent)

    @staticmethod
    def get() -> dict[str, Any]:
        """Return the current fields, trace and user among them."""
        scope = CURRENT.get()
        if scope is None:
            return {}
        user = {} if scope.user is None else {"user": scope.user}
        return {**scope.context, **(scope.trace or {}), **user}

    @staticmethod
    def set(**fields: Any) -> None:
        """Add fields to the current context, for as long as it lasts."""
        CURRENT.set((CURRENT.get() or _NONE).extended(fields))

    @staticmethod
    def clear() -> None:
        """Forget all fields."""
        CURRENT.set(None)

    @staticmethod
    @contextmanager
    def use(**fields: Any) -> Iterator[None]:
        """Add fields for the length of a block; around `await` as well."""
        before = CURRENT.get()
        CURRENT.set((before or _NONE).extended(fields))
        try:
            yield
        finally:
            # Not by a token: a generator may be ended in another context than it began in.
            CURRENT.set(before)

    @staticmethod
    def run_with_context(fields: Mapping[str, Any], function: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        """Call a function with these fields added, and return what it returns.

        Of an async function that is a coroutine, which runs with the fields once it is awaited.
        """
        scope = (CURRENT.get() or _NONE).extended(fields)
        before = CURRENT.get()
        CURRENT.set(scope)
        try:
            result = function(*args, **kwargs)
        finally:
            CURRENT.set(before)
        if isinstance(result, CoroutineType):
            return cast("T", _within(scope, result))
        return result

    @staticmethod
    def wrap(function: F) -> F:
        """Return the function such that it runs with the context of now, in whatever thread: for executors."""
        scope = CURRENT.get()

        @wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            before = CURRENT.get()
            CURRENT.set(scope)
            try:
                result = function(*args, **kwargs)
            finally:
                CURRENT.set(before)
            return _within(scope, result) if isinstance(result, CoroutineType) else result

        return cast("F", wrapped)

    @staticmethod
    def start_span(name: str | None = None, *, traceparent: object = None, **fields: Any) -> Span:
        """Begin a span within the current one, in a new trace where there is none.

        Args:
            name: Becomes `spanName` in the context.
            traceparent: The header of whoever called; the span then belongs to that trace. What is no valid header
                is ignored, as the specification wants it.
            fields: Further fields, for the length of the span.
        """
        before = CURRENT.get()
        scope = before or _NONE
        remote = parse_traceparent(traceparent)
        parent: str | None
        if remote is not None:
            trace_id, parent, flags = remote
        else:
            found = otel_ids()
            trace = scope.trace or {}
            if found is not None:
                trace_id, parent, flags = found
            else:
                trace_id, flags = str(trace.get("traceId") or generate_trace_id()), scope.flags
                parent = trace.get("spanId")
        span = Span(name, trace_id, parent, before)
        ids = {"traceId": trace_id, "spanId": span.span_id}
        if parent is not None:
            ids["parentSpanId"] = parent
        extended = scope.extended(fields if name is None else {"spanName": name, **fields})
        CURRENT.set(Scope(extended.context, ids, extended.user, flags, span))
        return span

    @staticmethod
    def end_span(span: Span | None = None) -> Span | None:
        """End a span and those begun within it, the current one by default, and return it."""
        scope = CURRENT.get()
        ended = span or (scope.span if scope is not None else None)
        if ended is not None:
            ended.end()
        return ended

    @staticmethod
    def traceparent() -> str | None:
        """Return the header for calls to other services, None outside of any span.

        It has the ids of the records: those of OpenTelemetry's current span where there is one.
        """
        found = otel_ids()
        if found is not None:
            return str(found)
        scope = CURRENT.get()
        trace = (scope.trace if scope is not None else None) or {}
        if scope is None or "traceId" not in trace or "spanId" not in trace:
            return None
        return str(TraceParent(trace["traceId"], trace["spanId"], scope.flags))


async def _within(scope: Scope | None, coroutine: Coroutine[Any, Any, T]) -> T:
    before = CURRENT.get()
    CURRENT.set(scope)
    try:
        return await coroutine
    finally:
        CURRENT.set(before)
