"""Kafka to `_bulk` with gzip: CPU per record of the whole flow beside a straightforward loop, in the same run."""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import cpu_seconds, peak_rss, stop
from flows.sources.generate import batch

TOPIC = "bench"
"""One partition: what a single worker of a larger flow has."""
WIDE_TOPIC = "bench-wide"
"""Two partitions, one for each worker."""
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
  search: {{type: elasticsearch, url: "{url}", index: logs, batch: {{flush_interval: {flush}}}}}
dead_letter: {{directory: {directory}/dead}}
recovery: {{directory: {directory}/recovery, interval: 2s}}
"""


@dataclass
class Run:
    """The figures of one run."""

    records: int
    cpu: float
    """Seconds, user and system, of all processes and threads, from the first request on."""
    wall: float
    """Seconds from the first request to the last."""
    start_cpu: float
    """Seconds until the first request: imports, connections, the first records."""
    start_wall: float
    peak: int
    """Peak resident bytes of the largest process."""
    said: str
    """What it wrote to stderr."""

    @property
    def micros(self) -> float:
        """CPU per record from the first request on."""
        return self.cpu / self.records * 1e6

    @property
    def total_micros(self) -> float:
        """CPU per record with start-up."""
        return (self.cpu + self.start_cpu) / self.records * 1e6


def figures(url: str) -> dict[str, float]:
    """Return what the server has counted."""
    with urllib.request.urlopen(url) as answer:  # noqa: S310  our own server's address
        return dict(json.load(answer))


def measure(command: list[str], url: str, records: int, done: Callable[[dict[str, float]], bool]) -> Run:
    """Run a command until the server has got everything, and return what it took."""
    before = figures(url)["requests"]
    with tempfile.TemporaryFile("w+") as said:
        started, started_at = time.monotonic(), time.time()
        process = subprocess.Popen(command, stderr=said)
        while figures(url)["requests"] == before and process.poll() is None:
            time.sleep(0.005)
        start_wall = time.monotonic() - started
        start_cpu = cpu = cpu_seconds(process.pid)
        peak = 0
        while process.poll() is None:
            cpu = cpu_seconds(process.pid)
            peak = max(peak, *peak_rss(process.pid).values())
            if done(figures(url)):
                break
            time.sleep(0.1)
        wall = figures(url)["last"] - started_at - start_wall
        stop(process)
        said.seek(0)
        return Run(records, cpu - start_cpu, wall, start_cpu, start_wall, peak, said.read())


def compare(brokers: str, url: str, records: int, rules: str, repeats: int) -> None:
    """Print the medians of flow and loop for one set of rules, taken in turns."""
    flows: list[Run] = []
    loops: list[Run] = []
    for _ in range(repeats):
        loop = [sys.executable, "-m", "benchmarks.baseline", brokers, TOPIC, url, rules, str(records)]
        loops.append(measure(loop, url, records, lambda _now: False))
        flows.append(run_flow(brokers, url, records, rules))
    delivered = re.search(r"([\d,]+)  delivered", flows[0].said)
    passed = int(delivered[1].replace(",", "")) if delivered else 0
    print(f"{rules}: {records:,} records read, {passed / records:.1%} pass, {repeats} runs each, medians")
    for name, runs in (("flow", flows), ("loop", loops)):
        micros, total, wall = (
            statistics.median(getattr(run, figure) for run in runs) for figure in ("micros", "total_micros", "wall")
        )
        print(f"  {name} {micros:.2f} us of CPU a record ({total:.2f} with start-up), {records / wall:,.0f} records/s")
    ratio = statistics.median(run.micros for run in loops) / statistics.median(run.micros for run in flows)
    print(f"  the loop takes {ratio:.2f} times the flow's CPU")
    print(f"  first request after {statistics.median(run.start_wall for run in flows):.2f} s")
    print(f"  peak RSS of the flow's largest process {max(run.peak for run in flows) / 1e6:.0f} MB")


def flow_text(
    brokers: str, url: str, directory: str, rules: str, group: str, topic: str = TOPIC, flush: str = "500ms"
) -> str:
    """Return the flow file."""
    return FLOW.format(
        flush=flush,
        brokers=brokers,
        topic=topic,
        group=group,
        url=url,
        directory=directory,
        rules=SELECTIVE if rules == "selective" else "",
    )


def run_flow(
    brokers: str, url: str, records: int, rules: str, *, workers: int = 1, topic: str = TOPIC, flush: str = "500ms"
) -> Run:
    """Run logweir over the whole topic once, as a group of its own."""
    group = f"{rules}-{time.time_ns()}"
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "flow.yaml"
        path.write_text(flow_text(brokers, url, directory, rules, group, topic, flush))
        run = [sys.executable, "-c", "from flows.cli import main; main()", "run", str(path)]
        return measure(
            [*run, "--workers", str(workers)], url, records, _drained(brokers, f"{group}.search", records, topic)
        )


def _drained(brokers: str, group: str, records: int, topic: str) -> Callable[[dict[str, float]], bool]:
    """Return a test of whether everything was read: the group's offsets say so, once their epoch is recorded."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": brokers, "group.id": group})
    partitions = list(consumer.list_topics(topic, timeout=10).topics[topic].partitions)
    asked = 0.0

    def done(now: dict[str, float]) -> bool:
        nonlocal asked
        # The server's silence comes first: asking the brokers all the time would slow them.
        if time.time() - now["last"] < 0.5 or time.monotonic() - asked < 0.5:
            return False
        asked = time.monotonic()
        committed = consumer.committed([TopicPartition(topic, number) for number in partitions], timeout=10)
        return sum(max(0, each.offset) for each in committed) >= records

    return done


def workers(brokers: str, url: str, records: int, repeats: int) -> None:
    """Print the wall time of two worker processes beside one."""
    walls: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(repeats):
        for count, some in walls.items():
            # The last request waits for more records that don't come; that is no part of the pace.
            run = run_flow(brokers, url, records, "all", workers=count, topic=WIDE_TOPIC, flush="20ms")
            some.append(run.wall)
    one, two = (statistics.median(walls[count]) for count in (1, 2))
    print(f"workers: {records:,} records, all pass, wall time: one {one:.2f} s, two {two:.2f} s, {one / two:.2f} times")


def fill(brokers: str, records: int, topic: str, partitions: int) -> float:
    """Produce the records, as many to each partition; return their average size in bytes."""
    from confluent_kafka import Producer

    producer = Producer(
        {
            "bootstrap.servers": brokers,
            "compression.type": "lz4",
            "linger.ms": 50,
            "queue.buffering.max.messages": 1_000_000,
            "queue.buffering.max.kbytes": 1_000_000,
        }
    )
    size = 0
    for start in range(0, records, 2000):
        for number, value in enumerate(batch(1, start, min(2000, records - start))):
            size += len(value)
            producer.produce(topic, value, partition=number % partitions)
        producer.poll(0)
    left = producer.flush(60)
    if left:
        msg = f"{left} records were not taken by the broker"
        raise RuntimeError(msg)
    return size / records
