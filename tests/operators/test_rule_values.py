"""What field and regex rules match: every kind of value that a record may hold, against every kind in a rule."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.operators.rule_support import Asked, category, field, level, matches

VALUES = [0, 1, 1.0, -1.5, 10**30, True, False, "1", "", "true", "2026-01-01T00:00:00Z", [1, True], [], {"a": 1}, {}]


@pytest.mark.parametrize(
    ("value", "wanted", "equal"),
    [
        (1, 1, True), (1, 1.0, True), (1.0, 1, True), (True, True, True), (True, 1, False), (1, True, False),
        (0, False, False), ("1", 1, False), (1, "1", False), ("a", "a", True), ("a", "A", False), ([1], [1.0], True),
        ([True], [1], False), ({"a": [1]}, {"a": [1]}, True), ({"a": 1}, {"a": True}, False), ({}, [], False),
        ("a", ["a"], False), (["a"], ["a"], True), ({"a": 1}, {"a": 1, "b": 1}, False),
    ],
)  # fmt: skip
def test_equality(value: Any, wanted: Any, equal: bool) -> None:
    """Equality is that of JSON: 1 is 1.0, true is not 1, a text is no number; `ne` is the opposite of it."""
    assert matches(value, "eq", value=wanted) is equal
    assert matches(value, "ne", value=wanted) is not equal
    assert matches(value, "in", value=[wanted, "another", 77]) is equal


@pytest.mark.parametrize(
    ("value", "operator", "wanted", "expected"),
    [
        (1500, "gt", 1000, True), (1000, "gt", 1000, False), (1000, "gte", 1000, True), (999.5, "lt", 1000, True),
        (1000, "lte", 1000, True), ("1500", "gt", 1000, False), (1500, "gt", "1000", False), (True, "gt", 0, False),
        ([2], "gt", 1, False), ({}, "lt", 1, False), ("b", "gt", "a", True), ("a", "gte", "a", True),
        ("a", "lt", "B", False), (10**30, "gt", 1.5, True),
    ],
)  # fmt: skip
def test_order(value: Any, operator: str, wanted: Any, expected: bool) -> None:
    """Numbers are ordered among numbers and texts among texts; anything else is no match."""
    assert matches(value, operator, value=wanted) is expected


def test_moments() -> None:
    """RFC 3339 timestamps are compared as moments, whatever their offset and precision."""
    noon = "2026-01-01T12:00:00Z"
    assert matches("2026-01-01T12:00:00.500Z", "gt", value=noon)
    assert matches("2026-01-01T14:00:00+02:00", "gte", value=noon)
    assert matches("2026-01-01T12:30:00+02:00", "lt", value=noon)
    assert not matches("at noon", "gt", value=noon)
    assert not matches("2026-13-41T99:00:00Z", "gt", value=noon)


def test_contains() -> None:
    """`contains` finds a part of a text or an element of a list, and nothing in other values."""
    assert matches("a timeout occurred", "contains", value="timeout")
    assert matches(["a", "b"], "contains", value="b")
    assert matches([1, 2], "contains", value=2.0)
    assert not matches([1], "contains", value=True)
    assert not matches(["abc"], "contains", value="b")
    assert not matches("12", "contains", value=1)
    assert not matches(12, "contains", value="1")
    assert not matches({"a": 1}, "contains", value="a")


def test_exists() -> None:
    """`exists` tells whether there is a value at all: null is none, false and 0 and the empty text are."""
    present: list[Any] = [False, 0, "", [], {}]
    for value in present:
        assert matches(value, "exists")
        assert not matches(value, "exists", value=False)
    for absent in (None, ...):
        assert not matches(absent, "exists", value=True)
        assert matches(absent, "exists", value=False)


@pytest.mark.parametrize("value", [None, ...])
def test_missing(value: Any) -> None:
    """A field that is missing or null matches `ne`, and none of the comparisons."""
    assert matches(value, "ne", value="a")
    for operator in ("eq", "gt", "gte", "lt", "lte", "contains", "matches"):
        assert not matches(value, operator, value="")
    assert not matches(value, "in", value=["", 0, False])


@pytest.mark.parametrize("parent", ["text", 1, None, [], True])
def test_a_parent_that_is_no_object(parent: Any) -> None:
    """Where the parent of a field is no object, the field is missing."""
    asked = Asked(field("context.service", "exists"))
    assert asked.codes({"context": parent}, {"context": {"service": "a"}}) == [0, -1]


@pytest.mark.parametrize("operator", ["eq", "ne", "gt", "gte", "lt", "lte", "contains", "in"])
def test_mixed_types_never_raise(operator: str) -> None:
    """Any value of a record can meet any value of a rule: they match or not, and nothing is raised."""
    for wanted in VALUES:
        try:
            asked = Asked(field("metadata.x", operator, value=[wanted] if operator == "in" else wanted))
        except ValidationError:
            assert operator in {"gt", "gte", "lt", "lte"}
            continue
        assert len(asked.codes(*({"metadata": {"x": value}} for value in VALUES))) == len(VALUES)
        asked.codes(b'{"metadata":{"x":1e999}}')


def test_regex() -> None:
    """A pattern is found anywhere in a text, with its flags; in numbers and lists there is nothing to find."""
    asked = Asked({"type": "regex", "pattern": r"^error.+end$", "flags": "ims"})
    assert asked.passing({"message": "x\nERROR a\nb end\ny"}, {"message": "x error end"}) == [True, False]
    digits = Asked({"type": "regex", "pattern": r"\d", "field": "metadata.x"})
    odd: list[Any] = [1, ["1"], {"1": 1}, None, True, "one"]
    assert (
        digits.passing({"metadata": {"x": "a1"}}, *({"metadata": {"x": each}} for each in odd)) == [True] + [False] * 6
    )
    assert matches("abc", "matches", value="b")
    assert Asked({"type": "regex", "pattern": "é.ü"}).passes({"message": "xé✓ü"})


_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(_json, _json, st.sampled_from(["eq", "ne", "gt", "gte", "lt", "lte", "contains", "exists", "in", "matches"]))
def test_any_value_against_any_value(value: Any, wanted: Any, operator: str) -> None:
    """Whatever a valid rule compares with whatever a record holds, there is a verdict and a reason for it."""
    try:
        asked = Asked(field("metadata.x", operator, value=wanted))
    except ValidationError:
        return
    record = {"metadata": {"x": value}, "level": value, "category": value, "trace": {"traceId": value}}
    assert asked.why(record)
    others = [level("info"), category("a"), {"type": "sample", "sample_rate": 0.5, "by": "metadata.x"}]
    for other in others:
        assert Asked(other).why(record)
