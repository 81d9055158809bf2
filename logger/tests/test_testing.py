from __future__ import annotations

from typing import Any, Callable

from logweir_logger import StructuredLogger, capture_logs
from logweir_logger.testing import CapturedLogs

Make = Callable[..., StructuredLogger]
Records = list[dict[str, Any]]


def test_capture_logs(make: Make, records: Records) -> None:
    """Within the block records are collected in place of being written, of loggers made before and within."""
    logger = make()
    with capture_logs() as logs:
        logger.child(a=1).info("one")
        StructuredLogger("b").error("two")
        logger.debug("disabled")
    logger.info("after")
    assert logs.messages == ["one", "two"]
    assert [record["message"] for record in logs.at("error")] == ["two"]
    assert logs[0]["context"]["a"] == 1
    assert [record["message"] for record in records] == ["after"]


def test_nested(make: Make) -> None:
    """The innermost block collects."""
    logger = make()
    with capture_logs() as outer:
        with capture_logs() as inner:
            logger.info("inner")
        logger.info("outer")
    assert (outer.messages, inner.messages) == (["outer"], ["inner"])


def test_fixture(structured_logs: CapturedLogs) -> None:
    """The fixture collects what a test logs."""
    StructuredLogger("a").info("x")
    assert structured_logs.messages == ["x"]
