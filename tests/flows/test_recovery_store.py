"""What a crashed run leaves behind in a recovery store, as the engine itself leaves and reads it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.errors import BytewaxRuntimeError
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from bytewax.recovery import RecoveryConfig
from bytewax.testing import run_main

from flows.recovery_store import forget_unfinished, make

BROKEN = (OSError, BytewaxRuntimeError)
"""What comes out of the engine depends on where in it something breaks down."""
Turns = list[list[int] | None]
"""What a source gives: a list at a turn, and None for a turn that outlasts the epoch."""


class Part(StatefulSourcePartition[tuple[str, int], int]):
    """Gives what its turns say; its position is how many values it gave."""

    def __init__(self, turns: Turns, position: int | None, seen: list[Any]) -> None:
        self._turns = iter(turns)
        self._position = position or 0
        seen.append(("position", self._position))

    def next_batch(self) -> list[tuple[str, int]]:
        """Give the next turn's values."""
        values = next(self._turns, [0])
        if values == [0]:
            raise StopIteration
        self._position += len(values or [])
        return [("key", value) for value in values or []]

    def snapshot(self) -> int:
        """Return how many values were given."""
        return self._position


class Source(FixedPartitionedSource[tuple[str, int], int]):
    def __init__(self, turns: Turns, seen: list[Any]) -> None:
        self._turns, self._seen = turns, seen

    def list_parts(self) -> list[str]:
        """Return the one part."""
        return ["part"]

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> Part:
        """Return the one part."""
        return Part(self._turns, resume_state, self._seen)


class Written(StatefulSinkPartition[int, int]):
    """Breaks down at the end of an epoch, or at the first value."""

    def __init__(self, breaks: str) -> None:
        self._breaks = breaks

    def write_batch(self, values: list[int]) -> None:
        """Break down, or not."""
        if self._breaks == "write":
            msg = "breaks down before its epoch ends"
            raise OSError(msg)

    def snapshot(self) -> int:
        """Break down, or not."""
        if self._breaks == "snapshot":
            msg = "breaks down while its epoch ends"
            raise OSError(msg)
        return 0


class Sink(FixedPartitionedSink[int, int]):
    def __init__(self, breaks: str) -> None:
        self._breaks = breaks

    def list_parts(self) -> list[str]:
        """Return the one part."""
        return ["part"]

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> Written:
        """Return the one part."""
        return Written(self._breaks)


def run(store: Path, turns: Turns, breaks: str = "") -> list[Any]:
    """Add up what the turns give, and return what was seen: the position at the start, and each sum."""
    seen: list[Any] = []

    def add(total: int | None, value: int) -> tuple[int, int]:
        seen.append((total or 0) + value)
        return seen[-1], seen[-1]

    flow = Dataflow("adding")
    sums = op.stateful_map("add", op.input("source", flow, Source(turns, seen)), add)
    op.output("sink", sums, Sink(breaks))
    # Each turn is an epoch.
    run_main(flow, epoch_interval=timedelta(0), recovery_config=RecoveryConfig(store))
    return seen


def test_a_crashed_epoch_is_forgotten(tmp_path: Path) -> None:
    """A state goes with the position, also when a run passes the epoch in which the one before it has crashed."""
    make(tmp_path)
    with pytest.raises(BROKEN):
        run(tmp_path, [[1, 2]], "snapshot")
    assert forget_unfinished(tmp_path) > 0
    with pytest.raises(BROKEN):
        run(tmp_path, [None, [1, 2]], "write")
    forget_unfinished(tmp_path)
    assert run(tmp_path, [[1, 2]]) == [("position", 0), 1, 3]


def test_what_is_finished_stays(tmp_path: Path) -> None:
    """After a run that ended well, nothing is forgotten, and the next goes on."""
    make(tmp_path)
    assert forget_unfinished(tmp_path) == 0
    assert run(tmp_path, [[1], [2]]) == [("position", 0), 1, 3]
    assert forget_unfinished(tmp_path) == 0
    assert run(tmp_path, [[4]]) == [("position", 2), 7]
