"""Workers that keep in step: each tells the others, through the dataflow, how far its partitions have been read.

A partition may only be read so far ahead of the slowest one, whichever worker reads that. What is told goes to a sink
partition in each worker, since the engine has no other way to reach all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from flows.sources.alignment import STEP, Alignment
from logweir.batch import Batch
from operators.watermark import Standing


def worker_name(worker: int) -> str:
    """Return the name of a worker's sink partition; sorted names are in the order of their numbers."""
    return f"{worker:04d}"


class Teller:
    """Makes of the batches that a worker reads what the others have to know.

    Args:
        alignment: Of this worker.
        worker: Its number.
        workers: How many there are.
    """

    def __init__(self, alignment: Alignment, worker: int, workers: int) -> None:
        self._alignment = alignment
        self._others = [worker_name(each) for each in range(workers) if each != worker]
        self._told: Standing | None = None

    def __call__(self, batches: Iterable[tuple[Any, Batch]]) -> list[tuple[str, Standing]]:
        """Return what is to be told to whom."""
        lows = [batch.low for _, batch in batches]
        if not (self._alignment.active and lows and lows[-1]):
            return []
        standing, told = self._alignment.standing(lows[-1]), self._told
        moved = told is None or standing.low - told.low >= STEP or standing.furthest - told.furthest >= STEP
        if not moved and told is not None and standing.lanes == told.lanes:
            return []
        self._told = standing
        return [(name, standing) for name in self._others]


class TellSink(FixedPartitionedSink[Standing, None]):
    """Hands each worker what others have told.

    Args:
        worker: The number of this worker.
        hear: Takes what was told.
    """

    def __init__(self, worker: int, hear: Callable[[Standing], None]) -> None:
        self._worker = worker
        self._hear = hear

    def list_parts(self) -> list[str]:
        """Return this worker's partition."""
        return [worker_name(self._worker)]

    def part_fn(self, item_key: str) -> int:
        """Return the index of the partition that a key names."""
        return int(item_key)

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> _TellPartition:
        """Return the partition."""
        del step_id, for_part, resume_state
        return _TellPartition(self._hear)


class _TellPartition(StatefulSinkPartition[Standing, None]):
    def __init__(self, hear: Callable[[Standing], None]) -> None:
        self._hear = hear

    def write_batch(self, values: list[Standing]) -> None:
        """Take what was told."""
        for value in values:
            self._hear(value)

    def snapshot(self) -> None:
        """Keep no state: after a restart all are told anew."""
