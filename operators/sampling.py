"""Asking dynamic samplers: records wait where they are; keys, times and hashes travel, and rates come back.

The samplers of a destination are asked before its other limiters, about whole batches, partition by partition, in the
order of the records: a record's rate depends on those before it in its partition.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat
from typing import Any, NamedTuple

import xxhash
from msgspec import UnsetType

from logweir.batch import Batch
from logweir.record import NO_TRACES, trace_of
from operators.annotate import OWN_SAMPLING, UNTOLD, annotated
from operators.decode import Identities
from operators.dynamic_sample import DynamicState
from operators.event_time import believed_seconds
from operators.limiter_keys import keys_of
from operators.limiter_state import Group
from operators.projection import Projection
from operators.rule_models import SAMPLING_MEMBER, SampleRule
from operators.settled import key_getter
from operators.values import key_bytes


class Asked(NamedTuple):
    """What one sampler has to know of a batch."""

    sampler: int
    """Its number among the limiters of its destination."""
    rows: Sequence[int]
    """The indexes of the records that it concerns; the following columns are about these."""
    keys: list[str]
    """The different keys."""
    which: array[int]
    """The index of each record's key."""
    seconds: array[int]
    """When each happened, in epoch seconds."""
    hashes: array[int]
    """What decides about each."""


class Samples(NamedTuple):
    """What the samplers have to know of a batch."""

    records: int
    asked: list[Asked]
    groups: array[int]
    """The number of each record's group among those that other limiters are asked about; -1: none. Empty: all none."""

    def left(self, groups: Sequence[Group], rates: Sequence[float]) -> list[Group]:
        """Return the groups without the records that the samplers have dropped."""
        gone = Counter(number for number, rate in zip(self.groups, rates, strict=True) if not rate)
        return [group._replace(records=group.records - gone[group.number]) for group in groups]


class Sampled(NamedTuple):
    """What the samplers have decided of a batch."""

    origin: str
    """The sink partition that holds the records."""
    batch: int
    rates: array[float]
    """The rate that each record is to tell; `UNTOLD`: it passes as it is; zero: it is dropped."""
    dropped: tuple[tuple[int, int], ...]
    """(sampler, records)."""
    notices: tuple[tuple[str, int], ...] = ()
    """(what a sampler's bounds have changed, records)."""
    revision: int = 0
    """Of the flow's settings, by which it was asked."""


class Samplers:
    """The sample rules with a target, of one destination.

    Args:
        rules: By their numbers among the limiters of the destination.
        projection: Reads the fields that they look at.
    """

    def __init__(self, rules: Mapping[int, SampleRule], projection: Projection) -> None:
        self._rules = dict(rules)
        self._bits = sum(1 << number for number in rules)
        self._identities = Identities(projection.layout)
        if rules:
            self._timestamp = projection.getter("timestamp")
            self._trace_id = projection.getter("trace.traceId")
            self._own = projection.getter(SAMPLING_MEMBER)
        self._by = {number: [key_getter(projection, path) for path in rule.by_fields] for number, rule in rules.items()}
        self._seeds = {number: xxhash.xxh3_64_intdigest(rule.name.encode()) for number, rule in rules.items()}

    def ask(self, batch: Batch) -> list[Asked]:
        """Return what to ask about a batch; nothing where no sampler concerns any record."""
        every = set(batch.limiters) if self._bits else ()
        if not any(bits & self._bits for bits in every):
            return []
        asked = []
        data = self._data(batch)
        for number, rule in self._rules.items():
            bit = 1 << number
            rows: Sequence[int] = range(len(batch))
            if not all(bits & bit for bits in every):
                rows = array("I", [row for row, bits in enumerate(batch.limiters) if bits & bit])
            if rows:
                times = believed_seconds(batch, self._timestamp, rule.lateness)
                asked.append(self._of_one(number, batch, rows, times, data))
        return asked

    def tell(self, batch: Batch, rates: Sequence[float]) -> None:
        """Make a batch's records tell their rates; note on its account which can't."""
        own = set(map(type, map(self._own, batch.records))) != {UnsetType}
        batch.values, left = annotated(batch.values, rates, own=own)
        batch.size = sum(map(len, batch.values))
        batch.account.notice(OWN_SAMPLING, left)

    def _of_one(self, number: int, batch: Batch, rows: Sequence[int], times: Sequence[int], data: list[bytes]) -> Asked:
        records: Sequence[Any] = batch.records
        if len(rows) < len(records):
            records, data = [records[row] for row in rows], [data[row] for row in rows]
            times = [times[row] for row in rows]
        keys = keys_of(records, self._by[number])
        places = {key: place for place, key in enumerate(dict.fromkeys(keys))}
        which = array("I", map(places.__getitem__, keys))
        seconds = array("q", times)
        digest, seed = xxhash.xxh3_64_intdigest, self._seeds[number]
        hashes = array("Q", map(digest, data, repeat(seed)))
        return Asked(number, rows, list(places), which, seconds, hashes)

    def _data(self, batch: Batch) -> list[bytes]:
        """Return what tells each record's fate, as with a fixed rate: its trace id, else its id, else its place."""
        self._identities.batch = batch
        names: list[Any] = list(map(self._trace_id, batch.records))
        if set(map(type, names)) != {str} or not NO_TRACES.isdisjoint(names):
            names = [
                name if trace_of(name) is not None else self._identities(index) for index, name in enumerate(names)
            ]
        return list(map(str.encode if "".join(names).isascii() else key_bytes, names))


def answer(
    samples: Samples, states: Mapping[int, DynamicState], told: Mapping[int, bool]
) -> tuple[array[float], dict[int, int]]:
    """Return the rate that each record is to tell, as `Sampled.rates`, and how many each sampler has dropped.

    Args:
        samples: What is asked.
        states: By the samplers' numbers, of the partition that the records are from.
        told: Whether the records that pass tell the sampler's rate.
    """
    rates = array("d", [UNTOLD]) * samples.records
    dropped: dict[int, int] = {}
    for each in samples.asked:
        one = each
        if dropped:
            # What another has dropped is not there for this one.
            one = _picked(each, [index for index, row in enumerate(each.rows) if rates[row]])
        found = states[one.sampler].take(one.keys, one.which, one.seconds, one.hashes)
        over = found.count(0.0)
        if over:
            dropped[one.sampler] = over
        tells = told[one.sampler]
        if tells and len(found) == samples.records and rates.count(UNTOLD) == samples.records:
            rates = array("d", found)
            continue
        for row, rate in zip(one.rows, found, strict=True):
            if not rate:
                rates[row] = 0.0
            elif tells:
                # Samples of two rules are independent, so both let a record pass with the product.
                rates[row] = rate if rates[row] == UNTOLD else rates[row] * rate
    return rates, dropped


def _picked(asked: Asked, indexes: Iterable[int]) -> Asked:
    some = list(indexes)
    which, seconds, hashes = (
        array(column.typecode, [column[index] for index in some])
        for column in (asked.which, asked.seconds, asked.hashes)
    )
    return Asked(asked.sampler, [asked.rows[index] for index in some], asked.keys, which, seconds, hashes)
