"""How a record is put together and written.

From bytes that are ready: what begins it is made once a millisecond, the context of a logger once when it is made. Only
what a call brings is encoded. What is wrong with a value, or with an output, is no concern of the caller's.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from time import time_ns
from typing import TYPE_CHECKING, Any, Callable, Union

import orjson

from logweir_logger.clock import CLOCK
from logweir_logger.context import CURRENT
from logweir_logger.encode import OPTIONS, convert
from logweir_logger.exceptions import describe
from logweir_logger.levels import DEBUG, ERROR, FATAL, INFO, LEVELS, TRACE, WARN
from logweir_logger.trace import otel_trace

if TYPE_CHECKING:
    from logweir_logger.core import Core
    from logweir_logger.logger import StructuredLogger

Fields = Mapping[str, Any]
ErrorLike = Union[BaseException, Fields, str]

_OTEL = "opentelemetry.trace"
_BRACE = ord("{")
_BRACKET = ord("[")
_dumps = orjson.dumps
_modules = sys.modules
_clock = CLOCK


def as_object(value: Any) -> Any:
    """Return a value as an object, which metadata and the like have to be."""
    if isinstance(value, dict):
        return value
    return dict(value) if isinstance(value, Mapping) else {"value": value}


def _label(core: Core, category: Any) -> str:
    """Return a category as text: of an Enum its value."""
    if isinstance(category, str):
        return category
    value = getattr(category, "value", category)
    return value if isinstance(value, str) else core.text(value)


def _others(core: Core, performance: Fields | None, category: str | None, error: ErrorLike | None) -> dict[str, Any]:
    """Return what few records say."""
    others: dict[str, Any] = {}
    if category is not None:
        others["category"] = category if category.__class__ is str else _label(core, category)
    if performance is not None:
        others["performance"] = core.redactor.clean(as_object(performance))
    if error is not None:
        described = describe(error, core.text)
        others["error"] = core.redactor.clean(described) if described is error else described
    return others


def _salvaged(core: Core, message: Any, metadata: Any, performance: Any, category: Any, error: Any) -> dict[str, Any]:
    """Return the parts of a record in which something is wrong, for the walk that mends it."""
    body: dict[str, Any] = {"message": message if type(message) is str else core.text(message)}
    if category is not None:
        try:
            body["category"] = _label(core, category)
        except Exception:  # noqa: BLE001  # it can't be asked for its value
            body["category"] = core.text(category)
    for name, value in (("metadata", metadata), ("performance", performance)):
        if value is not None:
            try:
                plain = convert(value) if isinstance(value, Mapping) and not isinstance(value, dict) else value
                body[name] = plain if isinstance(plain, dict) else {"value": plain}
            except Exception:  # noqa: BLE001  # it can't be asked what it is
                body[name] = {"value": convert(value)}
    if error is not None:
        try:
            body["error"] = describe(error, core.text)
        except Exception as failure:  # noqa: BLE001  # an exception that can't even be looked at
            body["error"] = {"name": type(error).__name__, "message": f"it fails with {type(failure).__name__}"}
    return body


def _writing(number: int) -> Callable[..., None]:  # noqa: C901  # a call saved is a tenth of a record's cost
    """Return the method that writes records of one level: the one place where that is done.

    It stands in for the class's own method, which says the same to readers and type checkers, so that a record costs
    one call less.
    """
    level = LEVELS[number].encode() + b'"'

    def write_record(  # noqa: C901, PLR0912  # the same
        self: StructuredLogger,
        message: str,
        *,
        metadata: Fields | None = None,
        context: Fields | None = None,
        performance: Fields | None = None,
        category: str | None = None,
        error: ErrorLike | None = None,
        user: Fields | None = None,
        milli: int | None = None,
    ) -> None:
        core = self._core
        writers = core.writers[number]
        if not writers:
            return
        scope = CURRENT.get()
        fixed, trace = self._fixed if scope is None else scope.encoded(self)
        named = encoded = b""
        more = b"}"
        try:
            if _OTEL in _modules and self._bound_trace is None:
                trace = otel_trace() or trace
            if context is not None or user is not None or (core.sample and number in core.sample):
                found = self._more(number, scope, trace, context, user)
                if found is None:
                    return
                fixed, trace = found
            said = _dumps(message if message.__class__ is str else core.text(message))
            if metadata is not None:
                if metadata.__class__ is not dict:
                    metadata = as_object(metadata)
                named, encoded = b',"metadata":', _dumps(metadata, core.default, OPTIONS)
                # Another brace may begin an object in it, whose keys are to be looked at as well, and a list in
                # another may be a pair. What is too large to be written is cleaned when it is cut down.
                # A search for one byte spares most records those for several.
                if (
                    not metadata.keys() <= core.safe
                    or _BRACE in encoded[1:]
                    or (
                        _BRACKET in encoded and encoded.count(_BRACKET) > 1 and (b'[["' in encoded or b',["' in encoded)
                    )
                ) and len(encoded) < core.max_record_bytes:
                    cleaned = core.redactor.clean(metadata)
                    if cleaned is not metadata:
                        encoded = _dumps(cleaned, core.default, OPTIONS)
            if performance is not None or category is not None or error is not None:
                more = b"," + _dumps(_others(core, performance, category, error), core.default, OPTIONS)[1:]
        except Exception:  # noqa: BLE001  # whatever is wrong with a value, the record is written
            said, named, encoded, more = core.mended(_salvaged(core, message, metadata, performance, category, error))
        now = time_ns() // 1_000_000 if milli is None else milli
        beat = _clock.beat
        if beat[0] != now:
            beat = _clock.tick(now)
        ending = next(_clock.endings, None) or _clock.renew()
        line = b"".join((beat[1], ending, beat[2], level, trace, fixed, said, named, encoded, more))
        if len(line) > core.max_record_bytes:
            body = _salvaged(core, message, metadata, performance, category, error)
            parts = core.mended(body, len(trace) + len(fixed), refused=False)
            line = b"".join((beat[1], ending, beat[2], level, trace, fixed, *parts))
        for write in writers:
            try:
                write(line, number)
            except Exception as failure:  # noqa: BLE001, PERF203  # that concerns neither the caller nor other outputs
                core.complain(write, failure)

    return write_record


WRITE = [_writing(number) for number in range(len(LEVELS))]


def off(
    _self: StructuredLogger,
    message: str,
    *,
    metadata: Fields | None = None,
    context: Fields | None = None,
    performance: Fields | None = None,
    category: str | None = None,
    error: ErrorLike | None = None,
) -> None:
    """Do nothing: this level is disabled."""


METHODS = (
    (TRACE, "trace"),
    (DEBUG, "debug"),
    (INFO, "info"),
    (WARN, "warn"),
    (WARN, "warning"),
    (ERROR, "error"),
    (ERROR, "exception"),
    (FATAL, "fatal"),
    (FATAL, "critical"),
)
"""The methods of each level."""
