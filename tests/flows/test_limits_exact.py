"""Limits over partitions and worker threads, in the engine itself, compared with the specification."""

from __future__ import annotations

import json
from collections import Counter
from datetime import timedelta
from random import Random
from typing import Any

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.testing import TestingSink, cluster_main, run_main
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from flows.limiting import Place as Seat
from flows.limiting import limited
from flows.sampling import SamplerSet
from logweir.batch import Batch
from logweir.times import rfc3339
from operators.decode import Decoder
from operators.formats import LOGWEIR
from operators.limiters import Limiters
from operators.projection import Projection
from operators.rate_limit import Limit
from operators.rule_models import Rule
from operators.rules import compile_rules, fields_of
from tests.limits import PARTITIONS, Place, assert_as_specified, kept

START = 1_790_000_000 - 1_790_000_000 % 3600
SPAN = 2 * 3600


class _Partition(StatefulSourcePartition[tuple[str, Batch], None]):
    def __init__(self, name: str, values: list[bytes]) -> None:
        self._name, self._values = name, values

    def next_batch(self) -> list[tuple[str, Batch]]:
        if not self._values:
            raise StopIteration
        some, self._values = self._values[:7], self._values[7:]
        batch = Batch("t", 0, some, range(len(some)))
        batch.written = (START, START + SPAN)
        return [(self._name, batch)]

    def snapshot(self) -> None:
        return None


class _Source(FixedPartitionedSource[tuple[str, Batch], None]):
    """Records, dealt out to partitions."""

    def __init__(self, partitions: dict[str, list[bytes]]) -> None:
        self._partitions = partitions

    def list_parts(self) -> list[str]:
        return list(self._partitions)

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> _Partition:
        del step_id, resume_state
        return _Partition(for_part, self._partitions[for_part])


Passed = tuple[list[bytes], Counter[str]]
"""The records that pass, and how many were dropped by which rule."""


def run(
    values: list[bytes], rules: list[dict[str, Any]], threads: int, dice: Random
) -> tuple[list[bytes], Counter[str]]:
    """Return the records that pass, and how many were dropped by which rule."""
    every = TypeAdapter(list[Rule]).validate_python(rules)
    projection = Projection(fields_of(every), LOGWEIR, identified=False)
    decode, decided = Decoder(projection, final=False), compile_rules(every, projection)
    partitions: dict[str, list[bytes]] = {f"{number:04d}": [] for number in range(PARTITIONS)}
    for value in values:
        partitions[f"{dice.randrange(PARTITIONS):04d}"].append(value)
    limiters = {name: Limiters(decided.limiters, projection) for name in partitions}

    def ask(item: tuple[str, Batch]) -> tuple[str, Any]:
        name, batch = item
        decode(batch)
        batch = decided.filter(batch)
        return name, limiters[name].ask(batch, name) or batch

    def settle(item: tuple[str, Any]) -> list[Batch]:
        name, answer = item
        batch = answer if isinstance(answer, Batch) else limiters[name].settle(answer)
        return [batch] if batch is not None else []

    def seat(_name: str, slot: int, _revision: int | None) -> Seat:
        return Seat(slot, limiters["0000"].limiters[slot], "")

    out: list[Batch] = []
    flow = Dataflow("limits")
    batches = op.map("ask", op.input("in", flow, _Source(partitions)), ask)
    answered = limited("out", range(len(decided.limiters)), seat, lambda _: SamplerSet({}, 1), batches)
    settled = op.flat_map("settle", answered, settle)
    op.output("out", settled, TestingSink(out))
    interval = timedelta(seconds=0)
    if threads == 1:
        run_main(flow, epoch_interval=interval)
    else:
        cluster_main(flow, [], 0, epoch_interval=interval, worker_count_per_proc=threads)
    dropped: Counter[str] = Counter()
    for batch in out:
        dropped.update(batch.account.dropped)
    return [value for batch in out for value in batch.values], dropped


@given(
    threads=st.sampled_from([1, 2, 4]),
    dice=st.randoms(use_true_random=False),
    count=st.integers(1, 400),
    keys=st.integers(1, 5),
    times=st.lists(st.integers(START, START + SPAN - 1), min_size=1, max_size=30),
    most=st.fixed_dictionaries(
        {},
        optional={
            "max_per_second": st.integers(1, 8),
            "max_per_minute": st.integers(1, 20),
            "max_per_hour": st.integers(1, 60),
        },
    ).filter(bool),
)
def test_exactly_as_specified(
    threads: int, dice: Random, count: int, keys: int, times: list[int], most: dict[str, int]
) -> None:
    """However many threads work on however shuffled partitions, each window keeps what the specification says."""
    # Some of the times lie close together, so that each length of windows gets full.
    moments = [*times, *(time - time % 3600 + dice.randrange(90) for time in times)]
    places = [Place(f"k{dice.randrange(keys)}", dice.choice(moments)) for _ in range(count)]
    values = [
        json.dumps({"timestamp": rfc3339(second), "context": {"service": key}}).encode() for key, second in places
    ]
    rule = {"name": "R", "type": "rate", "by": "context.service", "lateness": "3h", **most}
    passed, dropped = run(values, [rule], threads, dice)
    lengths = {"max_per_second": 1, "max_per_minute": 60, "max_per_hour": 3600}
    assert_as_specified(Counter(places), kept(passed), [Limit(lengths[name], limit) for name, limit in most.items()])
    assert len(passed) + dropped["R"] == count


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_one_of_each_passes(threads: int) -> None:
    """Of repetitions that lie in any partition one passes, whichever thread asks about it."""
    dice = Random(threads)
    values = [json.dumps({"timestamp": rfc3339(START), "message": f"m{number % 40}"}).encode() for number in range(600)]
    dice.shuffle(values)
    rule = {"name": "R", "type": "dedupe", "by": "message", "window": "1h", "lateness": "3h"}
    passed, dropped = run(values, [rule], threads, dice)
    assert sorted(json.loads(value)["message"] for value in passed) == sorted(f"m{number}" for number in range(40))
    assert dropped == {"R": 560}
