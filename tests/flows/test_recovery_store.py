"""What a crashed run leaves behind in a recovery store, as the engine itself leaves and reads it."""

from __future__ import annotations

import json
import pickle
import sqlite3
import subprocess
from collections.abc import Iterable
from contextlib import closing
from datetime import timedelta
from itertools import product
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

from flows import recovery_store
from flows.recovery_store import forget_gone, forget_unfinished, left_to_engine, make, recorded_keys
from flows.sources.file import File
from logweir.errors import LogweirError
from logweir.ledger import Ledger
from tests.flowing import COMMAND, ROOT
from tests.flows.sources.context import Flow as FlowOfSource

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


def record(store: Path, *rows: tuple[str, str, int]) -> None:
    """Record states of steps, as the engine does: step, key and epoch, spread over the files by key."""
    files = sorted(store.glob("*.sqlite3"))
    for step, key, epoch in rows:
        with closing(sqlite3.connect(files[len(key) % len(files)])) as database, database:
            insert = "INSERT INTO snaps (step_id, state_key, snap_epoch, ser_change) VALUES (?, ?, ?, ?)"
            database.execute(insert, (step, key, epoch, b""))


def recorded(store: Path) -> set[tuple[str, str, int]]:
    """Return what is recorded."""
    found: set[tuple[str, str, int]] = set()
    for path in store.glob("*.sqlite3"):
        with closing(sqlite3.connect(path)) as database:
            found |= set(database.execute("SELECT step_id, state_key, snap_epoch FROM snaps"))
    return found


def test_what_is_gone_is_forgotten(tmp_path: Path) -> None:
    """Of partitions that are gone the last ones stay, with all steps' states of them; what is there stays anyhow."""
    make(tmp_path)
    there = [("f.source", "a", 1), ("f.sample_out", "a", 1), ("f.limit_out_0", "ccc", 1)]
    gone = [("f.source", "bb", 2), ("f.source", "bb", 3), ("f.sample_out", "bb", 2), ("f.source", "ccc", 4)]
    record(tmp_path, *there, *gone)
    steps = ["f.source", "f.sample_out"]

    def missing(keys: Iterable[str]) -> set[str]:
        return set(keys) - {"a"}

    for most in (3, 2):
        assert forget_gone(tmp_path, steps, missing, most) == 0
    assert forget_gone(tmp_path, steps, lambda _keys: set(), 0) == 0
    assert recorded(tmp_path) == {*there, *gone}
    assert forget_gone(tmp_path, steps, missing, 1) == 1
    assert recorded(tmp_path) == {*there, gone[-1]}
    assert forget_gone(tmp_path, steps, missing, 0) == 1
    assert recorded(tmp_path) == set(there)


def test_files_that_are_gone(tmp_path: Path) -> None:
    """A flow goes on where it stands in the files that are there, and takes a forgotten path for a new file."""
    source = {"type": "file", "path": str(tmp_path / "*.log")}
    settings = {
        "name": "of-files",
        "source": source,
        "rules": [{"name": "Target", "type": "sample", "target_per_second": 1000, "by": "level"}],
        "destinations": {"out": {"type": "file", "path": str(tmp_path / "out.ndjson")}},
        "dead_letter": {"directory": str(tmp_path / "dead")},
        "recovery": {"directory": str(tmp_path / "state")},
    }
    flow = tmp_path / "flow.yaml"
    flow.write_text(json.dumps(settings))

    def run_with(*names: str) -> list[str]:
        for name in names:
            (tmp_path / f"{name}.log").write_text(json.dumps({"id": name, "message": "m" * 100}) + "\n")
        done = subprocess.run([*COMMAND, "run", str(flow)], cwd=ROOT, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return [json.loads(line)["id"] for line in (tmp_path / "out.ndjson").read_text().splitlines()]

    assert sorted(run_with("a", "b")) == ["a", "b"]
    store = tmp_path / "state" / "of-files" / "all"
    steps = ["of_files.source", "of_files.sample_out"]
    paths = {str(tmp_path / f"{name}.log") for name in "ab"}
    assert {(step, key) for step, key, _ in recorded(store) if step in steps} == set(product(steps, paths))
    (tmp_path / "b.log").unlink()
    of_files = File.model_validate(source).open(FlowOfSource().context)
    assert forget_gone(store, steps, of_files.gone, 0) == 1
    assert {key for step, key, _ in recorded(store) if step in steps} == {str(tmp_path / "a.log")}
    assert sorted(run_with("b", "c")) == ["a", "b", "b", "c"]


class TestLedgers:
    def fill(self, store: Path, *snaps: tuple[str, int, object]) -> None:
        """Put states into a store that a run of one worker has finished before epoch 10."""
        recovery_store.make(store)
        path = min(store.glob("*.sqlite3"))
        with closing(sqlite3.connect(path)) as database, database:
            database.execute("INSERT INTO exs (ex_num, worker_count, resume_epoch) VALUES (0, 1, 1)")
            database.execute("INSERT INTO fronts (ex_num, worker_index, worker_frontier) VALUES (0, 0, 10)")
            for key, epoch, state in snaps:
                columns = "step_id, state_key, snap_epoch, ser_change"
                values = ("f.deliver_out", key, epoch, None if state is None else pickle.dumps(state))
                database.execute(f"INSERT INTO snaps ({columns}) VALUES (?, ?, ?, ?)", values)

    def state(self, read: int) -> dict[str, object]:
        """Return a sink partition's state."""
        ledger = Ledger()
        ledger.read = ledger.delivered = read
        return {"version": 1, "ledger": ledger.to_dict(), "destination": None}

    def test_as_the_next_run_finds_them(self, tmp_path: Path) -> None:
        """Each sink partition has its last ledger of an epoch that was finished; a new store has none."""
        assert recovery_store.ledgers(tmp_path / "none", "f.deliver_out") == {}
        snaps = [("0000", 3, self.state(5)), ("0000", 9, self.state(7)), ("0000", 10, self.state(99))]
        self.fill(tmp_path, *snaps, ("0001", 2, self.state(11)))
        found = recovery_store.ledgers(tmp_path, "f.deliver_out")
        assert {number: ledger.read for number, ledger in found.items()} == {0: 7, 1: 11}
        assert recovery_store.ledgers(tmp_path, "f.deliver_other") == {}

    def test_a_class_is_never_loaded(self, tmp_path: Path) -> None:
        """A state that names a class or a function is refused: reading it must not run anything."""
        self.fill(tmp_path, ("0000", 3, {"ledger": print}))
        with pytest.raises(LogweirError, match="no plain data"):
            recovery_store.ledgers(tmp_path, "f.deliver_out")


def test_nobody_looks_into_it_beside_the_engine(tmp_path: Path) -> None:
    """A second library that closed the files would take away the engine's locks, and so what it has recorded."""
    make(tmp_path)
    assert recorded_keys(tmp_path, "flow.source") == set()
    with left_to_engine(), pytest.raises(AssertionError, match="the engine's locks"):
        recorded_keys(tmp_path, "flow.source")
    assert recorded_keys(tmp_path, "flow.source") == set()
