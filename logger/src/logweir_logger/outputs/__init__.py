"""Where records go. `Output` is what an own one derives from."""

from __future__ import annotations

from collections.abc import Mapping
from time import time_ns
from typing import Any, Callable

import orjson

from logweir_logger.clock import CLOCK
from logweir_logger.levels import LEVELS, severity

Write = Callable[[bytes, int], None]
"""Writes a record, given its line and its severity."""


class Output:
    """A place that records go to. A subclass says how one is written.

    Args:
        level: The least severe level that is written.
    """

    def __init__(self, level: str = "trace") -> None:
        self.severity = severity(level)

    def attach(self, fixed: bytes) -> None:
        """Learn how a record of the logger goes on after its level up to its message, for records of its own.

        Called once for each logger that is made with this output, not for its children.
        """

    def write(self, line: bytes, severity: int) -> None:
        """Write one record.

        Called on the thread that logs, by several at once; it must not log to the same logger. What it raises is
        told on stderr, once a minute at most.

        Args:
            line: The record: JSON in UTF-8, without a newline.
            severity: Its level's place in `LEVELS`.
        """
        raise NotImplementedError

    def writer(self) -> Write:
        """Return what the logger calls with each record, `write` if there is nothing quicker."""
        return self.write

    def flush(self, timeout: float = 10.0) -> bool:
        """Return whether everything is written, which is waited for no longer than these seconds."""
        del timeout
        return True

    def close(self) -> None:
        """Flush, and let go of what it holds. A record that comes later is written all the same."""
        self.flush()


def compose(fixed: bytes, severity: int, message: str, metadata: Mapping[str, Any]) -> bytes:
    """Return a record that an output writes of its own.

    Args:
        fixed: What `attach` was told, or nothing.
        severity: Its level's place in `LEVELS`.
        message: What happened.
        metadata: Plain JSON.
    """
    beat = CLOCK.tick(time_ns() // 1_000_000)
    ending = next(CLOCK.endings, None) or CLOCK.renew()
    level = LEVELS[severity].encode() + b'"'
    before = fixed or b',"message":'
    tail = b',"category":"logging","metadata":' + orjson.dumps(metadata) + b"}"
    return b"".join((beat[1], ending, beat[2], level, before, orjson.dumps(message), tail))
