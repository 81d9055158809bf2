"""Structured logs for applications, in the shape that logweir reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from logweir_logger.context import LogContext, Span
from logweir_logger.levels import LEVELS
from logweir_logger.logger import StructuredLogger
from logweir_logger.outputs import Output
from logweir_logger.outputs.callback import CallbackOutput
from logweir_logger.outputs.stream import StreamOutput
from logweir_logger.timers import Timer

if TYPE_CHECKING:
    from logweir_logger.outputs.console import ConsoleOutput
    from logweir_logger.outputs.file import FileOutput
    from logweir_logger.outputs.kafka import KafkaOutput
    from logweir_logger.testing import capture_logs

__version__ = "0.1.0"

__all__ = [
    "LEVELS",
    "CallbackOutput",
    "ConsoleOutput",
    "FileOutput",
    "KafkaOutput",
    "LogContext",
    "Output",
    "Span",
    "StreamOutput",
    "StructuredLogger",
    "Timer",
    "capture_logs",
]

_LATER = {
    "ConsoleOutput": "outputs.console",
    "FileOutput": "outputs.file",
    "KafkaOutput": "outputs.kafka",
    "capture_logs": "testing",
}
"""What is imported when it is first asked for, so that an application pays only for what it uses."""


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    import importlib

    found = getattr(importlib.import_module(f"{__name__}.{_LATER[name]}"), name)
    globals()[name] = found
    return found
