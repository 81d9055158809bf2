"""Why a record passes or not, in words.

The words are derived from the code that `decide` gave, and from nothing else: they can't say something different.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from logweir.record import LevelTable, says_no_level, trace_of
from operators.branches import tests_of
from operators.projection import Projection
from operators.rule_models import (
    BaseRule,
    CategoryRule,
    Condition,
    DedupeRule,
    FieldRule,
    LevelRule,
    RateRule,
    RegexRule,
    SampleRule,
    WhenRule,
)
from operators.settled import key_getter
from operators.values import SCALARS

_SHOWN = 80
"""Characters of a value that are shown."""

_PHRASES = {
    "eq": "",
    "gt": "greater than ",
    "gte": "at least ",
    "lt": "less than ",
    "lte": "at most ",
    "in": "one of ",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What rules decide of a record, by which of them, and why."""

    code: int
    rule: BaseRule | None
    """The rule that decided; None when none had a word to say."""
    reason: str
    limits: tuple[str, ...] = ()
    """The names of the rules with a state that drop the record where they have no room for it."""

    @property
    def outcome(self) -> Literal["dropped", "kept", "passes"]:
        """Return what becomes of the record: `kept` passes, whatever rules of lower priority say."""
        if self.rule is None:
            return "passes"
        return "dropped" if self.code >= 0 else "kept"

    def __str__(self) -> str:
        if self.rule is None:
            return f"passes: {self.reason}"
        told = (self.rule.priority or self.outcome == "kept") and not isinstance(self.rule, WhenRule)
        priority = f" (priority {self.rule.priority})" if told else ""
        return f"{self.outcome} by '{self.rule.name}'{priority}: {self.reason}"


def verdict(
    code: int,
    rules: Sequence[BaseRule],
    limiters: Sequence[BaseRule],
    projection: Projection,
    record: Any,
    identity: str,
) -> Verdict:
    """Return what the code means: see `RuleSet.decide`.

    Args:
        code: Without the limiters in it.
        rules: The rules.
        limiters: Those that a later step asks about the record.
        projection: Reads the record's fields.
        record: The record.
        identity: Who it is.
    """
    limits = tuple(rule.name for rule in limiters)
    # They know what else flows; here is known what they go by.
    limited = "".join(f"; limited by '{rule.name}' to {_limit(rule, projection, record)}" for rule in limiters)
    if code == -1:
        return Verdict(code, None, ("no rule drops it" if rules else "there are no rules") + limited, limits)
    rule = rules[code] if code >= 0 else rules[-2 - code]
    return Verdict(code, rule, _reason(rule, code >= 0, projection, record, identity) + limited, limits)


def _limit(rule: BaseRule, projection: Projection, record: Any) -> str:
    """Return how many pass of what, of the records that this one is counted with."""
    match rule:
        case RateRule():
            most = [f"{count:,} a {name}" for name, count in rule.most.items()]
            return ", ".join(most) + _counted_with(rule.by_fields, projection, record)
        case DedupeRule():
            return f"one in {rule.window:g} s" + _counted_with(rule.by_fields, projection, record)
        case SampleRule():
            return f"about {rule.target_per_second:g} a second of every {' and '.join(rule.by_fields)} together"
    return "some"


def _counted_with(fields: Sequence[str], projection: Projection, record: Any) -> str:
    values = [f"{field} {_found(projection.getter(field)(record))}" for field in fields]
    return f" of {' and '.join(values)}" if values else ""


def _reason(  # noqa: PLR0911  one for each type of rule
    rule: BaseRule, dropped: bool, projection: Projection, record: Any, identity: str
) -> str:
    # A gate drops what doesn't match; everything else decides about what does.
    matched = not (dropped and getattr(rule, "action", None) == "include")
    match rule:
        case LevelRule():
            return _level_reason(rule, matched, projection, record)
        case CategoryRule():
            value = projection.getter("category")(record)
            return _compared("category", value, matched, f"one of {', '.join(rule.categories)}")
        case FieldRule():
            return _field_reason(rule, matched, projection.getter(rule.field)(record))
        case RegexRule():
            value = projection.getter(rule.field)(record)
            return _matching_reason(rule.field, value, matched, f"/{rule.pattern}/{rule.flags}")
        case WhenRule():
            return _unmet(rule, projection, record)
        case SampleRule():
            return _sample_reason(rule, projection, record, identity)
    return "it says so"


def _unmet(rule: WhenRule, projection: Projection, record: Any) -> str:
    """Return what a destination's `when` asks for and the record doesn't have."""
    tests = tests_of(rule.conditions, projection.getter)
    unmet = [each for each, test in zip(rule.conditions, tests, strict=True) if not test(record)]
    return "; ".join(_field_reason(each, False, projection.getter(each.field)(record)) for each in unmet)


def _level_reason(rule: LevelRule, matched: bool, projection: Projection, record: Any) -> str:
    raw = projection.getter("level")(record)
    level = _normalised(raw, projection)
    if level is None and says_no_level(raw):
        return "it has no level"
    if level is None:
        return f"{_shown(raw)} is no level"
    said = f"level is {level}" + ("" if raw == level else f" ({_shown(raw)})")
    if matched:
        return said
    if rule.min_level is not None:
        return f"{said}, below {rule.min_level}"
    return f"{said}, not {_alternatives(rule.levels or ())}"


def _normalised(raw: Any, projection: Projection) -> str | None:
    try:
        return LevelTable(projection.layout.levels)[raw]
    except TypeError:  # a list or an object
        return None


def _field_reason(rule: Condition, matched: bool, value: Any) -> str:
    wanted = _shown(rule.value)
    match rule.operator:
        case "exists":
            return f"{rule.field} is missing" if value is None else f"{rule.field} is there"
        case "ne":
            said = f"{rule.field} is " + ("missing" if value is None else _shown(value))
            return f"{said}, not {wanted}" if matched else said
        case "matches":
            return _matching_reason(rule.field, value, matched, f"/{rule.value}/")
        case "contains":
            if value is None:
                return f"{rule.field} is missing"
            return f"{rule.field} {'contains' if matched else 'does not contain'} {wanted}"
        case _:
            return _compared(rule.field, value, matched, _PHRASES[rule.operator] + wanted)


def _compared(field: str, value: Any, matched: bool, expected: str) -> str:
    if value is None:
        return f"{field} is missing"
    if not matched:
        shown = _shown(value)
        # The text "5" where the number 5 is wanted.
        return f"{field} is {json.dumps(value) if shown == expected else shown}, not {expected}"
    return f"{field} is {_shown(value)}" + ("" if _shown(value) == expected else f", {expected}")


def _matching_reason(field: str, value: Any, matched: bool, pattern: str) -> str:
    if value is None:
        return f"{field} is missing"
    if not isinstance(value, str):
        return f"{field} is {_shown(value)}, no text"
    return f"{field} {'matches' if matched else 'does not match'} {pattern}"


def _sample_reason(rule: SampleRule, projection: Projection, record: Any, identity: str) -> str:
    share = f"{(rule.sample_rate or 0) * 100:g} %"
    if rule.sample_levels is not None:
        share += f" of {_alternatives(rule.sample_levels, 'and')}"
    key, what = None, "".join(rule.by_fields)
    if what:
        key = key_getter(projection, what)(record)
    if not isinstance(key, SCALARS):
        trace_id = trace_of(projection.getter("trace.traceId")(record))
        key, what = (identity, "id") if trace_id is None else (trace_id, "trace id")
    return f"outside the sample of {share}, by its {what} {_shown(key)}"


def _found(value: Any) -> str:
    return "missing" if value is None else _shown(value)


def _shown(value: Any) -> str:
    """Return a value for a terminal: short, and without control characters."""
    try:
        text = value if isinstance(value, str) and value and value.isprintable() else json.dumps(value)
    except (RecursionError, ValueError):  # nested very deep, or an integer of thousands of digits
        text = f"a large {'number' if isinstance(value, int) else 'value'}"
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _alternatives(levels: Sequence[str], word: str = "or") -> str:
    *head, last = levels
    return f"{', '.join(head)} {word} {last}" if head else last
