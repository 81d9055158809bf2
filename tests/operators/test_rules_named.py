"""The rules that people write first, by their usual names, alone and together."""

from __future__ import annotations

from typing import Any

import pytest

from logweir.record import LEVELS
from tests.operators.rule_support import Asked

NAMED: dict[str, dict[str, Any]] = {
    "Errors and Warnings Only": {"type": "level", "levels": ["error", "warn"], "action": "include"},
    "No Debug Logs": {"type": "level", "levels": ["debug", "trace"], "action": "exclude"},
    "Info and Above": {"type": "level", "min_level": "info"},
    "Workflow Logs Only": {"type": "category", "categories": ["workflow", "execution"]},
    "Production Only": {"type": "field", "field": "context.environment", "operator": "eq", "value": "production"},
    "Slow Requests": {"type": "field", "field": "performance.duration", "operator": "gt", "value": 1000},
    "Error Pattern": {"type": "regex", "pattern": r"ERROR:\s+\d{3}", "flags": "i"},
    "Sample Debug Logs": {"type": "sample", "sample_rate": 0.1, "sample_levels": ["debug"]},
    "Sample All Logs": {"type": "sample", "sample_rate": 0.5},
    "Sample Info and Debug": {"type": "sample", "sample_rate": 0.05, "sample_levels": ["info", "debug"]},
    "Always Keep Errors": {"type": "level", "levels": ["error", "fatal"], "action": "include", "priority": 100},
}
COUNT = 20_000


def named(*names: str) -> Asked:
    """Return these rules, compiled together."""
    return Asked(*({"name": name, **NAMED[name]} for name in names))


def levels_that_pass(asked: Asked) -> set[str]:
    """Return the levels of which a record passes."""
    return {level for level in LEVELS if asked.passes({"level": level})}


def share(asked: Asked, level: str) -> float:
    """Return the share of many records of this level that passes."""
    records = [{"id": f"{level}-{index}", "level": level} for index in range(COUNT)]
    return sum(asked.passing(*records)) / COUNT


@pytest.mark.parametrize(
    ("name", "levels"),
    [
        ("Errors and Warnings Only", {"error", "warn"}),
        ("No Debug Logs", {"info", "warn", "error", "fatal"}),
        ("Info and Above", {"info", "warn", "error", "fatal"}),
        ("Always Keep Errors", set(LEVELS)),
    ],
)
def test_by_level(name: str, levels: set[str]) -> None:
    """Each rule about levels passes the levels of its name; a record without a level only what asks for none."""
    asked = named(name)
    assert levels_that_pass(asked) == levels
    assert asked.passes({}) is (name in {"No Debug Logs", "Always Keep Errors"})


def test_workflow_logs_only() -> None:
    """'Workflow Logs Only' passes records of workflows and executions."""
    asked = named("Workflow Logs Only")
    wanted = [{"category": "workflow"}, {"category": "execution"}]
    assert asked.passing(*wanted, {"category": "http"}, {}) == [True, True, False, False]


def test_production_only() -> None:
    """'Production Only' passes what says that it is from production."""
    asked = named("Production Only")
    environments = ["production", "staging", "Production", None]
    records = [{"context": {"environment": each}} for each in environments]
    assert asked.passing(*records, {}) == [True, False, False, False, False]


def test_slow_requests() -> None:
    """'Slow Requests' passes what took longer than a second; 1000 ms exactly is not longer."""
    asked = named("Slow Requests")
    records = [{"performance": {"duration": each}} for each in (1000.01, 5000, 1000, 3, "5000", None)]
    assert asked.passing(*records, {}) == [True, True, False, False, False, False, False]


def test_error_pattern() -> None:
    """'Error Pattern' passes messages with an error and its three digits, in any case, anywhere."""
    asked = named("Error Pattern")
    messages = ["ERROR: 500", "upstream error:  404 not found", "ERROR: 50", "ERROR 500", 500, None]
    assert asked.passing(*({"message": each} for each in messages)) == [True, True, False, False, False, False]


def test_sample_debug_logs() -> None:
    """'Sample Debug Logs' passes a tenth of debug, and all of the other levels."""
    asked = named("Sample Debug Logs")
    assert share(asked, "debug") == pytest.approx(0.1, abs=0.01)
    assert all(share(asked, level) == 1 for level in LEVELS if level != "debug")


def test_sample_all_logs() -> None:
    """'Sample All Logs' passes half of every level."""
    asked = named("Sample All Logs")
    assert all(share(asked, level) == pytest.approx(0.5, abs=0.015) for level in LEVELS)


def test_high_volume() -> None:
    """The high-volume set passes every error and every warning, and 5 % of info and of debug."""
    asked = named("Sample Info and Debug", "Always Keep Errors")
    assert [share(asked, level) for level in ("error", "fatal", "warn")] == [1, 1, 1]
    assert share(asked, "info") == pytest.approx(0.05, abs=0.005)
    assert share(asked, "debug") == pytest.approx(0.05, abs=0.005)
    assert asked.why({"level": "error"}) == "kept by 'Always Keep Errors' (priority 100): level is error"


def test_gates_together() -> None:
    """Gates of one tier are all to be passed: only slow production errors of workflows are left."""
    asked = named("Errors and Warnings Only", "Workflow Logs Only", "Production Only", "Slow Requests", "Error Pattern")
    record: dict[str, Any] = {
        "level": "error",
        "category": "workflow",
        "context": {"environment": "production"},
        "performance": {"duration": 2000},
        "message": "Error: 503",
    }
    changes: list[dict[str, Any]] = [
        {"level": "info"},
        {"category": "http"},
        {"context": {}},
        {"performance": {}},
        {"message": "fine"},
    ]
    assert asked.codes(record, *({**record, **change} for change in changes)) == [-1, 0, 1, 2, 3, 4]


def test_everything_together() -> None:
    """With all the rules at once an error is kept from any environment, and the rest has every gate to pass."""
    asked = named(*NAMED)
    verdicts = asked.why({"level": "error"}), asked.why({"level": "debug"}), asked.why({"level": "info"})
    assert verdicts == (
        "kept by 'Always Keep Errors' (priority 100): level is error",
        "dropped by 'Errors and Warnings Only': level is debug, not error or warn",
        "dropped by 'Errors and Warnings Only': level is info, not error or warn",
    )


def test_order_of_the_file_decides_who_is_named() -> None:
    """Of several rules that would drop a record, the first in the file is counted."""
    assert named("No Debug Logs", "Info and Above").codes({"level": "debug"}) == [0]
    assert named("Info and Above", "No Debug Logs").codes({"level": "debug"}) == [0]
    assert "'Info and Above'" in named("Info and Above", "No Debug Logs").why({"level": "debug"})


def test_production_sampled_with_errors_from_everywhere() -> None:
    """A set as people run it: errors from everywhere, of production a sample of debug, nothing of the rest."""
    asked = named("Production Only", "Sample Debug Logs", "Always Keep Errors")
    production = {"context": {"environment": "production"}}
    assert asked.passing({"level": "error"}, {"level": "info", **production}, {"level": "info"}) == [True, True, False]
    records = [{"id": str(index), "level": "debug", **production} for index in range(COUNT)]
    assert sum(asked.passing(*records)) / COUNT == pytest.approx(0.1, abs=0.01)
