from __future__ import annotations

from typing import Any, Callable

import pytest

from logweir_logger import LogContext, StructuredLogger

structlog = pytest.importorskip("structlog")

Make = Callable[..., StructuredLogger]
Records = list[dict[str, Any]]


def wrapped(logger: StructuredLogger, *processors: Any) -> Any:
    """Return a logger of structlog that ends in ours."""
    from logweir_logger.structlog import StructlogProcessor

    return structlog.wrap_logger(structlog.PrintLogger(), processors=[*processors, StructlogProcessor(logger)])


def test_events(make: Make, records: Records, capsys: pytest.CaptureFixture[str]) -> None:
    """An event becomes a record: fields are metadata, ours are where they belong, and structlog writes nothing."""
    log = wrapped(
        make(level="debug"), structlog.processors.add_log_level, structlog.processors.TimeStamper(fmt="iso")
    ).bind(order=5, trace_id="a" * 32)
    with LogContext.use(requestId="r"):
        log.info("placed", items=[1], password="p", category="audit", context={"userId": "u"}, metadata={"more": 1})
        log.warning("late", performance={"duration": 5})
    first, second = records
    assert (first["message"], first["level"], first["category"]) == ("placed", "info", "audit")
    assert first["metadata"] == {"order": 5, "items": [1], "password": "[redacted]", "more": 1}
    assert first["trace"] == {"traceId": "a" * 32}
    assert (first["context"]["userId"], first["context"]["requestId"]) == ("u", "r")
    assert (second["level"], second["performance"]) == ("warn", {"duration": 5})
    assert capsys.readouterr().out == ""


def test_exceptions(make: Make, records: Records) -> None:
    """Exceptions come as errors, also those that a processor has made text of."""
    logger = make()
    try:
        raise ValueError("bad")  # noqa: EM101, TRY301
    except ValueError as error:
        wrapped(logger).exception("a")
        wrapped(logger).error("b", exc_info=error)
        wrapped(logger, structlog.processors.format_exc_info).exception("c")
    assert [record["error"]["name"] for record in records] == ["ValueError", "ValueError", "Error"]
    assert records[2]["error"]["message"] == "ValueError: bad"
    assert "Traceback" in records[2]["error"]["stack"]


def test_levels(make: Make, records: Records) -> None:
    """The level of the record is that of the method, and what is disabled isn't written."""
    log = wrapped(make())
    for method in ("debug", "info", "warning", "error", "critical", "msg"):
        getattr(log, method)("x")
    assert [record["level"] for record in records] == ["info", "warn", "error", "fatal", "info"]
