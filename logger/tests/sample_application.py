"""An application as a user writes it: it is run, and checked by `mypy --strict`; what must be refused is marked so."""

from __future__ import annotations

import asyncio
from typing import Any

from typing_extensions import assert_type

from logweir_logger import (
    CallbackOutput,
    ConsoleOutput,
    LogContext,
    Output,
    Span,
    StreamOutput,
    StructuredLogger,
    Timer,
    capture_logs,
)


class Memory(Output):
    """An output of the application's own."""

    def __init__(self) -> None:
        super().__init__(level="warn")
        self.lines: list[bytes] = []

    def write(self, line: bytes, severity: int) -> None:
        """Keep a record."""
        self.lines.append(line)


def listener(record: dict[str, Any]) -> None:
    """Take a record."""
    assert record["message"]


logger = StructuredLogger(
    "sample",
    environment="test",
    level="debug",
    outputs=[
        Memory(),
        listener,
        CallbackOutput(listener),
        StreamOutput("stderr", level="fatal"),
        ConsoleOutput(level="fatal"),
    ],
    redact_keys=["iban"],
    sample={"debug": 0.5},
)
assert_type(logger.child(requestId="r"), StructuredLogger)
assert_type(logger.timer("work"), Timer)


@logger.timer("add")
def add(one: int, other: int) -> int:
    """Return a sum."""
    return one + other


@logger.timer("wait", category="sleep")
async def wait(seconds: float) -> str:
    """Return after some seconds."""
    await asyncio.sleep(seconds)
    return "done"


async def fetch(number: int, *, more: int = 0) -> int:
    """Return a number."""
    logger.info("fetching", metadata={"number": number})
    return number + more


async def main() -> None:
    """Do what an application does."""
    assert_type(add(1, 2), int)
    assert_type(await wait(0), str)
    assert_type(await LogContext.run_with_context({"requestId": "r"}, fetch, 1, more=2), int)
    assert_type(LogContext.run_with_context({"requestId": "r"}, add, 1, 2), int)
    with LogContext.start_span("work", tenant="t") as span:
        assert_type(span, Span)
        logger.warning("slow", performance={"duration": 5}, category="http")
    try:
        add(1, int("x"))
    except ValueError as error:
        logger.error("bad", error=error, context={"userId": "u"})  # noqa: TRY400
    with capture_logs() as logs:
        logger.metric("depth", 5)
    assert_type(logs.messages, list[str])
    off = logger.on("log", listener, level="error")
    off()


def refused() -> None:
    """Show what a type checker refuses; nobody calls it."""
    logger.info("bad", 5)  # type: ignore[call-arg, arg-type, misc, unused-ignore]  # noqa: PLE1205
    logger.info("bad", metadat={})  # type: ignore[call-arg]
    logger.info(5)  # type: ignore[arg-type]


if __name__ == "__main__":
    asyncio.run(main())
