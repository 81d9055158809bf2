"""The compaction flow as Bytewax sees it: rounds of partitions -> each of them, keyed -> the end of the round.

A partition's key is its directory, so each is looked at by one worker, which keeps in mind what it knows of its files.
Nothing is recorded for a restart: all that counts stands in the table.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.operators import StatefulBatchLogic
from bytewax.outputs import DynamicSink, StatelessSinkPartition

from flows.compaction.execute import Known
from flows.compaction.work import Listed, Looked, Work

ROUNDS_ONCE = 2
"""The second merges what the first has moved into partitions that it had looked at before."""
_POLL_SECONDS = 0.5
"""How soon a stop is noticed between rounds."""
_ROUND = "round"


def dataflow(work: Work, *, once: bool = False) -> Dataflow:
    """Return the dataflow of one worker.

    Args:
        work: What it does.
        once: End after `ROUNDS_ONCE` rounds, which follow each other at once.
    """
    flow = Dataflow("compact")
    listed = op.input("partitions", flow, Rounds(work, once=once))
    looked = op.stateful_batch("compact", listed, lambda _state: PartitionLogic(work))
    gathered = op.map("gather", looked, lambda each: (_ROUND, each[1]))
    concluded = op.stateful_batch("conclude", gathered, lambda _state: RoundLogic(work))
    op.output("end", concluded, _End())
    return flow


class Rounds(FixedPartitionedSource[tuple[str, Listed], None]):
    """Lists all partitions in each round."""

    def __init__(self, work: Work, *, once: bool) -> None:
        self._work = work
        self._once = once

    def list_parts(self) -> list[str]:
        """Return the only part: one worker lists for all."""
        return [_ROUND]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> RoundsPart:
        """Start with the first round."""
        del step_id, for_part, resume_state
        return RoundsPart(self._work, once=self._once)


class RoundsPart(StatefulSourcePartition[tuple[str, Listed], None]):
    """The rounds."""

    def __init__(self, work: Work, *, once: bool) -> None:
        self._work = work
        self._once = once
        self._number = 0
        self._due = time.time()

    def next_batch(self) -> Iterable[tuple[str, Listed]]:
        """Return the partitions when a round is due.

        Raises:
            StopIteration: The work is to end.
        """
        if self._work.stopping.is_set() or (self._once and self._number == ROUNDS_ONCE):
            raise StopIteration
        now = time.time()
        if now < self._due:
            return []
        self._number += 1
        self._due = now if self._once else now + self._work.settings.interval
        partitions = self._work.partitions()
        if not partitions:
            return [(_ROUND, Listed(self._number, now, 1, None))]
        return [(each.key, Listed(self._number, now, len(partitions), each)) for each in partitions]

    def next_awake(self) -> datetime:
        """Return when to look again whether a round is due, or a stop."""
        return datetime.fromtimestamp(min(self._due, time.time() + _POLL_SECONDS), UTC)

    def snapshot(self) -> None:
        """Record nothing."""


class PartitionLogic(StatefulBatchLogic[Listed, Looked, None]):
    """One partition; its state is what is known of its files under the policies of today."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._known: Known = {}

    def on_batch(self, values: list[Listed]) -> tuple[Iterable[Looked], bool]:
        """Look at the partition, once for all rounds that have come meanwhile."""
        looked = self._work.look(values[-1], self._known)
        gone = self._work.is_gone(values[-1].partition)
        open_ = looked.failed or (looked.done is not None and not looked.done.settled)
        return [*(Looked(each, None, failed=open_) for each in values[:-1]), looked], gone

    def snapshot(self) -> None:
        """Record nothing."""


class RoundLogic(StatefulBatchLogic[Looked, Any, None]):
    """Gathers what came of a round."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._rounds: dict[int, list[Looked]] = {}

    def on_batch(self, values: list[Looked]) -> tuple[Iterable[Any], bool]:
        """Conclude a round once all of it is there."""
        for each in values:
            some = self._rounds.setdefault(each.listed.round, [])
            some.append(each)
            if len(some) == each.listed.total:
                self._work.conclude(some)
                self._rounds = {number: open_ for number, open_ in self._rounds.items() if number > each.listed.round}
        return [], False

    def snapshot(self) -> None:
        """Record nothing."""


class _End(DynamicSink[Any]):
    """Where a dataflow has to end."""

    def build(self, step_id: str, worker_index: int, worker_count: int) -> _EndPartition:
        del step_id, worker_index, worker_count
        return _EndPartition()


class _EndPartition(StatelessSinkPartition[Any]):
    def write_batch(self, items: list[Any]) -> None:
        """Do nothing: no items come."""
