"""Help for the tests of applications: what was logged, as a list."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson

from logweir_logger.core import capture


class CapturedLogs(list[dict[str, Any]]):
    """The records that were logged, in their order."""

    @property
    def messages(self) -> list[str]:
        """Their messages."""
        return [record["message"] for record in self]

    def at(self, level: str) -> list[dict[str, Any]]:
        """Return those of a level."""
        return [record for record in self if record["level"] == level]


@contextmanager
def capture_logs() -> Iterator[CapturedLogs]:
    """Collect what all loggers of this process log within the block, in place of writing it.

    What a logger's level suppresses isn't collected. Blocks may be nested: the innermost collects.

    >>> from logweir_logger import StructuredLogger
    >>> logger = StructuredLogger(service="checkout")
    >>> with capture_logs() as logs:
    ...     logger.info("order placed", metadata={"items": 3})
    >>> logs[0]["message"], logs[0]["metadata"]
    ('order placed', {'items': 3})
    """
    logs = CapturedLogs()
    end = capture(lambda line, _severity: logs.append(orjson.loads(line)))
    try:
        yield logs
    finally:
        end()
