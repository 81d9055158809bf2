from __future__ import annotations

import copy
import time
import uuid
from collections.abc import Iterator
from datetime import datetime
from itertools import chain
from typing import Any, Callable

import pytest

from logweir_logger import LEVELS, LogContext, Output, StructuredLogger
from logweir_logger.clock import CLOCK

Make = Callable[..., StructuredLogger]
Records = list[dict[str, Any]]


def test_shape(make: Make, records: Records) -> None:
    """A record has the fields that logweir reads, under its names."""
    logger = make(environment="production", version="1.2.3")
    logger.log(
        "warn",
        "100 % {of} %s",
        metadata={"items": 3},
        context={"requestId": "r-1"},
        performance={"duration": 1.5, "memory": 10, "cpu": 2.0},
        category="database",
        error=ValueError("bad"),
        user={"id": "u-1", "username": "ann", "ip": "10.0.0.1"},
    )
    (record,) = records
    assert uuid.UUID(record.pop("id")).version == 7
    assert abs(datetime.fromisoformat(record.pop("timestamp").replace("Z", "+00:00")).timestamp() - time.time()) < 60
    assert record == {
        "level": "warn",
        "message": "100 % {of} %s",
        "category": "database",
        "context": {
            "service": "checkout",
            "environment": "production",
            "version": "1.2.3",
            "host": "node-1",
            "requestId": "r-1",
        },
        "metadata": {"items": 3},
        "performance": {"duration": 1.5, "memory": 10, "cpu": 2.0},
        "error": {"name": "ValueError", "message": "bad", "stack": "ValueError: bad"},
        "user": {"id": "u-1", "username": "ann", "ip": "10.0.0.1"},
    }


def test_what_is_not_given_is_not_there(make: Make, records: Records) -> None:
    """A record says nothing of what it wasn't told; empty metadata is told."""
    make().info("plain")
    make().info("empty", metadata={})
    assert [sorted(record) for record in records] == [
        ["context", "id", "level", "message", "timestamp"],
        ["context", "id", "level", "message", "metadata", "timestamp"],
    ]
    assert records[0]["context"] == {"service": "checkout", "host": "node-1"}


def test_host_is_found() -> None:
    """Without being told, a logger knows the name of its machine; an empty name leaves it out."""
    assert StructuredLogger("a").context["host"]
    assert "host" not in StructuredLogger("a", host="").context


def test_ids_are_unique_and_ordered(make: Make, records: Records) -> None:
    """Ids are UUIDs of version 7 that sort by the time of their records, also within a millisecond."""
    logger = make()
    for _ in range(5000):
        logger.info("x")
    ids = [record["id"] for record in records]
    assert len(set(ids)) == 5000
    assert ids == sorted(ids)
    assert {(uuid.UUID(each).version, uuid.UUID(each).variant) for each in ids} == {(7, uuid.RFC_4122)}


def test_ids_go_on_when_their_counter_ends(make: Make, records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the counter of ids is used up, others are drawn."""
    ends: Iterator[bytes] = iter([b"000-8000-000000000001"])
    monkeypatch.setattr(CLOCK, "endings", ends)
    logger = make()
    logger.info("last")
    logger.info("first")
    assert records[0]["id"].endswith("000-8000-000000000001")
    assert uuid.UUID(records[1]["id"]).version == 7
    assert CLOCK.endings is not ends


def test_timestamps_match_ids(make: Make, records: Records) -> None:
    """A record's timestamp and its id tell the same millisecond, whatever the second."""
    logger = make()
    moments = [0, 999, 1_000, 1_700_000_000_123, 1_700_000_000_124, 1_699_999_999_999, 4_102_444_800_000]
    for milli in chain(moments, reversed(moments)):
        logger._log(2, "x", milli=milli)
    for record, milli in zip(records, chain(moments, reversed(moments))):
        moment = datetime.fromisoformat(record["timestamp"].replace("Z", "+00:00"))
        assert round(moment.timestamp() * 1000) == milli
        assert uuid.UUID(record["id"]).int >> 80 == milli


@pytest.mark.parametrize("threshold", [*LEVELS, "off"])
def test_levels(make: Make, records: Records, threshold: str) -> None:
    """Only what is at the logger's level or above is written, by each of the methods."""
    logger = make(level=threshold)
    expected = []
    methods = {"warning": "warn", "critical": "fatal", "exception": "error", **{level: level for level in LEVELS}}
    for method, level in methods.items():
        getattr(logger, method)("x", metadata={"a": 1})
        logger.log(level, "y")
        enabled = threshold != "off" and LEVELS.index(level) >= LEVELS.index(threshold)
        expected += [level, level] if enabled else []
        assert logger.is_enabled(level) is enabled
    assert [record["level"] for record in records] == expected
    assert logger.level == threshold


def test_level_is_changed(make: Make, records: Records) -> None:
    """The level of a running logger can be changed, for it and the children made after."""
    logger = make()
    before = logger.child(a=1)
    logger.level = "debug"
    logger.debug("own")
    logger.child(a=1).debug("after")
    before.debug("before")
    assert [record["message"] for record in records] == ["own", "after"]


def test_unknown_level(make: Make) -> None:
    """A level that doesn't exist is refused with those that do."""
    with pytest.raises(ValueError, match="unknown level 'loud'; levels are trace, debug, info, warn, error, fatal"):
        make(level="loud")


def test_subclass(records: Records) -> None:
    """A subclass keeps its own methods at every level."""

    class Shouting(StructuredLogger):
        __slots__ = ()

        def info(self, message: str, **more: Any) -> None:
            super().info(message.upper(), **more)

    logger = Shouting("checkout", outputs=[records.append])
    logger.info("quiet", metadata={"a": 1})
    logger.child(a=1).info("child")
    logger.warning("other")
    assert [record["message"] for record in records] == ["QUIET", "CHILD", "other"]
    assert isinstance(logger.child(), Shouting)


def test_subclass_with_attributes(records: Records) -> None:
    """A subclass may have attributes of its own, which its children have as well."""

    class Tenant(StructuredLogger):
        def __init__(self, tenant: str, **more: Any) -> None:
            super().__init__("checkout", **more)
            self.tenant = tenant

    child = Tenant("t", outputs=[records.append]).child(a=1)
    assert isinstance(child, Tenant)
    assert child.tenant == "t"
    child.info("x")
    assert len(records) == 1


def test_copies(make: Make) -> None:
    """What holds a logger can be copied; the copy has the same one."""
    logger = make().child(a=1)
    assert copy.deepcopy({"logger": logger})["logger"] is logger
    assert copy.copy(logger) is logger


def test_children(make: Make, records: Records) -> None:
    """A child says what it was bound to beside what its parent says; unbinding takes it away again."""
    logger = make()
    child = logger.child(requestId="r", userId="u")
    grandchild = child.bind(userId="other", traceId="a" * 32, user={"id": "u"})
    for each in (logger, child, grandchild, grandchild.unbind("userId", "traceId", "user", "missing")):
        each.info("x")
    own = {"service": "checkout", "host": "node-1"}
    assert [record["context"] for record in records] == [
        own,
        {**own, "requestId": "r", "userId": "u"},
        {**own, "requestId": "r", "userId": "other"},
        {**own, "requestId": "r"},
    ]
    assert [record.get("trace") for record in records] == [None, None, {"traceId": "a" * 32}, None]
    assert [record.get("user") for record in records] == [None, None, {"id": "u"}, None]


def test_what_wins(make: Make, records: Records) -> None:
    """Of several values for one key, that of the call wins over the logger's, the logger's over the context's."""
    logger = make().child(requestId="bound")
    with LogContext.use(requestId="ambient", service="other", tenant="t", traceId="a" * 32):
        logger.info("x")
        logger.info("y", context={"requestId": "call", "traceId": "b" * 32})
        logger.info("z", context={"more": 1})
    assert [record["context"]["requestId"] for record in records] == ["bound", "call", "bound"]
    assert [record["trace"]["traceId"][0] for record in records] == ["a", "b", "a"]
    assert {record["context"]["service"] for record in records} == {"checkout"}
    assert {record["context"]["tenant"] for record in records} == {"t"}


def test_outputs_have_levels(records: Records) -> None:
    """Each output gets what is at its own level, and a failing one keeps nothing from the others."""

    class Failing(Output):
        def write(self, line: bytes, severity: int) -> None:
            raise OSError

    class Collecting(Output):
        def __init__(self, level: str) -> None:
            super().__init__(level)
            self.lines: list[bytes] = []

        def write(self, line: bytes, severity: int) -> None:
            self.lines.append(line)

    loud, quiet = Collecting("warn"), Collecting("info")
    logger = StructuredLogger("a", level="trace", outputs=[Failing(), loud, quiet])
    for level in LEVELS:
        logger.log(level, "x")
    assert (len(loud.lines), len(quiet.lines)) == (3, 4)
    assert not any(line.endswith(b"\n") or b"\n" in line for line in quiet.lines)


def test_failing_output_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    """An output that fails is told of on stderr, not with every record."""

    def failing(_record: dict[str, Any]) -> None:
        msg = "no room"
        raise OSError(msg)

    logger = StructuredLogger("a", outputs=[failing])
    for _ in range(10):
        logger.info("x")
    assert capsys.readouterr().err == "logweir_logger: CallbackOutput has not written a record: OSError: no room\n"


def test_not_an_output() -> None:
    """What is no output is refused at once."""
    with pytest.raises(TypeError, match="an output is an Output or a function"):
        StructuredLogger("a", outputs=["stdout"])  # type: ignore[list-item]


def test_listeners(make: Make, records: Records) -> None:
    """A subscriber gets each record from its level up, until it is taken off; what it logs doesn't come back to it."""
    logger = make()
    heard: list[str] = []

    def listener(record: dict[str, Any]) -> None:
        heard.append(record["message"])
        logger.warning("heard of it")

    off = logger.child(a=1).on("log", listener, level="warn")
    logger.info("info")
    logger.error("error")
    off()
    off()
    logger.error("later")
    assert heard == ["error"]
    assert [record["message"] for record in records] == ["info", "error", "heard of it", "later"]
    with pytest.raises(ValueError, match="there is only 'log'"):
        logger.on("error", listener)


def test_sampling_keeps_traces_whole(make: Make, records: Records) -> None:
    """Of a sampled level a share is kept, a trace as a whole; other levels are never sampled."""
    logger = make(level="debug", sample={"debug": 0.25})
    for number in range(2000):
        trace = f"{number * 7919:032x}"
        with LogContext.use(traceId=trace):
            logger.debug("first")
            logger.debug("second")
            logger.error("error")
    kept = [record for record in records if record["level"] == "debug"]
    traces = [record["trace"]["traceId"] for record in kept]
    assert traces[::2] == traces[1::2]
    assert 0.15 < len(kept) / 4000 < 0.35
    assert {record["context"]["sampleRate"] for record in kept} == {0.25}
    assert sum(record["level"] == "error" for record in records) == 2000


@pytest.mark.parametrize(("rate", "kept"), [(0, 0), (1, 200)])
def test_sampling_at_its_ends(make: Make, records: Records, rate: float, kept: int) -> None:
    """A share of 0 keeps nothing and one of 1 everything, without a trace too."""
    logger = make(level="debug", sample={"debug": rate})
    for _ in range(200):
        logger.debug("x")
    assert len(records) == kept


def test_wrong_share(make: Make) -> None:
    """A share that isn't from 0 to 1 is refused."""
    with pytest.raises(ValueError, match="sample of debug must be a share from 0 to 1, got 10"):
        make(sample={"debug": 10})


def test_flush_and_close(make: Make, records: Records) -> None:
    """Flushing and closing an output that holds nothing back does no harm."""
    logger = make()
    assert logger.flush()
    logger.close()
    logger.info("after")
    assert len(records) == 1
