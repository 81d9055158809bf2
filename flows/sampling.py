"""Dynamic samplers as a step of a dataflow: keyed by the source's partitions, since their records have an order.

Bytewax hands the questions of one partition to one worker in the order in which they were asked; what a partition's
state decides is thus decided alike by any number of workers, and again after a crash.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from bytewax.operators import StatefulBatchLogic

from logweir.recorded import version_of
from operators.dynamic_sample import DynamicState
from operators.limiters import Item, Question
from operators.rule_models import SampleRule
from operators.sampling import Sampled, Samples, answer


class SamplerSet(NamedTuple):
    """The samplers of one destination in one revision of the flow's settings."""

    rules: Mapping[int, SampleRule]
    """By their numbers among the rules with a state."""
    partitions: int
    """Of the source, which share the targets."""


STATE_VERSION = 1
SamplersOf = Callable[[int], SamplerSet]
"""Gives the samplers of a destination in a revision of the flow's settings."""


class SampleStep(StatefulBatchLogic[Question, Item, dict[str, Any]]):
    """The samplers of one destination, for one partition of the source.

    Args:
        samplers: Gives them.
        resume: What `snapshot` returned last.
    """

    def __init__(self, samplers: SamplersOf, resume: dict[str, Any] | None) -> None:
        self._samplers = samplers
        self._revision = -1
        self._states: dict[str, DynamicState] = {}
        """By what a sampler has to keep so as to keep its state."""
        if resume is not None:
            version_of(resume, STATE_VERSION)
        self._recorded: dict[str, Any] = {} if resume is None else resume["samplers"]
        """What isn't taken up by a sampler yet."""

    def on_batch(self, values: list[Question]) -> tuple[list[Item], bool]:
        """Answer what is asked of the samplers, and hand on what is left to ask of others."""
        items: list[Item] = []
        for question in values:
            assert question.samples is not None
            if question.revision != self._revision:
                self._turn(question.revision)
            items += self._answer(question, question.samples)
        return items, StatefulBatchLogic.RETAIN

    def snapshot(self) -> dict[str, Any]:
        """Return what is known of the keys."""
        known = {identity: state.to_dict() for identity, state in self._states.items()}
        return {"version": STATE_VERSION, "samplers": {**self._recorded, **known}}

    def _turn(self, revision: int) -> None:
        """Go on by this revision of the settings; what is known of the keys stays."""
        rules, partitions = self._samplers(revision)
        before, self._states, self._revision = self._states, {}, revision
        for rule in rules.values():
            assert rule.target_per_second is not None
            settings = (rule.target_per_second / partitions, int(rule.window), rule.lateness, rule.max_keys)
            identity = _identity(rule)
            state = self._states[identity] = before.get(identity) or DynamicState(*settings)
            state.configure(*settings)
            if identity in self._recorded:
                state.restore(self._recorded[identity])
        self._recorded = {}

    def _answer(self, question: Question, samples: Samples) -> list[Item]:
        rules, _ = self._samplers(question.revision)
        states = {number: self._states[_identity(rule)] for number, rule in rules.items()}
        rates, dropped = answer(samples, states, {number: rule.annotate for number, rule in rules.items()})
        notices = tuple(each for state in states.values() for each in state.notices.items())
        for state in states.values():
            state.notices.clear()
        sampled = Sampled(question.origin, question.batch, rates, tuple(dropped.items()), notices, question.revision)
        if not question.groups:
            return [sampled]
        return [sampled, question._replace(samples=None, groups=samples.left(question.groups, rates))]


def _identity(rule: SampleRule) -> str:
    return json.dumps([rule.name, rule.by_fields])
