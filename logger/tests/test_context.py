from __future__ import annotations

import asyncio
import contextvars
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable

import pytest

from logweir_logger import LogContext, StructuredLogger
from logweir_logger.trace import TraceParent, parse_traceparent

Make = Callable[..., StructuredLogger]
Records = list[dict[str, Any]]
TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
HEADER = f"00-{TRACE}-{SPAN}-01"


@pytest.fixture(autouse=True)
def _no_context() -> None:
    LogContext.clear()


def test_ids() -> None:
    """Ids have the lengths of W3C Trace Context and are never the same."""
    assert re.fullmatch("[0-9a-f]{32}", LogContext.generate_trace_id())
    assert re.fullmatch("[0-9a-f]{16}", LogContext.generate_span_id())
    assert len({LogContext.generate_trace_id() for _ in range(1000)}) == 1000


def test_use(make: Make, records: Records) -> None:
    """Fields last for a block; blocks may be nested, and what fails ends them too."""
    logger = make()
    with LogContext.use(requestId="r", user={"id": "u"}):
        with LogContext.use(requestId="inner", tenant="t"):
            logger.info("inner")
        logger.info("outer")
    with pytest.raises(ValueError, match="x"), LogContext.use(requestId="r"):
        raise ValueError("x")  # noqa: EM101
    logger.info("none")
    assert [record["context"].get("requestId") for record in records] == ["inner", "r", None]
    assert [record.get("user") for record in records] == [{"id": "u"}, {"id": "u"}, None]
    assert LogContext.get() == {}


def test_set_and_get(make: Make, records: Records) -> None:
    """Fields can be added to the context of now, and read again."""
    LogContext.set(requestId="r", trace_id=TRACE)
    LogContext.set(userId="u")
    assert LogContext.get() == {"requestId": "r", "userId": "u", "traceId": TRACE}
    make().info("x")
    assert records[0]["trace"] == {"traceId": TRACE}
    LogContext.clear()
    assert LogContext.get() == {}


def test_spans(make: Make, records: Records) -> None:
    """Spans are nested: each knows its parent, all share a trace, and ending one restores what was before."""
    logger = make()
    outer = LogContext.start_span("outer", step="1")
    logger.info("in outer")
    with LogContext.start_span("inner") as inner:
        logger.info("in inner")
    logger.info("in outer again")
    assert LogContext.end_span() is outer
    logger.info("after")
    assert LogContext.end_span() is None
    traces = [record.get("trace") for record in records]
    in_outer = {"traceId": outer.trace_id, "spanId": outer.span_id}
    in_inner = {"traceId": outer.trace_id, "spanId": inner.span_id, "parentSpanId": outer.span_id}
    assert traces == [in_outer, in_inner, in_outer, None]
    assert records[1]["context"]["spanName"] == "inner"
    assert records[1]["context"]["step"] == "1"
    assert inner.duration is not None
    assert outer.duration is not None
    assert outer.duration >= inner.duration


def test_ending_an_outer_span(make: Make, records: Records) -> None:
    """Ending a span ends those begun within it; ending it again does nothing."""
    with LogContext.use(requestId="r"):
        outer = LogContext.start_span()
        LogContext.start_span()
        LogContext.end_span(outer)
        make().info("x")
        LogContext.start_span()
        outer.end()
        make().info("y")
    assert "trace" not in records[0]
    assert "trace" in records[1]
    assert records[0]["context"]["requestId"] == "r"


def test_spans_that_end_in_another_order(make: Make, records: Records) -> None:
    """A span that ends after the one around it, or in another thread, leaves nothing behind."""
    logger = make()
    outer = LogContext.start_span("outer")
    inner = LogContext.start_span("inner")
    outer.end()
    logger.info("no span")
    inner.end()
    logger.info("still none")
    with LogContext.start_span("outer") as outer, LogContext.start_span("inner"):
        outer.end()
    logger.info("none again")
    other = LogContext.start_span("other")
    with ThreadPoolExecutor(1) as pool, LogContext.use(a=1):
        pool.submit(other.end).result()
        pool.submit(logger.info, "in the thread").result()
    other.end()
    LogContext.clear()
    assert [record.get("trace") for record in records] == [None] * 4
    assert all("spanName" not in record["context"] for record in records)


def test_traceparent_in_and_out(make: Make, records: Records) -> None:
    """A span continues the caller's trace, and says so to whoever is called, with the caller's flags."""
    with LogContext.start_span(traceparent=HEADER.replace("-01", "-00")) as span:
        make().info("x")
        assert LogContext.traceparent() == f"00-{TRACE}-{span.span_id}-00"
    assert records[0]["trace"] == {"traceId": TRACE, "spanId": span.span_id, "parentSpanId": SPAN}
    assert LogContext.traceparent() is None


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (HEADER, TraceParent(TRACE, SPAN, "01")),
        (HEADER.encode(), TraceParent(TRACE, SPAN, "01")),
        (f" {HEADER} ", TraceParent(TRACE, SPAN, "01")),
        (f"01-{TRACE}-{SPAN}-01-more", TraceParent(TRACE, SPAN, "01")),
        (f"00-{TRACE}-{SPAN}-01-more", None),
        (f"ff-{TRACE}-{SPAN}-01", None),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (HEADER.upper(), None),
        (f"00-{TRACE}-{SPAN}", None),
        (f"00-{TRACE[1:]}-{SPAN}-01", None),
        ("", None),
        (None, None),
        (b"\xff", None),
        (5, None),
    ],
)
def test_traceparent_headers(header: Any, expected: Any) -> None:
    """Headers are read as W3C Trace Context says, and what is none is ignored."""
    assert parse_traceparent(header) == expected
    with LogContext.start_span(traceparent=header) as span:
        assert (span.trace_id == TRACE) is (expected is not None)


def test_run_with_context(make: Make, records: Records) -> None:
    """A function runs with further fields, and returns what it returns."""
    logger = make()

    def work(number: int, *, more: int) -> int:
        logger.info("x")
        return number + more

    assert LogContext.run_with_context({"requestId": "r", "traceId": TRACE}, work, 1, more=2) == 3
    logger.info("after")
    assert [record["context"].get("requestId") for record in records] == ["r", None]
    assert records[0]["trace"] == {"traceId": TRACE}


def test_run_with_context_async(make: Make, records: Records) -> None:
    """A coroutine runs with further fields, in whatever task it is awaited."""
    logger = make()

    async def work(number: int) -> int:
        await asyncio.sleep(0)
        logger.info("x")
        return number

    async def main() -> list[int]:
        coroutines = [LogContext.run_with_context({"requestId": str(each)}, work, each) for each in range(10)]
        found = list(await asyncio.gather(*coroutines))
        found.append(await LogContext.run_with_context({"requestId": "10"}, work, 10))
        logger.info("after")
        return found

    assert asyncio.run(main()) == list(range(11))
    assert sorted(int(record["context"]["requestId"]) for record in records[:-1]) == list(range(11))
    assert "requestId" not in records[-1]["context"]


def test_tasks_inherit(make: Make, records: Records) -> None:
    """A task has the context of whoever started it, and what it changes stays its own."""
    logger = make()

    async def task(number: int) -> None:
        LogContext.set(task=number)
        await asyncio.sleep(0)
        logger.info("x", metadata={"task": number})

    async def main() -> None:
        with LogContext.use(requestId="r"):
            await asyncio.gather(*(task(number) for number in range(20)))
            logger.info("after")

    asyncio.run(main())
    assert all(record["context"]["task"] == record["metadata"]["task"] for record in records[:-1])
    assert {record["context"]["requestId"] for record in records} == {"r"}
    assert "task" not in records[-1]["context"]


def test_threads(make: Make, records: Records) -> None:
    """A thread begins without context; `wrap` and `copy_context` take it along, also for many threads at once."""
    logger = make()
    with ThreadPoolExecutor(4) as pool, LogContext.use(requestId="r"):
        pool.submit(logger.info, "bare").result()
        pool.submit(contextvars.copy_context().run, logger.info, "copied").result()
        wrapped = LogContext.wrap(logger.info)
        list(pool.map(wrapped, ["wrapped"] * 50))
        pool.submit(logger.info, "bare again").result()
    found = {record["message"]: record["context"].get("requestId") for record in records}
    assert found == {"bare": None, "copied": "r", "wrapped": "r", "bare again": None}
    assert len(records) == 53


def test_wrap_async(make: Make, records: Records) -> None:
    """A wrapped async function runs with the context of when it was wrapped."""
    logger = make()

    async def work() -> str:
        await asyncio.sleep(0)
        logger.info("x")
        return "done"

    with LogContext.use(requestId="r"):
        wrapped = LogContext.wrap(work)
    assert asyncio.run(wrapped()) == "done"
    assert records[0]["context"]["requestId"] == "r"
    assert wrapped.__name__ == "work"


def test_many_loggers_in_one_context(make: Make, records: Records) -> None:
    """Many loggers within one context each say their own."""
    logger = make()
    with LogContext.use(requestId="r"):
        for number in range(100):
            logger.child(number=number).info("x")
    assert [record["context"]["number"] for record in records] == list(range(100))
    assert {record["context"]["requestId"] for record in records} == {"r"}


def test_opentelemetry(make: Make, records: Records) -> None:
    """The current span of OpenTelemetry is the record's trace; without one, the context's is."""
    sdk = pytest.importorskip("opentelemetry.sdk.trace")
    tracer = sdk.TracerProvider().get_tracer("test")
    logger = make()
    with LogContext.use(traceId=TRACE):
        logger.info("ours")
        with tracer.start_as_current_span("outer") as outer:
            logger.info("outer")
            with tracer.start_as_current_span("inner") as inner:
                logger.info("inner", context={"a": 1})
                logger.child(traceId="c" * 32).info("bound")
    ids = [span.get_span_context() for span in (outer, inner)]
    assert [record["trace"] for record in records] == [
        {"traceId": TRACE},
        {"traceId": f"{ids[0].trace_id:032x}", "spanId": f"{ids[0].span_id:016x}"},
        {
            "traceId": f"{ids[0].trace_id:032x}",
            "spanId": f"{ids[1].span_id:016x}",
            "parentSpanId": f"{ids[0].span_id:016x}",
        },
        {"traceId": "c" * 32},
    ]


def test_opentelemetry_header() -> None:
    """Within a span of OpenTelemetry the header for others has its ids, and a span of ours belongs to its trace."""
    sdk = pytest.importorskip("opentelemetry.sdk.trace")
    tracer = sdk.TracerProvider().get_tracer("test")
    with LogContext.start_span():
        ours = LogContext.traceparent()
        with tracer.start_as_current_span("outer") as outer:
            ids = outer.get_span_context()
            with LogContext.start_span() as inner:
                assert LogContext.traceparent() == f"00-{ids.trace_id:032x}-{ids.span_id:016x}-01"
        assert LogContext.traceparent() == ours
    assert (inner.trace_id, inner.parent_span_id) == (f"{ids.trace_id:032x}", f"{ids.span_id:016x}")
