"""Running a flow's own tests, without any server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from flows.config import Flow
from flows.expectations import FlowTest
from flows.trial import Outcome, Trial


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
        yield Result(test.name, [each for some in found for each in some])


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


def _said(outcome: Outcome) -> str:
    said = [f"{outcome.delivered} delivered"] if outcome.delivered else []
    said += [f"{count} dropped by '{rule}'" for rule, count in outcome.dropped.items()]
    said += [f"{count} rejected ({cause})" for cause, count in outcome.rejected.items()]
    return ", ".join(said) or "nothing"
