"""Kafka to `_bulk` with gzip: CPU per record of the whole flow beside a straightforward loop, in the same run."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from benchmarks.processes import cpu_seconds, peak_rss, stop
from flows.feed import generate_to_kafka

TOPIC = "bench"
SELECTIVE = """
rules:
  - {name: No debug, type: level, action: exclude, levels: [debug, trace]}
  - {name: Production only, type: field, field: context.environment, operator: eq, value: production}
  - {name: Sample info, type: sample, sample_rate: 0.1, sample_levels: [info]}
  - {name: Always keep errors, type: level, levels: [error, fatal], priority: 100}
"""
FLOW = """
name: bench
source: {{type: kafka, brokers: ["{brokers}"], topics: [{topic}], group: {group}}}
{rules}
destinations:
  search: {{type: elasticsearch, url: "{url}", index: logs}}
dead_letter: {{directory: {directory}/dead}}
recovery: {{directory: {directory}/recovery, interval: 2s}}
"""


class Run:
    """The figures of one run."""

    def __init__(self, cpu: float, wall: float, start_cpu: float, start_wall: float, peak: int, records: int) -> None:
        self.micros = cpu / records * 1e6
        """CPU per record from the first request on."""
        self.total_micros = (cpu + start_cpu) / records * 1e6
        """With start-up and imports."""
        self.wall = wall
        self.start_wall = start_wall
        self.peak = peak


def figures(url: str) -> dict[str, float]:
    """Return what the server has counted."""
    with urllib.request.urlopen(url) as answer:
        return dict(json.load(answer))


def measure(command: list[str], url: str, records: int, done: Callable[[dict[str, float]], bool]) -> Run:
    """Run a command until the server has got everything, and return what it took."""
    before = figures(url)["requests"]
    started = time.monotonic()
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while figures(url)["requests"] == before and process.poll() is None:
        time.sleep(0.005)
    start_wall = time.monotonic() - started
    start_cpu = cpu_seconds(process.pid)
    peak = 0
    cpu = start_cpu
    while process.poll() is None and not done(figures(url)):
        cpu = cpu_seconds(process.pid)
        peak = max(peak, *peak_rss(process.pid).values())
        time.sleep(0.1)
    cpu = max(cpu, cpu_seconds(process.pid) if process.poll() is None else cpu)
    wall = time.monotonic() - started - start_wall
    stop(process)
    return Run(cpu - start_cpu, wall, start_cpu, start_wall, peak, records)


def compare(brokers: str, url: str, records: int, rules: str, repeats: int) -> None:
    """Print the medians of flow and loop for one set of rules, taken in turns."""
    flows: list[Run] = []
    loops: list[Run] = []
    passed = 0
    for turn in range(repeats):
        base = figures(url)["documents"]
        command = [sys.executable, "-m", "benchmarks.baseline", brokers, TOPIC, url, rules, str(records)]
        loops.append(measure(command, url, records, lambda _now: False))
        passed = int(figures(url)["documents"] - base)
        flows.append(run_flow(brokers, url, records, rules, f"{rules}{turn}{time.time_ns()}"))
    flow = statistics.median(run.micros for run in flows)
    loop = statistics.median(run.micros for run in loops)
    print(f"{rules}: {records:,} records read, {passed / records:.1%} pass the loop's rules, {repeats} runs each, medians")
    print(f"  flow {flow:.2f} us of CPU a record (with start-up {statistics.median(r.total_micros for r in flows):.2f})")
    print(f"  loop {loop:.2f} us of CPU a record (with start-up {statistics.median(r.total_micros for r in loops):.2f})")
    print(f"  the loop takes {loop / flow:.2f} times the flow's CPU")
    walls = statistics.median(run.wall for run in flows), statistics.median(run.wall for run in loops)
    print(f"  wall: flow {records / walls[0]:,.0f} records/s, loop {records / walls[1]:,.0f} records/s")
    print(f"  first request after {statistics.median(run.start_wall for run in flows):.2f} s")
    print(f"  peak RSS of the flow's largest process {max(run.peak for run in flows) / 1e6:.0f} MB")


def run_flow(brokers: str, url: str, records: int, rules: str, group: str, workers: int = 1) -> Run:
    """Run logweir over the whole topic once."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "flow.yaml"
        path.write_text(
            FLOW.format(
                brokers=brokers,
                topic=TOPIC,
                group=group,
                url=url,
                directory=directory,
                rules=SELECTIVE if rules == "selective" else "",
            )
        )
        command = [sys.executable, "-c", "from flows.cli import main; main()", "run", str(path), "--workers", str(workers)]
        return measure(command, url, records, _quiet(brokers, f"{group}.search", records))


def _quiet(brokers: str, group: str, records: int) -> Callable[[dict[str, float]], bool]:
    """Return a test of whether everything was read: the group's committed offsets say so, once their epoch is recorded."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": brokers, "group.id": group})
    partitions = list(consumer.list_topics(TOPIC, timeout=10).topics[TOPIC].partitions)
    asked = 0.0

    def done(now: dict[str, float]) -> bool:
        nonlocal asked
        # The server's silence comes first: asking the brokers all the time would slow them.
        if time.time() - now["last"] < 0.5 or time.monotonic() - asked < 0.5:
            return False
        asked = time.monotonic()
        committed = consumer.committed([TopicPartition(TOPIC, number) for number in partitions], timeout=10)
        return sum(max(0, each.offset) for each in committed) >= records

    return done


def workers(brokers: str, url: str, records: int, repeats: int) -> None:
    """Print the wall time of two worker processes beside one."""
    walls: dict[int, list[float]] = {1: [], 2: []}
    for turn in range(repeats):
        for count, some in walls.items():
            some.append(run_flow(brokers, url, records, "all", f"w{count}{turn}{time.time_ns()}", count).wall)
    one, two = (statistics.median(walls[count]) for count in (1, 2))
    print(f"workers: {records:,} records, all pass: one {one:.2f} s, two {two:.2f} s of wall time: {one / two:.2f} times")


def fill(brokers: str, records: int) -> None:
    """Produce the records."""
    generate_to_kafka(brokers, TOPIC, count=records, rate=0, seed=1, settings={"compression.type": "lz4"})
