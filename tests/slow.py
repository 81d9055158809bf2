"""A destination that takes its time for every request, and what a flow gets through to it."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import NamedTuple

from tests.flowing import Running, until, wait_drained, write_flow
from tests.scenarios import new_name
from tests.servers.elastic import FakeElastic, Fault
from tests.servers.kafka import Kafka

RECORD_BYTES = 1000
REQUEST_BYTES = 1_000_000
AT_ONCE = 4


class Pace(NamedTuple):
    """What came in each window of one answer's time, from the first full one on."""

    megabytes: list[float]
    """Taken in each window."""
    peak_memory: float
    """Of the worker, in MB."""

    def __str__(self) -> str:
        windows = " ".join(f"{each:.1f}" for each in self.megabytes)
        mean = sum(self.megabytes) / len(self.megabytes)
        return f"{windows} MB per window, {mean:.2f} on average; {self.peak_memory:.0f} MB of memory"


def peak_memory(pid: int) -> float:
    """Return the most memory that a process has had, in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1000
    raise AssertionError(pid)


def slow(kafka: Kafka, directory: Path, *, answer: float, interval: str, windows: int, partitions: int = 1) -> Pace:
    """Deliver to a destination that answers each request after `answer` seconds, for so many windows of that time."""
    topic = new_name("slow")
    kafka.create_topic(topic, partitions)
    needed = int((windows + 8) * AT_ONCE * REQUEST_BYTES / RECORD_BYTES)
    for partition in range(partitions):
        kafka.produce(topic, map(_record, range(partition, needed, partitions)), partition)
    taken: list[tuple[float, int]] = []

    def note(_number: int, request: object) -> Fault:
        taken.append((time.monotonic(), len(request.body)))  # type: ignore[attr-defined]
        return Fault(delay=answer)

    with FakeElastic(count_only=True) as elastic:
        elastic.fault = note
        settings = {"url": elastic.url, "batch": {"max_bytes": REQUEST_BYTES, "flush_interval": "5s"}}
        recovery = {"directory": str(directory / "recovery"), "interval": interval}
        flow = write_flow(directory, kafka, topic, {"search": settings}, recovery=recovery, stop_timeout="60s")
        with Running(flow) as running:
            until(lambda: taken, "the first request")
            time.sleep(answer * (windows + 1.5))
            (worker,) = running.workers()
            memory = peak_memory(worker)
            elastic.fault = None
            assert elastic.peak <= AT_ONCE
    begin = taken[0][0] + answer / 2
    megabytes = [0.0] * windows
    for at, size in taken:
        window = int((at - begin) // answer)
        if 0 <= window < windows:
            megabytes[window] += size / 1_000_000
    return Pace(megabytes, memory)


def wide(kafka: Kafka, directory: Path, *, partitions: int, filled: int, count: int) -> float:
    """Deliver so many records of 1 MB from some of many partitions; return the worker's peak memory in MB."""
    topic = new_name("wide")
    kafka.create_topic(topic, partitions)
    # Without patterns, so that nothing is small because it is compressed.
    padding = os.urandom(500_000).hex().encode()
    for partition in range(filled):
        some = (b'{"id":"%d","m":"%s"}' % (number, padding) for number in range(partition, count, filled))
        kafka.produce(topic, some, partition)
    with FakeElastic(count_only=True, count_docs=True) as elastic:
        # Slow enough that the source is ahead of it all the time.
        elastic.fault = Fault(delay=0.1)
        flow = write_flow(directory, kafka, topic, {"search": {"url": elastic.url}})
        with Running(flow) as running:
            until(lambda: elastic.documents == count, "everything arrives", 180)
            (worker,) = running.workers()
            memory = peak_memory(worker)
            wait_drained(kafka, topic, "search")
            assert running.stop() == 0
    assert running.ledgers()["search"].delivered == count
    return memory


def _record(number: int) -> bytes:
    return (b'{"id":"%08d","timestamp":"2026-11-01T10:00:00Z","message":"' % number).ljust(
        RECORD_BYTES - 2, b"x"
    ) + b'"}'
