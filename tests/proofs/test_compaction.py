"""The compaction at length, with its figures: `make proof`."""

from __future__ import annotations

import sys
import threading
import time
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake.transaction import AddAction

from flows.compaction.files import Partition
from flows.compaction.view import View
from flows.sources.generate import batch as generated
from logweir.archive_table import PARTITIONED_BY, create_table
from sinks.archive_files import files
from tests.flows.compaction import beside
from tests.flows.compaction.crashing import POLICIES, crash
from tests.flows.compaction.simulated import simulate
from tests.flows.compaction.support import classes, compactor, moto, record
from tests.sinks.archive_support import configured, writer

pytestmark = pytest.mark.proof


def test_ten_million_records(tmp_path: Path) -> None:
    """Of ten million records over 400 days exactly those are left that should be, at nine moments."""
    found = simulate(tmp_path, 10_000_000, 400, 8, 5000)
    assert found.memory < 500
    mean = found.bytes / found.files
    sys.stdout.write(
        f"\n  {found.records:,} records written, {found.left:,} left, each by id, policy and class as the model "
        f"says, after {len(found.rounds)} compactions\n  {found.files_written:,} files were written; the table has "
        f"{found.files:,} of {mean / 1e3:,.0f} KB, {found.bytes / 1e6:,.0f} MB\n  the largest compaction took "
        f"{found.memory:.0f} MB of memory"
    )
    for each in found.rounds:
        done = each["since_start"]
        sys.stdout.write(
            f"\n  {sum(done['expired'].values()):>9,} expired, {sum(done['moved'].values()):>7,} moved, "
            f"{done['files_removed']:>5,} files became {done['files_added']:>5,}, {each['cpu']:.1f} s of CPU"
        )


def test_ten_million_records_of_a_day(tmp_path: Path) -> None:
    """A partition of ten million records is merged to the target's size, and then dropped within a second."""
    settings = configured(tmp_path / "a", policies=[{"name": "all", "period": "7d"}])
    with writer(settings, tmp_path) as archive:
        part = archive.destination.columns(archive.batch(generated(5, 0, 100_000)))
    assert part is not None
    table = create_table(str(tmp_path / "a"))
    for _ in range(100):
        (file,) = files(pa.Table.from_batches([part.rows]))
        (tmp_path / "a" / file.path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "a" / file.path).write_bytes(file.body)
        now = int(time.time() * 1000)
        add = AddAction(file.path, file.body.size, file.partition, now, True, file.statistics)
        table.update_incremental()
        table.create_write_transaction([add], "append", table.schema(), list(PARTITIONED_BY))
    partition, known = Partition("7d", date(2026, 1, 1)), dict[str, Any]()
    made = compactor(settings, lambda: datetime(2026, 1, 3, tzinfo=UTC).timestamp(), target_size=128_000_000)
    started = time.process_time()
    merged = made.tend(partition, known)
    cpu = time.process_time() - started
    made._clock = lambda: datetime(2026, 1, 9, tzinfo=UTC).timestamp()
    dropped = made.tend(partition, known)
    assert dropped.expired.total() == 10_000_000
    sys.stdout.write(
        f"\n  10,000,000 records in {merged.files_removed} files became {merged.files_added} of "
        f"{merged.bytes_added / merged.files_added / 1e6:.0f} MB, {cpu:.1f} s of CPU; dropped in "
        f"{dropped.seconds * 1000:.0f} ms"
    )
    assert merged.files_added < 12


def test_twenty_kills(tmp_path: Path) -> None:
    """After twenty kills of a compactor beside a writer each record is there once, and the table could be read."""
    found = crash(tmp_path, kills=20, longest=2.0)
    sys.stdout.write(
        f"\n  20 kills: {found.records:,} records in {found.written} commits, {found.merged} of the compaction; the "
        f"table was read {found.reads} times meanwhile; {found.orphans} files were left by the dead, and deleted"
    )


@pytest.mark.parametrize("place", ["local", "s3"])
def test_two_writers_and_two_compactors(tmp_path: Path, place: str) -> None:
    """Two writers and two compactors at once, processes of their own, lose no commit."""
    if place == "local":
        _together(str(tmp_path / "a"), tmp_path, 150, {})
    else:
        with moto() as (bucket, access):
            _together(bucket, tmp_path, 40, access)


def _together(place: str, folder: Path, commits: int, access: dict[str, Any]) -> None:
    settings = configured(place, archive=access, policies=POLICIES)
    store = settings.retention.archive.store()

    def write(partition: int) -> None:
        with writer(settings, folder / str(partition)) as archive:
            for number in range(commits):
                start = (partition * commits + number) * 20
                archive.deliver([record(each) for each in range(start, start + 20)], number * 20, "logs", partition)

    writers = [threading.Thread(target=write, args=(partition,)) for partition in (0, 1)]
    compactors = [beside.start(place, archive=access, policies=POLICIES) for _ in range(2)]
    # What they say must not fill the pipe.
    readers = [threading.Thread(target=process.communicate) for process in compactors]
    try:
        for each in [*readers, *writers]:
            each.start()
        for thread in writers:
            thread.join()
    finally:
        for process in compactors:
            process.kill()
        for thread in readers:
            thread.join()
    found = classes(place, store.options())
    assert set(found) == set(map(str, range(2 * commits * 20)))
    view = View(store)
    view.load()
    merged = sum("logweir" in each["commitInfo"][0] for each in view.entries())
    sys.stdout.write(f"\n  {2 * commits} commits of two writers and {merged} of two compactors: none lost")
    assert merged > 0
