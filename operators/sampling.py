"""Asking dynamic samplers: records wait where they are; keys, times and hashes travel, and rates come back.

The samplers of a destination are asked before its other limiters, about whole batches, partition by partition, in the
order of the records: a record's rate depends on those before it in its partition.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat
from operator import itemgetter
from typing import Any, NamedTuple

import xxhash
from msgspec import UnsetType

from logweir.batch import Batch
from logweir.record import epoch_seconds
from operators.annotate import OWN_SAMPLING, UNTOLD, annotated
from operators.decode import Identities
from operators.dynamic_sample import DynamicState
from operators.limiter_keys import keys_of
from operators.limiter_state import Group
from operators.projection import Projection
from operators.rule_models import SAMPLING_MEMBER, SampleRule
from operators.values import key_bytes

_LAST = itemgetter(-1)


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
        self._by = {number: [projection.getter(path) for path in rule.by_fields] for number, rule in rules.items()}
        self._seeds = {number: xxhash.xxh3_64_intdigest(rule.name.encode()) for number, rule in rules.items()}

    def ask(self, batch: Batch) -> list[Asked]:
        """Return what to ask about a batch; nothing where no sampler concerns any record."""
        every = set(batch.limiters) if self._bits else ()
        if not any(bits & self._bits for bits in every):
            return []
        asked = []
        data = self._data(batch)
        times = list(map(self._timestamp, batch.records))
        for number, rule in self._rules.items():
            bit = 1 << number
            rows: Sequence[int] = range(len(batch))
            if not all(bits & bit for bits in every):
                rows = array("I", [row for row, bits in enumerate(batch.limiters) if bits & bit])
            if rows:
                asked.append(self._of_one(number, rule, batch, rows, times, data))
        return asked

    def tell(self, batch: Batch, rates: Sequence[float]) -> None:
        """Make a batch's records tell their rates; note on its account which can't."""
        own = set(map(type, map(self._own, batch.records))) != {UnsetType}
        batch.values, left = annotated(batch.values, rates, own=own)
        batch.size = sum(map(len, batch.values))
        batch.account.notice(OWN_SAMPLING, left)

    def _of_one(
        self, number: int, rule: SampleRule, batch: Batch, rows: Sequence[int], times: list[Any], data: list[bytes]
    ) -> Asked:
        records: Sequence[Any] = batch.records
        written: Sequence[float] = batch.times
        if len(rows) < len(records):
            records, times, data = ([column[row] for row in rows] for column in (records, times, data))
            written = [written[row] for row in rows] if written else written
        keys = keys_of(records, self._by[number])
        places = {key: place for place, key in enumerate(dict.fromkeys(keys))}
        which = array("I", map(places.__getitem__, keys))
        seconds = array("q", seconds_of(times, written, rule.lateness, batch.arrived))
        digest, seed = xxhash.xxh3_64_intdigest, self._seeds[number]
        hashes = array("Q", map(digest, data, repeat(seed)))
        return Asked(number, rows, list(places), which, seconds, hashes)

    def _data(self, batch: Batch) -> list[bytes]:
        """Return what tells each record's fate, as with a fixed rate: its trace id, else its id, else its place."""
        self._identities.batch = batch
        names: list[Any] = list(map(self._trace_id, batch.records))
        if set(map(type, names)) != {str} or not all(names):
            known: Sequence[Any] = batch.ids or range(len(batch))
            names = [
                name if type(name) is str and name else own if isinstance(own, str) else self._identities(own)
                for name, own in zip(names, known, strict=True)
            ]
        return list(map(str.encode if "".join(names).isascii() else key_bytes, names))


def seconds_of(times: Sequence[Any], written: Sequence[float], lateness: float, arrived: float) -> Sequence[int]:
    """Return when each record happened, in whole seconds since 1970, as far as that can be believed.

    It depends on the record alone, not on its neighbours: a batch may be cut elsewhere the next time.

    Args:
        times: Timestamps as they stand in the records.
        written: When each was written to the topic; empty where that isn't known. A timestamp further from it than
            `lateness` is replaced by it.
        lateness: Seconds.
        arrived: What stands for a timestamp that is missing where nothing tells when the record was written.
    """
    try:
        plain = set(map(_LAST, times)) == {"Z"}
        texts = [time[:19] for time in times] if plain else []
    except (TypeError, IndexError, KeyError):
        plain = False
    if plain:
        # Of a few thousand records in a row only some seconds differ.
        known = {text: _second(f"{text}Z") for text in set(texts)}
        if None not in known.values():
            seconds: list[Any] = list(map(known.__getitem__, texts))
            if not written or (max(seconds) - min(written) <= lateness and max(written) - min(seconds) <= lateness):
                return seconds
    return [
        _believed(time, moment, lateness, arrived)
        for time, moment in zip(times, written or repeat(None, len(times)), strict=True)
    ]


def _second(time: Any) -> int | None:
    """Return the whole second of a timestamp."""
    found = epoch_seconds(f"{time[:19]}Z") if isinstance(time, str) and time.endswith("Z") else None
    found = epoch_seconds(time) if found is None else found
    return None if found is None else int(found)


def _believed(time: Any, written: float | None, lateness: float, arrived: float) -> int:
    found = _second(time)
    if found is None:
        return int(arrived if written is None else written)
    return found if written is None or abs(found - written) <= lateness else int(written)


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
