"""The deliver flow as Bytewax sees it: source -> decode and rules -> the sink partitions of each destination.

The steps themselves are plain Python in operators/ and sinks/; this module alone ties them to the engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from itertools import cycle
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from flows.in_step import Teller, TellSink
from flows.limiting import limited
from flows.plan import Plan
from flows.runtime import Runtime
from logweir.batch import Batch
from logweir.recorded import version_of
from operators.limiters import Item, Routed
from operators.summaries import Summary
from sinks.delivery import Delivery

STATE_VERSION = 1


def dataflow(runtime: Runtime, fail: Callable[[BaseException], None]) -> Dataflow:
    """Return the dataflow of one worker.

    Args:
        runtime: Its steps.
        fail: Ends the process, epoch unrecorded, for an error that a sink partition has met. Must not return.
    """
    flow = Dataflow(runtime.dataflow)
    batches = op.input("source", flow, runtime.source)
    decoded = op.flat_map_batch("decode", batches, lambda some: [runtime.decode(batch) for batch in some])
    workers, worker = runtime.assignment.workers, runtime.assignment.worker
    if workers > 1:
        told = op.flat_map_batch("in_step", decoded, Teller(runtime.alignment, worker, workers))
        op.output("tell", told, TellSink(worker, runtime.alignment.heard))
    for name in runtime.destinations:
        routed = op.flat_map_batch(f"route_{name}", decoded, _router(runtime, name))
        slots, samplers = runtime.assignment.seatings[name].slots, partial(runtime.samplers, name)
        routed = limited(name, slots, runtime.place, samplers, routed)
        op.output(f"deliver_{name}", routed, DeliverySink(runtime, name, fail))
    return flow


def _router(runtime: Runtime, name: str) -> Callable[[Iterable[tuple[Plan, Batch]]], list[tuple[str, Routed]]]:
    """Return the step that picks this destination's records and the local sink partition for each batch."""
    own = runtime.partitions(name)[: runtime.destinations[name].partitions]
    turns = cycle(map(part_name, own))

    def route(decided: Iterable[tuple[Plan, Batch]]) -> list[tuple[str, Routed]]:
        items: list[tuple[str, Routed]] = []
        for plan, batch in decided:
            items += runtime.route(name, plan, batch, next(turns))
        return items

    return route


def part_name(partition: int) -> str:
    """Return the name of a sink partition; sorted names are in the order of their numbers."""
    return f"{partition:04d}"


class DeliverySink(FixedPartitionedSink[Batch | Item, dict[str, Any]]):
    """The sink partitions of one destination."""

    def __init__(self, runtime: Runtime, name: str, fail: Callable[[BaseException], None]) -> None:
        self._runtime = runtime
        self._name = name
        self._fail = fail

    def list_parts(self) -> list[str]:
        """Return this worker's partitions: each is listed by one worker, so Bytewax keeps it there."""
        return [part_name(partition) for partition in self._runtime.partitions(self._name)]

    def part_fn(self, item_key: str) -> int:
        """Return the index of the partition that a key names."""
        return int(item_key)

    def build_part(self, step_id: str, for_part: str, resume_state: dict[str, Any] | None) -> DeliveryPartition:
        """Start a partition with its first batch, or from its recorded state."""
        del step_id
        try:
            if resume_state is not None:
                version_of(resume_state, STATE_VERSION)
            delivery = self._runtime.deliver(self._name, int(for_part), resume_state)
        except BaseException as error:
            self._fail(error)
            raise
        return DeliveryPartition(self._name, delivery, self._runtime, self._fail)


class DeliveryPartition(StatefulSinkPartition[Batch | Item, dict[str, Any]]):
    """One sink partition: batches in, and a barrier at the end of each epoch that had some."""

    def __init__(self, name: str, delivery: Delivery, runtime: Runtime, fail: Callable[[BaseException], None]) -> None:
        self._name = name
        self._delivery = delivery
        self._runtime = runtime
        self._fail = fail

    def write_batch(self, values: list[Batch | Item]) -> None:
        """Hand the batches over, those too whose last question is answered; nothing is sent on this thread."""
        try:
            settled = [value if isinstance(value, Batch) else self._settle(value) for value in values]
            batches = [batch for batch in settled if batch is not None]
            self._delivery.write(self._runtime.in_order(self._name, batches))
        except BaseException as error:
            self._fail(error)
            raise

    def snapshot(self) -> dict[str, Any]:
        """Wait until all of the epoch is settled, and return the ledger that goes with its offsets."""
        try:
            # Each answer of a limiter comes within the epoch of its question.
            assert not self._runtime.held_back(self._name)
            self._delivery.barrier(self._runtime.stop_by)
            destination = self._delivery.checkpoint()
        except BaseException as error:
            self._fail(error)
            raise
        return {"version": STATE_VERSION, "ledger": self._delivery.ledger.to_dict(), "destination": destination}

    def _settle(self, item: Item) -> Batch | None:
        """Return what can be delivered now that a limiter's answer is here."""
        if not isinstance(item, Summary) and item.notices:
            self._delivery.notice(dict(item.notices))
        return self._runtime.settle(self._name, item)
