"""The standard library's logging joins: what third-party packages log becomes records like the application's own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping
from copy import copy
from typing import Any

from logweir_logger.exceptions import text_of
from logweir_logger.levels import DEBUG, ERROR, FATAL, INFO, TRACE, WARN, severity
from logweir_logger.logger import StructuredLogger

_STANDARD = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None))) | {"message", "asctime", "taskName"}
"""What every LogRecord has; the rest came by `extra`."""

_NUMBERS = (logging.DEBUG // 2, logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)
"""A level of logging for each of ours."""


class StdlibHandler(logging.Handler):
    """Hands the records of logging to a logger.

    The message is formatted; `extra` becomes metadata, the logging logger's name `context.logger`, `exc_info` the
    record's error. The time is that of the logging record.

    Args:
        logger: Takes them.
        level: Of logging, by name or number; NOTSET takes all.
    """

    def __init__(self, logger: StructuredLogger, level: int | str = logging.NOTSET) -> None:
        super().__init__(level)
        self.logger = logger
        self._named: dict[str, StructuredLogger] = {}
        self._inside = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        """Log one record. What an output logs by itself meanwhile is left out, or it would go round in circles."""
        if getattr(self._inside, "now", False):
            return
        self._inside.now = True
        try:
            self._emit(record)
        except Exception:  # noqa: BLE001  # logging's own way to tell of it
            self.handleError(record)
        finally:
            self._inside.now = False

    def _emit(self, record: logging.LogRecord) -> None:
        number = _severity(record.levelno)
        if not self.logger.is_enabled(("trace", "debug", "info", "warn", "error", "fatal")[number]):
            return
        logger = self._named.get(record.name)
        if logger is None:
            logger = self._named[record.name] = self.logger.child(logger=record.name)
        metadata = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if isinstance(record.msg, Mapping) and not record.args:
            # So python-json-logger's users log: the object is what is to be told.
            metadata = {**record.msg, **metadata}
        try:
            message = self._message(record)
        except Exception:  # noqa: BLE001  # what doesn't fit into the message is told beside it
            message = text_of(record.msg)
            metadata["args"] = record.args
        if record.stack_info:
            metadata["stack_info"] = record.stack_info
        error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        logger._log(  # noqa: SLF001  # with the time of the record, which applications have no need to give
            number, message, metadata or None, error=error, milli=int(record.created * 1000)
        )

    def _message(self, record: logging.LogRecord) -> str:
        """Return the message without secrets: an object that is formatted is text, whose keys nobody looks at."""
        core = self.logger._core  # noqa: SLF001  # it knows the secret keys, also the application's own
        if not isinstance(record.msg, str) and not record.args:
            return core.text(_named(record.msg))
        if not record.args:
            return record.getMessage()
        cleaned = core.redactor.clean(record.args)
        if cleaned is not record.args:
            record = copy(record)
            record.args = tuple(cleaned) if isinstance(cleaned, list) else cleaned
        return record.getMessage()


def _named(message: Any) -> Any:
    """Return what an object that is logged calls its message, where it does; else the object."""
    if isinstance(message, Mapping):
        for name in ("message", "msg", "event"):
            if isinstance(message.get(name), str):
                return message[name]
    return message


def _severity(number: int) -> int:
    for ours, theirs in ((FATAL, 50), (ERROR, 40), (WARN, 30), (INFO, 20), (DEBUG, 10)):
        if number >= theirs:
            return ours
    return TRACE


class Capture:
    """Logging that goes to a logger; `stop`, or the end of a `with` block, gives it back.

    Not made directly: `capture_stdlib` does. Nobody need hold it for it to last.
    """

    def __init__(self, loggers: list[logging.Logger], handler: StdlibHandler, number: int, *, warnings: bool) -> None:
        self.handler = handler
        self._before = [(each, each.handlers[:], each.level, each.propagate) for each in loggers]
        self._warnings = warnings
        for each in loggers:
            each.handlers[:] = [handler]
            each.setLevel(number)
            each.propagate = False
        if warnings:
            logging.captureWarnings(capture=True)

    def stop(self) -> None:
        """Let logging do what it did before. Nothing happens the second time."""
        before, self._before = self._before, []
        for each, handlers, level, propagate in before:
            each.handlers[:] = handlers
            each.setLevel(level)
            each.propagate = propagate
        if self._warnings:
            self._warnings = False
            logging.captureWarnings(capture=False)

    def __enter__(self) -> StdlibHandler:
        return self.handler

    def __exit__(self, *_error: object) -> None:
        self.stop()


def capture_stdlib(
    logger: StructuredLogger, *, level: str | None = None, names: Iterable[str] = (), warnings: bool = False
) -> Capture:
    """Let logging write to a logger, in place of its own handlers: for good, or as a `with` block.

    Args:
        logger: Takes the records.
        level: The least severe level that is taken; the logger's own by default.
        names: Only these loggers of logging and those below them; the root logger by default, so all that propagate.
        warnings: Take what `warnings` says as well.
    """
    number = severity(logger.level if level is None else level)
    stdlib_number = _NUMBERS[number] if number < len(_NUMBERS) else logging.CRITICAL + 1
    chosen = [logging.getLogger(name) for name in names] or [logging.getLogger()]
    return Capture(chosen, StdlibHandler(logger), stdlib_number, warnings=warnings)
