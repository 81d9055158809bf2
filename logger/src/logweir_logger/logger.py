"""StructuredLogger: records in the shape that logweir reads."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from typing import Any, Callable

import orjson

from logweir_logger.context import Scope, split
from logweir_logger.core import Core
from logweir_logger.kinds import Kinds
from logweir_logger.levels import DEBUG, ERROR, FATAL, INFO, LEVELS, TRACE, WARN, severity
from logweir_logger.outputs import Output
from logweir_logger.outputs.callback import CallbackOutput, Listener
from logweir_logger.outputs.stream import StreamOutput
from logweir_logger.redact import Redactor
from logweir_logger.writing import METHODS, WRITE, ErrorLike, Fields, as_object, off

MAX_RECORD_BYTES = 262_144
"""A quarter of what a Kafka broker takes by default."""


class StructuredLogger(Kinds):
    """Writes records.

    Threads, asyncio tasks and forked processes may share one. No call raises because of what is logged or where it
    goes.

    Args:
        service: The application's name.
        environment: Such as production.
        version: The application's.
        host: Where it runs; None asks the system, "" leaves it out.
        level: The least severe level that is logged: trace, debug, info, warn, error, fatal, off.
        outputs: Where records go, each with its own level: `Output`s and functions that take a record. Standard output
            by default.
        redact_keys: Secret keys beside the well-known ones.
        redact: False shows secrets.
        sample: The share of a level that is kept, such as {"debug": 0.1}. It is decided by the trace, where there is
            one, so a trace is kept or dropped whole; records that are kept say the share as `sampleRate`.
        max_record_bytes: Larger records are cut down, with markers for what is missing.

    Raises:
        ValueError: A level is unknown, a share isn't from 0 to 1, or max_record_bytes is too small.
    """

    __slots__ = ("_bound_trace", "_bound_user", "_context", "_core", "_fixed")

    _threshold = TRACE

    def __init__(
        self,
        service: str,
        *,
        environment: str | None = None,
        version: str | None = None,
        host: str | None = None,
        level: str = "info",
        outputs: Iterable[Output | Listener] | None = None,
        redact_keys: Iterable[str] = (),
        redact: bool = True,
        sample: Mapping[str, float] | None = None,
        max_record_bytes: int = MAX_RECORD_BYTES,
    ) -> None:
        named = {
            "service": service,
            "environment": environment,
            "version": version,
            "host": _host() if host is None else host,
        }
        chosen = [StreamOutput()] if outputs is None else [_as_output(each) for each in outputs]
        self._core = Core(chosen, Redactor(redact_keys, enabled=redact), max_record_bytes, sample or {})
        self._context: Fields = {name: value for name, value in named.items() if value}
        self._bound_trace: Fields | None = None
        self._bound_user: Fields | None = None
        self._fixed = self.encode_fixed(None)
        self.level = level
        for output in chosen:
            output.attach(self._fixed[0])

    @property
    def level(self) -> str:
        """The least severe level that is logged. Children made before keep theirs when it is changed."""
        return LEVELS[self._threshold] if self._threshold < len(LEVELS) else "off"

    @level.setter
    def level(self, level: str) -> None:
        # A disabled method is replaced as a whole, by that of another class: nothing is left to check.
        self.__class__ = _at(type(self), severity(level))

    @property
    def context(self) -> dict[str, Any]:
        """What each record of this logger says in its context."""
        return dict(self._context)

    def is_enabled(self, level: str) -> bool:
        """Whether records of this level are logged: for work that only a record needs."""
        number = severity(level)
        return self._threshold <= number < len(LEVELS) and bool(self._core.writers[number])

    def trace(
        self,
        message: str,
        *,
        metadata: Fields | None = None,
        context: Fields | None = None,
        performance: Fields | None = None,
        category: str | None = None,
        error: ErrorLike | None = None,
    ) -> None:
        """Log at level trace; the arguments are those of `log`."""
        self._log(TRACE, message, metadata, context, performance, category, error)

    def debug(
        self,
        message: str,
        *,
        metadata: Fields | None = None,
        context: Fields | None = None,
        performance: Fields | None = None,
        category: str | None = None,
        error: ErrorLike | None = None,
    ) -> None:
        """Log at level debug; the arguments are those of `log`."""
        self._log(DEBUG, message, metadata, context, performance, category, error)

    def info(
        self,
        message: str,
        *,
        metadata: Fields | None = None,
        context: Fields | None = None,
        performance: Fields | None = None,
        category: str | None = None,
        error: ErrorLike | None = None,
    ) -> None:
        """Log at level info; the arguments are those of `log`."""
        self._log(INFO, message, metadata, context, performance, category, error)

    def warn(
        self,
        message: str,
        *,
        metadata: Fields | None = None,
        context: Fields | None = None,
        performance: Fields | None = None,
        category: str | None = None,
        error: ErrorLike | None = None,
    ) -> None:
        """Log at level warn; the arguments are those of `log`."""
        self._log(WARN, message, metadata, context, performance, category, error)

    def error(
        self,
        message: str,
        *,
        metadata: Fields | None = None,
        context: Fields | None = None,
        performance: Fields | None = None,
        category: str | None = None,
        error: ErrorLike | None = None,
    ) -> None:
        """Log at level error; the arguments are those of `log`."""
        self._log(ERROR, message, metadata, context, performance, category, error)

    def fatal(
        self,
        message: str,
        *,
        metadata: Fields | None = None,
        context: Fields | None = None,
        performance: Fields | None = None,
        category: str | None = None,
        error: ErrorLike | None = None,
    ) -> None:
        """Log at level fatal; the arguments are those of `log`."""
        self._log(FATAL, message, metadata, context, performance, category, error)

    def exception(
        self,
        message: str,
        *,
        metadata: Fields | None = None,
        context: Fields | None = None,
        performance: Fields | None = None,
        category: str | None = None,
        error: ErrorLike | None = None,
    ) -> None:
        """Log at level error with the exception that is being handled; the arguments are those of `log`."""
        handled = sys.exc_info()[1] if error is None else error
        self._log(ERROR, message, metadata, context, performance, category, handled)

    warning = warn
    critical = fatal

    def log(
        self,
        level: str,
        message: str,
        *,
        metadata: Fields | None = None,
        context: Fields | None = None,
        performance: Fields | None = None,
        category: str | None = None,
        error: ErrorLike | None = None,
        user: Fields | None = None,
    ) -> None:
        """Log one record.

        Args:
            level: Its level.
            message: What happened, in words. It is written as it is, `%` and braces too.
            metadata: What is to be known of it: any keys, any values.
            context: Added to the logger's own context, for this record.
            performance: `duration` in milliseconds, `memory` in bytes, `cpu` in percent.
            category: Such as http, database, security, audit.
            error: An exception, a text, or an object with name and message.
            user: `id`, `username`, `ip`.
        """
        number = severity(level)
        if self._threshold <= number < len(LEVELS):
            self._log(number, message, metadata, context, performance, category, error, user=user)

    def child(self, **context: Any) -> StructuredLogger:
        """Return a logger that says this as well in each record's context.

        `traceId`, `spanId` and `parentSpanId` go into the record's trace, `user` (a mapping) into its user.
        """
        added, trace, user = split(context)
        return self._made({**self._context, **added}, trace or self._bound_trace, user or self._bound_user)

    bind = child

    def unbind(self, *names: str) -> StructuredLogger:
        """Return a logger without these; what it doesn't have is no error."""
        kept = {name: value for name, value in self._context.items() if name not in names}
        trace = {name: value for name, value in (self._bound_trace or {}).items() if name not in names}
        return self._made(kept, trace or None, None if "user" in names else self._bound_user)

    def on(self, event: str, listener: Listener, level: str = "trace") -> Callable[[], None]:
        """Call a function with each record, a dict, on the thread that logs; return what ends that.

        Args:
            event: "log"; there is no other.
            listener: The function. What it raises is told on stderr and otherwise ignored.
            level: The least severe level it is called for.
        """
        if event != "log":
            msg = f"unknown event {event!r}; there is only 'log'"
            raise ValueError(msg)
        output = CallbackOutput(listener, level)
        self._core.add(output)
        return lambda: self._core.remove(output)

    def flush(self, timeout: float = 10.0) -> bool:
        """Return whether all outputs have written everything, waiting no longer than these seconds for each."""
        done = [output.flush(timeout) for output in self._core.outputs]
        return all(done)

    def close(self) -> None:
        """Flush, and let the outputs let go of what they hold. At exit that happens by itself."""
        for output in self._core.outputs:
            output.close()

    def __copy__(self) -> StructuredLogger:
        """Return itself: what holds a logger can be copied, and goes on with the same one."""
        return self

    def __deepcopy__(self, _memo: Any) -> StructuredLogger:
        """Return itself, as `__copy__` does."""
        return self

    def encode_fixed(self, scope: Scope | None) -> tuple[bytes, bytes]:
        """Return what stands in a record before its message, the trace apart; a scope's fields come after its own."""
        context, trace, user = self._context, self._bound_trace, self._bound_user
        if scope is not None:
            context = {**context, **{key: each for key, each in scope.context.items() if key not in context}}
            trace = trace or scope.trace
            user = user or scope.user
        core = self._core
        encoded = b',"context":' + core.encode(context)
        if user is not None:
            encoded += b',"user":' + core.encode(user)
        return encoded + b',"message":', b"" if trace is None else b',"trace":' + core.encode(trace)

    def _made(self, context: Fields, trace: Fields | None, user: Fields | None) -> StructuredLogger:
        made = object.__new__(type(self))
        if hasattr(self, "__dict__"):
            # A subclass may have attributes of its own.
            vars(made).update(vars(self))
        made._core = self._core
        made._context = context
        made._bound_trace = trace
        made._bound_user = user
        made._fixed = made.encode_fixed(None)
        return made

    def _log(
        self,
        number: int,
        message: str,
        metadata: Fields | None = None,
        context: Fields | None = None,
        performance: Fields | None = None,
        category: str | None = None,
        error: ErrorLike | None = None,
        **more: Any,
    ) -> None:
        WRITE[number](
            self,
            message,
            metadata=metadata,
            context=context,
            performance=performance,
            category=category,
            error=error,
            **more,
        )

    def _more(
        self, number: int, scope: Scope | None, trace: bytes, context: Fields | None, user: Fields | None
    ) -> tuple[bytes, bytes] | None:
        """Return (context, user) and trace of a record that says more than usual, None where sampling drops it."""
        core = self._core
        added: dict[str, Any] = {}
        if number in core.sample:
            trace_id = orjson.loads(trace[len(b',"trace":') :]).get("traceId") if trace else None
            if not core.kept(number, trace_id):
                return None
            added["sampleRate"] = core.sample[number]
        if context is not None:
            added.update(as_object(context))
        if user is not None:
            added["user"] = user
        if not added:
            return self._fixed[0] if scope is None else scope.encoded(self)[0], trace
        made = self.child(**added)
        fixed, own = made.encode_fixed(scope)
        return fixed, trace if made._bound_trace is self._bound_trace else own  # noqa: SLF001  # one of its own


def _as_output(output: Output | Listener) -> Output:
    if isinstance(output, Output):
        return output
    if callable(output):
        return CallbackOutput(output)
    msg = f"an output is an Output or a function that takes a record, not {output!r}"
    raise TypeError(msg)


def _host() -> str:
    if hasattr(os, "uname"):
        return os.uname().nodename
    import platform

    return platform.node()


_variants: dict[tuple[type, int], type] = {}


def _at(kind: type, threshold: int) -> type:
    """Return the class of loggers from this level up: its other levels do nothing."""
    base = getattr(kind, "_base", kind)
    found = _variants.get((base, threshold))
    if found is None:
        methods = {
            name: off if number < threshold else WRITE[number]
            for number, name in METHODS
            # What a subclass does on its own remains, unless it is disabled.
            if number < threshold or (name != "exception" and getattr(base, name) is vars(StructuredLogger)[name])
        }
        same = {name: getattr(base, name) for name in ("__module__", "__doc__", "__qualname__")}
        found = type(
            base.__name__, (base,), {**same, "__slots__": (), **methods, "_base": base, "_threshold": threshold}
        )
        _variants[base, threshold] = found
    return found
