"""Records to a function of the application."""

from __future__ import annotations

import threading
from typing import Any, Callable

import orjson

from logweir_logger.outputs import Output

Listener = Callable[[dict[str, Any]], object]
"""Takes a record. What it changes of it nobody else sees."""


class CallbackOutput(Output):
    """Calls a function with each record, on the thread that logs.

    What the function itself logs doesn't come back to it.

    Args:
        listener: Takes the record, as a dict of plain JSON.
        level: The least severe level that it is called for.
    """

    def __init__(self, listener: Listener, level: str = "trace") -> None:
        super().__init__(level)
        self.listener = listener
        self._inside = threading.local()

    def write(self, line: bytes, severity: int) -> None:  # noqa: ARG002
        """Call the function with one record."""
        if getattr(self._inside, "now", False):
            return
        self._inside.now = True
        try:
            self.listener(orjson.loads(line))
        finally:
            self._inside.now = False
