"""Trying a flow's decisions on given records: redaction, rules and limiters as they run; nothing is read or sent."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from flows.config import Flow
from flows.limiting import LimiterStep, Place
from flows.sampling import SamplerSet, SampleStep
from logweir.batch import Batch, ReadAt
from operators.decode import Decoder
from operators.limiters import Item, Limiters, Question, spread
from operators.projection import Projection
from operators.redact import Redactor
from operators.rules import compile_rules, fields_of
from operators.summaries import Summary

_ORIGIN = "trial"


@dataclass(slots=True)
class Outcome:
    """What became of some records at one destination."""

    delivered: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    """By rule."""
    rejected: Counter[str] = field(default_factory=Counter)
    """By cause: what is no record."""
    left: dict[int, bytes] = field(default_factory=dict)
    """By the record's number: what is delivered of it, or goes to the dead letter."""


class Trial:
    """The decisions of a flow, with empty limiters.

    Args:
        flow: The flow.
    """

    def __init__(self, flow: Flow) -> None:
        self._now = time.time()
        own = {name: flow.own_rules(name) for name in flow.enabled}
        fields = fields_of([*flow.rules, *(rule for rules in own.values() for rule in rules)])
        projection = Projection(fields, flow.source.layout())
        self._redact = Redactor(flow.redact, flow.source.layout()) if flow.redact else None
        self._decode = Decoder(projection, hide=self._redact.text if self._redact else None)
        self._rules = compile_rules(flow.rules, projection)
        first = len(self._rules.limiters)
        self._own = {name: compile_rules(rules, projection, first) for name, rules in own.items()}
        self._limiters = {
            name: _Limiters(Limiters([*self._rules.limiters, *rules.limiters], projection), self._now)
            for name, rules in self._own.items()
        }

    def run(self, values: Sequence[bytes]) -> dict[str, Outcome]:
        """Return by destination what becomes of these records, which come one after another in the same moment."""
        outcomes = {name: Outcome() for name in self._own}
        for number, value in enumerate(values):
            batch = Batch("trial", 0, [value], [number], origin=ReadAt(self._now))
            if self._redact is not None:
                self._redact(batch)
            self._decode(batch)
            batch = self._rules.filter(batch)
            for name, outcome in outcomes.items():
                own = self._own[name].filter(batch.twin())
                own = self._limiters[name](own)
                outcome.delivered += len(own)
                outcome.dropped.update(own.account.dropped)
                outcome.rejected.update(each.cause for each in own.account.rejected)
                for left in (*own.values, *(each.value for each in own.account.rejected)):
                    outcome.left[number] = left
        return outcomes


class _Limiters:
    """The limiters of one destination, asked on the spot."""

    def __init__(self, limiters: Limiters, now: float) -> None:
        self._limiters = limiters
        self._now = now
        self._sampled = SamplerSet(limiters.samplers, 1)
        self._samplers: dict[str, SampleStep] = {}
        """By partition."""
        self._steps: dict[tuple[int, str], LimiterStep] = {}

    def __call__(self, batch: Batch) -> Batch:
        question = self._limiters.ask(batch, _ORIGIN)
        if question is None:
            return batch
        parts = self._sample(question)
        for number, rule in self._limiters.limiters.items():
            place = Place(number, rule, "")
            parts = [answer for part in parts for answer in self._ask(part, place)]
        settled = [self._limiters.settle(part) for part in parts if not isinstance(part, Summary)]
        return next(each for each in settled if each is not None)

    def _sample(self, question: Question) -> list[Item]:
        if question.samples is None:
            return [question]
        step = self._samplers.get(question.partition)
        if step is None:
            step = self._samplers[question.partition] = SampleStep(lambda _revision: self._sampled, None)
        return step.on_batch([question])[0]

    def _ask(self, part: Item, place: Place) -> list[Item]:
        if not isinstance(part, Question):
            return [part]
        answers: list[Item] = []
        for bucket, asked in spread(part, place.number):
            step = self._steps.get((place.number, bucket))
            if step is None:
                step = LimiterStep(partial(_always, place), None, clock=lambda: self._now)
                self._steps[place.number, bucket] = step
            answers += step.on_batch([asked])[0]
        return answers


def _always(place: Place, _revision: int | None) -> Place:
    return place
