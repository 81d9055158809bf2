from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from flows.cli import main
from flows.config import load
from flows.trials import run_tests
from logweir.errors import ConfigError

FLOW: dict[str, Any] = {
    "name": "tested",
    "source": {"type": "stdin"},
    "rules": [
        {"name": "Keep errors", "type": "level", "levels": ["error"], "priority": 10},
        {"name": "No debug", "type": "level", "levels": ["debug"], "action": "exclude"},
        {"name": "Two a minute", "type": "rate", "max_per_minute": 2, "by": "context.service", "clock": "system"},
    ],
    "destinations": {
        "screen": {"type": "console"},
        "audit": {
            "type": "file",
            "path": "./audit.ndjson",
            "rules": [{"name": "Only audit", "type": "category", "categories": ["audit"]}],
        },
    },
}
INFO = {"level": "info", "context": {"service": "a"}}


def differences(**test: Any) -> list[str]:
    """Run one test of the flow and return what is other than expected."""
    (result,) = run_tests(load(json.dumps({**FLOW, "tests": [{"name": "t", **test}]})).flow)
    return result.differences


@pytest.mark.parametrize(
    "test",
    [
        {"record": {"level": "debug"}, "expect": "dropped"},
        {"record": {"level": "debug"}, "rule": "No debug"},
        {"record": {**INFO, "category": "audit"}, "expect": "delivered"},
        {"record": {**INFO, "category": "audit"}, "destinations": ["screen", "audit"]},
        {"record": INFO, "destinations": ["screen"]},
        {"record": "not JSON", "expect": "rejected"},
        {"record": INFO, "repeat": 5, "delivered": {"screen": 2, "audit": 0}},
        {"record": {**INFO, "category": "audit"}, "repeat": 5, "delivered": 2, "rule": "Two a minute"},
        {"records": [INFO, {**INFO, "context": {"service": "b"}}], "repeat": 2, "destinations": ["screen"]},
        {"record": {"level": "error"}, "repeat": 9, "delivered": {"screen": 9}},
    ],
    ids=lambda test: json.dumps(test)[:60],
)
def test_what_is_as_expected(test: dict[str, Any]) -> None:
    """Rules, limiters and each destination's own rules decide as they do when the flow runs."""
    assert differences(**test) == []


def test_what_is_not() -> None:
    """The difference says what was expected of which destination, and what was found."""
    assert differences(record={"level": "debug"}, expect="delivered") == [
        "screen: expected 1 delivered, found 1 dropped by 'No debug'",
        "audit: expected 1 delivered, found 1 dropped by 'No debug'",
    ]
    assert differences(record=INFO, repeat=3, delivered={"screen": 3}) == [
        "screen: expected 3 delivered, found 2 delivered, 1 dropped by 'Two a minute'"
    ]
    assert differences(record="{}", expect="rejected") == [
        "screen: expected 1 rejected, found 1 delivered",
        "audit: expected 1 rejected, found 1 dropped by 'Only audit'",
    ]
    assert differences(record=INFO, rule="No debug")[0] == (
        "screen: expected 1 dropped by 'No debug', found 1 delivered"
    )


def test_rules_see_what_redaction_leaves() -> None:
    """What is hidden is hidden from the rules of a test too."""
    rule = {"name": "No mail", "type": "regex", "pattern": "@", "action": "exclude"}
    test = {"name": "t", "record": {"message": "from jo@example.com"}, "delivered": {"screen": 1}}
    flow = {**FLOW, "rules": [rule], "redact": {"patterns": ["email"]}, "tests": [test]}
    assert [result.differences for result in run_tests(load(json.dumps(flow)).flow)] == [[]]


def test_each_test_begins_anew() -> None:
    """What one test has used of a budget, the next has again."""
    tests = [{"name": str(number), "record": INFO, "repeat": 2, "delivered": {"screen": 2}} for number in range(3)]
    assert [result.differences for result in run_tests(load(json.dumps({**FLOW, "tests": tests})).flow)] == [[]] * 3


@pytest.mark.parametrize(
    ("test", "said"),
    [
        ({"record": INFO, "rule": "No debugg"}, "'No debugg' is no rule of this flow; did you mean `No debug`?"),
        ({"record": INFO, "destinations": ["scren"]}, "'scren' is no enabled destination of this flow; did you mean"),
        ({"record": INFO, "delivered": {"nobody": 1}}, "'nobody' is no enabled destination"),
        ({"record": INFO}, "expects nothing"),
        ({"record": INFO, "expect": "delivered", "rule": "No debug"}, "no rule drops what is delivered"),
        ({"expect": "dropped"}, "needs either record or records"),
        ({"record": INFO, "expect": "dropped", "becomes": INFO}, "nothing is left of what is dropped"),
        ({"records": [INFO, INFO], "becomes": [INFO]}, "becomes lists 1 records, and needs one for each of the 2"),
        ({"record": INFO, "becomes": [INFO]}, "becomes lists 1 records, and needs one for each of the 0"),
    ],
)
def test_a_test_that_could_not_fail_is_refused(test: dict[str, Any], said: str) -> None:
    """What names nothing of the flow, or expects nothing, is an error of the file."""
    with pytest.raises(ConfigError) as caught:
        load(json.dumps({**FLOW, "tests": [{"name": "t", **test}]}))
    assert said in str(caught.value)


def test_command(tmp_path: Path) -> None:
    """The exit code is 1 when a test fails, 0 when none does, and 2 when a file is wrong."""
    good, bad, wrong = tmp_path / "good.yaml", tmp_path / "bad.yaml", tmp_path / "wrong.yaml"
    passing = {"name": "debug goes", "record": {"level": "debug"}, "expect": "dropped"}
    failing = {"name": "debug stays", "record": {"level": "debug"}, "expect": "delivered"}
    good.write_text(json.dumps({**FLOW, "tests": [passing]}))
    bad.write_text(json.dumps({**FLOW, "tests": [passing, failing]}))
    wrong.write_text(json.dumps({**FLOW, "tests": [{"name": "x"}]}))
    done = CliRunner().invoke(main, ["test", str(good)])
    assert (done.exit_code, done.output) == (0, f"{good}: debug goes: ok\n1 test, 0 failed\n")
    done = CliRunner().invoke(main, ["test", str(good), str(bad)])
    assert done.exit_code == 1
    assert f"{bad}: debug stays: FAILED\n  screen: expected 1 delivered, found 1 dropped by 'No debug'\n" in done.output
    done = CliRunner().invoke(main, ["test", str(bad), "--json"])
    assert (done.exit_code, json.loads(done.output)["ok"]) == (1, False)
    assert CliRunner().invoke(main, ["test", str(wrong)]).exit_code == 2
    good.write_text(json.dumps(FLOW))
    assert CliRunner().invoke(main, ["test", str(good)]).output == f"{good}: holds no tests\n0 tests, 0 failed\n"


def test_the_short_forms_are_rules_too() -> None:
    """A test can name what a destination's `when` or `sampling` drops, as it is counted."""
    short = {"when": [{"field": "category", "operator": "eq", "value": "audit"}], "sampling": {"rate": 0}}
    audit = {"type": "file", "path": "./audit.ndjson", **short}
    tests = [
        {"name": "a", "record": {}, "rule": "audit: when", "destinations": ["screen"]},
        {"name": "b", "record": {"category": "audit"}, "rule": "audit: sampling", "destinations": ["screen"]},
    ]
    flow = {**FLOW, "destinations": {"screen": {"type": "console"}, "audit": audit}, "tests": tests}
    assert [result.differences for result in run_tests(load(json.dumps(flow)).flow)] == [[], []]
    with pytest.raises(ConfigError, match="'screen: when' is no rule"):
        load(json.dumps({**flow, "tests": [{"name": "c", "record": {}, "rule": "screen: when"}]}))


def test_samples_with_a_target() -> None:
    """They begin with nothing known, so all passes; records of later windows are thinned as they are when it runs."""
    rule = {"name": "Few", "type": "sample", "target_per_second": 0.1, "by": "context.service"}
    flow = {**FLOW, "rules": [rule], "destinations": {"screen": {"type": "console"}}}
    records = [{**INFO, "id": f"r{n}", "timestamp": f"2026-11-24T10:00:{n // 10:02d}Z"} for n in range(400)]
    tests = [
        {"name": "first", "records": records[:100], "expect": "delivered"},
        {"name": "later", "records": records, "delivered": 105},
    ]
    (first, later) = run_tests(load(json.dumps({**flow, "tests": tests})).flow)
    assert first.differences == []
    assert later.differences == []


HIDING = {**FLOW, "redact": {"fields": [{"path": "user.token", "mode": "remove"}], "patterns": ["email"]}}
MAIL = {"level": "error", "message": "to jo@example.com", "user": {"token": "abc", "name": "jo"}, "n": 1}
HIDDEN = {"level": "error", "message": "to [redacted]", "user": {"name": "jo"}, "n": 1}


def unlike(flow: dict[str, Any] = HIDING, **test: Any) -> list[str]:
    """Run one test of a flow that hides something, and return what is other than expected."""
    (result,) = run_tests(load(json.dumps({**flow, "tests": [{"name": "t", **test}]})).flow)
    return result.differences


def test_what_redaction_leaves() -> None:
    """A test holds what is delivered against what a record should become: all of it, or to the byte."""
    assert unlike(record=MAIL, becomes=HIDDEN) == []
    assert unlike(record=MAIL, becomes=HIDDEN, destinations=["screen"], repeat=3) == []
    spaced = '{"level": "error",  "message":"jo@example.com"}'
    assert unlike(record=spaced, becomes='{"level": "error",  "message":"[redacted]"}') == []
    assert unlike(record="no JSON from jo@example.com", expect="rejected", becomes="no JSON from [redacted]") == []
    debug = {"level": "debug"}
    assert unlike(records=[MAIL, debug, MAIL], becomes=[HIDDEN, None, HIDDEN], delivered={"screen": 2}) == []
    assert unlike(records=[MAIL, MAIL], becomes=HIDDEN) == []


def test_what_redaction_should_have_left() -> None:
    """What differs is said by field, once, and in the words in which it is delivered."""
    expected = {"message": MAIL["message"], "user": {"name": "jo", "token": "[redacted]"}, "n": True}
    assert unlike(record=MAIL, becomes=expected, repeat=2) == [
        'screen: message: expected "to jo@example.com", found "to [redacted]"',
        'screen: user.token: expected "[redacted]", found nothing',
        "screen: n: expected true, found 1",
        'screen: level: expected nothing, found "error"',
    ]
    assert unlike(record=MAIL, becomes="{}")[0].startswith('screen: expected the text "{}", found "{')
    assert unlike(record="[1]", becomes={"a": 1})[0] == 'screen: all of it: expected {"a": 1}, found [1]'
    assert unlike(records=[MAIL, {**MAIL, "n": 2}], becomes=HIDDEN) == ["screen: record 2: n: expected 1, found 2"]
    said = "nothing is left of it at any destination, so it becomes nothing"
    assert unlike(record={"level": "debug"}, becomes={}) == [said]
    assert unlike(records=[MAIL, {"level": "debug"}], becomes=[None, {}]) == [f"record 2: {said}"]


def test_rates_that_samples_tell() -> None:
    """What a record becomes has in it what the flow itself adds."""
    rule = {"name": "All", "type": "sample", "target_per_second": 5, "by": "level"}
    flow = {**FLOW, "rules": [rule], "destinations": {"screen": {"type": "console"}}}
    assert unlike(flow, record={"level": "info"}, becomes={"level": "info", "sampling": {"rate": 1}}) == []
