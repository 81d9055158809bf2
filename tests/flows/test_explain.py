"""`logweir explain`: the verdict on each line of a stream, and why."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from flows.config import load
from flows.explain import explain_stream

FLOW = """
name: explained
source: {type: stdin}
rules:
  - {name: No Debug Logs, type: level, levels: [debug, trace], action: exclude}
  - {name: Sleeping, type: level, levels: [warn], action: exclude, enabled: false}
  - {name: Always Keep Errors, type: level, levels: [error, fatal], priority: 100}
destinations:
  all: {type: console}
  production:
    type: console
    rules: [{name: Production Only, type: field, field: context.environment, operator: eq, value: production}]
  off: {type: console, enabled: false}
"""


def explain(*lines: bytes, flow: str = FLOW) -> str:
    """Return what is said of these lines in words."""
    out = io.StringIO()
    assert (
        explain_stream(load(flow).flow, io.BytesIO(b"".join(line + b"\n" for line in lines)), out, as_json=False) == 0
    )
    return out.getvalue()


def explain_json(*lines: bytes, flow: str = FLOW) -> list[dict[str, Any]]:
    """Return what is said of these lines in JSON."""
    out = io.StringIO()
    explain_stream(load(flow).flow, io.BytesIO(b"\n".join(lines)), out, as_json=True)
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_dropped() -> None:
    """A dropped record is told with its rule and why; no destination is asked about it."""
    assert explain(b'{"id":"a","level":"DEBUG"}') == "line 1 (a): dropped by 'No Debug Logs': level is debug (DEBUG)\n"


def test_kept() -> None:
    """A kept record is told with the rule and its priority, and what each destination's own rules say."""
    assert explain(b'{"id":"a","level":"error"}').splitlines() == [
        "line 1 (a): kept by 'Always Keep Errors' (priority 100): level is error",
        "  all: passes: there are no rules",
        "  production: dropped by 'Production Only': context.environment is missing",
    ]


def test_passes() -> None:
    """A record that no rule drops passes, also one that a disabled rule would drop."""
    line = b'{"id":"a","level":"warn","context":{"environment":"production"}}'
    assert explain(line).splitlines() == [
        "line 1 (a): passes: no rule drops it",
        "  all: passes: there are no rules",
        "  production: passes: no rule drops it",
    ]


def test_lines_that_are_no_records() -> None:
    """A line that can't be decoded is told with its number and the reason, and doesn't end the answers."""
    answers = explain(
        b'{"id":"a","level":"debug"}', b"oops", b"", b"[1]", b"\xff", b'{"id":"b","level":"debug"}'
    ).splitlines()
    assert [answer.split(":")[0] for answer in answers] == [
        "line 1 (a)", "line 2", "line 3", "line 4", "line 5", "line 6 (b)",
    ]  # fmt: skip
    causes = ["not JSON", "empty", "not an object", "not UTF-8"]
    assert all(f"rejected: {cause}" in answer for cause, answer in zip(causes, answers[1:5], strict=True))


def test_json() -> None:
    """With `--json` each line is one object with the same facts."""
    dropped, kept, rejected = explain_json(b'{"id":"a","level":"debug"}', b'{"id":"b","level":"fatal"}', b"oops")
    assert dropped == {
        "line": 1, "id": "a", "verdict": "dropped", "rule": "No Debug Logs", "priority": 0,
        "reason": "level is debug", "limits": [], "destinations": {},
    }  # fmt: skip
    assert kept["verdict"] == "kept"
    assert (kept["rule"], kept["priority"]) == ("Always Keep Errors", 100)
    assert {name: each["verdict"] for name, each in kept["destinations"].items()} == {
        "all": "passes",
        "production": "dropped",
    }
    assert rejected["line"] == 3
    assert rejected["verdict"] == "rejected"
    assert rejected["reason"].startswith("not JSON")


def test_format() -> None:
    """The format of the flow's source says where fields are and what numeric levels mean."""
    flow = FLOW.replace("{type: stdin}", "{type: stdin, format: pino}")
    assert explain(b'{"level":20,"msg":"m"}', flow=flow).endswith("dropped by 'No Debug Logs': level is debug (20)\n")


def test_configured_paths() -> None:
    """The format `json` finds fields where the flow says."""
    flow = FLOW.replace("{type: stdin}", "{type: stdin, format: json, paths: {level: sev}}")
    assert "level is debug" in explain(b'{"sev":"debug"}', flow=flow)


def test_terminal() -> None:
    """Control characters and long values of a record don't reach the terminal as they are."""
    rule = "{name: R, type: field, field: metadata.x, operator: eq, value: y}"
    flow = FLOW.replace("rules:\n", f"rules:\n  - {rule}\n", 1)
    answer = explain(json.dumps({"id": "\x1b[2J", "metadata": {"x": "\x1b[31m" + "a" * 10_000}}).encode(), flow=flow)
    assert "\x1b" not in answer
    assert len(answer) < 300


def test_reasons() -> None:
    """Each kind of rule says in words what it saw and what it wanted."""
    cases: list[tuple[str, dict[str, Any], str]] = [
        ("type: level, min_level: warn", {"level": "info"}, "level is info, below warn"),
        ("type: level, min_level: warn", {}, "it has no level"),
        ("type: level, min_level: warn", {"level": "loud"}, "loud is no level"),
        ("type: category, categories: [a, b]", {"category": "c"}, "category is c, not one of a, b"),
        ("type: category, categories: [a], action: exclude", {"category": "a"}, "category is a, one of a"),
        (
            "type: field, field: context.a, operator: gt, value: 5",
            {"context": {"a": 3}},
            "context.a is 3, not greater than 5",
        ),
        ("type: field, field: context.a, operator: eq, value: 5", {"context": {"a": "5"}}, 'context.a is "5", not 5'),
        ("type: field, field: context.a, operator: exists", {}, "context.a is missing"),
        ("type: field, field: context.a, operator: ne, value: x", {"context": {"a": "x"}}, "context.a is x"),
        (
            "type: field, field: context.a, operator: contains, value: x",
            {"context": {"a": "y"}},
            "context.a does not contain x",
        ),
        (
            "type: field, field: context.a, operator: in, value: [x]",
            {"context": {"a": "y"}},
            'context.a is y, not one of ["x"]',
        ),
        ("type: regex, pattern: a.c, flags: i", {"message": "b"}, "message does not match /a.c/i"),
        ("type: regex, pattern: a.c", {"message": 5}, "message is 5, no text"),
        ("type: regex, pattern: a.c, action: exclude", {"message": "abc"}, "message matches /a.c/"),
    ]
    for rule, record, reason in cases:
        rules = f"[{{name: R, {rule}}}]"
        flow = f"{{name: f, source: {{type: stdin}}, rules: {rules}, destinations: {{out: {{type: console}}}}}}"
        answer = explain(json.dumps({"id": "1", **record}).encode(), flow=flow)
        assert answer == f"line 1 (1): dropped by 'R': {reason}\n"


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (
            "type: sample, target_per_second: 5, by: context.service",
            "about 5 a second of every context.service together",
        ),
        ("type: rate, max_per_second: 1000", "1,000 a second"),
        (
            "type: rate, max_per_minute: 5, max_per_hour: 70, by: [context.service, level]",
            "5 a minute, 70 a hour of context.service shop and level error",
        ),
        ("type: rate, max_per_second: 5, by: context.host", "5 a second of context.host missing"),
        ("type: dedupe, window: 1m, by: context.service", "one in 60 s of context.service shop"),
    ],
)
def test_what_depends_on_other_records(rule: str, said: str) -> None:
    """Of what a rule with a state may drop it says by which, and what the record is counted with."""
    text = f"rules: [{{name: Few, {rule}}}, {{name: E, type: level, levels: [error]}}]\n"
    flow = f"name: f\nsource: {{type: stdin}}\n{text}destinations: {{out: {{type: console}}}}\n"
    record = b'{"id":"a","level":"error","context":{"service":"shop"}}'
    first = explain(record, flow=flow).splitlines()[0]
    assert first == f"line 1 (a): passes: no rule drops it; limited by 'Few' to {said}"
    assert explain_json(record, flow=flow)[0]["limits"] == ["Few"]


def test_a_limit_that_a_record_does_not_concern() -> None:
    """What its levels or conditions leave out is not told of a record; what a destination's own limit may do is."""
    flow = """
name: f
source: {type: stdin}
rules:
  - {name: Errors alone, type: rate, max_per_second: 5, levels: [error]}
  - {name: Slow ones, type: rate, max_per_second: 5, when: [{field: performance.duration, operator: gt, value: 9}]}
destinations:
  out: {type: console, rules: [{name: Own, type: rate, max_per_second: 7}]}
"""
    assert explain(b'{"id":"a","level":"info"}', flow=flow).splitlines() == [
        "line 1 (a): passes: no rule drops it",
        "  out: passes: no rule drops it; limited by 'Own' to 7 a second",
    ]


ECS = """
name: explained
source: {type: stdin, format: ecs}
rules: [{name: r, type: field, field: FIELD, operator: eq, value: VALUE}]
destinations: {all: {type: console}}
"""


@pytest.mark.parametrize(
    ("field", "value", "nested"),
    [
        ("error.message", "boom", {"error": {"type": "E", "message": "boom"}}),
        ("user.id", "u1", {"user": {"id": "u1"}}),
        ("url.path", "/x", {"url": {"path": "/x"}}),
        ("http.response.status_code", "500", {"http": {"response": {"status_code": 500}}}),
    ],
)
def test_ecs_names_are_found_nested_and_flat(field: str, value: str, nested: dict[str, Any]) -> None:
    """Loggers of ECS write either, for every field."""
    flat = json.dumps({field: json.loads(value) if value.isdigit() else value, "error.type": "E"}).encode()
    flow = ECS.replace("FIELD", field).replace("VALUE", value)
    answers = explain_json(flat, json.dumps(nested).encode(), b'{"id":"other"}', flow=flow)
    assert [each["verdict"] for each in answers] == ["passes", "passes", "dropped"]


def test_levels_that_loggers_write() -> None:
    """What is severe passes a gate on levels, however its logger spells it."""
    flow = FLOW.replace("levels: [error, fatal], priority: 100", "min_level: warn")
    severe = ["dpanic", "ERROR+4", "ERROR2", "3", 3, "\x1b[31merror\x1b[39m", "[error]"]
    mild = ["CONFIG", "http", "SUCCESS", "D1", 30.0, "Level(-2)", "odd"]
    answers = explain_json(*(json.dumps({"level": each}).encode() for each in [*severe, *mild]), flow=flow)
    assert [each["verdict"] for each in answers] == ["passes"] * len(severe) + ["dropped"] * len(mild)
    assert "is no level" in answers[-1]["reason"]
