import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.check import warnings
from flows.config import load
from logweir.batch import Batch
from logweir.record import LEVELS
from operators.decode import Decoder
from operators.formats import LOGWEIR
from operators.projection import Projection
from operators.rules import compile_rules, fields_of
from tests.examples import ENVIRONMENT, EXAMPLES, placed

HEAD = "name: a\nsource: {type: stdin}\ndestinations:\n  out: {type: console}\nrules:\n"

CLOSED = "lets nothing through: no record that it matches comes through the rules before it"


def told(*rules: str) -> list[str]:
    """Return the warnings about these rules, without their position."""
    text = HEAD + "".join(f"  - {{{rule}}}\n" for rule in rules)
    return [each.message for each in warnings(load(text, environment={}))]


def level(name: str, levels: str, more: str = "") -> str:
    """Return the text of a level rule."""
    return f"name: {name}, type: level, levels: [{levels}]{more}"


@pytest.mark.parametrize(
    ("rule", "messages"),
    [
        (
            "max_per_second: 10, max_per_minute: 600",
            ["`r`: is never reached, since max_per_second lets only 600 pass in a minute"],
        ),
        ("max_per_second: 10, max_per_minute: 10", ["`r`: is never reached, since max_per_minute lets only 10 pass"]),
        (
            "max_per_second: 1, max_per_minute: 59, max_per_hour: 3540",
            ["`r`: is never reached, since max_per_minute lets only 3,540 pass in an hour"],
        ),
        ("max_per_second: 100, max_per_minute: 5000, max_per_hour: 100000", []),
        (
            "max_per_second: 10, by: [context.service, id]",
            ["`r` drops next to nothing: id is another with nearly every record, and each value has a budget of its"],
        ),
        ("max_per_second: 10, levels: [debug], by: context.service", ["`r` has no effect: no record of its levels"]),
    ],
)
def test_limits(rule: str, messages: list[str]) -> None:
    """A limit that another one makes superfluous, or whose keys are all alone, is warned of."""
    found = told("name: n, type: level, min_level: info", f"name: r, type: rate, {rule}")
    assert len(found) == len(messages)
    assert all(message.startswith(start) for message, start in zip(found, messages, strict=True))


@pytest.mark.parametrize(
    ("redact", "warned"),
    [
        ("fields: [user.email]", True),
        ("fields: ['**.email'], mode: remove", True),
        ("fields: [{path: user.*}], mode: replace", True),
        ("fields: [user.email], mode: hash, hash_key: 0123456789abcdef", False),
        ("fields: [email, user.id]", False),
        ("patterns: [email]", False),
    ],
)
def test_limits_by_what_is_hidden(redact: str, warned: bool) -> None:
    """A limit by a field that redact makes the same everywhere is warned of; a hash keeps values apart."""
    rule = "name: r, type: dedupe, window: 5s, by: [user.email, message]"
    text = f"{HEAD}  - {{{rule}}}\nredact: {{{redact}}}\n"
    found = [each.message for each in warnings(load(text, environment={}))]
    assert len(found) == warned
    assert all("`r` finds the same user.email in every record" in each for each in found)


def test_position() -> None:
    """A warning stands where the rule is written."""
    text = HEAD + "  - {name: fine, type: level, levels: [info]}\n  - {name: idle, type: sample, sample_rate: 1}\n"
    assert [str(each) for each in warnings(load(text, environment={}))] == [
        "flow.yaml:7:5: warning: rules[1]: `idle` has no effect: a sample_rate of 1 keeps everything"
    ]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples(path: Path, tmp_path: Path) -> None:
    """The example flows have nothing that can't act."""
    assert warnings(load(placed(path, tmp_path), environment=ENVIRONMENT)) == []


def test_nothing_to_warn_of() -> None:
    """Rules that each can act are not warned of."""
    assert (
        told(
            level("errors", "error, fatal", ", priority: 100"),
            level("noise", "debug, trace", ", action: exclude"),
            "name: production, type: field, field: context.environment, operator: eq, value: production",
            level("most", "info, warn"),
            "name: some, type: sample, sample_rate: 0.5, sample_levels: [info]",
        )
        == []
    )


def test_after_a_rule_that_decides_everything() -> None:
    """What comes after a rule that drops everything is never asked."""
    assert told(
        level("all", "trace, debug, info, warn, error, fatal", ", action: exclude"),
        "name: none, type: sample, sample_rate: 0",
        level("late", "info"),
    ) == [
        "nothing can pass these rules",
        "`late` is never asked: the rules before it decide every record",
    ]


def test_below_a_tier_that_keeps_everything_that_comes() -> None:
    """A lower rule for what a higher tier keeps already never acts."""
    assert told(
        level("keep", "error", ", priority: 5"),
        level("drop", "error", ", action: exclude"),
    ) == ["`drop` never drops anything: no record that it matches comes to it"]


def test_a_gate_that_keeps_in_vain() -> None:
    """A gate above 0 is warned of where nothing else drops: who wrote it wants the rest dropped."""
    said = (
        "`keep` keeps what it matches, and nothing else is dropped after it, so it has no effect: "
        "leave out its priority if the rest is to be dropped"
    )
    keep = level("keep", "error", ", priority: 5")
    higher = level("drop", "trace", ", action: exclude, priority: 9")
    assert told(keep) == [said]
    assert told(keep, higher) == [said]
    for saved_from in (
        level("drop", "trace", ", action: exclude"),
        level("only", "info"),
        "name: some, type: sample, sample_rate: 0.5",
        "name: few, type: rate, max_per_second: 5, priority: 5",
    ):
        assert told(keep, saved_from) == []


def test_gate_for_what_was_excluded() -> None:
    """A gate for levels that an exclude of its tier, or of a higher one, has removed lets nothing through."""
    for priority in (0, 3):
        assert told(level("drop", "debug", f", action: exclude, priority: {priority}"), level("only", "debug")) == [
            "nothing can pass these rules",
            f"`only` {CLOSED}, so it drops everything",
        ]


def test_disjoint_category_gates() -> None:
    """Two gates of a tier that no record can pass both are named once, at the second."""
    assert told(
        "name: one, type: category, categories: [a, b]",
        "name: two, type: category, categories: [c]",
        "name: three, type: category, categories: [a]",
    ) == [
        "nothing can pass these rules",
        f"`two` {CLOSED}, so it drops everything",
    ]


def test_contradicting_levels() -> None:
    """A min_level above what another gate of the tier lets through is named; in a higher tier it only keeps nothing."""
    rules = ("name: high, type: level, min_level: error{}", level("low", "debug") + "{}")
    assert f"`low` {CLOSED}, so it drops everything" in told(*(rule.format("") for rule in rules))
    above = told(*(rule.format(", priority: 1") for rule in rules), "name: some, type: sample, sample_rate: 0.5")
    assert above == [f"`low` {CLOSED}, so the rules of this priority keep nothing"]


def test_gate_that_everything_passes() -> None:
    """In the lowest tier a gate is without effect when all that comes to it matches."""
    assert told(level("a", "info, warn"), "name: b, type: level, min_level: debug") == [
        "`b` has no effect: every record that comes to it matches"
    ]


def test_sample_of_what_is_gone() -> None:
    """A sample of levels that no rule lets through is without effect."""
    said = "has no effect: no record of its levels comes to it"
    debug = "name: some, type: sample, sample_rate: 0.5, sample_levels: [debug]"
    assert told(level("drop", "debug", ", action: exclude"), debug) == [f"`some` {said}"]
    assert told(level("only", "error"), debug) == [f"`some` {said}"]
    assert told(level("keep", "debug", ", priority: 1"), debug) == [f"`some` {said}"]
    assert told(debug, level("only", "error")) == []


def test_unknown_answers_are_possible() -> None:
    """A field or regex rule may match anything, so what depends on it is not warned of."""
    assert told("name: f, type: field, field: x, operator: exists, action: exclude", level("only", "info")) == []
    assert told("name: r, type: regex, pattern: x", "name: q, type: regex, pattern: x") == []


def test_disabled_rules() -> None:
    """A disabled rule neither acts nor is warned of; when all are, that is said."""
    off = level("off", "info, warn, error, debug, trace, fatal", ", action: exclude, enabled: false")
    assert told(off, level("on", "info")) == []
    assert told(off) == ["every rule is disabled, so all records pass"]


def test_rules_of_one_destination() -> None:
    """A destination's own rules are judged by what the flow's rules let through to them."""
    text = (
        "name: a\nsource: {type: stdin}\ndestinations:\n"
        "  one: {type: console, rules: [{name: own, type: level, levels: [debug]}]}\n"
        "  two: {type: console, rules: [{name: late, type: level, levels: [error], action: exclude}]}\n"
        "  off: {type: console, enabled: false, rules: [{name: no, type: sample, sample_rate: 1}]}\n"
        "rules:\n  - {name: shared, type: level, levels: [debug], action: exclude, priority: -1}\n"
        "  - {name: keep, type: level, levels: [error], priority: 100}\n"
    )
    assert [each.path for each in warnings(load(text, environment={}))] == [
        "destinations.one.rules",
        "destinations.one.rules[0]",
    ]


RULES = st.lists(
    st.fixed_dictionaries(
        {"priority": st.integers(-1, 2), "action": st.sampled_from(["include", "exclude"])},
        optional={
            "levels": st.lists(st.sampled_from(LEVELS), min_size=1, max_size=3),
            "categories": st.lists(st.sampled_from("abc"), min_size=1, max_size=2),
            "sample_rate": st.sampled_from([0, 1]),
        },
    ),
    max_size=7,
)


def as_rule(index: int, drawn: dict[str, Any]) -> dict[str, Any]:
    """Return one rule whose answer depends on the level and the category alone."""
    rule = {"name": f"r{index}", "priority": drawn["priority"]}
    if "sample_rate" in drawn:
        levels = {"sample_levels": drawn["levels"]} if "levels" in drawn else {}
        return rule | levels | {"type": "sample", "sample_rate": drawn["sample_rate"]}
    if "categories" in drawn:
        return rule | {"type": "category", "categories": drawn["categories"], "action": drawn["action"]}
    return rule | {"type": "level", "levels": drawn.get("levels", ["info"]), "action": drawn["action"]}


@settings(deadline=None)
@given(RULES)
def test_against_the_rules_themselves(drawn: list[dict[str, Any]]) -> None:
    """A rule that is said never to drop drops none, and one that is not named drops some; so for the whole."""
    rules = [as_rule(index, each) for index, each in enumerate(drawn)]
    text = json.dumps(
        {"name": "a", "source": {"type": "stdin"}, "destinations": {"o": {"type": "console"}}, "rules": rules}
    )
    loaded = load(text, environment={})
    told_of = {each.path: each.message for each in warnings(loaded)}

    compiled = loaded.flow.rules
    projection = Projection(fields_of(compiled), LOGWEIR)
    rule_set = compile_rules(compiled, projection)
    kinds = [(level, category) for level in (*LEVELS, None) for category in ("a", "b", "c", "d", None)]
    values = [json.dumps({"id": "x", "level": level, "category": category}).encode() for level, category in kinds]
    batch = Batch("t", 0, values, range(len(values)))
    Decoder(projection)(batch)
    codes = list(map(rule_set.decide, batch.records, batch.ids))

    assert ("rules" in told_of) == all(code >= 0 for code in codes)
    for index, rule in enumerate(rules):
        said = told_of.get(f"rules[{index}]", "")
        drops = index in codes
        if rule.get("action") == "include":
            assert not (drops and ("no effect" in said or "never asked" in said))
            if "no effect" in said:
                rest = [each for number, each in enumerate(compiled) if number != index]
                without = compile_rules(rest, projection)
                left = list(map(without.decide, batch.records, batch.ids))
                assert [code < 0 for code in left] == [code < 0 for code in codes]
        elif drops:
            assert not said
        elif not any("lets nothing through" in message for message in told_of.values()):
            # After a gate that lets nothing through, the rest of its tier isn't told of as well.
            assert said


def test_a_request_that_is_never_full() -> None:
    """A request for which max_in_flight has no room is warned of, with the size that would do."""
    text = (
        "name: a\nsource: {type: stdin}\nmax_in_flight: 16MB\ndestinations:\n"
        "  one: {type: s3, bucket: logs}\n  two: {type: s3, bucket: logs, batch: {max_bytes: 64MB}}\n"
        "  six: {type: s3, bucket: logs, partitions: 5}\n"
        "  off: {type: s3, bucket: logs, partitions: 5, enabled: false}\n"
    )
    said = "max_in_flight, 16MB, has no room for a request of up to {} and the next; set it to {} at least"
    assert [(each.path, each.message) for each in warnings(load(text, environment={}))] == [
        ("destinations.two.batch.max_bytes", said.format("64MB", "128MB")),
        ("destinations.six", said.format("8MB", "48MB")),
    ]


def test_a_target_without_anything_to_go_by() -> None:
    """A sample with a target is warned of where nearly every record has a value of its own, and keeps all."""
    rule = "name: some, type: sample, target_per_second: 5, by: [context.service, {0}]"
    assert told(rule.format("level")) == []
    (said,) = told(rule.format("trace.traceId"))
    assert said == (
        "`some` can't learn: trace.traceId is new with nearly every record, and what is new is kept; "
        "choose fields with few values"
    )
    (idle,) = told(level("info", "info"), f"{rule.format('level')}, sample_levels: [debug]")
    assert idle == "`some` has no effect: no record of its levels comes to it"


@pytest.mark.parametrize(
    ("layout", "chosen", "warned"), [("pino", "own", True), ("pino", "identity", False), ("ecs", "own", False)]
)
def test_an_id_that_is_none(layout: str, chosen: str, warned: bool) -> None:
    """Pino and bunyan have no id of a record, so to go by what is called so is warned of."""
    text = (
        f"name: a\nsource: {{type: stdin, format: {layout}}}\ndestinations:\n"
        f"  out: {{type: elasticsearch, url: 'http://localhost', document_id: {chosen}}}\n"
    )
    assert [each.path for each in warnings(load(text, environment={}))] == ["destinations.out.document_id"] * warned
