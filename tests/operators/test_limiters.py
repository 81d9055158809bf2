from __future__ import annotations

import json
from collections import Counter
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from logweir.batch import Batch
from operators.decode import Decoder
from operators.formats import LOGWEIR
from operators.limiter_keys import LONGEST_KEY, values_of
from operators.limiters import Limiters, Question, bucket_of, spread
from operators.projection import Projection
from operators.rule_models import LimiterRule, Rule
from operators.rules import compile_rules, fields_of, projected_at_once

NOW = 1_790_000_000.0
_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)),
    max_leaves=5,
)


def rules(*some: dict[str, Any]) -> list[Any]:
    """Return rules as a flow file has them."""
    return TypeAdapter(list[Rule]).validate_python([{"name": f"r{number}", **each} for number, each in enumerate(some)])


class Asking:
    """Limiters of some rules, and the records that they are asked about."""

    def __init__(self, *some: dict[str, Any]) -> None:
        every = rules(*some)
        projection = Projection(fields_of(every), LOGWEIR, identified=False)
        self._decode = Decoder(projection, final=False)
        self._rules = compile_rules(every, projection)
        self.limiters = Limiters([each for each in every if isinstance(each, LimiterRule)], projection)

    def keys(self, *values: Any) -> list[str]:
        """Return the first limiter's key of a record with each of these values."""
        return [self.ask({"metadata": {"a": value, "b": "x"}}).groups[0].keys[0] for value in values]

    def ask(self, *records: dict[str, Any]) -> Question:
        """Return the question about a batch of these records."""
        return self.about(Batch("t", 0, [json.dumps(each).encode() for each in records], range(len(records))))

    def about(self, batch: Batch) -> Question:
        """Return the question about a batch."""
        self._decode(batch)
        question = self.limiters.ask(self._rules.filter(batch), "0000")
        assert question is not None
        return question


ONE = Asking({"type": "rate", "max_per_second": 1, "by": "metadata.a"})
TWO = Asking({"type": "rate", "max_per_second": 1, "by": ["metadata.a", "metadata.b"]})


@given(_VALUES, _VALUES)
def test_keys_are_equal_where_values_are(one: Any, other: Any) -> None:
    """Equal values have one key, others another, in one field and in several; 1, 1.0, true and "1" are four values."""
    for asking in (ONE, TWO):
        first, second = asking.keys(one, other)
        same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
        assert (first == second) == same


@pytest.mark.parametrize("value", ["a", "", "\x00", "a" * LONGEST_KEY, 7, 2**80, 1.5, None, True, [1, {"b": 2}]])
def test_values_come_back(value: Any) -> None:
    """A summary can tell which values a key stands for."""
    (alone,) = ONE.keys(value)
    assert values_of(alone, 1) == [value]
    (joint,) = TWO.keys(value)
    assert values_of(joint, 2) == ([] if len(str(value)) == LONGEST_KEY else [value, "x"])


@pytest.mark.parametrize("by", ["level", ["level", "context.service"]])
def test_a_level_is_one_key_however_it_is_spelt(by: Any) -> None:
    """Loggers of one service spell levels in their own ways, and all share one budget; what is none stays as it is."""
    asking = Asking({"type": "rate", "max_per_second": 1, "by": by})
    spellings = ["warn", "WARNING", "W", 40, 4, "[warn]", "warn+1"]
    records = [{"level": each, "context": {"service": "s"}} for each in [*spellings, "odd", 99, None]]
    keys = [asking.ask(record).groups[0].keys[0] for record in records]
    assert len(set(keys[: len(spellings)])) == 1
    assert values_of(keys[0], 2)[0] == "warn"
    assert len(set(keys)) == 4


def test_long_keys_are_bounded() -> None:
    """Of long values a hash is kept, and a missing field is a value too."""
    long, longer, missing = ONE.keys("a" * 65, "a" * 100_000, None)
    assert len({long, longer, missing}) == 3
    assert len(long) == len(longer) == 33
    assert values_of(long, 1) == []


def test_one_group_for_what_is_alike() -> None:
    """What travels is a group for each key and second; each limiter's bucket gets its own keys, all of them once."""
    asking = Asking(
        {"type": "rate", "max_per_second": 1, "by": "context.service"},
        {"type": "rate", "max_per_hour": 1, "levels": ["error"]},
    )
    dice = Random(3)
    services = [f"s{dice.randrange(50)}" for _ in range(1000)]
    question = asking.ask(
        *({"level": dice.choice(["info", "error"]), "context": {"service": service}} for service in services)
    )
    assert sum(group.records for group in question.groups) == 1000
    assert {group.limiters for group in question.groups} == {0b01, 0b11}
    asked = Counter[str]()
    for group in question.groups:
        asked[group.keys[0]] += group.records
    assert asked == Counter(services)
    parts = spread(question, 0)
    assert sorted(group.number for _, part in parts for group in part.groups) == list(range(len(question.groups)))
    assert all(bucket_of(group.keys[0]) == bucket for bucket, part in parts for group in part.groups)
    assert len(spread(question, 1)) == 1


def test_the_first_records_pass() -> None:
    """Of each group as many pass as the answer says, the first ones, and the others are counted by their rule."""
    asking = Asking({"type": "rate", "max_per_second": 1, "by": "context.service"})
    question = asking.ask(*({"id": str(number), "context": {"service": "ab"[number % 2]}} for number in range(10)))
    left = {"a": 2, "b": 0}
    answers = [
        group._replace(records=left[group.keys[0]], dropped=((0, group.records - left[group.keys[0]]),))
        for group in question.groups
    ]
    assert asking.limiters.settle(question._replace(groups=answers[:1])) is None
    batch = asking.limiters.settle(question._replace(groups=answers[1:]))
    assert batch is not None
    assert [json.loads(value)["id"] for value in batch.values] == ["0", "2"]
    assert batch.account.dropped == {"r0": 8}


def test_decoded_once_where_only_limiters_decide() -> None:
    """One decode serves rules and destination where nothing is dropped before and their fields can share a record."""
    rate = {"type": "rate", "max_per_second": 1, "by": "context.service"}
    (limit,) = rules(rate)
    gate, _ = rules({"type": "level", "min_level": "info"}, rate)
    assert projected_at_once([limit], [{"timestamp", "context.host"}], LOGWEIR) is not None
    assert projected_at_once([gate, limit], [{"timestamp"}], LOGWEIR) is None
    assert projected_at_once([limit], [{"timestamp"}, {"timestamp"}], LOGWEIR) is None
    assert projected_at_once([], [{"timestamp"}], LOGWEIR) is None
    # The destination reads a field below the one that the limiter takes whole.
    (whole,) = rules({**rate, "by": "context"})
    assert projected_at_once([whole], [{"context.host"}], LOGWEIR) is None
    # The destination tells a missing member from null, which the limiter's own reading of it would not.
    (own,) = rules({**rate, "by": "service"})
    assert projected_at_once([own], [{"/service/host"}], LOGWEIR) is None


def test_a_question_tells_the_lane() -> None:
    """Limiters and samplers are asked by where records have an order, also about what other rules have left."""
    asking = Asking({"type": "level", "min_level": "info"}, {"type": "rate", "max_per_second": 1})
    batch = Batch("app.log", 77, [b'{"level":"info"}', b'{"level":"debug"}'], range(2))
    assert asking.about(batch).partition == "app.log-77"
    batch = Batch("app.log", 77, [b'{"level":"info"}', b'{"level":"debug"}'], range(2))
    batch.lane = "app.log"
    assert asking.about(batch.twin()).partition == "app.log"
