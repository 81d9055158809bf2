from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import ipaddress
import json
import pathlib
import re
import threading
import uuid
from typing import Any, Callable, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logweir_logger import StructuredLogger

Make = Callable[..., StructuredLogger]
Records = list[dict[str, Any]]


class Colour(enum.Enum):
    RED = "red"


class Odd(enum.Enum):
    SET = frozenset({1})


class Point(NamedTuple):
    x: int
    y: int


@dataclasses.dataclass
class Order:
    number: int
    total: decimal.Decimal
    password: str = "hidden"


class Broken:
    """Fails whatever is asked of it."""

    def __repr__(self) -> str:
        msg = "no"
        raise RuntimeError(msg)

    def __str__(self) -> str:
        raise KeyError

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


class Endless:
    """Its repr never ends."""

    def __repr__(self) -> str:
        return repr(self)


class Model:
    """As pydantic's are."""

    def model_dump(self) -> dict[str, Any]:
        """Return its fields."""
        return {"a": 1, "api_key": "hidden"}


class Float(float):
    """A subclass, which orjson doesn't take."""


NOW = dt.datetime(2026, 11, 25, 12, 30, 15, 123000, tzinfo=dt.timezone.utc)
VALUES: list[tuple[Any, Any]] = [
    (NOW, "2026-11-25T12:30:15.123000Z"),
    (dt.date(2026, 11, 25), "2026-11-25"),
    (dt.time(1, 2, 3), "01:02:03"),
    (dt.timedelta(minutes=1, milliseconds=500), 60.5),
    (decimal.Decimal("12.30"), "12.30"),
    (uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
    (Colour.RED, "red"),
    (Odd.SET, [1]),
    (Point(1, 2), {"x": 1, "y": 2}),
    (Order(1, decimal.Decimal(5)), {"number": 1, "total": "5", "password": "[redacted]"}),
    (Model(), {"a": 1, "api_key": "[redacted]"}),
    (b"text", "text"),
    (b"\xff\x00", "base64:/wA="),
    (bytearray(b"text"), "text"),
    (memoryview(b"text"), "text"),
    ({3, 1, 2}, [1, 2, 3]),
    (frozenset({"a"}), ["a"]),
    (collections.deque([1, 2]), [1, 2]),
    (collections.OrderedDict(a=1), {"a": 1}),
    (collections.ChainMap({"a": 1}), {"a": 1}),
    ({"a": 1}.keys(), ["a"]),
    (range(3), [0, 1, 2]),
    (pathlib.PurePosixPath("/tmp/x"), "/tmp/x"),
    (ipaddress.ip_address("10.0.0.1"), "10.0.0.1"),
    (re.compile("a+"), "a+"),
    (1 + 2j, "(1+2j)"),
    (Float(1.5), 1.5),
    (ValueError("bad"), {"name": "ValueError", "message": "bad"}),
    (float("nan"), None),
    (float("inf"), None),
    (1 << 80, "1208925819614629174706176"),
    (-(1 << 80), "-1208925819614629174706176"),
    (1 << 100_000, "…[an integer of 100001 bits]"),
    ((1, (2,)), [1, [2]]),
    (int, "builtins.int"),
    (json.dumps, "json.dumps"),
    (Broken(), "<Broken that fails with RuntimeError>"),
    (Endless(), "<Endless that fails with RecursionError>"),
    ("\ud800", "\\ud800"),
    ("\ud83d\ude00", "😀"),
    ("\udcff.txt", "\\udcff.txt"),
    ("\x00\x1f\u2028", "\x00\x1f\u2028"),
    ({1: "a", None: "b", False: "c", 2.5: "d"}, None),
    ({Colour.RED: 1, Point(1, 2): 2, b"k": 3, "\ud800": 4}, None),
]


@pytest.mark.parametrize(("value", "expected"), VALUES, ids=lambda value: type(value).__name__)
def test_values(make: Make, records: Records, value: Any, expected: Any) -> None:
    """What JSON lacks becomes something readable, and takes nothing else of the record with it."""
    child = make().child(requestId="r")
    child.info("x", metadata={"value": value, "after": [1]}, category="c", performance={"duration": 1})
    (record,) = records
    assert record["metadata"]["after"] == [1]
    assert (record["message"], record["category"], record["performance"]) == ("x", "c", {"duration": 1})
    assert record["context"]["requestId"] == "r"
    if expected is not None or isinstance(value, float):
        assert record["metadata"]["value"] == expected


def test_keys(make: Make, records: Records) -> None:
    """A key that is no text becomes text, and two that become the same stay two."""
    metadata: dict[Any, Any] = {1: "a", "1": "b", None: "c", (1, 2): "d", Colour.RED: "e", dt.date(2026, 1, 2): "f"}
    make().info("x", metadata=metadata)
    assert records[0]["metadata"] == {
        "1": "a",
        "1 (str)": "b",
        "null": "c",
        "[1,2]": "d",
        "red": "e",
        "2026-01-02": "f",
    }


def test_cycles(make: Make, records: Records) -> None:
    """What holds itself is written once, with a marker in its place."""
    table: dict[str, Any] = {"a": 1}
    table["self"] = table
    listed: list[Any] = [1]
    listed.append(listed)

    @dataclasses.dataclass
    class Node:
        name: str
        next: Any = None

    node = Node("n")
    node.next = node
    shared = {"b": 2}
    make().info("x", metadata={"table": table, "list": listed, "node": node, "twice": [shared, shared]})
    assert records[0]["metadata"] == {
        "table": {"a": 1, "self": "…[itself again]"},
        "list": [1, "…[itself again]"],
        "node": {"name": "n", "next": "…[itself again]"},
        "twice": [{"b": 2}, {"b": 2}],
    }


def test_deep(make: Make, records: Records) -> None:
    """What is nested deeper than anybody reads ends with a marker."""
    deep: Any = "end"
    for _ in range(5000):
        deep = [deep]
    make().info("x", metadata={"deep": deep, "after": 1})
    assert "…[too deep]" in json.dumps(records[0], ensure_ascii=False)
    assert records[0]["metadata"]["after"] == 1


@pytest.mark.parametrize(
    "value",
    [
        "x" * 5_000_000,
        ["item"] * 1_000_000,
        {str(number): number for number in range(200_000)},
        [["x" * 1000] * 100] * 100,
        b"\xff" * 5_000_000,
        {"a" * 500_000: 1},
        [{str(inner): "x" * 300 for inner in range(100)} for _ in range(1000)],
    ],
    ids=["text", "list", "object", "nested", "bytes", "key", "objects"],
)
def test_huge(make: Make, records: Records, value: Any) -> None:
    """A record never grows beyond its bound; what is missing is marked, and the rest is there."""
    make(max_record_bytes=100_000).child(requestId="r").info(
        "huge", metadata={"small": 1, "value": value, "last": 2}, error=ValueError("bad"), category="c"
    )
    (record,) = records
    assert len(json.dumps(record, ensure_ascii=False).encode()) <= 110_000
    assert "…" in json.dumps(record["metadata"], ensure_ascii=False)
    assert (record["message"], record["category"], record["error"]["name"]) == ("huge", "c", "ValueError")
    assert record["metadata"]["small"] == 1
    assert record["metadata"]["last"] == 2
    assert record["context"]["requestId"] == "r"


def test_huge_everything(make: Make, records: Records) -> None:
    """Message, context, error and metadata may all be too large at once."""
    logger = make(max_record_bytes=10_000).child(big="x" * 1_000_000, many=list(range(100_000)))
    logger.error(
        "m" * 1_000_000,
        metadata={str(number): "x" * 1000 for number in range(1000)},
        error=ValueError("e" * 1_000_000),
        performance={"duration": 1, "more": "x" * 1_000_000},
        context={"c": ["x"] * 100_000},
    )
    assert len(json.dumps(records[0], ensure_ascii=False).encode()) < 12_000
    assert records[0]["message"].startswith("mmm")


def test_not_what_it_should_be(make: Make, records: Records) -> None:
    """Arguments of the wrong type are written as what they are."""
    logger: Any = make()
    logger.info(5, metadata=["a", "list"])
    logger.info(None, metadata="text", performance=5, category=7, context="text")
    logger.info(ValueError("as message"), error=Broken())
    logger.info(Broken(), metadata=Broken())
    assert [record["message"] for record in records[:3]] == ["5", "None", "as message"]
    assert records[0]["metadata"] == {"value": ["a", "list"]}
    assert records[1]["metadata"] == {"value": "text"}
    assert records[1]["context"]["value"] == "text"
    assert len(records) == 4


def test_categories_are_text(make: Make, records: Records) -> None:
    """A category is text in the record, whatever was given; of an Enum its value."""

    class Named(str, enum.Enum):
        AUDIT = "audit"

    logger: Any = make()
    for category in (Colour.RED, Named.AUDIT, 5, ["a", 1], float("nan"), Odd.SET):
        logger.info("x", category=category)
    assert [record["category"] for record in records] == ["red", "audit", "5", '["a",1]', "nan", "[1]"]


def test_what_denies_its_class(make: Make, records: Records) -> None:
    """An object that can't even be asked what it is costs no record."""

    class Denying:
        @property  # type: ignore[misc]
        def __class__(self) -> Any:
            raise OSError

    logger: Any = make()
    for name in ("metadata", "performance", "error", "category"):
        logger.info("x", **{name: Denying()}, context={"kept": 1})
    logger.info(Denying())
    logger.info("x", metadata={"value": Denying()}, user={"id": Denying()})
    assert len(records) == 6
    assert [record["context"]["kept"] for record in records[:4]] == [1] * 4


def test_mappings_that_fail(make: Make, records: Records) -> None:
    """A mapping that raises while it is read costs no more than itself."""

    class Bad(collections.UserDict):  # type: ignore[type-arg]
        def __iter__(self) -> Any:
            raise OSError

        def items(self) -> Any:
            raise OSError

    make().info("x", metadata=Bad(a=1), error=ValueError("kept"))
    make().info("y", metadata={"bad": Bad(a=1), "good": 1})
    assert records[0]["error"]["name"] == "ValueError"
    assert records[1]["metadata"]["good"] == 1


def test_changed_meanwhile(make: Make, records: Records) -> None:
    """Metadata that another thread changes all the time are written nevertheless."""
    shared: dict[Any, Any] = {1: 1}
    stop = threading.Event()

    def change() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            shared[number % 500] = {number: [number]}
            shared.pop((number * 7) % 500, None)

    thread = threading.Thread(target=change)
    thread.start()
    logger = make()
    for _ in range(500):
        logger.info("x", metadata=shared)
    stop.set()
    thread.join()
    assert len(records) == 500


def test_numpy(make: Make, records: Records) -> None:
    """Numbers and arrays of numpy become numbers and lists."""
    numpy = pytest.importorskip("numpy")
    make().info(
        "x", metadata={"a": numpy.float64(1.5), "b": numpy.arange(3), "c": numpy.array([1j]), "d": numpy.bool_(1)}
    )
    assert records[0]["metadata"]["a"] == 1.5
    assert records[0]["metadata"]["b"] == [0, 1, 2]
    assert records[0]["metadata"]["d"] is True


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)


@given(metadata=st.dictionaries(st.text(), JSON))
def test_json_stays_what_it_is(metadata: dict[str, Any]) -> None:
    """What is JSON already comes out equal."""
    records: Records = []
    StructuredLogger("a", outputs=[records.append], redact=False).info("x", metadata=metadata)
    assert records[0]["metadata"] == metadata


ANYTHING = st.recursive(
    st.none()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.text(st.characters(categories=["Cs"]))
    | st.binary()
    | st.decimals()
    | st.datetimes()
    | st.timedeltas()
    | st.complex_numbers()
    | st.builds(Broken)
    | st.builds(object),
    lambda inner: (
        st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text() | st.integers() | st.none(), inner)
    ),
    max_leaves=30,
)


@given(message=ANYTHING, metadata=ANYTHING, context=ANYTHING, bound=ANYTHING)
def test_anything_is_written(message: Any, metadata: Any, context: Any, bound: Any) -> None:
    """Whatever is logged, there is one record of valid JSON for it."""
    records: Records = []
    logger = StructuredLogger("a", outputs=[records.append]).child(bound=bound)
    logger.info(message, metadata=metadata, context=context)
    assert len(records) == 1


def test_a_number_is_one_whatever_stands_beside_it(make: Make, records: Records) -> None:
    """An int that orjson writes as a number is one, also where something beside it needs the walk."""
    numbers = {"hash": 2**63 + 5, "most": 2**64 - 1, "low": -(2**63), "over": 2**64, "under": -(2**63) - 1}
    make().info("m", metadata=numbers)
    odd: Any = {**numbers, 5: "a key that is no text"}
    make().info("m", metadata=odd)
    expected = {**numbers, "over": str(2**64), "under": str(-(2**63) - 1)}
    assert records[1]["metadata"] == {**expected, "5": "a key that is no text"}
    assert {name: records[0]["metadata"][name] for name in ("hash", "most", "low")} == {
        name: numbers[name] for name in ("hash", "most", "low")
    }
