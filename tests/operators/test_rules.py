"""The semantics of rules: tiers, gates, exclusions, and what each type matches."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from logweir.errors import LogweirError
from logweir.record import LEVELS
from operators.formats import ECS, LOGWEIR, OTEL, PINO
from operators.patterns import FieldPatterns
from operators.rules import fields_of, limiters_of, plain
from tests.operators.rule_support import RULES, Asked, category, field, level

ERROR, INFO, DEBUG = {"level": "error"}, {"level": "info"}, {"level": "debug"}
NEVER = {"type": "sample", "sample_rate": 0}


def test_no_rules() -> None:
    """Without rules everything passes."""
    assert Asked().codes(ERROR, {}) == [-1, -1]


def test_exclude() -> None:
    """An exclude that matches drops, one that doesn't says nothing."""
    assert Asked(level("debug", action="exclude")).codes(DEBUG, INFO, {}) == [0, -1, -1]


def test_gate_in_the_lowest_tier() -> None:
    """In the lowest tier a failed gate drops by that rule, and a passed one only passes."""
    assert Asked(level("error")).codes(ERROR, INFO, {}) == [-1, 0, 0]


def test_all_gates_of_a_tier() -> None:
    """All gates of a tier must be passed; the first that fails is named."""
    asked = Asked(level("error"), category("http"))
    assert asked.codes({**ERROR, "category": "http"}, ERROR, {**INFO, "category": "http"}) == [-1, 1, 0]


def test_a_higher_tier_keeps() -> None:
    """What passes the gates of a higher tier is kept, whatever lower tiers would say."""
    asked = Asked(level("error", action="exclude"), NEVER, level("error", priority=100))
    assert asked.codes(ERROR, DEBUG) == [-4, 1]


def test_a_failed_gate_hands_on() -> None:
    """What fails a gate of a higher tier is decided by the next tier, not dropped."""
    assert Asked(level("debug", action="exclude"), level("error", priority=100)).codes(INFO, DEBUG) == [-1, 0]


def test_all_gates_of_a_higher_tier() -> None:
    """A higher tier keeps only what passes all of its gates."""
    asked = Asked(NEVER, level("error", priority=1), category("audit", priority=1))
    assert asked.codes({**ERROR, "category": "audit"}, ERROR) == [-4, 0]


def test_exclude_in_a_higher_tier() -> None:
    """An exclude of a higher tier drops before lower tiers are asked, and before or after gates of its own tier."""
    asked = Asked(level("error", priority=9), category("noise", action="exclude", priority=9), category("noise"))
    assert asked.codes({**ERROR, "category": "noise"}, {**INFO, "category": "noise"}, ERROR) == [1, 1, -2]


def test_limiter_after_a_failed_gate() -> None:
    """A sample limits what its tier lets through: after a failed gate it isn't asked, before one it is."""
    assert Asked(level("error", priority=9), {**NEVER, "priority": 9}, category("a")).codes(
        ERROR, {**INFO, "category": "a"}
    ) == [1, -1]
    assert Asked({**NEVER, "priority": 9}, level("error", priority=9), category("a")).codes(INFO) == [0]


def test_a_gate_above_0_never_drops() -> None:
    """A gate above 0 keeps what it matches and hands on the rest, also where no other rule is there."""
    assert Asked(level("error", priority=100)).codes(ERROR, INFO) == [-2, -1]
    assert Asked(level("error", priority=2), category("a", priority=1)).codes(ERROR, INFO) == [-2, -1]


@pytest.mark.parametrize("priority", [0, -1])
def test_a_gate_of_the_lowest_tier_drops(priority: int) -> None:
    """A gate drops what fails it in the lowest tier, which is 0 or below."""
    assert Asked(level("error", priority=priority)).codes(ERROR, INFO) == [-1, 0]


def test_a_rule_keeps_its_meaning_when_another_goes() -> None:
    """An override drops nothing when the rule that it overrides is taken out of the flow."""
    override, other = level("error", "fatal", priority=100), level("trace", action="exclude")
    assert Asked(override, other).codes(ERROR, INFO, {"level": "trace"}) == [-2, -1, 1]
    assert Asked(override).codes(ERROR, INFO, {"level": "trace"}) == [-2, -1, -1]
    assert Asked(override, {**other, "enabled": False}).codes(ERROR, INFO, {"level": "trace"}) == [-2, -1, -1]


def test_disabled() -> None:
    """A disabled rule has no effect, is not counted by code, and does not make a tier."""
    asked = Asked(
        level("info", action="exclude", enabled=False), level("error"), category("x", enabled=False, priority=-1)
    )
    assert [rule.name for rule in asked.rules.rules] == ["rule 1"]
    assert asked.codes(ERROR, INFO) == [-1, 0]
    assert fields_of(RULES.validate_python([level("info", name="x", enabled=False)])) == set()


def test_rules_with_a_state_make_a_tier() -> None:
    """A rule that another step asks lets everything through here, to be asked for; its tier may be the lowest."""
    rate = {"name": "Rate limit", "type": "rate", "max_per_second": 1}
    asked = Asked(rate, level("error", name="e", priority=100))
    codes = asked.codes(ERROR, INFO)
    assert [(plain(code), limiters_of(code)) for code in codes] == [(-3, 0), (-1, 1)]


def test_a_thousand_rules() -> None:
    """A generated list of thousands of rules is decided like a short one, in one tier or in many."""
    noise = [category(f"c{index}", action="exclude") for index in range(3000)]
    asked = Asked(*noise, level("error"))
    assert asked.codes({**ERROR, "category": "c2999"}, ERROR, INFO) == [2999, -1, 3000]
    asked = Asked(*[{**rule, "priority": -index} for index, rule in enumerate(noise)])
    assert asked.codes({**ERROR, "category": "c2999"}, ERROR) == [2999, -1]


def test_filter() -> None:
    """`filter` returns the columns of what passes, and notes on the account what each rule dropped."""
    asked = Asked(level("debug", action="exclude", name="a"), level("error", "info", name="b"))
    batch = asked.batch([DEBUG, INFO, {"level": "warn"}, {**ERROR, "id": "own"}, DEBUG])
    result = asked.rules.filter(batch)
    assert result.values == [batch.values[1], batch.values[3]]
    assert list(result.offsets) == [1, 3]
    assert result.ids == ["logs-0-1", "own"]
    assert result.records == [batch.records[1], batch.records[3]]
    assert result.account is batch.account
    assert result.account.dropped == {"a": 2, "b": 1}
    assert (result.topic, result.partition, result.origin) == (batch.topic, batch.partition, batch.origin)
    assert result.account.read == len(result) + sum(result.account.dropped.values())


def test_filter_that_drops_nothing() -> None:
    """When everything passes, or there is nothing, the batch itself comes back."""
    asked = Asked(level("debug", action="exclude"))
    for records in ([INFO, ERROR], []):
        batch = asked.batch(records)
        assert asked.rules.filter(batch) is batch
        assert batch.account.dropped == {}


def test_filter_that_drops_all() -> None:
    """When nothing passes an empty batch remains, which still carries its account."""
    asked = Asked(NEVER)
    result = asked.rules.filter(asked.batch([INFO, ERROR]))
    assert len(result) == 0
    assert result.account.dropped == {"rule 0": 2}


@pytest.mark.parametrize(
    ("spelling", "means"),
    [
        ("warning", "warn"),
        ("WARN", "warn"),
        ("critical", "fatal"),
        (" Err ", "error"),
        ("notice", "info"),
        ("30", "info"),
    ],
)
def test_level_aliases(spelling: str, means: str) -> None:
    """A level is understood in any common spelling, in a record as in a rule."""
    assert Asked(level(means)).passes({"level": spelling})
    if not spelling.isdigit():
        assert Asked(level(spelling)).passes({"level": means})


def test_numeric_levels() -> None:
    """A number means what the format says: 9 is info to OpenTelemetry and nothing to pino, 30 is info to pino."""
    assert Asked(level("info"), layout=PINO).passing({"level": 30}, {"level": 9}) == [True, False]
    otel = [{"severityNumber": 9}, {"severityNumber": 17}, {"severityText": "INFO"}]
    assert Asked(level("info"), layout=OTEL).passing(*otel) == [True, False, True]
    assert Asked(level("info"), layout=ECS).passing({"log.level": "info"}, {"log": {"level": "info"}}) == [True, True]


@pytest.mark.parametrize("odd", [None, "", "loud", 31, 30.5, True, [], ["info"], {"a": 1}, 10**30])
def test_a_level_that_is_none(odd: Any) -> None:
    """A level that can't be normalised is treated as missing: it matches no level rule and never raises."""
    every = level(*LEVELS)
    assert Asked(every).codes({"level": odd}, {}) == [0, 0]
    assert Asked({**every, "action": "exclude"}, {**NEVER, "sample_levels": list(LEVELS)}).codes({"level": odd}) == [-1]


def test_min_level() -> None:
    """`min_level` matches that level and all more severe ones."""
    asked = Asked({"type": "level", "min_level": "warning"})
    assert asked.passing(*({"level": each} for each in LEVELS)) == [False, False, False, True, True, True]


def test_category() -> None:
    """A category matches by its exact text; a list, an object or a number is none of them."""
    asked = Asked(category("http", "api"))
    odd: list[Any] = ["HTTP", "", None, 1, ["http"], {"http": 1}]
    assert asked.passing({"category": "http"}, *({"category": each} for each in odd)) == [True] + [False] * len(odd)


def test_patterns_of_one_field_share_a_set() -> None:
    """Many patterns on one field are each decided on their own, also the same one twice and on equal records."""
    rules = [{"type": "regex", "pattern": pattern, "action": "exclude"} for pattern in ("aa", "bb", "(?i)CC", "bb")]
    asked = Asked(*rules, field("message", "matches", value="^ok"))
    messages = ["xaa", "xbb", "cc", "ok", "no", "ok", "bbaa"]
    assert asked.codes(*({"message": each} for each in messages)) == [0, 1, 2, -1, 4, -1, 0]


def test_a_record_is_matched_once() -> None:
    """However many patterns ask about one field, it is read and matched once a record."""
    read: list[str] = []

    def get(record: str) -> str:
        read.append(record)
        return record

    patterns = FieldPatterns(get)
    for pattern in "abc":
        patterns.add(pattern)
    test_of = patterns.compile()
    tests = [test_of(pattern) for pattern in "abc"]
    assert [[test(text) for test in tests] for text in ("ab", "c")] == [[True, True, False], [False, False, True]]
    assert read == ["ab", "c"]


def test_patterns_that_are_too_large_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Patterns that RE2 has no room for are an error when the flow starts, not a rule that never matches."""
    rules = [{"type": "regex", "pattern": f"[^{char}]{{900}}(a|b|c){{900}}x{char}"} for char in "abcdefgh"]
    with monkeypatch.context() as patched:
        patched.setattr("operators.patterns.OPTIONS.max_mem", 1 << 20)
        with pytest.raises((LogweirError, ValidationError), match="large"):
            Asked(*rules)


def interpret(rules: list[dict[str, Any]], matching: list[bool]) -> int:
    """Decide by the words of the design: the reference that the compiled rules are held against."""
    order = sorted(range(len(rules)), key=lambda index: -rules[index].get("priority", 0))
    tiers = [list(tier) for _, tier in groupby(order, key=lambda index: rules[index].get("priority", 0))]
    for tier in tiers:
        last_gate, failed = None, False
        drops = tier is tiers[-1] and rules[tier[0]].get("priority", 0) <= 0
        for index in tier:
            action = rules[index].get("action", "include")
            if rules[index]["type"] == "sample":
                if not failed and rules[index]["sample_rate"] == 0 and matching[index]:
                    return index
            elif action == "exclude":
                if matching[index]:
                    return index
            elif matching[index]:
                last_gate = index
            elif drops:
                return index
            else:
                failed = True
        if last_gate is not None and not failed and not drops:
            return -2 - last_gate
    return -1


_common = {"action": st.sampled_from(["include", "exclude"]), "priority": st.integers(-1, 2)}
_some_levels = st.lists(st.sampled_from(LEVELS), min_size=1, max_size=3)
_generated = st.one_of(
    st.fixed_dictionaries({"type": st.just("level"), "levels": _some_levels, **_common}),
    st.fixed_dictionaries(
        {"type": st.just("category"), "categories": st.lists(st.sampled_from("ab"), min_size=1), **_common}
    ),
    st.fixed_dictionaries({"type": st.just("regex"), "pattern": st.sampled_from(["x", "y"]), **_common}),
    st.fixed_dictionaries(
        {
            "type": st.just("sample"),
            "sample_rate": st.sampled_from([0, 1]),
            "sample_levels": _some_levels,
            "priority": st.integers(-1, 2),
        }
    ),
)
_record = st.fixed_dictionaries(
    {
        "level": st.sampled_from([*LEVELS, None]),
        "category": st.sampled_from("abc"),
        "message": st.sampled_from(["x", "xy"]),
    }
)


def _matches_alone(rule: dict[str, Any], record: dict[str, Any]) -> bool:
    match rule["type"]:
        case "level":
            return record["level"] in rule["levels"]
        case "category":
            return record["category"] in rule["categories"]
        case "regex":
            return rule["pattern"] in record["message"]
    return record["level"] in rule["sample_levels"]


@given(st.lists(_generated, max_size=8), st.lists(_record, min_size=1, max_size=8))
def test_compiled_rules_mean_what_the_words_mean(rules: list[dict[str, Any]], records: list[dict[str, Any]]) -> None:
    """For any rules and records the compiled decision is that of the reference, and `explain` names its rule."""
    asked = Asked(*rules)
    expected = [interpret(rules, [_matches_alone(rule, record) for rule in rules]) for record in records]
    assert asked.codes(*records) == expected
    for record, code in zip(asked.batch(records).records, expected, strict=True):
        verdict = asked.rules.explain(record, "1")
        assert verdict.code == code
        assert (verdict.rule is None) == (code == -1)
        if verdict.rule is not None:
            assert verdict.rule is asked.rules.rules[code if code >= 0 else -2 - code]


def test_layouts_are_honoured() -> None:
    """A rule's field is found where the source's format has it."""
    rule = field("context.service", "eq", value="api")
    assert Asked(rule, layout=ECS).passes({"service": {"name": "api"}})
    assert Asked(rule, layout=LOGWEIR).passes({"context": {"service": "api"}})


UNKNOWN = "level not known"


def test_levels_that_nobody_knows_are_counted() -> None:
    """A gate on levels drops such records, so somebody has to hear of them; what has no level says so itself."""
    asked = Asked(level("error"), level("debug", action="exclude"))
    records = [{"level": each} for each in ("odd", "error", "odd", None, "", "-", 17, 35.5, {"a": 1}, "DEBUG")]
    for _ in range(2):
        batch = asked.batch([*records, {}])
        passed = asked.rules.filter(batch)
        assert len(passed) == 1
        assert batch.account.notices == {UNKNOWN: 4}
    asked.rules.filter(again := batch.twin())
    assert again.account.notices == {UNKNOWN: 4}
    unasked = Asked(category("x"))
    assert not unasked.rules.filter(unasked.batch(records)).account.notices


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"severityNumber": 17}, "error"),
        ({"severityNumber": "17"}, "error"),
        ({"severityNumber": 0, "severityText": "ERROR"}, "error"),
        ({"severityNumber": 99, "severityText": "ERROR"}, "error"),
        ({"severityNumber": "SEVERITY_NUMBER_ERROR", "severityText": "odd"}, "error"),
        ({"severityNumber": "SEVERITY_NUMBER_UNSPECIFIED", "severityText": "ERROR2"}, "error"),
        ({"severityNumber": 10}, "info"),
        ({"severityText": "NOTICE"}, "info"),
        ({"severityNumber": True, "severityText": "warn"}, "warn"),
        ({"severityNumber": {}, "severityText": "warn"}, "warn"),
    ],
)
def test_levels_of_opentelemetry(record: dict[str, Any], expected: str) -> None:
    """A number that is not set, or is none, leaves it to the text."""
    assert Asked(level(expected), layout=OTEL).passes(record)
