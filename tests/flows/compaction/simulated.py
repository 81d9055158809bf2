"""Months of an archive under a simulated clock, against a model of what should be there; years in the proof.

The compaction runs as a process of its own, so that its memory can be told:

    python -m tests.flows.compaction.simulated '{"place": ..., "policies": [...]}' 1767225600
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
import polars as pl
import pyarrow as pa
from bytewax.testing import run_main
from deltalake import DeltaTable

from flows.compact import dataflow
from flows.compaction.work import Work
from flows.sources.generate import Generator
from logweir.events import Events
from operators.retention_models import DEFAULT_POLICIES
from tests.flows.compaction.beside import ROOT
from tests.sinks.archive_support import configured, writer

_DAY = 86_400
_SLOW = {"field": "performance.duration", "operator": "gt", "value": 60}
_NO_POLICY = {"name": None, "period": "7d"}
POLICIES: list[dict[str, Any]] = [
    *(each.model_dump(exclude_defaults=True) for each in DEFAULT_POLICIES),
    {"name": "Slow", "period": "60d", "conditions": [_SLOW], "categories": ["http", "database"], "priority": 5},
]
CHANGED: list[dict[str, Any]] = [
    *({**each, "period": {"Errors": "45d", "Warnings": "120d"}.get(each["name"], each["period"])} for each in POLICIES),
    {"name": "Traces", "period": "1d", "levels": ["trace"], "priority": 1},
]
"""Errors are kept shorter from then on, warnings longer, and there is one policy more."""


def decided(record: Mapping[str, Any], policies: Sequence[Mapping[str, Any]]) -> tuple[str | None, str]:
    """Return the policy and the period of a record, as the documentation says it."""
    takes = [
        each
        for each in policies
        if record["level"] in each.get("levels", [record["level"]])
        and record.get("category") in each.get("categories", [record.get("category")])
        and all(record.get("performance", {}).get("duration", 0) > 60 for _ in each.get("conditions", []))
    ]
    best = max(takes, key=lambda each: (each.get("priority", 0), days(each["period"])), default=_NO_POLICY)
    name: str | None = best["name"]
    return name, str(best["period"])


def days(period: str) -> float:
    """Return how long a period is."""
    return {"forever": float("inf"), "1y": 365}.get(period) or int(period[:-1])


class Simulated(NamedTuple):
    """What came of it."""

    records: int
    left: int
    files_written: int
    files: int
    bytes: int
    memory: float
    """The most that a compaction took, in MB."""
    rounds: list[dict[str, Any]]


def simulate(folder: Path, records: int, span: int, stops: int, commit: int) -> Simulated:
    """Write records of so many days until now, compact at some moments, and compare with the model each time.

    Args:
        folder: Holds the table.
        records: How many.
        span: The days over which they are spread.
        stops: How often it is compacted on the way; in the middle of them policies change.
        commit: Records of a commit.
    """
    place = folder / "a"
    today = int(time.time()) // _DAY
    began = today - span
    generator = Generator(3, began * _DAY, span * _DAY / records)
    kinds: dict[tuple[tuple[str | None, str], tuple[str | None, str]], int] = {}
    kind = np.zeros(records, np.uint8)
    day = np.zeros(records, np.int32)
    ids = np.zeros(records, "S36")
    alive = np.zeros(records, bool)
    written = 0
    rounds: list[dict[str, Any]] = []
    for stop in range(stops + 1):
        end = records * min(stop + 1, stops) // stops
        with writer(configured(place, policies=POLICIES if stop <= stops // 2 else CHANGED), folder) as archive:
            while written < end:
                values = generator.batch(written, min(commit, end - written))
                for number, record in enumerate(map(orjson.loads, values), written):
                    both = decided(record, POLICIES), decided(record, CHANGED)
                    kind[number] = kinds.setdefault(both, len(kinds))
                    day[number] = datetime.fromisoformat(record["timestamp"]).timestamp() // _DAY
                    ids[number] = record["id"].encode()
                archive.deliver(values, written)
                alive[written : written + len(values)] = True
                written += len(values)
        # The last one takes place when all has been there for long, so that all small files are merged.
        now = int(day[written - 1]) + 0.5 if stop < stops else today + 2.25
        changed = stop > stops // 2
        rounds.append(_compacted(place, CHANGED if changed else POLICIES, now * _DAY))
        listed = sorted(kinds, key=lambda each: kinds[each])
        until = np.zeros(records)
        for number, both in enumerate(listed):
            # All records of a day go at the midnight after the last of them may.
            until[kind == number] = day[kind == number] + 1 + days(both[changed][1])
        alive &= until > now
        found = pl.scan_delta(str(place)).select("offset", "id", "policy", "retention", "date").collect().sort("offset")
        offsets = found["offset"].to_numpy()
        assert np.array_equal(offsets, np.flatnonzero(alive)), (stop, len(offsets), int(alive.sum()))
        assert np.array_equal(found["id"].to_numpy().astype("S36"), ids[alive])
        names = [both[changed][0] for both in listed]
        assert found["policy"].to_list() == [names[each] for each in kind[alive]]
        periods = [both[changed][1] for both in listed]
        assert found["retention"].to_list() == [periods[each] for each in kind[alive]]
    table = DeltaTable(place)
    sizes = pa.table(table.get_add_actions(flatten=True))["size_bytes"].to_pylist()
    deleted = table.transaction_version("logweir:expired") or 0
    assert deleted == written - int(alive.sum())
    return Simulated(
        written,
        int(alive.sum()),
        sum(1 for _ in place.rglob("*.parquet")),
        len(sizes),
        sum(sizes),
        max(each["memory"] for each in rounds),
        rounds,
    )


def _compacted(place: Path, policies: Sequence[Mapping[str, Any]], now: float) -> dict[str, Any]:
    """Compact as of a moment; return what was done, and the memory that it took in MB."""
    settings = json.dumps({"place": str(place), "policies": policies})
    command = [sys.executable, "-m", "tests.flows.compaction.simulated", settings, str(now)]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    assert found.returncode == 0, found.stderr.decode()
    done: dict[str, Any] = json.loads(found.stdout.splitlines()[-1])
    assert not done["issues"]
    return done


def main() -> None:
    """Compact as of a moment."""
    settings, now = json.loads(sys.argv[1]), float(sys.argv[2])
    started = time.process_time()
    work = Work(configured(settings.pop("place"), **settings), Events(), once=True, clock=lambda: now)
    run_main(dataflow(work, once=True), epoch_interval=timedelta(0))
    # In kilobytes. What getrusage(2) tells includes the memory of whoever has started this process.
    status = Path("/proc/self/status").read_text()
    memory = int(status.partition("VmHWM:")[2].split()[0]) / 1000
    sys.stdout.write(json.dumps({**work.status(), "memory": memory, "cpu": time.process_time() - started}) + "\n")


if __name__ == "__main__":
    main()
