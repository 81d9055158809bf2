"""Records into the archive: CPU a record, bytes on disk, memory; in this process alone, and from Kafka by a flow.

What is written by this process alone is compacted then, which tells the same of the compaction.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import deltalake

from benchmarks.processes import cpu_seconds, peak_rss, stop
from flows.archiving import FlowArchive, RetentionSettings
from flows.compaction.opened import compactor_of
from flows.compaction.plan import QUIET_SECONDS
from flows.sources.generate import batch
from flows.worker_process import ALLOCATOR
from logweir.archive_table import application
from logweir.batch import Batch
from logweir.events import Events
from operators.decode import Decoder
from operators.formats import LOGWEIR
from operators.projection import Projection
from sinks.deadletter import DirectoryDeadLetters
from sinks.delivering import Delivering
from sinks.flight import Flight
from sinks.table_delivery import deliver_to

PER_CPU_SECOND = 120_000
"""Records of 500 bytes, at least."""
SHARE = 8
"""The bytes of the records in their topic, by those of the files, at least."""
MEGABYTES = 500
"""Of memory, at most."""
_BATCH = 2000
FLOW = """
name: bench
source: {{type: kafka, brokers: ["{brokers}"], topics: [{topic}], group: {group}}}
destinations: {{unused: {{type: console}}}}
retention: {{archive: {{path: {directory}/archive, batch: {{flush_interval: 5s}}}}}}
dead_letter: {{directory: {directory}/dead}}
recovery: {{directory: {directory}/recovery}}
status: {{listen: "127.0.0.1:0"}}
"""


def measure(records: int, repeats: int) -> None:  # noqa: ARG001  once is enough
    """Print what decode, columns, files and commits take, in a process whose memory is allocated like a worker's."""
    command = [sys.executable, "-m", "benchmarks.archive", str(records)]
    subprocess.run(command, env={**ALLOCATOR, **os.environ}, check=True)


def cost(records: int) -> None:
    """Do what a worker's own engine does, but for Kafka and Bytewax."""
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory) / "archive"
        settings = _settings(place)
        projection = Projection(settings.fields(), LOGWEIR)
        decode = Decoder(projection)
        flight = Flight(2 * settings.batch.max_bytes)
        delivery = deliver_to(
            settings.open(projection.getter, None),
            Delivering("archive", settings.batch.max_records, settings.batch.max_bytes, settings.batch.flush_interval),
            DirectoryDeadLetters(Path(directory), "archive", 0),
            flight,
            Events(),
        )
        size, making, today = 0, 0.0, time.time()
        started, started_at = time.process_time(), time.monotonic()
        for start in range(0, records, _BATCH):
            before = time.thread_time()
            values = batch(1, start, min(_BATCH, records - start), today)
            making += time.thread_time() - before
            made = Batch("logs", 0, values, range(start, start + len(values)))
            size += made.size
            decode(made)
            while flight.room() <= 0:
                time.sleep(0.001)
            flight.add(made.account.read_bytes)
            delivery.write([made])
        delivery.barrier()
        delivery.checkpoint()
        spent, wall = time.process_time() - started - making, time.monotonic() - started_at
        delivery.close()
        print(f"archive: {records:,} records of {size / records:.0f} bytes, without Kafka and the engine")
        _tell(records, size, spent, wall, place, next(iter(peak_rss(os.getpid()).values())))
        command = [sys.executable, "-m", "benchmarks.archive", "compact", str(place), str(size)]
        subprocess.run(command, env={**ALLOCATOR, **os.environ}, check=True)


def compaction(place: Path, size: int) -> None:
    """Do what `logweir compact --once` does two hours later, and print what it takes."""
    compactor = compactor_of(_settings(place), "compact", lambda: time.time() + 2 * QUIET_SECONDS)
    compactor.view.load()
    records = sum(file.rows or 0 for files in compactor.view.partitions.values() for file in files.values())
    started, started_at = time.process_time(), time.monotonic()
    for partition in list(compactor.view.partitions):
        compactor.tend(partition, {})
    spent, wall = time.process_time() - started, time.monotonic() - started_at
    kept = [file for files in compactor.view.partitions.values() for file in files.values()]
    share, memory = size / sum(file.size for file in kept), max(peak_rss(os.getpid()).values()) / 1e6
    print(f"compaction: {records:,} records into {len(kept)} files")
    print(f"  {records / spent:,.0f} records a CPU-second, {records / wall:,.0f} records/s")
    print(f"  {size / share / 1e6:.1f} MB: 1/{share:.2f} of the records{_missed(share < SHARE)}")
    print(f"  peak RSS {memory:.0f} MB{_missed(memory > MEGABYTES)}")


def _settings(place: Path) -> FlowArchive:
    return FlowArchive("bench", RetentionSettings.model_validate({"archive": str(place)}), LOGWEIR, exact=True)


def from_kafka(brokers: str, topic: str, records: int, size: float) -> None:
    """Print what a whole flow takes for a topic of one partition."""
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory) / "archive"
        path = Path(directory) / "flow.yaml"
        group = f"archive-{time.time_ns()}"
        path.write_text(FLOW.format(brokers=brokers, topic=topic, group=group, directory=directory))
        command = [sys.executable, "-c", "from flows.cli import main; main()", "run", str(path), "--only", "archive"]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        started = time.monotonic()
        first: tuple[int, float, float] | None = None
        reached, spent, peak = 0, 0.0, 0
        while reached < records and process.poll() is None:
            time.sleep(0.2)
            spent = cpu_seconds(process.pid)
            peak = max(peak, *peak_rss(process.pid).values())
            reached = _reached(place, topic)
            if reached and first is None:
                first = reached, spent, time.monotonic()
        wall = time.monotonic() - started
        stop(process)
        print(f"archive: {records:,} records from Kafka, by `logweir run --only archive`")
        _tell(records, size * records, spent, wall, place, peak)
        if first is not None and reached > first[0]:
            per_second = (reached - first[0]) / (spent - first[1])
            print(f"  after the first commit {per_second:,.0f} records a CPU-second")


def _reached(place: Path, topic: str) -> int:
    if not (place / "_delta_log").exists():
        return 0
    return deltalake.DeltaTable(place).transaction_version(application("bench", topic, 0)) or 0


def _tell(records: int, size: float, spent: float, wall: float, place: Path, peak: int) -> None:
    """Print the figures, and which of them miss their bars."""
    stored = sum(file.stat().st_size for file in place.rglob("*.parquet"))
    files = sum(1 for _ in place.rglob("*.parquet"))
    commits = deltalake.DeltaTable(place).version()
    rate, share, memory = records / spent, size / stored, peak / 1e6
    print(f"  {rate:,.0f} records a CPU-second ({1e6 / rate:.2f} us each){_missed(rate < PER_CPU_SECOND)}")
    print(f"  {stored / 1e6:.1f} MB in {files} files: 1/{share:.2f} of the records{_missed(share < SHARE)}")
    print(f"  peak RSS {memory:.0f} MB{_missed(memory > MEGABYTES)}")
    print(f"  {commits} commits, {records / wall:,.0f} records/s")


def _missed(missed: bool) -> str:
    return "  MISSED" if missed else ""


if __name__ == "__main__":
    if sys.argv[1] == "compact":
        compaction(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        cost(int(sys.argv[1]))
