"""Running a flow's own tests, without any server."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from flows.config import Flow
from flows.expectations import FlowTest
from flows.trial import Outcome, Trial

_NOTHING = object()
"""Stands for a field that isn't there."""


@dataclass(frozen=True, slots=True)
class Result:
    """How one test has ended."""

    name: str
    differences: list[str]
    """Expected and found, in words; none when it has passed."""


def run_tests(flow: Flow) -> Iterator[Result]:
    """Run a flow's tests, one after another."""
    for test in flow.tests:
        records = [test.record] if test.record is not None else test.records
        values = list(map(_as_value, records)) * test.repeat
        outcomes = Trial(flow).run(values)
        found = [_differences(test, name, outcome, len(values)) for name, outcome in outcomes.items()]
        found.append(_changed(test, len(records), outcomes))
        # What a repetition finds again is said once.
        yield Result(test.name, list(dict.fromkeys(each for some in found for each in some)))


def _as_value(record: Any) -> bytes:
    """Return a record of a flow file as the bytes that a source would give; text is taken as it stands."""
    return record.encode() if isinstance(record, str) else orjson.dumps(record)


def _differences(test: FlowTest, name: str, outcome: Outcome, count: int) -> Iterator[str]:
    """Compare what a destination got of `count` records with what the test expects."""
    wanted: int | None = None
    if test.expect is not None:
        wanted = count if test.expect == "delivered" else 0
    if test.destinations is not None:
        wanted = count if name in test.destinations else 0
    if isinstance(test.delivered, int):
        wanted = test.delivered
    elif test.delivered is not None:
        wanted = test.delivered.get(name, wanted)
    if test.expect == "rejected" and outcome.rejected.total() != count:
        yield f"{name}: expected {count} rejected, found {_said(outcome)}"
    elif wanted is not None and outcome.delivered != wanted:
        yield f"{name}: expected {wanted} delivered, found {_said(outcome)}"
    if test.rule is not None and outcome.dropped[test.rule] != count - (wanted or 0):
        yield f"{name}: expected {count - (wanted or 0)} dropped by '{test.rule}', found {_said(outcome)}"


def _changed(test: FlowTest, count: int, outcomes: Mapping[str, Outcome]) -> Iterator[str]:
    """Compare what is left of `count` records with what the test expects them to become."""
    if test.becomes is None:
        return
    wanted = test.becomes if isinstance(test.becomes, list) else [test.becomes] * count
    for number, expected in enumerate(wanted):
        of = f"record {number + 1}: " if count > 1 else ""
        left = [
            (name, outcome.left[each])
            for name, outcome in outcomes.items()
            for each in range(number, count * test.repeat, count)
            if each in outcome.left
        ]
        if expected is None:
            continue
        if not left:
            yield f"{of}nothing is left of it at any destination, so it becomes nothing"
        for name, value in left:
            for each in _unlike(expected, value):
                yield f"{name}: {of}{each}"


def _unlike(expected: Any, found: bytes) -> Iterator[str]:
    """Say in what a record is not as expected: field by field where it is an object."""
    text = found.decode(errors="backslashreplace")
    if isinstance(expected, dict):
        try:
            found_too = json.loads(text)
        except ValueError:
            found_too = text
        yield from _fields_unlike(expected, found_too, "")
    elif text != expected:
        yield f"expected the text {_shown(expected)}, found {_shown(text)}"


def _fields_unlike(expected: Any, found: Any, path: str) -> Iterator[str]:
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in dict.fromkeys([*expected, *found]):
            inner = f"{path}.{key}" if path else key
            yield from _fields_unlike(expected.get(key, _NOTHING), found.get(key, _NOTHING), inner)
    elif _shown(expected) != _shown(found):
        yield f"{path or 'all of it'}: expected {_shown(expected)}, found {_shown(found)}"


def _shown(value: Any) -> str:
    return "nothing" if value is _NOTHING else json.dumps(value, ensure_ascii=False, sort_keys=True)


def _said(outcome: Outcome) -> str:
    said = [f"{outcome.delivered} delivered"] if outcome.delivered else []
    said += [f"{count} dropped by '{rule}'" for rule, count in outcome.dropped.items()]
    said += [f"{count} rejected ({cause})" for cause, count in outcome.rejected.items()]
    return ", ".join(said) or "nothing"
