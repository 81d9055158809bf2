"""Asking the limiters: records wait where they are, and only what a limiter has to know of them travels.

Records of a batch that have the same keys and happened in the same second are alike to every limiter, so they are asked
about as one group, and the answer is how many of it pass. Groups go to the limiters one after another, each to the
bucket of its key there; when all of a batch's groups are back, the first records of each group pass.
"""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import compress, repeat
from typing import Any, NamedTuple

import xxhash

from logweir.batch import Batch
from operators.annotate import UNTOLD
from operators.event_time import believed_seconds
from operators.limiter_keys import keys_of
from operators.limiter_state import Group
from operators.projection import Getter, Projection
from operators.rule_models import BaseRule, LimiterRule, SampleRule
from operators.sampling import Sampled, Samplers, Samples
from operators.settled import key_getter
from operators.summaries import Summary
from operators.watermark import Standing

BUCKETS = 16
"""The keys of each limiter are spread over so many states. A recovery store depends on their number."""

BUCKET_NAMES = [f"{number:02d}" for number in range(BUCKETS)]


class Question(NamedTuple):
    """Some groups of one batch, on their way from limiter to limiter and back."""

    origin: str
    """The sink partition that holds the records."""
    batch: int
    partition: str
    """Where the records were read."""
    groups: list[Group]
    notices: tuple[tuple[str, int], ...] = ()
    """(what a limiter's bounds have changed, records)."""
    revision: int = 0
    """Of the flow's settings, by which it was made."""
    samples: Samples | None = None
    """What the samplers have to be asked first."""
    bucket: str = ""
    """That has to answer."""


class Progress(NamedTuple):
    """How far a worker has read its partitions, for all buckets of all limiters."""

    origin: str
    """A sink partition of that worker."""
    standing: Standing
    """What was read before is settled."""
    revision: int
    """Of the flow's settings."""
    bucket: str = ""
    """That is told."""


Item = Question | Summary | Sampled
"""What the steps of limiters and samplers hand on."""
Routed = Batch | Item | Progress
"""What goes to a destination, or to its limiters first."""


class Limiters:
    """The limiters of one destination, and the batches that wait for their answers.

    Args:
        rules: Those with a state. Sample rules are asked first, then the others, both in this order.
        projection: Reads the fields that they look at.
        revision: Of the flow's settings.
    """

    def __init__(self, rules: Sequence[BaseRule], projection: Projection, revision: int = 0) -> None:
        self.rules = list(rules)
        self._revision = revision
        self.limiters = {number: rule for number, rule in enumerate(rules) if isinstance(rule, LimiterRule)}
        """By their numbers."""
        self.samplers = {number: rule for number, rule in enumerate(rules) if isinstance(rule, SampleRule)}
        """By their numbers."""
        self._bits = sum(1 << number for number in self.limiters)
        self._lateness = max((rule.lateness for rule in self.limiters.values()), default=0.0)
        self.timed = any(rule.clock == "event" for rule in self.limiters.values())
        """Whether one of them counts by the records' own time."""
        self._timestamp: Getter | None = projection.getter("timestamp") if self.timed else None
        self._by = {
            number: [key_getter(projection, path) for path in rule.by_fields] for number, rule in self.limiters.items()
        }
        self._samplers = Samplers(self.samplers, projection)
        self._held: dict[int, _Held] = {}
        self._asked = 0

    def ask(self, batch: Batch, origin: str) -> Question | None:
        """Hold a batch, and return what to ask about it; None when no limiter concerns it."""
        if not any(batch.limiters):
            return None
        samples = self._samplers.ask(batch)
        columns, kinds, groups = self._groups(batch)
        if not (samples or groups):
            return None
        numbers = array("l")
        if samples and groups:
            number_of = {kind: number for number, kind in enumerate(kinds)}
            numbers.extend(number_of.get(each, -1) for each in zip(*columns, strict=True))
        self._asked += 1
        self._held[self._asked] = _Held(batch, columns, kinds, len(groups) + bool(samples))
        asked = Samples(len(batch), samples, numbers) if samples else None
        return Question(origin, self._asked, batch.lane, groups, revision=self._revision, samples=asked)

    def look(self, batch: Batch) -> None:
        """Do what `ask` does with each record, and ask nothing: for the guard, which looks for one that raises."""
        self._samplers.ask(batch)
        self._groups(batch)

    def moments(self, batch: Batch, count: int) -> Sequence[float]:
        """Return when the last records of a batch happened, in epoch seconds."""
        if self._timestamp is None or not batch.records:
            return []
        return list(map(float, believed_seconds(batch, self._timestamp, self._lateness, count)))

    def settle(self, answer: Question | Sampled) -> Batch | None:
        """Take an answer; return what of the batch passes once it is the last one."""
        held = self._held[answer.batch]
        held.take(answer, self.rules)
        if held.waiting:
            return None
        del self._held[answer.batch]
        batch, rates = held.passing()
        if rates is not None and set(rates) != {UNTOLD}:
            self._samplers.tell(batch, rates)
        return batch

    def _groups(self, batch: Batch) -> tuple[list[Sequence[Any]], list[Any], list[Group]]:
        """Return, for limiters that are no samplers: columns that tell each record's group, the groups' rows, and them.

        The first of the three are empty where there is no such limiter.
        """
        if not self._bits or not any(bits & self._bits for bits in set(batch.limiters)):
            return [], [], []
        rows = batch.records
        if self._timestamp is None:
            seconds: Sequence[int] = [0] * len(rows)
        else:
            seconds = believed_seconds(batch, self._timestamp, self._lateness)
        bits = batch.limiters if not self.samplers else [each & self._bits for each in batch.limiters]
        none = [""] * len(rows) if self.samplers else []
        columns = [keys_of(rows, self._by[number]) if number in self._by else none for number in range(len(self.rules))]
        alike: list[Sequence[Any]] = [bits, seconds, *columns]
        counts = Counter(zip(*alike, strict=True))
        concerned, moments, *keys = zip(*counts, strict=True)
        every = zip(range(len(counts)), concerned, zip(*keys, strict=True), moments, counts.values(), repeat(()))
        # What no limiter concerns has no bits.
        return alike, list(counts), list(map(Group._make, compress(every, concerned)))


class _Held:
    """A batch that waits."""

    def __init__(self, batch: Batch, columns: list[Sequence[Any]], kinds: list[Any], waiting: int) -> None:
        self.batch = batch
        self.columns = columns
        """Of each record, what tells its group."""
        self.kinds = kinds
        """Of each group, what tells it."""
        self.waiting = waiting
        """Groups that are not back, and one if the samplers' answer isn't."""
        self.left: dict[Any, int] = {}
        """Of the groups that lost some to limiters: how many of their records pass."""
        self.rates: array[float] | None = None
        """What the samplers have decided."""

    def take(self, answer: Question | Sampled, rules: Sequence[BaseRule]) -> None:
        """Note an answer, and what it drops on the batch's account."""
        account = self.batch.account
        if isinstance(answer, Sampled):
            self.rates = answer.rates
            self.waiting -= 1
            for sampler, count in answer.dropped:
                account.drop(rules[sampler].name, count)
            return
        for group in answer.groups:
            for limiter, count in group.dropped:
                account.drop(rules[limiter].name, count)
            if group.dropped:
                self.left[self.kinds[group.number]] = group.records
        self.waiting -= len(answer.groups)

    def passing(self) -> tuple[Batch, array[float] | None]:
        """Return what passes: of what the samplers let through, the first ones of each group. And what each tells."""
        batch = self.batch
        alike: Iterable[Any] = zip(*self.columns, strict=True) if self.left else ()
        if self.rates is not None and 0.0 in self.rates:
            kept = list(map(bool, self.rates))
            batch = batch.picked(kept)
            alike = compress(alike, kept)
            self.rates = array("d", compress(self.rates, kept))
        if self.left:
            passed = self._passed(alike)
            batch = batch.picked(passed)
            self.rates = None if self.rates is None else array("d", compress(self.rates, passed))
        return batch, self.rates

    def _passed(self, alike: Iterable[Any]) -> list[bool]:
        """Return which records the limiters let pass, by the groups that they are in: of each the first ones."""
        left, passed = self.left, []
        for each in alike:
            some = left.get(each)
            passed.append(some is None or some > 0)
            if some:
                left[each] = some - 1
        return passed


def bucket_of(key: str) -> str:
    """Return the name of the bucket that a key is in."""
    data = key.encode() if key.isascii() else key.encode(errors="surrogatepass")
    return BUCKET_NAMES[xxhash.xxh3_64_intdigest(data) % BUCKETS]


def spread(question: Question, limiter: int) -> list[tuple[str, Question]]:
    """Return the parts of a question that each bucket of this limiter has to answer."""
    parts: defaultdict[str, list[Group]] = defaultdict(list)
    for group in question.groups:
        parts[bucket_of(group.keys[limiter])].append(group)
    return [(bucket, question._replace(groups=groups, bucket=bucket)) for bucket, groups in parts.items()]
