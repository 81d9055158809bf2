"""Each rule alone, as a branch: a function that tests a record and calls the step that comes next.

What a record's fields hold is not known to be what a rule expects, so each test bears every JSON value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import xxhash

from logweir.errors import LogweirError
from logweir.record import NO_TRACES
from operators.patterns import FieldPatterns, with_flags
from operators.projection import Getter, Projection
from operators.rule_models import (
    BaseRule,
    CategoryRule,
    Condition,
    FieldRule,
    LevelRule,
    LimiterRule,
    RegexRule,
    SampleRule,
    WhenRule,
)
from operators.settled import key_getter
from operators.values import SCALARS, comparison, key_bytes

Step = Callable[[Any, str | int], int]
"""Decides a record with this identity: a code as `RuleSet.decide` returns it.

An identity that is a number is the record's index in its batch, from which `Identify` makes it only if it is asked for.
"""

LIMITERS_SHIFT = 20
"""A code that lets a record pass has the limiters to be asked as bits above the rule's number."""
MAX_LIMITERS = 32
"""Of the flow's rules and a destination's own together."""

Identify = Callable[[int], str]

Branch = Callable[[str | None, Step, Step], Step]
"""Makes the step that goes on with the first where a rule matches (or a limiter lets through), else with the second.

The step is for records of one level, None for those without: a rule that only looks at the level is settled here.
"""


def compile_branches(
    rules: Sequence[BaseRule], projection: Projection, identify: Identify, first_limiter: int
) -> list[Branch]:
    """Return the branch of each rule.

    Raises:
        LogweirError: The patterns on one field are too large together.
    """
    patterns: dict[str, FieldPatterns] = {}
    for rule in rules:
        if (pattern := _pattern(rule)) is not None:
            field, text = pattern
            patterns.setdefault(field, FieldPatterns(projection.getter(field))).add(text)
    tests = {field: each.compile() for field, each in patterns.items()}
    limiters = [rule for rule in rules if rule.stateful]
    if first_limiter + len(limiters) > MAX_LIMITERS:
        count = first_limiter + len(limiters)
        msg = f"there are {count} rules of type rate, dedupe or sample with a target; {MAX_LIMITERS} can be asked"
        raise LogweirError(msg)
    branches = []
    for rule in rules:
        if (pattern := _pattern(rule)) is not None:
            field, text = pattern
            branches.append(_tested(tests[field](text)))
        elif rule.stateful:
            number = first_limiter + next(index for index, each in enumerate(limiters) if each is rule)
            branches.append(_limited(rule, projection, number))
        else:
            branches.append(_branch(rule, projection, identify))
    return branches


def _pattern(rule: BaseRule) -> tuple[str, str] | None:
    """Return the field and the pattern of a rule that has one."""
    match rule:
        case RegexRule():
            return rule.field, with_flags(rule.pattern, rule.flags)
        case FieldRule(operator="matches"):
            return rule.field, str(rule.value)
    return None


def _branch(rule: BaseRule, projection: Projection, identify: Identify) -> Branch:
    match rule:
        case LevelRule():
            return _leveled(rule.matching)
        case CategoryRule():
            return _member(projection.getter("category"), frozenset(rule.categories))
        case FieldRule():
            return _field(rule, projection.getter(rule.field))
        case SampleRule():
            return _sample(rule, projection, identify)
        case WhenRule():
            tests = tests_of(rule.conditions, projection.getter)
            return _tested(lambda record: not all(test(record) for test in tests))
    raise AssertionError(rule)


def _limited(rule: BaseRule, projection: Projection, number: int) -> Branch:
    """Return the branch that asks for this limiter wherever the record passes in the end."""
    asked = 1 << number + LIMITERS_SHIFT
    levels = rule.sample_levels if isinstance(rule, SampleRule) else getattr(rule, "levels", None)
    tests = tests_of(rule.when, projection.getter) if isinstance(rule, LimiterRule) else []

    def branch(level: str | None, passed: Step, over: Step) -> Step:  # noqa: ARG001
        if levels is not None and level not in levels:
            return passed
        code = settled(passed)
        if code is not None and (code >= 0 or not tests):
            return always(code - asked if code < 0 else code)

        def step(record: Any, identity: str | int) -> int:
            code = passed(record, identity)
            return code - asked if code < 0 and all(test(record) for test in tests) else code

        return step

    return branch


def always(code: int) -> Step:
    """Return the step that needs no look at the record."""

    def step(record: Any, identity: str | int) -> int:  # noqa: ARG001
        return code

    step.code = code  # type: ignore[attr-defined]
    return step


def settled(step: Step) -> int | None:
    """Return the code that a step gives for every record; None where that depends."""
    return getattr(step, "code", None)


def tests_of(conditions: Sequence[Condition], getter: Callable[[str], Getter]) -> list[Callable[[Any], bool]]:
    """Return the test of each."""
    return [_condition(each, getter(each.field)) for each in conditions]


def _condition(condition: Condition, get: Getter) -> Callable[[Any], bool]:
    if condition.operator == "matches":
        pattern = FieldPatterns(get)
        pattern.add(str(condition.value))
        return pattern.compile()(str(condition.value))
    test = comparison(condition.operator, condition.value)
    return lambda record: test(get(record))


def _leveled(wanted: frozenset[str]) -> Branch:
    return lambda level, matched, otherwise: matched if level in wanted else otherwise


def _member(get: Getter, wanted: frozenset[str]) -> Branch:
    """Return the branch for a field that is one of these texts."""

    def branch(level: str | None, matched: Step, otherwise: Step) -> Step:  # noqa: ARG001
        def step(record: Any, identity: str | int) -> int:
            try:
                found = get(record) in wanted
            except TypeError:  # a list or an object
                found = False
            return matched(record, identity) if found else otherwise(record, identity)

        return step

    return branch


def _tested(test: Callable[[Any], bool]) -> Branch:
    """Return the branch for any test of a record."""

    def branch(level: str | None, matched: Step, otherwise: Step) -> Step:  # noqa: ARG001
        def step(record: Any, identity: str | int) -> int:
            return matched(record, identity) if test(record) else otherwise(record, identity)

        return step

    return branch


def _field(rule: FieldRule, get: Getter) -> Branch:
    values = rule.value if rule.operator == "in" and isinstance(rule.value, list) else [rule.value]
    texts = frozenset(each for each in values if isinstance(each, str))
    if rule.operator in ("eq", "in") and len(texts) == len(values):
        return _member(get, texts)
    test = comparison(rule.operator, rule.value)
    return _tested(lambda record: test(get(record)))


def _sample(rule: SampleRule, projection: Projection, identify: Identify) -> Branch:
    within = _hashed(rule, projection, identify)
    if rule.sample_levels is None:
        return within
    concerned = frozenset(rule.sample_levels)
    return lambda level, passed, over: within(level, passed, over) if level in concerned else passed


def _hashed(rule: SampleRule, projection: Projection, identify: Identify) -> Branch:
    """Return the branch that passes the records whose key hashes below the rate.

    The rule's name is the seed: samples of two rules are independent, and the same everywhere.
    """
    rate = 1.0 if rule.sample_rate is None else rule.sample_rate
    if rate >= 1:
        return lambda level, passed, over: passed  # noqa: ARG005
    digest = xxhash.xxh3_64_intdigest
    seed = digest(rule.name.encode())
    threshold = math.ceil(rate * 2**64)
    trace_id, none = projection.getter("trace.traceId"), NO_TRACES
    by = key_getter(projection, rule.by_fields[0]) if rule.by_fields else None

    def branch(level: str | None, passed: Step, over: Step) -> Step:  # noqa: ARG001
        def step(record: Any, identity: str | int) -> int:
            if by is not None and isinstance(value := by(record), SCALARS):
                data = key_bytes(value)
            else:
                key = trace_id(record)
                if type(key) is not str or key in none:
                    key = identity if isinstance(identity, str) else identify(identity)
                data = key.encode() if key.isascii() else key_bytes(key)
            return passed(record, identity) if digest(data, seed) < threshold else over(record, identity)

        return step

    return branch
