"""Limiters as steps of a dataflow: keyed state that Bytewax keeps, spreads over the workers and recovers.

A key of Bytewax is a bucket, never a user's key: their number is bounded. Only questions travel between workers; the
records wait in the process that has read them, and their answers come back to its sink partition.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Stream
from bytewax.operators import KeyedStream, StatefulBatchLogic

from logweir.batch import Batch
from operators.dedupe import DedupeState
from operators.limiter_state import LimiterState, Suppressed
from operators.limiters import BUCKETS, Buckets, Question, Summary, spread
from operators.rate_limit import Limit, RateState
from operators.rule_models import DedupeRule, LimiterRule, RateRule

_LENGTHS = {"max_per_second": 1, "max_per_minute": 60, "max_per_hour": 3600}


Item = Question | Summary
"""What the limiters' steps hand on."""


class LimiterStep(StatefulBatchLogic[Item, Item, dict[str, Any]]):
    """One bucket of one limiter.

    Args:
        rule: The rule.
        limiter: Its number among those of its destination.
        resume: What `snapshot` returned last.
        clock: Gives the system's time in epoch seconds.
    """

    def __init__(
        self,
        rule: LimiterRule,
        limiter: int,
        resume: dict[str, Any] | None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._limiter = limiter
        self._by_system = rule.clock == "system"
        self._state, longest = _state(rule)
        self._summarises = rule.summarise
        self._silence = rule.lateness + longest
        """Seconds after which nothing more is expected in the open windows."""
        self._origin = ""
        self._notify_at: datetime | None = None
        if resume is not None:
            self._state.restore(resume)

    def on_batch(self, values: list[Item]) -> tuple[list[Item], bool]:
        """Answer questions, and tell what the windows have dropped that close by this."""
        now = self._clock()
        answers: list[Item] = []
        for value in values:
            if isinstance(value, Summary):
                answers.append(value)
                continue
            answers.append(self._answer(value, now))
            self._origin = value.origin
            closed = self._state.read_until(value.partition, now if self._by_system else value.until, now)
            answers += self._summary(closed)
        if self._summarises:
            self._notify_at = datetime.now(UTC) + timedelta(seconds=self._silence)
        return answers, StatefulBatchLogic.RETAIN

    def on_notify(self) -> tuple[list[Item], bool]:
        """Tell of the open windows, since nothing has come for a while."""
        self._notify_at = None
        return self._summary(self._state.told()), StatefulBatchLogic.RETAIN

    def on_eof(self) -> tuple[list[Item], bool]:
        """Tell of the open windows before the flow ends."""
        return self._summary(self._state.told()), StatefulBatchLogic.RETAIN

    def notify_at(self) -> datetime | None:
        """Return when to be woken, unless something comes before."""
        return self._notify_at

    def snapshot(self) -> dict[str, Any]:
        """Return the windows."""
        return self._state.to_dict()

    def _answer(self, question: Question, now: float) -> Question:
        number, state = self._limiter, self._state
        groups = question.groups
        for index, group in enumerate(groups):
            if group.limiters >> number & 1 and group.records:
                second = int(now) if self._by_system else group.second
                passed = state.take(group.keys[number], second, group.records)
                if passed < group.records:
                    dropped = (*group.dropped, (number, group.records - passed))
                    groups[index] = group._replace(records=passed, dropped=dropped)
        if not state.notices:
            return question
        notices = (*question.notices, *state.notices.items())
        state.notices.clear()
        return question._replace(notices=notices)

    def _summary(self, suppressed: list[Suppressed]) -> list[Item]:
        if not (self._summarises and suppressed and self._origin):
            return []
        return [Summary(self._origin, self._limiter, suppressed)]


def _state(rule: LimiterRule) -> tuple[LimiterState, int]:
    """Return an empty bucket of a limiter, and the length of its longest window in seconds."""
    max_keys = max(1, rule.max_keys // BUCKETS)
    match rule:
        case RateRule():
            lengths = {length: getattr(rule, name) for name, length in _LENGTHS.items()}
            limits = [Limit(length, most) for length, most in lengths.items() if most is not None]
            return RateState(limits, rule.lateness, max_keys), max(limit.length for limit in limits)
        case DedupeRule():
            return DedupeState(int(rule.window), rule.lateness, max_keys), int(rule.window)
    raise AssertionError(rule)


def limited(name: str, rules: list[LimiterRule], asked: KeyedStream[Batch | Item]) -> KeyedStream[Batch | Item]:
    """Return the stream of batches that no limiter concerns and of questions that all have answered.

    Args:
        name: The destination.
        rules: Its limiters.
        asked: Batches and questions, keyed by the sink partition that they go to.
    """
    branched = op.branch(f"asks_{name}", asked, _is_question)
    questions: Stream[Any] = op.map(f"unkey_{name}", branched.trues, _value)
    for number, rule in enumerate(rules):
        step = f"{name}_{number}"
        parts = op.flat_map(f"spread_{step}", questions, partial(spread, limiter=number, buckets=Buckets()))
        answers = op.stateful_batch(f"limit_{step}", parts, partial(LimiterStep, rule, number))
        questions = op.map(f"answered_{step}", answers, _value)
    home = op.map(f"home_{name}", questions, lambda item: (item.origin, item))
    return op.merge(f"limited_{name}", branched.falses, home)


def _is_question(item: tuple[str, Batch | Item]) -> bool:
    return isinstance(item[1], Question)


def _value(item: tuple[str, Any]) -> Any:
    return item[1]
