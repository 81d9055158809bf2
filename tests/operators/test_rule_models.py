"""What is wrong with a rule is said in words, at the setting that is wrong."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from logweir.settings import Substituted
from operators.rules import BaseRule, CategoryRule, FieldRule, LevelRule, RegexRule, SampleRule
from tests.operators.rule_support import RULES


def findings(**rule: Any) -> list[tuple[str, str]]:
    """Return the last name of the path and the message of each finding."""
    with pytest.raises(ValidationError) as caught:
        RULES.validate_python([{"name": "x", **rule}])
    return [(str(each["loc"][-1]), each["msg"]) for each in caught.value.errors()]


LEVELS = "allowed: trace, debug, info, warn, error, fatal"
TARGET = {"type": "sample", "target_per_second": 5, "by": "context.service"}
FIELD = {"type": "field", "field": "metadata.x"}


@pytest.mark.parametrize(
    ("rule", "where", "words"),
    [
        ({"type": "level", "levels": ["warm"]}, "0", f"'warm' is no level, {LEVELS}"),
        ({"type": "level", "levels": [30]}, "0", f"30 is no level, {LEVELS}"),
        ({"type": "level", "min_level": ""}, "min_level", f"'' is no level, {LEVELS}"),
        ({"type": "level", "levels": []}, "levels", "must not be empty"),
        ({"type": "level"}, "level", "needs either levels or min_level, and not both"),
        ({"type": "level", "levels": ["info"], "min_level": "info"}, "level", "and not both"),
        ({"type": "category", "categories": []}, "categories", "must not be empty"),
        ({**FIELD, "operator": "eq"}, "value", "is needed for eq; for a missing or null field use exists"),
        ({**FIELD, "operator": "eq", "value": None}, "value", "is needed for eq"),
        ({**FIELD, "operator": "in", "value": "a"}, "value", "must be a list"),
        ({**FIELD, "operator": "in", "value": []}, "value", "one or more"),
        ({**FIELD, "operator": "in", "value": [None]}, "value", "without null"),
        ({**FIELD, "operator": "gt", "value": True}, "value", "must be a number or text for gt"),
        ({**FIELD, "operator": "lte", "value": [1]}, "value", "must be a number or text for lte"),
        ({**FIELD, "operator": "gt", "value": float("nan")}, "value", "must be a finite number"),
        ({**FIELD, "operator": "exists", "value": "yes"}, "value", "must be true or false"),
        ({**FIELD, "operator": "matches", "value": 3}, "value", "must be a pattern"),
        ({**FIELD, "operator": "matches", "value": "a("}, "value", "not a valid pattern"),
        ({**FIELD, "operator": "like", "value": 3}, "operator", "'contains'"),
        ({"type": "field", "field": "a..b", "operator": "exists"}, "field", "must be a dotted path"),
        ({"type": "field", "field": "", "operator": "exists"}, "field", "must be a dotted path"),
        ({"type": "regex", "pattern": r"(a)\1"}, "pattern", "back-references (\\1) are not possible. Patterns are RE2"),
        ({"type": "regex", "pattern": "(?P<n>a)(?P=n)"}, "pattern", "back-references"),
        ({"type": "regex", "pattern": "a(?=b)"}, "pattern", "look-ahead and look-behind are not possible"),
        ({"type": "regex", "pattern": "(?<!a)b"}, "pattern", "look-ahead and look-behind are not possible"),
        ({"type": "regex", "pattern": "a++"}, "pattern", "possessive and atomic groups"),
        ({"type": "regex", "pattern": "[z-a]"}, "pattern", "invalid character class range: z-a"),
        ({"type": "regex", "pattern": "a{2000}"}, "pattern", "invalid repetition size: {2000}"),
        ({"type": "regex", "pattern": "\ud800"}, "pattern", ""),
        ({"type": "regex", "pattern": "a", "flags": "x"}, "flags", "may hold i, m and s only"),
        ({"type": "sample", "sample_rate": 1.5}, "sample_rate", "must be at most 1"),
        ({"type": "sample", "sample_rate": -0.1}, "sample_rate", "must be at least 0"),
        ({"type": "sample", "sample_rate": 0.1, "action": "include"}, "action", "unknown setting"),
        ({"type": "sample", "sample_rate": 0.1, "sample_levels": ["loud"]}, "0", f"'loud' is no level, {LEVELS}"),
        ({"type": "sample"}, "sample", "needs either sample_rate or target_per_second, and not both"),
        ({**TARGET, "sample_rate": 0.1}, "sample", "needs either sample_rate or target_per_second, and not both"),
        ({"type": "sample", "target_per_second": 5}, "sample", "needs by, whose values have rates of their own"),
        ({"type": "sample", "sample_rate": 0.1, "by": ["a", "b"]}, "sample", "by is one field with sample_rate"),
        ({"type": "sample", "sample_rate": 0.1, "annotate": False}, "sample", "annotate goes with target_per_second"),
        ({"type": "sample", "sample_rate": 0.1, "window": "5s"}, "sample", "window goes with target_per_second"),
        ({**TARGET, "target_per_second": 0}, "target_per_second", "must be greater than 0"),
        ({**TARGET, "window": "500ms"}, "window", "must be at least 1"),
    ],
)
def test_what_is_wrong(rule: dict[str, Any], where: str, words: str) -> None:
    """Each mistake is one finding, at its setting, that says what is wrong and what is allowed."""
    ((place, message),) = findings(**rule)
    assert place == where
    assert words in message


def test_re2_says_nothing_on_its_own(capfd: pytest.CaptureFixture[str]) -> None:
    """A pattern that RE2 refuses is a finding and nothing else: RE2 itself writes nothing to stderr."""
    findings(type="regex", pattern="a(")
    assert capfd.readouterr() == ("", "")


def test_secrets_are_not_shown() -> None:
    """A value that came from a variable is in no message."""
    secret = Substituted("(hunter2", "${PATTERN}")
    for rule in ({"type": "regex", "pattern": secret}, {"type": "level", "levels": [secret]}):
        ((_, message),) = findings(**rule)
        assert "hunter2" not in message


def test_aliases_are_read_as_what_they_mean() -> None:
    """A rule's levels are normalised once, when the flow is read."""
    (rule,) = RULES.validate_python([{"name": "x", "type": "level", "levels": ["Warning", "CRITICAL", "err"]}])
    assert isinstance(rule, LevelRule)
    assert rule.levels == ["warn", "fatal", "error"]


@pytest.mark.parametrize("model", [BaseRule, LevelRule, CategoryRule, FieldRule, RegexRule, SampleRule])
def test_every_setting_is_described(model: type[BaseRule]) -> None:
    """Every setting of a rule has a description, which the reference and the schema show."""
    assert all(field.description for field in model.model_fields.values())
