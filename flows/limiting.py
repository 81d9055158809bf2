"""Limiters as steps of a dataflow: keyed state that Bytewax keeps, spreads over the workers and recovers.

A key of Bytewax is a bucket, never a user's key: their number is bounded. Only questions travel between workers; the
records wait in the process that has read them, and their answers come back to its sink partition.

Which limiter a step is changes while the flow runs: see flows/seats.py. A question says by which revision of the flow's
settings it was asked, and every worker knows a revision before any asks by it. A bucket goes on to the newest revision
that it has been asked by, and never back, so that all its answers from one on are by the new settings.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

import bytewax.operators as op
from bytewax.dataflow import Stream
from bytewax.operators import KeyedStream, StatefulBatchLogic

from flows.sampling import SamplersOf, SampleStep
from logweir.batch import Batch
from operators.dedupe import DedupeState
from operators.limiter_state import Ask, LimiterState, Suppressed
from operators.limiters import BUCKET_NAMES, BUCKETS, Item, Progress, Question, Routed, spread
from operators.rate_limit import Limit, RateState
from operators.rule_models import DedupeRule, LimiterRule, RateRule
from operators.summaries import Summary
from operators.watermark import Watermark

_LENGTHS = {"max_per_second": 1, "max_per_minute": 60, "max_per_hour": 3600}
_GONE_SECONDS = 60.0
"""How long a limiter that was taken out has to be silent before its state is thrown away."""


class Place(NamedTuple):
    """The limiter that has a slot."""

    number: int
    """Among those of its destination."""
    rule: LimiterRule
    tag: str
    """Tells it from those that had the slot before, or will have it."""


Places = Callable[[int | None], Place | None]
"""Gives who has a slot in a revision of the flow's settings, or at present; nobody in one that is forgotten."""


class LimiterStep(StatefulBatchLogic[Question | Progress, Item, dict[str, Any]]):
    """One bucket of one slot.

    Args:
        places: Tells which limiter it is.
        resume: What `snapshot` returned last.
        clock: Gives the system's time in epoch seconds.
    """

    def __init__(
        self,
        places: Places,
        resume: dict[str, Any] | None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._places = places
        self._clock = clock
        self._revision = -1
        self._place: Place | None = None
        self._state: LimiterState | None = None
        self._silence = 0.0
        """Seconds after which nothing more is expected in the open windows."""
        self._watermark = Watermark()
        self._origin = ""
        self._bucket = ""
        self._told_of = 0
        """How many keys' windows it has ever told of."""
        self._asked = datetime.min.replace(tzinfo=UTC)
        self._notify_at: datetime | None = None
        if (place := places(None)) is not None:
            self._begin(place)
            if self._state is not None and resume is not None and resume["tag"] == place.tag:
                self._state.restore(resume["state"])
                self._watermark.restore(resume["state"]["watermark"])
                self._told_of = resume.get("told_of", 0)
                self._origin, self._bucket = resume.get("origin", ""), resume.get("bucket", "")
                if self._origin and place.rule.summarise:
                    # If nothing comes any more, what the windows have dropped is told all the same.
                    self._notify_at = datetime.now(UTC) + timedelta(seconds=self._silence)

    def on_batch(self, values: Sequence[Question | Progress]) -> tuple[list[Item], bool]:
        """Answer questions, and tell what the windows have dropped that close by this."""
        now = self._clock()
        answers: list[Item] = []
        for value in values:
            if value.revision > self._revision:
                place = self._places(value.revision)
                if place is None:
                    # Progress alone may come when its settings are forgotten, since nobody waits for an answer.
                    continue
                answers += self._turn(value.revision, place)
            assert self._place is not None
            assert self._state is not None
            by_system = self._place.rule.clock == "system"
            self._origin, self._bucket = value.origin, value.bucket
            if isinstance(value, Question):
                answers.append(self._answer(value, self._state, now if by_system else None))
                if by_system:
                    answers += self._summary(self._state.read_until(now))
            elif not by_system:
                reached = self._watermark.read_until(value.standing)
                answers += self._summary(self._state.read_until(reached))
        self._asked = datetime.now(UTC)
        if self._place is not None and self._place.rule.summarise:
            self._notify_at = self._asked + timedelta(seconds=self._silence)
        elif self._notify_at is None:
            self._notify_at = self._asked + timedelta(seconds=_GONE_SECONDS)
        return answers, StatefulBatchLogic.RETAIN

    def on_notify(self) -> tuple[list[Item], bool]:
        """Tell of the open windows, since nothing has come for a while; then forget those of a limiter that is gone."""
        self._notify_at = None
        told = self._told()
        present = self._places(None)
        if present is None or self._place is None or present.tag != self._place.tag:
            last = self._asked + timedelta(seconds=_GONE_SECONDS)
            if datetime.now(UTC) >= last:
                return told, StatefulBatchLogic.DISCARD
            self._notify_at = last
        return told, StatefulBatchLogic.RETAIN

    def on_eof(self) -> tuple[list[Item], bool]:
        """Tell of the open windows before the flow ends."""
        return self._told(), StatefulBatchLogic.RETAIN

    def notify_at(self) -> datetime | None:
        """Return when to be woken, unless something comes before."""
        return self._notify_at

    def snapshot(self) -> dict[str, Any]:
        """Return the windows, and whose they are."""
        if self._place is None or self._state is None:
            return {"tag": "", "state": None}
        return {
            "tag": self._place.tag,
            "state": self._state.to_dict(),
            "told_of": self._told_of,
            "origin": self._origin,
            "bucket": self._bucket,
        }

    def _begin(self, place: Place) -> None:
        kind, settings, longest = _settings(place.rule)
        self._place, self._state = place, kind(*settings)
        self._silence = place.rule.lateness + longest

    def _turn(self, revision: int, place: Place) -> list[Item]:
        """Go on by this revision of the settings; return what was dropped in windows that end by this."""
        self._revision = revision
        before = self._place
        if before is None or before.tag != place.tag:
            told = self._told()
            self._begin(place)
            return told
        told = []
        if before.rule != place.rule and self._state is not None:
            _, settings, longest = _settings(place.rule)
            told = self._summary(self._state.configure(*settings))
            self._silence = place.rule.lateness + longest
        self._place = place
        return told

    def _answer(self, question: Question, state: LimiterState, now: float | None) -> Question:
        """Return a question with this limiter's answer.

        Args:
            question: The question.
            state: The windows.
            now: By the system's clock, if that counts and not the records' own.
        """
        place = self._places(question.revision)
        assert place is not None
        number, bit = place.number, 1 << place.number
        groups = question.groups
        asked = [index for index, group in enumerate(groups) if group.limiters & bit and group.records]
        asks: list[Ask] = [
            (group.keys[number], group.second if now is None else int(now), group.records)
            for group in map(groups.__getitem__, asked)
        ]
        for index, passed in zip(asked, state.take_all(asks), strict=True):
            group = groups[index]
            if passed < group.records:
                dropped = (*group.dropped, (number, group.records - passed))
                groups[index] = group._replace(records=passed, dropped=dropped)
        if not state.notices:
            return question
        notices = (*question.notices, *state.notices.items())
        state.notices.clear()
        return question._replace(notices=notices)

    def _told(self) -> list[Item]:
        if self._state is None or not self._origin:
            # Nobody is known to tell it; what the windows have dropped stays.
            return []
        return self._summary(self._state.told())

    def _summary(self, suppressed: list[Suppressed]) -> list[Item]:
        if self._place is None or not (self._place.rule.summarise and suppressed and self._origin):
            return []
        rule, number = self._place.rule, self._told_of
        self._told_of += len(suppressed)
        return [Summary(self._origin, rule.name, tuple(rule.by_fields), suppressed, self._bucket, number)]


def _parts(places: Places, question: Question) -> list[tuple[str, Question | Progress]]:
    """Return which bucket of a slot gets which part of a question."""
    place = places(question.revision)
    assert place is not None
    return [*spread(question, place.number)]


def _to_all(places: Places, progress: Progress) -> list[tuple[str, Question | Progress]]:
    """Return a worker's progress for each bucket of a slot, or their windows would never close."""
    if places(progress.revision) is None:
        return []
    return [(bucket, progress._replace(bucket=bucket)) for bucket in BUCKET_NAMES]


def _settings(rule: LimiterRule) -> tuple[Callable[..., LimiterState], tuple[Any, float, int], int]:
    """Return the kind of a limiter's buckets, their settings, and the length of the longest window in seconds."""
    max_keys = max(1, rule.max_keys // BUCKETS)
    match rule:
        case RateRule():
            lengths = {length: getattr(rule, name) for name, length in _LENGTHS.items()}
            limits = [Limit(length, most) for length, most in lengths.items() if most is not None]
            return RateState, (limits, rule.lateness, max_keys), max(limit.length for limit in limits)
        case DedupeRule():
            window = int(rule.window)
            return DedupeState, (window, rule.lateness, max_keys), window
    raise AssertionError(rule)


def limited(
    name: str,
    slots: Sequence[int],
    place: Callable[[str, int, int | None], Place | None],
    samplers: SamplersOf,
    asked: KeyedStream[Routed],
) -> KeyedStream[Batch | Item]:
    """Return the stream of batches that no limiter concerns and of questions that all have answered.

    Args:
        name: The destination.
        slots: Those of its limiters, in the order in which they are asked.
        place: Gives who has a slot of a destination in a revision, or at present.
        samplers: Gives its samplers, which are asked first.
        asked: Batches and questions, keyed by the sink partition that they go to.
    """
    branched = op.branch(f"asks_{name}", asked, _is_asked)
    progressing = op.branch(f"progress_{name}", branched.trues, _is_progress)
    progress: Stream[Any] = op.map(f"progress_of_{name}", progressing.trues, _value)
    questions: Stream[Any] = op.map(f"unkey_{name}", progressing.falses, _value)
    sampling = op.branch(f"samples_{name}", questions, _asks_samplers)
    parted = op.map(f"parted_{name}", sampling.trues, lambda question: (question.partition, question))
    sampled = op.stateful_batch(f"sample_{name}", parted, partial(SampleStep, samplers))
    questions = op.merge(f"sampled_{name}", sampling.falses, op.map(f"sampled_by_{name}", sampled, _value))
    for slot in slots:
        step, places = f"{name}_{slot}", partial(place, name, slot)
        coming = op.branch(f"comes_{step}", questions, partial(_concerns, places))
        parts = op.flat_map(f"spread_{step}", coming.trues, partial(_parts, places))
        parts = op.merge(f"told_{step}", parts, op.flat_map(f"tell_{step}", progress, partial(_to_all, places)))
        answers = op.stateful_batch(f"limit_{step}", parts, partial(LimiterStep, places))
        questions = op.merge(f"passed_{step}", coming.falses, op.map(f"answered_{step}", answers, _value))
    home = op.map(f"home_{name}", questions, lambda item: (item.origin, item))
    return op.merge(f"limited_{name}", branched.falses, home)


def _is_asked(item: tuple[str, Routed]) -> bool:
    return isinstance(item[1], Question | Progress)


def _is_progress(item: tuple[str, Routed]) -> bool:
    return isinstance(item[1], Progress)


def _asks_samplers(question: Question) -> bool:
    return question.samples is not None


def _concerns(places: Places, item: Item) -> bool:
    """Tell whether a slot has to answer; what is no question, or was asked while nobody had it, passes by."""
    return isinstance(item, Question) and places(item.revision) is not None


def _value(item: tuple[str, Any]) -> Any:
    return item[1]
