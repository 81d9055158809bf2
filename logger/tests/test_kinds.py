from __future__ import annotations

import asyncio
from collections import UserDict
from collections.abc import AsyncIterator, Iterator
from typing import Any, Callable

import pytest

from logweir_logger import StructuredLogger
from logweir_logger.timers import resident

Make = Callable[..., StructuredLogger]
Records = list[dict[str, Any]]


def test_timer_as_context_manager(make: Make, records: Records) -> None:
    """A timer logs at the end of its block how long that took, with what was added meanwhile."""
    with make().timer("database-query", category="database", metadata={"table": "users"}) as timer:
        timer.metadata["rows"] = 5
    (record,) = records
    assert (record["message"], record["level"], record["category"]) == ("database-query completed", "info", "database")
    assert record["metadata"] == {"table": "users", "rows": 5}
    assert record["performance"] == {"duration": timer.duration}
    assert timer.duration is not None
    assert timer.duration >= 0


def test_timer_as_decorator(make: Make, records: Records) -> None:
    """A decorated function is measured with each call, also when it calls itself."""

    @make().timer("work", level="warn")
    def work(number: int) -> int:
        """Count down."""
        return work(number - 1) + 1 if number else 0

    assert work(3) == 3
    assert work.__doc__ == "Count down."
    assert [record["message"] for record in records] == ["work completed"] * 4
    assert {record["level"] for record in records} == {"warn"}


def test_timer_of_async_functions(make: Make, records: Records) -> None:
    """A decorated async function is measured until its coroutine ends, many at once too; `async with` works as well."""
    logger = make()

    @logger.timer("work")
    async def work(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    async def main() -> None:
        assert list(await asyncio.gather(work(0.02), work(0.001))) == [0.02, 0.001]
        async with logger.timer("block"):
            await asyncio.sleep(0)

    asyncio.run(main())
    durations = [record["performance"]["duration"] for record in records]
    assert [record["message"] for record in records] == ["work completed", "work completed", "block completed"]
    assert durations[1] >= 20 > durations[0]


def test_timer_of_what_fails(make: Make, records: Records) -> None:
    """What raises is logged as failed, with the exception, which goes on its way; a cancellation is no failure."""
    logger = make()
    with pytest.raises(ValueError, match="bad"), logger.timer("work"):
        raise ValueError("bad")  # noqa: EM101
    with pytest.raises(KeyboardInterrupt), logger.timer("work"):
        raise KeyboardInterrupt
    assert [(record["message"], record["level"]) for record in records] == [
        ("work failed", "error"),
        ("work cancelled", "warn"),
    ]
    assert records[0]["error"]["message"] == "bad"
    assert "duration" in records[0]["performance"]


def test_timer_with_memory_and_cpu(make: Make, records: Records) -> None:
    """Memory and CPU are told when asked for."""
    with make().timer("work", memory=resident() is not None, cpu=True):
        # More than the allocator may hold from before, or nothing would be asked of the system.
        kept = [bytearray(1024) for _ in range(200_000)]
    performance = records[0]["performance"]
    assert performance["cpu"] >= 0
    if resident() is not None:
        assert performance["memory"] > 1_000_000
    assert len(kept) == 200_000


def test_timer_of_generators(make: Make) -> None:
    """A generator can't be decorated, as only its making would be measured."""
    timer = make().timer("work")

    def generator() -> Iterator[int]:
        yield 1

    async def async_generator() -> AsyncIterator[int]:
        yield 1

    for each in (generator, async_generator):
        with pytest.raises(TypeError, match="a generator; use `with` inside"):
            timer(each)


def test_disabled_timer(make: Make, records: Records) -> None:
    """A timer below the logger's level measures and logs nothing, unless it fails."""
    logger = make()
    with logger.timer("work", level="debug") as timer:
        pass
    assert timer.duration is not None
    with pytest.raises(ValueError, match="x"), logger.timer("work", level="debug"):
        raise ValueError("x")  # noqa: EM101
    assert [record["message"] for record in records] == ["work failed"]


def test_start_timer(make: Make, records: Records) -> None:
    """What `start_timer` returns ends it, logs it once and returns the milliseconds."""
    stop = make().start_timer("import", metadata={"file": "a.csv"})
    duration = stop(rows=5)
    assert stop() == duration
    (record,) = records
    assert record["performance"]["duration"] == duration
    assert record["metadata"] == {"file": "a.csv", "rows": 5}


def test_metric(make: Make, records: Records) -> None:
    """A metric says its name, value, unit and tags."""
    logger = make()
    logger.metric("queue.depth", 17)
    logger.metric("latency", 1.5, "ms", {"region": "eu"})
    assert [record["message"] for record in records] == ["queue.depth 17", "latency 1.5 ms"]
    assert records[1]["metadata"] == {"name": "latency", "value": 1.5, "unit": "ms", "tags": {"region": "eu"}}
    assert {record["category"] for record in records} == {"metric"}


@pytest.mark.parametrize(
    ("status", "error", "level"),
    [(200, None, "info"), (304, None, "info"), (404, None, "warn"), (503, None, "error"), (200, "cut", "error")],
)
def test_http_request(make: Make, records: Records, status: int, error: Any, level: str) -> None:
    """A request's level follows its status."""
    make().http_request("GET", "/orders", status, 12.5, metadata={"bytes": 10}, error=error)
    (record,) = records
    assert (record["level"], record["category"]) == (level, "http")
    assert record["message"] == f"GET /orders {status}"
    assert record["metadata"] == {"method": "GET", "path": "/orders", "status": status, "bytes": 10}
    assert record["performance"] == {"duration": 12.5}


@pytest.mark.parametrize(
    ("status", "level"),
    [("started", "info"), ("completed", "info"), ("failed", "error"), ("Cancelled", "warn"), ("timeout", "error")],
)
def test_workflow_execution(make: Make, records: Records, status: str, level: str) -> None:
    """An execution's level follows what became of it."""
    make().workflow_execution("invoice", "e-1", status, duration=10, metadata={"step": 2})
    (record,) = records
    assert (record["level"], record["category"]) == (level, "workflow")
    assert record["metadata"] == {"workflowId": "invoice", "executionId": "e-1", "status": status, "step": 2}


def test_db_query(make: Make, records: Records) -> None:
    """A query is for debugging, unless it is slow or fails."""
    logger = make(level="debug")
    logger.db_query("select * from orders where id = %s", 3.5, rows=1, database="shop")
    logger.db_query("update orders set a = 1", 1500)
    logger.db_query("delete from orders", 5, error=OSError("gone"))
    logger.db_query("x" * 10_000, 5)
    logger.db_query("", 5)
    assert [(record["level"], record["message"]) for record in records[:3]] == [
        ("debug", "SELECT took 3.5 ms"),
        ("warn", "UPDATE took 1500 ms"),
        ("error", "DELETE failed"),
    ]
    assert records[0]["metadata"] == {
        "statement": "select * from orders where id = %s",
        "rows": 1,
        "database": "shop",
    }
    assert len(records[3]["metadata"]["statement"]) < 5_000
    assert {record["category"] for record in records} == {"database"}


def test_api_call(make: Make, records: Records) -> None:
    """A call to another service is an error without an answer or with one of the server's errors."""
    logger = make()
    logger.api_call("payments", "/charge", 200, method="POST", duration=80)
    logger.api_call("payments", "/charge", 429)
    logger.api_call("payments", "/charge", None, error=TimeoutError("5 s"))
    assert [(record["level"], record["message"]) for record in records] == [
        ("info", "payments /charge 200"),
        ("warn", "payments /charge 429"),
        ("error", "payments /charge no answer"),
    ]
    assert records[0]["metadata"] == {"service": "payments", "endpoint": "/charge", "status": 200, "method": "POST"}
    assert {record["category"] for record in records} == {"api"}


def test_names_that_are_taken(make: Make, records: Records) -> None:
    """Metadata may have the names of what a kind says by itself, which keeps them."""
    logger: Any = make()
    logger.http_request("GET", "/", 200, metadata={"status": "other", "bytes": 5})
    logger.api_call("payments", "/charge", 200, metadata={"service": "other", 5: "five"})
    assert records[0]["metadata"] == {"bytes": 5, "method": "GET", "path": "/", "status": 200}
    assert records[1]["metadata"] == {"5": "five", "service": "payments", "endpoint": "/charge", "status": 200}


def test_kinds_of_the_wrong_type(make: Make, records: Records) -> None:
    """What a kind is given in the wrong type is written as it is, and raises nothing."""

    class Statement:
        def __str__(self) -> str:
            return "select 1"

    class Bad(UserDict):  # type: ignore[type-arg]
        def __iter__(self) -> Any:
            raise OSError

    logger: Any = make(level="debug")
    logger.db_query(Statement(), "5 ms")
    logger.db_query(None, None)
    logger.http_request("GET", "/", "503", "fast", metadata=["a", "list"])
    logger.api_call("payments", "/charge", "none", metadata=Bad(a=1))
    logger.workflow_execution(5, None, 7)
    logger.metric(None, "many")
    assert [(record["level"], record["message"]) for record in records] == [
        ("debug", "SELECT took 5 ms ms"),
        ("debug", "NONE took None ms"),
        ("error", "GET / 503"),
        ("info", "payments /charge none"),
        ("info", "workflow 5 7"),
        ("info", "None many"),
    ]
    assert records[2]["metadata"]["value"] == ["a", "list"]


def test_levels_can_be_chosen(make: Make, records: Records) -> None:
    """Each kind takes another level, and none is written that is disabled."""
    logger = make(level="warn")
    for level in ("info", "warn"):
        logger.metric("a", 1, level=level)
        logger.http_request("GET", "/", 500, level=level)
        logger.workflow_execution("a", "b", "failed", level=level)
        logger.db_query("select", 1, level=level)
        logger.api_call("a", "b", 500, level=level)
    assert [record["level"] for record in records] == ["warn"] * 5
