"""A search among ten million records: as many as it takes for a scan to be too slow."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows.sources.generate import Generator
from tests.sinks.archive_support import configured, writer

pytestmark = [pytest.mark.proof]

RECORDS = 10_000_000
DAYS = 10
MEGABYTES = 500
_BATCH = 2000
_FLOW = """
name: flow
source: {{type: stdin}}
destinations: {{out: {{type: console}}}}
retention: {{archive: {place}}}
"""
_MEASURED = """
import atexit, os, sys
from flows.cli import main

@atexit.register
def tell():
    peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    print(sum(os.times()[:2]), int(peak.split()[1]) / 1024, file=sys.stderr)

main()
"""


def build(place: Path, folder: Path, records: int) -> None:
    """Write generated records by the archive's own writer."""
    settings = configured(place)
    made = Generator(1, 1_767_225_600.0, DAYS * 86_400 / records)
    limits = {"max_records": settings.batch.max_records, "max_bytes": settings.batch.max_bytes}
    with writer(settings, folder, **limits) as archive:
        for start in range(0, records, _BATCH):
            archive.write(made.batch(start, min(_BATCH, records - start)), start)
            while archive.flight.bytes > 2 * settings.batch.max_bytes:
                time.sleep(0.01)
        archive.settle()


def search(flow: Path, *arguments: str) -> tuple[list[bytes], str, float]:
    """Return what a search finds, what it took, and its memory in MB."""
    command = [sys.executable, "-c", _MEASURED, "search", str(flow), "--json", *arguments]
    started = time.monotonic()
    done = subprocess.run(command, capture_output=True, check=True)
    cpu, memory = map(float, done.stderr.split())
    took = f"{time.monotonic() - started:.2f} s, {cpu:.2f} s of CPU, {memory:.0f} MB"
    return done.stdout.splitlines(), took, memory


def test_among_ten_million(tmp_path: Path) -> None:
    """A trace's records, the newest ones and a text that is nowhere are found in bounded memory."""
    place = tmp_path / "archive"
    started = time.monotonic()
    build(place, tmp_path, RECORDS)
    files = sum(1 for _ in place.rglob("*.parquet"))
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    lines = [f"{RECORDS:,} records in {files} files, built in {time.monotonic() - started:.0f} s and {own:.0f} MB"]
    flow = tmp_path / "flow.yaml"
    flow.write_text(_FLOW.format(place=place))
    middle = Generator(1, 1_767_225_600.0, DAYS * 86_400 / RECORDS).batch(RECORDS // 2 - 4096, 8192)
    traces = [(each.get("trace") or {}).get("traceId") for each in map(json.loads, middle)]
    trace = next(each for each in traces[4096:] if each)
    for what, arguments, expected in [
        ("one trace", ["--trace", trace], traces.count(trace)),
        ("the newest 100 errors", ["--level", "error"], 100),
        ("the newest 50,000", ["--limit", "50000"], 50_000),
        (
            "slow ones of a day",
            ["--since", "2026-01-05", "--until", "2026-01-06", "--where", "performance.duration > 1e6"],
            0,
        ),
        ("a text that is nowhere", ["this stands in none of them"], 0),
    ]:
        found, took, memory = search(flow, *arguments)
        lines.append(f"{what}: {len(found):,} found in {took}")
        assert len(found) == expected
        assert memory < MEGABYTES
    print("\n" + "\n".join(lines))  # noqa: T201  # its figures
