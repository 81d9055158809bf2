"""What was recorded to resume from is read where this program knows its version, and refused where a later wrote it."""

from __future__ import annotations

import os
import pickle
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from flows.sampling import SampleStep
from logweir.errors import DestinationError
from operators.dedupe import DedupeState
from operators.dynamic_sample import DynamicState
from operators.rate_limit import Limit, RateState
from tests.flowing import COMMAND, ROOT

FLOW = """\
name: a
source: {type: file, path: in.ndjson, follow: false}
isolation: none
destinations: {out: {type: file, path: out.ndjson}}
recovery: {directory: recovery}
"""


def test_sink_partitions(tmp_path: Path) -> None:
    """A flow goes on from the state of its own version, and from an older one; a later one ends it with the remedy."""
    (tmp_path / "flow.yaml").write_text(FLOW)
    records = b""

    def run() -> subprocess.CompletedProcess[str]:
        nonlocal records
        records += b'{"message":"one more"}\n'
        (tmp_path / "in.ndjson").write_bytes(records)
        command = [*COMMAND, "run", "flow.yaml"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    assert run().returncode == 0
    assert "2 read" in run().stderr
    _change(tmp_path, 0)
    assert "3 read" in run().stderr
    _change(tmp_path, 2)
    ended = run()
    assert ended.returncode == 1
    assert "is of version 2, and this logweir reads up to 1" in ended.stderr
    assert "set another recovery.directory" in ended.stderr
    assert (tmp_path / "out.ndjson").read_bytes().count(b"\n") == 3
    _change(tmp_path, 1)
    assert "5 read" in run().stderr


def _change(directory: Path, version: int) -> None:
    """Let the recorded state of the sink partition be of another version."""
    changed = 0
    for path in (directory / "recovery").rglob("*.sqlite3"):
        with closing(sqlite3.connect(path)) as database, database:
            found = "SELECT rowid, ser_change FROM snaps WHERE step_id = 'a.deliver_out'"
            for row, recorded in database.execute(found).fetchall():
                state = {**pickle.loads(recorded), "version": version}
                database.execute("UPDATE snaps SET ser_change = ? WHERE rowid = ?", (pickle.dumps(state), row))
                changed += 1
    assert changed


@pytest.mark.parametrize(
    "made",
    [
        lambda: RateState([Limit(1, 1)], 1.0, 10),
        lambda: DedupeState(1, 1.0, 10),
        lambda: DynamicState(1.0, 1, 1.0, 10),
    ],
)
def test_limiters(made: Callable[[], Any]) -> None:
    """The windows of a limiter are read back, and none of a later version."""
    recorded = made().to_dict()
    made().restore(recorded)
    with pytest.raises(DestinationError, match="later one has run this flow"):
        made().restore({**recorded, "version": recorded["version"] + 1})


def test_samplers() -> None:
    """The same holds for the step that has the samplers of a destination."""

    def unasked(_revision: int) -> Any:
        raise AssertionError

    recorded = SampleStep(unasked, None).snapshot()
    SampleStep(unasked, recorded)
    with pytest.raises(DestinationError, match="version 2"):
        SampleStep(unasked, {**recorded, "version": 2})
