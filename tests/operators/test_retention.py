"""Retention: which policy decides how long a record is kept."""

from __future__ import annotations

import math
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from logweir.batch import Batch
from logweir.record import LEVELS, LevelTable
from logweir.retention import days_of
from operators.decode import Decoder
from operators.formats import FORMATS, LOGWEIR, Format
from operators.projection import Projection
from operators.retention import Retention, fields_of_policies
from operators.retention_models import Policies, Policy
from operators.values import comparison

READ = TypeAdapter(Policies).validate_python


def kept(
    policies: Any, *records: dict[str, Any], default: str = "7d", layout: Format = LOGWEIR
) -> list[tuple[str | None, str]]:
    """Return the policy and the class of each record."""
    read = READ({"policies": policies, "default_period": default})
    projection = Projection(fields_of_policies(read.asked), layout)
    retention = Retention(read, projection.getter, layout.levels)
    values = [orjson.dumps(record) for record in records]
    batch = Batch("logs", 0, values, range(len(values)))
    Decoder(projection)(batch)
    assert len(batch) == len(records)
    return [(retention.names[each], retention.classes[each]) for each in retention.decide(batch.records)]


@pytest.mark.parametrize(
    ("record", "policy", "period"),
    [
        ({"level": "error"}, "Errors", "90d"),
        ({"level": "fatal", "category": "http"}, "Errors", "90d"),
        ({"level": "CRITICAL"}, "Errors", "90d"),
        ({"level": "warning"}, "Warnings", "30d"),
        ({"level": "info"}, "Information", "7d"),
        ({"level": "debug"}, "Debugging", "7d"),
        ({"level": "trace"}, "Debugging", "7d"),
        ({"level": "debug", "category": "workflow"}, "Workflows", "1y"),
        ({"level": "error", "category": "workflow"}, "Workflows", "1y"),
        ({"level": "error", "category": "security"}, "Security and audit", "forever"),
        ({"level": "trace", "category": "audit"}, "Security and audit", "forever"),
        ({"category": "security"}, "Security and audit", "forever"),
        ({"message": "no level"}, None, "7d"),
        ({"level": "loud", "category": ["security"]}, None, "7d"),
    ],
)
def test_default_policies(record: dict[str, Any], policy: str | None, period: str) -> None:
    """The default policies keep errors 90 days, workflows a year, and a security error for ever."""
    assert kept("default", record) == [(policy, period)]


def test_priority_then_period_then_order() -> None:
    """The highest priority decides, of those the longest period, of those the first in the file."""
    short = {"name": "short", "period": "1d", "priority": 5}
    month, four_weeks = {"name": "month", "period": "30d"}, {"name": "weeks", "period": "28d"}
    assert kept([month, four_weeks, short], {}) == [("short", "1d")]
    assert kept([four_weeks, month, {**short, "enabled": False}], {}) == [("month", "30d")]
    assert kept([{**month, "name": "first"}, month], {}) == [("first", "30d")]
    assert kept([month, {"name": "always", "period": "forever"}], {}) == [("always", "forever")]


def test_all_that_a_policy_asks_for() -> None:
    """A policy takes a record that has one of its levels, one of its categories, and meets all of its conditions."""
    conditions = [
        {"field": "context.service", "operator": "eq", "value": "payments"},
        {"field": "message", "operator": "matches", "value": "card \\d+"},
    ]
    policy = {"name": "p", "period": "1y", "levels": ["warn"], "categories": ["http"], "conditions": conditions}
    whole = {"level": "warn", "category": "http", "message": "card 7", "context": {"service": "payments"}}
    others = [
        {**whole, **other} for other in ({"level": "info"}, {"category": "api"}, {"message": "x"}, {"context": 1})
    ]
    assert kept([policy], whole, *others) == [("p", "1y"), *[(None, "7d")] * 4]


def test_levels_of_another_format() -> None:
    """Levels are those of the source's format: pino's 50 is an error."""
    policies = [{"name": "errors", "period": "90d", "levels": ["error"]}]
    assert kept(policies, {"level": 50}, {"level": 30}, layout=FORMATS["pino"]) == [("errors", "90d"), (None, "7d")]


def test_many_categories() -> None:
    """However many categories there are, each record gets its class."""
    records = [{"level": "error", "category": f"c{number}"} for number in range(25_000)]
    assert set(kept("default", *records)) == {("Errors", "90d")}


def test_a_list_may_be_empty() -> None:
    """Without any policy all is kept for the default period."""
    assert kept([], {"level": "error"}, default="forever") == [(None, "forever")]


@pytest.mark.parametrize("policies", ["all", 3, [{"name": "x"}], [{"name": "x", "period": "7d", "levels": []}]])
def test_wrong_settings(policies: Any) -> None:
    """What is no list of policies is refused."""
    with pytest.raises(ValidationError):
        READ({"policies": policies})


VALUES = st.sampled_from(["a", "b", 1, True, None, ["a"], {"a": 1}])
CONDITIONS = st.fixed_dictionaries(
    {"field": st.sampled_from(["message", "user.id"]), "operator": st.sampled_from(["eq", "ne", "contains"])},
).map(lambda each: {**each, "value": "a"})
POLICIES = st.fixed_dictionaries(
    {"period": st.sampled_from(["1d", "7d", "1w", "1y", "forever"]), "priority": st.integers(-1, 1)},
    optional={
        "levels": st.lists(st.sampled_from(LEVELS), min_size=1, max_size=3),
        "categories": st.lists(st.sampled_from(["a", "b"]), min_size=1),
        "conditions": st.lists(CONDITIONS, max_size=2),
        "enabled": st.booleans(),
    },
)
RECORDS = st.fixed_dictionaries(
    {},
    optional={
        "level": st.one_of(st.sampled_from([*LEVELS, "WARNING", 30, "loud"]), VALUES),
        "category": VALUES,
        "message": VALUES,
        "user": st.one_of(VALUES, st.fixed_dictionaries({"id": VALUES})),
    },
)


def model(policies: list[Policy], record: dict[str, Any]) -> tuple[str | None, str]:
    """Return what decides, straight from the words of the contract."""

    def value(path: str) -> Any:
        found: Any = record
        for part in path.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        return found

    level = value("level")
    level = LevelTable()[level] if isinstance(level, str | int) and not isinstance(level, bool) else None
    best: Policy | None = None
    for policy in policies:
        taken = policy.enabled and (policy.levels is None or level in policy.levels)
        taken = taken and (policy.categories is None or value("category") in policy.categories)
        taken = taken and all(comparison(each.operator, each.value)(value(each.field)) for each in policy.conditions)
        if taken and (best is None or rank(policy) > rank(best)):
            best = policy
    return (best.name, best.period) if best else (None, "7d")


def rank(policy: Policy) -> tuple[float, float]:
    """Return what is compared."""
    return policy.priority, days_of(policy.period) or math.inf


@given(st.lists(POLICIES, max_size=5), st.lists(RECORDS, min_size=1, max_size=5))
@settings(max_examples=300, deadline=None)
def test_against_the_model(policies: list[dict[str, Any]], records: list[dict[str, Any]]) -> None:
    """Compiled policies decide like the words that describe them, whatever the records hold."""
    named = [{"name": f"p{number}", **policy} for number, policy in enumerate(policies)]
    expected = [model(READ({"policies": named}).policies, record) for record in records]
    assert kept(named, *records) == expected
