"""Asking dynamic samplers about batches: what travels, what comes back, and what of the batch passes."""

from __future__ import annotations

import json
import random
from array import array
from collections import Counter
from functools import partial
from typing import Any

from flows.limiting import LimiterStep, Place
from flows.sampling import SamplerSet, SampleStep
from logweir.batch import Batch, ReadAt
from logweir.times import rfc3339
from operators.annotate import OWN_SAMPLING, UNTOLD
from operators.decode import Decoder
from operators.formats import LOGWEIR
from operators.limiters import Item, Limiters, Question, spread
from operators.projection import Projection
from operators.rules import compile_rules, fields_of
from operators.sampling import Asked as Asks
from operators.sampling import Sampled, Samples
from operators.summaries import Summary
from tests.operators.rule_support import RULES

START = 1_790_000_000
SAMPLE = {"name": "Sample", "type": "sample", "target_per_second": 5, "by": "context.service"}
DICE = random.Random(20261201)


class Asked:
    """The stateful rules of one destination, asked as a flow asks them."""

    def __init__(self, *rules: dict[str, Any], partitions: int = 1) -> None:
        settings = RULES.validate_python([{"name": f"rule {index}", **rule} for index, rule in enumerate(rules)])
        projection = Projection(fields_of(settings), LOGWEIR, identified=False)
        self._decode = Decoder(projection, final=False)
        self._rules = compile_rules(settings, projection)
        self._limiters = Limiters(self._rules.limiters, projection)
        self._samplers_of = SamplerSet(self._limiters.samplers, partitions)
        self._samplers: dict[str, SampleStep] = {}
        self._steps: dict[tuple[int, str], LimiterStep] = {}

    def __call__(self, records: list[dict[str, Any]], *, partition: int = 0, offset: int = 0) -> Batch:
        """Return what passes of some records."""
        values = [json.dumps(record, separators=(",", ":")).encode() for record in records]
        batch = Batch("logs", partition, values, range(offset, offset + len(values)), origin=ReadAt(START))
        self._decode(batch)
        batch = self._rules.filter(batch)
        question = self._limiters.ask(batch, "0000")
        if question is None:
            return batch
        if question.partition not in self._samplers:
            self._samplers[question.partition] = SampleStep(lambda _: self._samplers_of, None)
        items: list[Item] = [question]
        if question.samples is not None:
            items = self._samplers[question.partition].on_batch([question])[0]
        for number, rule in self._limiters.limiters.items():
            place = Place(number, rule, "")
            asked = [part for item in items if isinstance(item, Question) for part in spread(item, number)]
            items = [item for item in items if not isinstance(item, Question)]
            DICE.shuffle(asked)
            for bucket, part in asked:
                limiter = self._steps.get((number, bucket)) or LimiterStep(partial(_always, place), None, lambda: START)
                self._steps[number, bucket] = limiter
                items += limiter.on_batch([part])[0]
        settled = [self._limiters.settle(item) for item in items if not isinstance(item, Summary)]
        assert settled[:-1] == [None] * (len(settled) - 1)
        assert settled[-1] is not None
        assert not self._limiters._held
        return settled[-1]


def _always(place: Place, _revision: int | None) -> Place:
    return place


def records(count: int, second: int, service: str = "shop", **more: Any) -> list[dict[str, Any]]:
    """Return some records of one second."""
    return [
        {
            "id": f"{service}-{second}-{number}",
            "timestamp": rfc3339(START + second),
            "context": {"service": service},
            **more,
        }
        for number in range(count)
    ]


def warm(asked: Asked, seconds: int = 30, **more: Any) -> None:
    """Let the samplers learn that a key comes fifty times a second."""
    for second in range(seconds):
        asked(records(50, second, **more), offset=50 * second)


def told(batch: Batch) -> Counter[Any]:
    """Return how many records tell which rate."""
    return Counter(json.loads(value).get("sampling", {}).get("rate") for value in batch.values)


def test_the_first_window_passes() -> None:
    """Until a key is known its records pass, and tell a rate of 1."""
    batch = Asked(SAMPLE)(records(20, 0))
    assert told(batch) == {1: 20}
    assert batch.account.dropped == {}


def test_then_a_share_passes_and_says_so() -> None:
    """What passes tells the rate at which it did, and what doesn't is counted by the rule's name."""
    asked = Asked(SAMPLE)
    warm(asked)
    batch = asked(records(1000, 29))
    assert set(told(batch)) == {0.1}
    assert abs(len(batch) - 100) <= 3 * 9.5
    assert batch.account.dropped == {"Sample": 1000 - len(batch)}
    assert batch.size == sum(map(len, batch.values))
    assert len(batch.values) == len(batch.records) == len(batch.offsets)


def test_the_fate_is_that_of_a_fixed_rate() -> None:
    """At the same rate and under the same name, a sample with a target keeps the very records of one without."""
    asked, fixed = Asked(SAMPLE), Asked({"name": "Sample", "type": "sample", "sample_rate": 0.1})
    warm(asked)
    ids = [{"id": f"é{number}"} if number % 3 else {"trace": {"traceId": f"{number:032x}"}} for number in range(900)]
    some = [{**record, **own, "id": own.get("id", 7)} for record, own in zip(records(900, 29), ids, strict=True)]
    some += [{key: value for key, value in record.items() if key != "id"} for record in records(100, 29)]
    dynamic = asked(some, offset=5000)
    assert list(dynamic.offsets) == list(fixed(some, offset=5000).offsets)
    assert dynamic.values


def test_each_partition_has_a_share() -> None:
    """Of four partitions each has a quarter of the target, and knows only its own records."""
    asked = Asked(SAMPLE, partitions=4)
    warm(asked)
    assert set(told(asked(records(1000, 29)))) == {0.025}
    assert set(told(asked(records(1000, 29), partition=1))) == {1}


def test_levels() -> None:
    """With sample_levels other records pass as they are, and nothing is learnt of them."""
    asked = Asked({**SAMPLE, "sample_levels": ["debug"]})
    warm(asked, level="debug")
    mixed = [{**record, "level": level} for record in records(500, 29) for level in ("debug", "warn")]
    assert told(asked(mixed))[None] == 500
    assert asked(records(10, 29, level="info")).values == asked(records(10, 29, level="info")).values


def test_without_annotation() -> None:
    """With annotate: false what passes keeps its own bytes."""
    asked = Asked({**SAMPLE, "annotate": False})
    warm(asked)
    batch = asked(records(1000, 29))
    assert set(told(batch)) == {None}
    assert abs(len(batch) - 100) <= 3 * 9.5


def test_two_samples_multiply() -> None:
    """What two rules have kept tells the product of their rates; the second knows only what the first let through."""
    asked = Asked(SAMPLE, {**SAMPLE, "name": "Second", "by": "level", "target_per_second": 1})
    warm(asked, seconds=200, level="info")
    batch = asked(records(3000, 199, level="info"))
    (rate,) = told(batch)
    assert 0.01 <= rate <= 0.04
    dropped = batch.account.dropped
    assert abs(dropped["Sample"] - 2700) <= 3 * 16.4
    assert dropped["Sample"] + dropped["Second"] + len(batch) == 3000


def test_beside_other_limiters() -> None:
    """A limit is asked about what the samples let through, and its drops are its own."""
    limit = {"name": "Limit", "type": "rate", "max_per_second": 30, "by": "context.service"}
    dedupe = {"name": "Once", "type": "dedupe", "by": ["id", "context.service"], "window": "1h"}
    asked = Asked(limit, SAMPLE, dedupe)
    warm(asked, seconds=29)
    mixed = [*records(1000, 29), *records(25, 29, "rare")]
    DICE.shuffle(mixed)
    batch = asked(mixed)
    services = Counter(json.loads(value)["context"]["service"] for value in batch.values)
    assert services == {"shop": 30, "rare": 25}
    assert batch.account.dropped["Limit"] + batch.account.dropped["Sample"] == 970
    assert batch.account.dropped["Sample"] > 850
    assert None not in told(batch)


def test_a_sampling_of_its_own_is_noticed() -> None:
    """A record whose own `sampling` says something else passes as it is, and is counted for the metrics."""
    batch = Asked(SAMPLE)(records(3, 0, sampling="off"))
    assert batch.account.notices == {OWN_SAMPLING: 3}
    assert batch.account.dropped == {}


class TestChanges:
    """The samplers' step while the flow's settings change."""

    def step(self, *revisions: dict[int, dict[str, Any]], resume: dict[str, Any] | None = None) -> SampleStep:
        """Return a step whose rules are these, by revision and number."""
        sets = [
            SamplerSet({number: RULES.validate_python([rule])[0] for number, rule in each.items()}, 1)  # type: ignore[misc]
            for each in revisions
        ]
        return SampleStep(sets.__getitem__, resume)

    def ask(self, step: SampleStep, count: int, second: int, *, number: int = 0, revision: int = 0) -> list[float]:
        """Return the rates that records of one key tell, each with a hash of zero."""
        column = {code: array(code, [0]) * count for code in "IQ"}
        seconds = array("q", [START + second]) * count
        asked = Asks(number, array("I", range(count)), ["shop"], column["I"], seconds, column["Q"])
        samples = Samples(count, [asked], array("l"))
        (answer,) = step.on_batch([Question("0000", 1, "logs-0", [], revision=revision, samples=samples)])[0]
        assert isinstance(answer, Sampled)
        assert answer.revision == revision
        return list(answer.rates)

    def test_a_target_that_changes(self) -> None:
        """What is known of the keys stays; the new target holds from the next window on."""
        half = {**SAMPLE, "target_per_second": 2.5}
        step = self.step({0: SAMPLE}, {2: half}, {1: {**half, "annotate": False}})
        self.ask(step, 100, 0)
        assert set(self.ask(step, 100, 10)) == {0.5}
        assert set(self.ask(step, 100, 11, number=2, revision=1)) == {0.5}
        assert set(self.ask(step, 300, 20, number=2, revision=1)) == {0.1667}
        assert set(self.ask(step, 1, 21, number=1, revision=2)) == {UNTOLD}

    def test_another_key(self) -> None:
        """A sampler with another `by` or another name begins with nothing known."""
        step = self.step({0: SAMPLE}, {0: {**SAMPLE, "by": "level"}}, {0: {**SAMPLE, "name": "other"}})
        self.ask(step, 100, 0)
        assert set(self.ask(step, 100, 10)) == {0.5}
        assert set(self.ask(step, 100, 20, revision=1)) == {1.0}
        assert set(self.ask(step, 100, 30, revision=2)) == {1.0}

    def test_a_recorded_state(self) -> None:
        """What was learnt is found again after a start, with other rules before it, and kept until it is asked for."""
        step = self.step({0: SAMPLE})
        self.ask(step, 100, 0)
        self.ask(step, 100, 10)
        recorded = step.snapshot()
        again = self.step({3: SAMPLE}, resume=recorded)
        assert again.snapshot() == recorded
        assert set(self.ask(again, 1, 11, number=3)) == {0.5}
