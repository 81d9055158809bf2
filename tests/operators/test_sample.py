"""Samples: their rate holds for every kind of id, they are stable, independent of each other, and whole."""

from __future__ import annotations

import math
import random
import uuid
from collections.abc import Callable
from typing import Any

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from operators.formats import OTEL
from tests.operators.rule_support import Asked

COUNT = 40_000
_random = random.Random(20261125)


def _uuid7(index: int) -> str:
    """Return a UUIDv7 of a moment that depends on the index, as a logger makes them."""
    bits = ((1_790_000_000_000 + index // 10) << 80) | _random.getrandbits(80)
    bits = bits & ~(0xF << 76) | (0x7 << 76)
    return str(uuid.UUID(int=bits & ~(0x3 << 62) | (0x2 << 62)))


KINDS: dict[str, Callable[[int], str]] = {
    "sequential": lambda index: f"logs-0-{index}",
    "uuid4": lambda _: str(uuid.UUID(int=_random.getrandbits(128), version=4)),
    "uuid7": _uuid7,
    "short": lambda index: format(index, "x"),
}
IDS = {kind: [make(index) for index in range(COUNT)] for kind, make in KINDS.items()}


def sample(rate: float, **more: Any) -> dict[str, Any]:
    """Return the settings of a sample rule."""
    return {"name": "Sample", "type": "sample", "sample_rate": rate, **more}


def passing(rule: dict[str, Any], ids: list[str]) -> set[str]:
    """Return which of these ids the rule lets through."""
    decide = Asked(rule).rules.decide
    (record,) = Asked(rule).batch([{}]).records
    return {each for each in ids if decide(record, each) < 0}


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("rate", [0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999])
def test_the_rate_holds(kind: str, rate: float) -> None:
    """Over rules of many names the share that passes is within three standard errors, whatever the ids look like."""
    ids = IDS[kind][:10_000]
    errors = [_standard_errors(len(passing(sample(rate, name=f"Sample {n}"), ids)), len(ids), rate) for n in range(20)]
    # One name alone is beyond three standard errors once in 370 by chance; the sum of all tells a bias from chance.
    assert abs(sum(errors)) / math.sqrt(len(errors)) <= 3
    assert sum(abs(each) > 3 for each in errors) <= 1


def _standard_errors(passed: int, count: int, rate: float) -> float:
    """Return how many standard errors this count is away from the rate."""
    return (passed - count * rate) / math.sqrt(count * rate * (1 - rate))


def test_all_and_nothing_are_exact() -> None:
    """A rate of 0 lets nothing through, a rate of 1 everything."""
    assert passing(sample(0), IDS["short"]) == set()
    assert passing(sample(1), IDS["short"]) == set(IDS["short"])


GOLDEN_TENTH = ["10", "11", "22", "31", "36", "41", "50", "56"]
GOLDEN_OTHER_NAME = ["0", "1", "3", "18", "20", "25", "33", "35", "45", "49", "50"]


def test_golden() -> None:
    """The same records are sampled by every version: replays and other machines must decide alike."""
    assert xxhash.xxh3_64_intdigest(b"") == 0x2D06800538D394C2  # XXH3's own published value
    keys = [str(index) for index in range(60)]
    assert sorted(passing(sample(0.1), keys), key=int) == GOLDEN_TENTH
    assert sorted(passing(sample(0.1, name="Échantillon"), keys), key=int) == GOLDEN_OTHER_NAME


def test_a_larger_rate_adds() -> None:
    """Raising a rate keeps what passed before, and adds to it."""
    assert passing(sample(0.1), IDS["uuid7"]) < passing(sample(0.2), IDS["uuid7"])


def test_two_rules_are_independent() -> None:
    """What one rule samples says nothing of what another samples: together two tenths are a hundredth."""
    first, second = (passing(sample(0.1, name=name), IDS["sequential"]) for name in ("First", "Second"))
    both = len(first & second) / COUNT
    assert abs(both - 0.01) <= 3 * math.sqrt(0.01 * 0.99 / COUNT)


def test_a_trace_is_whole() -> None:
    """All records of a trace pass, or none, whatever their ids, their levels and their position."""
    asked = Asked(sample(0.5))
    kept = set()
    for number in range(1, 51):
        trace = {"traceId": f"{number:032x}"}
        verdicts = set(asked.passing(*({"id": str(_random.random()), "trace": trace} for _ in range(20))))
        assert len(verdicts) == 1
        kept |= verdicts
    assert kept == {True, False}


@pytest.mark.parametrize(
    "trace", [{}, {"traceId": ""}, {"traceId": None}, {"traceId": 5}, {"traceId": ["a"]}, "odd", None]
)
def test_without_a_trace_id_the_id_decides(trace: Any) -> None:
    """A trace id that is missing, empty or no text is none: the record's own id decides."""
    ids = IDS["short"][:200]
    verdicts = Asked(sample(0.5)).passing(*({"id": each, "trace": trace} for each in ids))
    assert {each for each, passed in zip(ids, verdicts, strict=True) if passed} == passing(sample(0.5), ids)


def test_by() -> None:
    """With `by`, records with the same value there are kept or dropped together, traces aside."""
    asked = Asked(sample(0.5, by="context.userId"))
    ids = IDS["short"][:200]
    for seed in range(3):
        records = [{"id": f"{seed}", "trace": {"traceId": f"{seed}"}, "context": {"userId": each}} for each in ids]
        verdicts = asked.passing(*records)
        assert {each for each, passed in zip(ids, verdicts, strict=True) if passed} == passing(sample(0.5), ids)


def test_by_a_field_that_is_missing() -> None:
    """Where the field of `by` is missing or no single value, the trace or the id decides."""
    asked = Asked(sample(0.5, by="context.userId"))
    ids = IDS["short"][:200]
    contexts: list[Any] = [{}, {"userId": None}, {"userId": ["a"]}, {"userId": {}}, "odd"]
    for context in contexts:
        verdicts = asked.passing(*({"id": each, "context": context} for each in ids))
        assert {each for each, passed in zip(ids, verdicts, strict=True) if passed} == passing(sample(0.5), ids)


@given(st.integers(-(2**53), 2**53))
def test_by_a_number(number: int) -> None:
    """A number is the same key however it is spelt: 7 and 7.0 are sampled alike."""
    codes = Asked(sample(0.5, by="metadata.x")).codes({"metadata": {"x": number}}, {"metadata": {"x": float(number)}})
    assert codes[0] == codes[1]


def test_levels() -> None:
    """With `sample_levels`, in any spelling, other levels and records without one pass untouched."""
    asked = Asked(sample(0, sample_levels=["debug", "Information"]))
    levels = ["debug", "INFO", "warn", "loud", None]
    assert asked.passing(*({"level": each} for each in levels), {}) == [False, False, True, True, True, True]


@given(st.text(), st.text(min_size=1), st.floats(0, 1))
def test_any_id_and_any_name(identity: str, name: str, rate: float) -> None:
    """Any text can be an id, a trace id or a rule's name."""
    assert Asked(sample(rate, name=name)).codes({"id": identity, "trace": {"traceId": identity}})[0] in (0, -1)


def test_reason() -> None:
    """The reason names the share, the levels and what the record was sampled by."""
    asked = Asked(sample(0, sample_levels=["info", "debug"], by="metadata.user"))
    assert asked.why({"level": "info", "metadata": {"user": "u1"}}) == (
        "dropped by 'Sample': outside the sample of 0 % of info and debug, by its metadata.user u1"
    )
    assert asked.why({"level": "info", "trace": {"traceId": "ab"}}).endswith("by its trace id ab")
    assert asked.why({"level": "info", "id": "7"}).endswith("by its id 7")


NO_TRACES = ["0" * 32, "0" * 16, "0", "-", "null", "", "00000000-0000-0000-0000-000000000000", None]


@pytest.mark.parametrize("none", NO_TRACES)
def test_a_record_whose_trace_is_none_is_decided_by_its_id(none: str | None) -> None:
    """Zeros are an invalid id: all records of an application without tracing would be one trace."""
    asked = Asked(sample(0.1, name="A tenth"))
    ids = [{"id": f"r{number}"} for number in range(1000)]
    traced = [{**each, "trace": {"traceId": none}} for each in ids]
    assert asked.passing(*traced) == asked.passing(*ids)
    assert 60 < asked.passing(*traced).count(True) < 140
    assert "by its id r0" in Asked(sample(1e-9)).why(traced[0])


@pytest.mark.parametrize("none", ["0" * 32, ""])
def test_a_trace_of_opentelemetry_that_is_none(none: str) -> None:
    """The SDK writes zeros, or empty text, where no span is active."""
    asked = Asked(sample(0.1), layout=OTEL)
    uid = [{"attributes": [{"key": "log.record.uid", "value": {"stringValue": str(n)}}]} for n in range(500)]
    expected = asked.passing(*uid)
    assert 20 < expected.count(True) < 90
    assert asked.passing(*({**each, "traceId": none} for each in uid)) == expected
