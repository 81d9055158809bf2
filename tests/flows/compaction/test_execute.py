"""Compaction changes which files there are, and where records are kept; never which records there are but by expiry."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from flows.compaction.execute import EXPIRED, Compactor, checked_by, expired_of
from flows.compaction.files import Partition
from flows.compaction.plan import Finding
from flows.compaction.rewrite import StoppedError, Writers, read
from flows.compaction.vacuum import vacuum
from flows.compaction.view import Change, ConflictError, View
from flows.sources.generate import batch as generated
from logweir.archive_table import application, columns
from logweir.errors import LogweirError
from sinks.archive_files import ROWS
from tests.flows.compaction.support import Held, at, classes, compact, compactor, moto, record
from tests.sinks.archive_support import configured, rows, writer

SOON = at("2026-01-02")
DAY = date(2026, 1, 1)


def fill(settings: Any, folder: Path, commits: int = 10, size: int = 500) -> None:
    """Write generated records of one day."""
    with writer(settings, folder) as archive:
        for number in range(commits):
            archive.deliver(generated(1, number * size, size), number * size)


def later() -> float:
    """Return a time at which every file that there is has been there for long."""
    return time.time() + 7200


class TestMerging:
    def test_the_same_rows_in_fewer_files(self, tmp_path: Path) -> None:
        """Merging leaves every row as it was, in one file a partition, ordered and described as the writer's own."""
        settings = configured(tmp_path / "a", policies=[{"name": "all", "period": "forever"}])
        fill(settings, tmp_path)
        before = rows(tmp_path / "a")
        (done,) = compact(settings, later)
        assert (done.files_removed, done.files_added, done.commits, done.settled) == (10, 1, 1, True)
        assert done.bytes_added < done.bytes_removed
        assert rows(tmp_path / "a").equals(before)
        table = DeltaTable(tmp_path / "a")
        (listed,) = pa.table(table.get_add_actions(flatten=True)).to_pylist()
        for name in ("timestamp", "id", "service", "level", "offset"):
            assert (listed[f"min.{name}"], listed[f"max.{name}"]) == (before[name].min(), before[name].max())
        assert listed["num_records"] == 5000
        assert listed["null_count.category"] == before["category"].null_count()
        stored = pq.ParquetFile(tmp_path / "a" / listed["path"])
        keys = list(zip(*(stored.read()[name].to_pylist() for name in ("service", "category", "level")), strict=True))
        assert sum(1 for at, key in enumerate(keys) if not at or keys[at - 1] != key) == len({*keys})
        column = stored.metadata.row_group(0).column(stored.schema_arrow.get_field_index("trace_id"))
        assert column.bloom_filter_offset or column.has_bloom_filter
        assert table.history(1)[0]["operation"] == "OPTIMIZE"
        assert compact(settings, later) == []

    def test_the_target(self, tmp_path: Path) -> None:
        """No file grows beyond the target's size by more than a quarter and a row group."""
        settings = configured(tmp_path / "a", policies=[{"name": "all", "period": "forever"}])
        fill(settings, tmp_path, 12, 1000)
        compact(settings, later, target_size=250_000)
        sizes = pa.table(DeltaTable(tmp_path / "a").get_add_actions(flatten=True))["size_bytes"].to_pylist()
        assert 2 < len(sizes) < 12
        assert max(sizes) < 400_000
        assert rows(tmp_path / "a").height == 12_000

    def test_no_rest(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Files that make up a target's size become one file also where that takes more bytes than they did."""
        settings = configured(tmp_path / "a", policies=[{"name": "all", "period": "forever"}])
        fill(settings, tmp_path, 4, 2500)
        monkeypatch.setattr("flows.compaction.rewrite.GROUP_BYTES", 200_000)
        monkeypatch.setattr("flows.compaction.rewrite._BATCH_ROWS", 200)
        target = sum(path.stat().st_size for path in (tmp_path / "a").rglob("*.parquet"))
        (done,) = compact(settings, later, target_size=target)
        assert done.bytes_added > target
        assert done.files_added == 1

    def test_row_groups(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A large file has row groups, each of them ordered and within a short span of time, and statistics of all."""
        settings = configured(tmp_path / "a", policies=[{"name": "all", "period": "forever"}])
        fill(settings, tmp_path)
        monkeypatch.setattr("flows.compaction.rewrite.GROUP_BYTES", 500_000)
        compact(settings, later)
        (listed,) = pa.table(DeltaTable(tmp_path / "a").get_add_actions(flatten=True)).to_pylist()
        metadata = pq.read_metadata(tmp_path / "a" / listed["path"])
        assert metadata.num_row_groups > 3
        index = pq.ParquetFile(tmp_path / "a" / listed["path"]).schema_arrow.get_field_index("timestamp")
        spans = [metadata.row_group(at).column(index).statistics for at in range(metadata.num_row_groups)]
        assert all(one.max <= next_one.min for one, next_one in pairwise(spans))
        assert (listed["num_records"], listed["min.offset"], listed["max.offset"]) == (5000, 0, 4999)
        assert ROWS == 1 << 20

    def test_transactions_stay(self, tmp_path: Path) -> None:
        """A rewrite leaves the writer's transactions alone, so what comes again after a crash is still left out."""
        settings = configured(tmp_path / "a")
        fill(settings, tmp_path)
        compact(settings, SOON)
        assert DeltaTable(tmp_path / "a").transaction_version(application("flow", "logs", 0)) == 5000
        with writer(settings, tmp_path) as archive:
            archive.deliver(generated(1, 4500, 1000), 4500)
            assert archive.delivery.ledger.duplicates == 500
        assert rows(tmp_path / "a")["offset"].to_list() == list(range(5500))

    def test_columns_of_others(self, tmp_path: Path) -> None:
        """A column that another program has added stays, and its values with it."""
        settings = configured(tmp_path / "a", policies=[{"name": "all", "period": "forever"}])
        fill(settings, tmp_path, 2, 10)
        more = rows(tmp_path / "a").head(3).to_arrow().cast(columns())
        more = more.append_column("tag", pa.array(["x", None, "z"]))
        write_deltalake(tmp_path / "a", more, mode="append", schema_mode="merge")
        compact(settings, later)
        assert len(DeltaTable(tmp_path / "a").file_uris()) == 1
        found = rows(tmp_path / "a")
        assert sorted(found["tag"].drop_nulls().to_list()) == ["x", "z"]
        assert found.height == 23


class TestExpiry:
    def test_by_class(self, tmp_path: Path) -> None:
        """Each record goes at the moment that its class and day say, and what went is counted for good."""
        settings = configured(tmp_path / "a")
        with writer(settings, tmp_path) as archive:
            archive.deliver(
                [record(1), record(2, level="warn"), record(3, category="audit"), record(4, day="2026-01-02")]
            )
        assert compact(settings, at("2026-01-08T23:59:59")) == []
        (done,) = compact(settings, at("2026-01-09"))
        assert (done.partition, done.expired, done.files_added) == (Partition("7d", DAY), {"7d": 1}, 0)
        assert set(classes(tmp_path / "a")) == {"2", "3", "4"}
        compact(settings, at("2126-01-01"))
        assert set(classes(tmp_path / "a")) == {"3"}
        table = DeltaTable(tmp_path / "a")
        counted = [table.transaction_version(each) for each in (EXPIRED, expired_of("7d"), expired_of("30d"))]
        assert counted == [3, 2, 1]
        told = [each["logweir"] for each in table.history() if "logweir" in each]
        assert sorted(map(str, (each["expired"] for each in told))) == ["{'30d': 1}", "{'7d': 1}", "{'7d': 1}"]
        assert {each["by"] for each in told} == {"compact"}

    def test_nothing_is_read_or_written(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """What has expired, and was checked before, is dropped by one commit, whatever it holds."""
        settings = configured(tmp_path / "a", policies=[{"name": "all", "period": "7d"}])
        fill(settings, tmp_path, 4, 5000)
        made = compactor(settings, SOON)
        partition = Partition("7d", DAY)
        known = dict.fromkeys(made.view.partitions[partition], Finding.SETTLED)
        monkeypatch.setattr("flows.compaction.rewrite._opened", None)
        made._clock = at("2026-01-09")
        done = made.tend(partition, known)
        assert (done.expired.total(), done.commits) == (20_000, 1)
        assert rows(tmp_path / "a").height == 0

    def test_held(self, tmp_path: Path) -> None:
        """What is held stays when all around it expires, is looked at once, and goes when it is held no more."""
        settings = configured(tmp_path / "a")
        with writer(settings, tmp_path) as archive:
            archive.deliver([record(number) for number in range(10)])
        made = compactor(settings, at("2026-02-01"), holds=Held("3", "5"))
        known: dict[str, Finding] = {}
        done = made.tend(Partition("7d", DAY), known)
        assert (done.expired, set(classes(tmp_path / "a"))) == ({"7d": 8}, {"3", "5"})
        assert not made.tend(Partition("7d", DAY), known)
        assert compact(settings, at("2026-02-01"))[0].expired == {"7d": 2}

    def test_statistics_are_missing(self, tmp_path: Path) -> None:
        """Records that another program has added without statistics are counted too."""
        settings = configured(tmp_path / "a", policies=[{"name": "all", "period": "7d"}])
        fill(settings, tmp_path, 1, 10)
        made = compactor(settings, at("2026-02-01"))
        partition = Partition("7d", DAY)
        for path, file in made.view.partitions[partition].items():
            made.view._partitions[partition][path] = type(file)(file.path, file.size, file.modified, None)
        assert made.tend(partition, {}).expired == {"7d": 10}


class TestPolicies:
    def test_records_move(self, tmp_path: Path) -> None:
        """When policies change, each record is kept as the new ones say, under the name of the one that says so."""
        fill(configured(tmp_path / "a"), tmp_path, 3)
        new = configured(
            tmp_path / "a",
            policies=[
                {
                    "name": "slow",
                    "period": "2y",
                    "conditions": [{"field": "performance.duration", "operator": "gt", "value": 100}],
                },
                {"name": "Errors", "period": "30d", "levels": ["error"]},
            ],
        )
        done = compact(new, SOON)
        assert sum(each.expired.total() for each in done) == 0
        fresh = configured(tmp_path / "b", policies=new.retention.policies)
        fill(fresh, tmp_path, 3)
        assert classes(tmp_path / "a") == classes(tmp_path / "b")
        assert compact(new, SOON) == []
        assert sum(each.moved.total() for each in done) > 300

    def test_a_shorter_period(self, tmp_path: Path) -> None:
        """A record whose new class has expired goes at once, counted under that class."""
        with writer(configured(tmp_path / "a"), tmp_path) as archive:
            archive.deliver([record(1, level="error"), record(2, level="error", category="http")])
        new = configured(tmp_path / "a", policies=[{"name": "http", "period": "60d", "categories": ["http"]}])
        done = compact(new, at("2026-01-20"))
        assert [each.expired for each in done] == [{"7d": 1}]
        assert classes(tmp_path / "a") == {"2": ("60d", "http")}

    def test_a_longer_period_comes_in_time(self, tmp_path: Path) -> None:
        """A record that would have expired by the policies it was written under stays when those of today keep it."""
        with writer(configured(tmp_path / "a"), tmp_path) as archive:
            archive.deliver([record(1), record(2, category="shop")])
        new = configured(tmp_path / "a", policies=[{"name": "shop", "period": "1y", "categories": ["shop"]}])
        compact(new, at("2026-01-20"))
        assert classes(tmp_path / "a") == {"2": ("1y", "shop")}

    def test_a_policy_is_renamed(self, tmp_path: Path) -> None:
        """A new name is written into the records, and none of them moves."""
        old = {"name": "old", "period": "30d"}
        fill(configured(tmp_path / "a", policies=[old]), tmp_path, 1, 10)
        (done,) = compact(configured(tmp_path / "a", policies=[{**old, "name": "new"}]), SOON)
        assert done.moved == {"30d": 10}
        assert set(classes(tmp_path / "a").values()) == {("30d", "new")}

    def test_what_was_checked_is_remembered(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Files that were checked are not read again, also by another compactor, until policies change."""
        settings = configured(tmp_path / "a")
        fill(settings, tmp_path, 1, 50)
        made = compactor(settings, SOON)
        for each in made.view.partitions:
            made.tend(each, {})
        made.checked(time.time() + 2 * 3600)
        made.checked(time.time() + 2 * 3600 + 5)
        assert DeltaTable(tmp_path / "a").version() == 2
        asked: list[Any] = []

        def check(*each: Any) -> Finding:
            asked.append(each)
            return Finding.SETTLED

        monkeypatch.setattr(Compactor, "_check", check)
        assert compact(settings, SOON) == []
        assert asked == []
        compact(configured(tmp_path / "a", default_period="8d"), SOON)
        assert len(asked) == len(made.view.partitions)
        name = checked_by(made._decider.fingerprint)
        assert DeltaTable(tmp_path / "a").transaction_version(name) == pytest.approx(
            (time.time() + 3600) * 1000, abs=1e6
        )


class TestBesideOthers:
    def test_a_file_is_gone(self, tmp_path: Path) -> None:
        """Two rewrites of the same file can't both be; the second changes nothing, and leaves nothing behind."""
        settings = configured(tmp_path / "a", policies=[{"name": "all", "period": "forever"}])
        fill(settings, tmp_path, 3, 20)
        one, two = compactor(settings, later), compactor(settings, later)
        partition = Partition("forever", DAY)
        assert one.tend(partition, {}).commits == 1
        two.view.refresh = lambda: None  # type: ignore[method-assign]
        files = [(partition, each) for each in two.view.partitions[partition].values()]
        del two.view.refresh
        with pytest.raises(ConflictError):
            two.view.commit(Change("OPTIMIZE", removed=files))
        assert rows(tmp_path / "a").height == 60

    def test_a_conflict_is_looked_at_again(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Who loses looks again, and finds nothing left to do; its files are gone."""
        settings = configured(tmp_path / "a", policies=[{"name": "all", "period": "forever"}])
        fill(settings, tmp_path, 3, 20)
        one, two = compactor(settings, later), compactor(settings, later)
        partition = Partition("forever", DAY)
        finish = Writers.finish

        def slowly(writers: Writers) -> Any:
            monkeypatch.setattr(Writers, "finish", finish)
            assert one.tend(partition, {}).commits == 1
            return finish(writers)

        monkeypatch.setattr(Writers, "finish", slowly)
        done = two.tend(partition, {})
        assert (done.commits, done.conflicts, done.settled) == (0, 1, True)
        assert len(list((tmp_path / "a").rglob("*.parquet"))) == 4
        assert rows(tmp_path / "a").height == 60

    def test_what_arrives_meanwhile_stays(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Records that a writer adds to a partition while it is rewritten, or dropped, are there afterwards."""
        settings = configured(tmp_path / "a", policies=[{"name": "all", "period": "7d"}])
        fill(settings, tmp_path, 3, 20)
        commit = View.commit

        def slowly(view: View, change: Change) -> None:
            monkeypatch.setattr(View, "commit", commit)
            with writer(settings, tmp_path) as archive:
                start = max(rows(tmp_path / "a")["offset"]) + 1
                archive.deliver(generated(1, start, 5), start)
            commit(view, change)

        monkeypatch.setattr(View, "commit", slowly)
        assert compact(settings, SOON, merge=True) == []
        made = compactor(settings, at("2026-02-01"))
        made.tend(Partition("7d", DAY), dict.fromkeys(made.view.partitions[Partition("7d", DAY)], Finding.SETTLED))
        assert rows(tmp_path / "a")["offset"].to_list() == []
        assert made.view.counter(EXPIRED) == 65

    @pytest.mark.parametrize("place", ["local", "s3"])
    def test_two_writers_and_two_compactors(self, place: str, tmp_path: Path) -> None:
        """Two writers and two compactors at once lose no record and double none, on a local disk and in S3."""
        commits = 20 if place == "local" else 6
        policies = [{"name": "errors", "period": "2y", "levels": ["error"]}, {"name": "all", "period": "1y"}]
        if place == "local":
            self._together(configured(tmp_path / "a", policies=policies), tmp_path, commits)
            found = classes(tmp_path / "a")
        else:
            with moto() as (where, access):
                settings = configured(where, archive=access, policies=policies)
                self._together(settings, tmp_path, commits)
                found = classes(where, settings.retention.archive.store().options())
        assert set(found) == {str(number) for number in range(2 * commits * 20)}

    def _together(self, settings: Any, folder: Path, commits: int) -> None:
        failed: list[BaseException] = []
        writing = threading.Event()

        def write(partition: int) -> None:
            with writer(settings, folder / str(partition)) as archive:
                for number in range(commits):
                    start = (partition * commits + number) * 20
                    some = [record(each, level=("info", "error")[each % 2]) for each in range(start, start + 20)]
                    archive.deliver(some, number * 20, "logs", partition)

        def merge() -> None:
            try:
                while not writing.is_set():
                    # Merges as soon as there are two files, so that both are always about the same ones.
                    made = compactor(settings, later)
                    for each in list(made.view.partitions):
                        made.tend(each, {})
            except BaseException as error:
                failed.append(error)
                raise

        writers = [threading.Thread(target=write, args=(partition,)) for partition in (0, 1)]
        compactors = [threading.Thread(target=merge) for _ in range(2)]
        for each in [*writers, *compactors]:
            each.start()
        for each in writers:
            each.join()
        writing.set()
        for each in compactors:
            each.join()
        assert failed == []


class TestBreakingOff:
    def test_stopped(self, tmp_path: Path) -> None:
        """Work that is broken off leaves the table as it was, and no file."""
        settings = configured(tmp_path / "a", policies=[{"name": "all", "period": "forever"}])
        fill(settings, tmp_path, 3, 20)
        asked = iter([False, False])
        made = compactor(settings, later, stopping=lambda: next(asked, True))
        with pytest.raises(StoppedError):
            made.tend(Partition("forever", DAY), {})
        assert DeltaTable(tmp_path / "a").version() == 3
        assert len(list((tmp_path / "a").rglob("*.parquet"))) == 3

    def test_a_file_that_lacks_records(self, tmp_path: Path) -> None:
        """Where a file holds other records than the table says, nothing is rewritten."""
        settings = configured(tmp_path / "a", policies=[{"name": "all", "period": "forever"}])
        fill(settings, tmp_path, 2, 20)
        paths = list((tmp_path / "a").rglob("*.parquet"))
        pq.write_table(pq.read_table(paths[0], partitioning=None).slice(0, 19), paths[0])
        with pytest.raises(LogweirError, match="it has 19 records, and the table's log says 20"):
            compact(settings, later)
        assert DeltaTable(tmp_path / "a").version() == 2
        assert len(list((tmp_path / "a").rglob("*.parquet"))) == 2

    def test_tables_that_need_more(self, tmp_path: Path) -> None:
        """A table that another program has changed into one that needs more of its writers is left alone."""
        settings = configured(tmp_path / "a")
        fill(settings, tmp_path, 1, 20)
        table = DeltaTable(tmp_path / "a")
        table.alter.set_table_properties({"delta.appendOnly": "true"})
        with pytest.raises(LogweirError, match="unset it to let records expire"):
            compactor(settings)
        table.alter.set_table_properties({"delta.appendOnly": "false", "delta.enableChangeDataFeed": "true"})
        with pytest.raises(LogweirError, match="version"):
            compactor(settings)

    def test_no_table(self, tmp_path: Path) -> None:
        """Where nothing was archived yet there is nothing to do."""
        assert compact(configured(tmp_path / "a")) == []


class TestVacuum:
    def test_grace(self, tmp_path: Path) -> None:
        """Files go once they have been out of the table for the grace period, and no earlier."""
        settings = configured(tmp_path / "a", policies=[{"name": "all", "period": "forever"}])
        fill(settings, tmp_path, 4, 20)
        (orphan := tmp_path / "a/retention=7d/date=2026-01-01/part-x.parquet").parent.mkdir(parents=True)
        orphan.write_bytes(b"1234")
        compact(settings, later)
        view = View(settings.retention.archive.store())
        assert vacuum(view, 86_400).files == 0
        assert vacuum(view, 86_400, later).files == 1
        assert not orphan.exists()
        assert vacuum(view, 86_400, lambda: time.time() + 86_000).files == 0
        found = vacuum(view, 86_400, lambda: time.time() + 86_500, dry_run=True)
        assert (found.files, len(list((tmp_path / "a").rglob("*.parquet")))) == (4, 5)
        assert vacuum(view, 86_400, lambda: time.time() + 86_500) == found
        assert len(list((tmp_path / "a").rglob("*.parquet"))) == 1
        assert rows(tmp_path / "a").height == 80

    def test_what_may_be_committed_yet(self, tmp_path: Path) -> None:
        """A file that no commit has named yet stays for an hour, whatever grace is asked for."""
        settings = configured(tmp_path / "a")
        fill(settings, tmp_path, 1, 20)
        (orphan := tmp_path / "a/retention=7d/part-x.parquet").write_bytes(b"1234")
        view = View(settings.retention.archive.store())
        assert vacuum(view, 0).files == 0
        assert orphan.exists()

    def test_half_an_entry(self, tmp_path: Path) -> None:
        """What is left in the log by who was killed within a claim is in no reader's way, and goes after an hour."""
        settings = configured(tmp_path / "a")
        fill(settings, tmp_path, 1, 20)
        log = tmp_path / "a/_delta_log"
        before = set(log.iterdir())
        entry = f"_delta_log/{1:020}.json"
        claim = f"DirectoryObjects(pathlib.Path({str(tmp_path / 'a')!r})).claim({entry!r}, b'half')"
        killed = (
            "import os, pathlib; from sinks.archive_objects import DirectoryObjects; os.link = lambda *_: os._exit(9)"
        )
        assert subprocess.run([sys.executable, "-c", f"{killed}\n{claim}"], check=False).returncode == 9
        # As delta-rs names it.
        (log / f"{entry.removeprefix('_delta_log/')}#1").write_bytes(b"half")
        assert len(set(log.iterdir()) - before) == 2
        view = View(settings.retention.archive.store())
        assert vacuum(view, 0).files == 0
        assert rows(tmp_path / "a").height == 20
        assert vacuum(view, 0, lambda: time.time() + 3700, dry_run=True).files == 2
        assert vacuum(view, 0, lambda: time.time() + 3700).bytes == 8
        assert set(log.iterdir()) == before
        assert rows(tmp_path / "a").height == 20

    def test_s3(self, tmp_path: Path) -> None:
        """In S3 too only what the table doesn't need is deleted."""
        with moto() as (where, access):
            settings = configured(where, archive=access, policies=[{"name": "all", "period": "forever"}])
            fill(settings, tmp_path, 4, 20)
            compact(settings, later)
            view = View(settings.retention.archive.store())
            assert vacuum(view, 0, later).files >= 4
            assert len([path for path, *_ in view.objects.listed() if path.endswith(".parquet")]) == 1
            assert rows(where, settings.retention.archive.store().options()).height == 80


def test_broken_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that are given up half written leave nothing behind, nor a word when they are forgotten."""
    settings = configured(tmp_path / "a")
    fill(settings, tmp_path, 1, 200)
    view = View(settings.retention.archive.store())
    view.load()
    monkeypatch.setattr("flows.compaction.rewrite.GROUP_BYTES", 1)
    said: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", said.append)
    before = sorted((tmp_path / "a").rglob("*.parquet"))
    writers = Writers(view, 1 << 30, lambda: False)
    (partition, files) = next(iter(view.partitions.items()))
    for file in files.values():
        for batch in read(view, file):
            writers.add(partition, batch)
    assert sorted((tmp_path / "a").rglob("*.parquet")) != before
    writers.discard()
    del writers
    gc.collect()
    assert said == []
    assert sorted((tmp_path / "a").rglob("*.parquet")) == before


def test_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long records are, only so many are read at once as fit into a few megabytes."""
    settings = configured(tmp_path / "a", policies=[{"name": "all", "period": "forever"}])
    with writer(settings, tmp_path) as archive:
        archive.deliver([record(number, message="x" * 10_000) for number in range(100)])
    view = View(settings.retention.archive.store())
    view.load()
    monkeypatch.setattr("flows.compaction.rewrite._BATCH_BYTES", 100_000)
    (file,) = view.partitions[Partition("forever", DAY)].values()
    sizes = [batch.num_rows for batch in read(view, file, ["id"])]
    assert sum(sizes) == 100
    assert 1 < max(sizes) < 30
