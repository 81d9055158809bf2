"""How a field rule compares a JSON value with the one in its settings. Nothing here ever raises, whatever the types.

Python's own `==` is not JSON's: there `True == 1`. And `<` raises between a number and a text.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable
from typing import Any

from logweir.times import epoch_seconds

Test = Callable[[Any], bool]

SCALARS = (str, int, float)
"""JSON's values that are no list, no object and not null; bool is an int."""

_NUMBERS = (int, float)
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")


def json_equal(left: Any, right: Any) -> bool:
    """Tell whether two JSON values are the same: 1 is 1.0, true is not 1."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(json_equal, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(json_equal(left[key], right[key]) for key in left)
    return bool(left == right)


def key_bytes(value: str | float | bool) -> bytes:
    """Return bytes to be hashed, the same for values that are equal in JSON."""
    if isinstance(value, str):
        return value.encode(errors="surrogatepass")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value).encode()


def comparison(name: str, wanted: Any) -> Test:
    """Return the test of one operator other than `matches`.

    Args:
        name: The operator.
        wanted: The value in the rule's settings.
    """
    if name == "exists":
        return _exists if wanted is not False else _missing
    if name == "eq":
        return lambda value: json_equal(value, wanted)
    if name == "ne":
        return lambda value: not json_equal(value, wanted)
    if name == "in":
        return lambda value: any(json_equal(value, each) for each in wanted)
    if name == "contains":
        return _contains(wanted)
    return _ordered(_COMPARISONS[name], wanted)


def _exists(value: Any) -> bool:
    return value is not None


def _missing(value: Any) -> bool:
    return value is None


def _contains(wanted: Any) -> Test:
    text = isinstance(wanted, str)

    def contains(value: Any) -> bool:
        if isinstance(value, str):
            return text and wanted in value
        return isinstance(value, list) and any(json_equal(each, wanted) for each in value)

    return contains


def _ordered(compare: Callable[[Any, Any], bool], wanted: Any) -> Test:
    if not isinstance(wanted, str):
        return lambda value: type(value) in _NUMBERS and compare(value, wanted)
    if _MOMENT.fullmatch(wanted) and (moment := epoch_seconds(wanted)) is not None:
        # As texts, 12:00:00Z would be later than 12:00:00.5Z, and another offset would be anything.
        return lambda value: isinstance(value, str) and _compare_moments(compare, value, moment)
    return lambda value: isinstance(value, str) and compare(value, wanted)


def _compare_moments(compare: Callable[[Any, Any], bool], value: str, moment: float) -> bool:
    found = epoch_seconds(value) if _MOMENT.fullmatch(value) else None
    return found is not None and compare(found, moment)
