from __future__ import annotations

import builtins
import sys
from typing import Any, Callable

import pytest

from logweir_logger import StructuredLogger

Make = Callable[..., StructuredLogger]
Records = list[dict[str, Any]]


def fail(message: str = "inner") -> None:
    """Raise."""
    raise ValueError(message)


def test_exception(make: Make, records: Records) -> None:
    """`exception` logs what is being handled, with name, message and the whole stack."""
    try:
        fail()
    except ValueError:
        make().exception("it failed")
    error = records[0]["error"]
    assert records[0]["level"] == "error"
    assert (error["name"], error["message"]) == ("ValueError", "inner")
    assert error["stack"].startswith("Traceback (most recent call last):")
    assert ", in fail\n" in error["stack"]
    assert error["stack"].endswith("ValueError: inner")


def test_exception_outside_of_any(make: Make, records: Records) -> None:
    """`exception` where nothing is being handled logs the message alone."""
    make().exception("nothing")
    assert "error" not in records[0]


def test_causes(make: Make, records: Records) -> None:
    """Causes and what was being handled stand in the stack, and by name and message within the error."""
    try:
        try:
            try:
                fail("first")
            except ValueError as error:
                msg = "second"
                raise KeyError(msg) from error
        except KeyError:
            msg = "third"
            raise OSError(msg)  # noqa: B904  # an implicit context is what is tested
    except OSError as error:
        make().error("x", error=error)
    told = records[0]["error"]
    assert told["cause"]["name"] == "KeyError"
    assert told["cause"]["cause"] == {"name": "ValueError", "message": "first"}
    assert "direct cause of the following exception" in told["stack"]


def test_suppressed_cause(make: Make, records: Records) -> None:
    """`from None` hides what was being handled, here as in a traceback."""
    try:
        try:
            fail()
        except ValueError:
            msg = "clean"
            raise OSError(msg) from None
    except OSError as error:
        make().error("x", error=error)
    assert "cause" not in records[0]["error"]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="groups came with Python 3.11")
def test_groups(make: Make, records: Records) -> None:
    """The errors of a group are told one by one, those of groups within it too, and notes with them."""
    kind = builtins.ExceptionGroup  # type: ignore[attr-defined,unused-ignore]
    noted = KeyError("b")
    noted.add_note("look at b")  # type: ignore[attr-defined,unused-ignore]
    make().error("x", error=kind("several", [ValueError("a"), kind("inner", [noted])]))
    error = records[0]["error"]
    assert error["errors"][0] == {"name": "ValueError", "message": "a"}
    assert error["errors"][1]["errors"][0]["notes"] == ["look at b"]
    assert "several (2 sub-exceptions)" in error["stack"]


def test_endless_causes(make: Make, records: Records) -> None:
    """Causes that go round in circles, or on for long, end."""
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    make().error("circle", error=one)
    chain: BaseException = ValueError("0")
    for number in range(1, 500):
        following = ValueError(str(number))
        following.__cause__ = chain
        chain = following
    make().error("long", error=chain)
    assert records[0]["error"]["cause"] == {"name": "ValueError", "message": "two"}
    assert records[1]["error"]["message"] == "499"
    assert len(records[1]["error"]["stack"]) < 40_000


def test_broken_exception(make: Make, records: Records) -> None:
    """An exception whose text fails is logged all the same."""

    class Broken(Exception):  # noqa: N818
        def __str__(self) -> str:
            raise RuntimeError

    try:
        raise Broken  # noqa: TRY301  # it needs a traceback
    except Broken as error:
        make().error("x", error=error, metadata={"kept": 1})
    assert records[0]["error"]["name"] == "Broken"
    assert records[0]["error"]["message"] == "<Broken whose text fails with RuntimeError>"
    assert records[0]["metadata"] == {"kept": 1}


def test_deep_recursion(make: Make, records: Records) -> None:
    """The stack of an endless recursion is cut in its middle."""

    def endless(number: int) -> int:
        return endless(number + 1) + endless(number + 2)

    try:
        endless(0)
    except RecursionError as error:
        make().error("x", error=error)
    assert records[0]["error"]["name"] == "RecursionError"
    assert len(records[0]["error"]["stack"]) < 40_000


def test_logging_near_the_recursion_limit(make: Make, records: Records) -> None:
    """Where hardly any stack is left, logging raises nothing that wasn't to be raised anyway."""
    logger = make()
    reached = []

    def descend() -> None:
        logger.info("down", metadata={"nested": {"a": [1, {"b": 2}]}})
        reached.append(1)
        descend()

    with pytest.raises(RecursionError):
        descend()
    assert reached


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("went wrong", {"name": "Error", "message": "went wrong"}),
        ({"name": "E", "message": "m", "code": 5}, {"name": "E", "message": "m", "code": 5}),
    ],
)
def test_errors_that_are_no_exceptions(make: Make, records: Records, given: Any, expected: Any) -> None:
    """An error may be a text or an object as well."""
    make().error("x", error=given)
    assert records[0]["error"] == expected
