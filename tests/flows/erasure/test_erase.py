"""Erasure: what is erased is gone from every file of the table, and nothing else is."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from deltalake import DeltaTable

from flows.archiving import FlowArchive
from flows.cli import main
from flows.compaction.rewrite import Writers
from flows.compaction.view import View
from flows.erasure.erase import Eraser, Erasure
from flows.search.answer import Search
from flows.search.query import Query
from logweir.archive_table import GRACE_SECONDS
from operators.where import parse
from tests.flows.compaction.support import at, compact, moto
from tests.sinks.archive_support import configured, ids, rows, writer

VICTIM = "u-v1ctim"
NOW = at("2026-01-03")
"""Nothing has expired yet."""
WHERE = f"user.id = '{VICTIM}'"


def record(number: int, victim: bool = False, day: int = 1, **more: Any) -> bytes:
    """Return a record with this number as its id; a victim's values are like no others', and greater or less."""
    level = ("info", "error", "warn")[number % 3]
    made = {"timestamp": f"2026-01-{day:02}T00:00:00.{number % 1000:03}Z", "level": level, "message": f"m{number}"}
    if victim:
        edge = "0" if number % 2 else "z"
        more |= {
            "user": {"id": VICTIM},
            "context": {"service": f"{edge}-v1ctim"},
            "trace": {"traceId": f"v1ctim{number}"},
        }
        return orjson.dumps({"id": f"{edge}v1ctim{number}", **made, "message": f"of {VICTIM}", **more})
    return orjson.dumps({"id": str(number), **made, "context": {"service": "shop"}, "user": {"id": "other"}, **more})


def records(count: int, start: int = 0) -> list[bytes]:
    """Return records of two days, each tenth of them a victim's."""
    return [record(number, number % 10 == 0, 1 + number % 2) for number in range(start, start + count)]


def others(values: list[bytes]) -> list[str]:
    """Return the ids of those that aren't a victim's."""
    return sorted(json.loads(value)["id"] for value in values if b"v1ctim" not in value)


def filled(place: Path, folder: Path, values: list[bytes], commits: int = 4, **changes: Any) -> FlowArchive:
    """Return an archive with these records, in so many commits."""
    settings = configured(place, **changes)
    size = len(values) // commits
    with writer(settings, folder) as archive:
        for start in range(0, len(values), size):
            archive.deliver(values[start : start + size], start)
    return settings


def erase(settings: FlowArchive, where: str = WHERE, **more: Any) -> Erasure:
    """Erase, and return the report."""
    return Eraser(settings, parse(where), **more).erase()


def traces(place: Path, wanted: bytes = b"v1ctim") -> list[str]:
    """Return the files of a table in which a text stands, as they are or in what is compressed in them."""
    found = []
    for file in sorted(place.rglob("*")):
        if not file.is_file():
            continue
        if wanted in file.read_bytes():
            found.append(f"{file.name} as it is")
        if file.suffix == ".parquet":
            # Whatever its columns are, nested ones too.
            held = str(pq.read_table(file, partitioning=None).to_pylist())
            if wanted.decode() in held:
                found.append(f"{file.name} in its columns")
            metadata = pq.read_metadata(file)
            groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
            if any(wanted.decode() in str(each.to_dict()) for each in groups):
                found.append(f"{file.name} in its statistics")
    return found


class TestNothingIsLeft:
    def test_grep(self, tmp_path: Path) -> None:
        """No file of the table has a trace of what was erased: data, log, checkpoints, what others have left."""
        place = tmp_path / "a"
        values = records(240)
        settings = filled(place, tmp_path, values[:160], 10)
        DeltaTable(place).create_checkpoint()
        assert compact(settings, NOW)  # the files that it replaces stay for a day
        with writer(settings, tmp_path) as archive:
            archive.deliver(values[160:200], 160)
            DeltaTable(place).create_checkpoint()
            archive.deliver(values[200:], 200)
        some = next(place.rglob("part-*.parquet"))
        orphan = some.with_name("part-orphan.parquet")
        pq.write_table(pa.table({"raw": pa.array([record(1, victim=True)], pa.binary())}), orphan)
        half = some.with_name("part-half.parquet")
        half.write_bytes(b"PAR1 v1ctim")
        left = place / "_delta_log" / "_commit_1.json.tmp"
        left.write_bytes(b'{"add":{"stats":"v1ctim"}}')
        for each in (orphan, half, left):
            os.utime(each, (time.time() - GRACE_SECONDS - 60,) * 2)
        half_before = half.exists()
        version = DeltaTable(place).version()

        report = erase(settings)

        assert half_before
        assert report.complete
        assert report.erased.total() == 24
        assert traces(place) == []
        assert sorted(ids(place)) == others(values)
        assert {json.loads(raw)["id"] for raw in rows(place)["raw"].to_list()} == set(others(values))
        assert DeltaTable(place).version() > version

    def test_the_table_goes_on(self, tmp_path: Path) -> None:
        """After an erasure the table can be written, compacted, searched and erased from, and no record comes back."""
        place = tmp_path / "a"
        values = records(80)
        settings = filled(place, tmp_path, values)
        erase(settings)
        with writer(settings, tmp_path) as archive:
            archive.deliver(values, 0)
            assert archive.delivery.ledger.duplicates == 80
            archive.deliver(records(40, 80), 80)
        compact(settings, NOW)
        assert sorted(ids(place)) == sorted(others(values) + [json.loads(each)["id"] for each in records(40, 80)])
        assert erase(settings).erased.total() == 4
        assert sorted(ids(place)) == others(values + records(40, 80))
        assert traces(place) == []
        table = DeltaTable(place)
        table.create_checkpoint()
        assert table.transaction_version("flow/logs/0") == 120
        assert traces(place) == []

    def test_statistics(self, tmp_path: Path) -> None:
        """What is still in the table keeps its statistics, so that it is found as quickly as before."""
        place = tmp_path / "a"
        settings = filled(place, tmp_path, records(80))
        erase(settings)
        listed = pa.table(DeltaTable(place).get_add_actions(flatten=True)).to_pylist()
        assert listed
        assert all(each["num_records"] and each["min.id"] and each["max.offset"] is not None for each in listed)

    def test_by_any_condition(self, tmp_path: Path) -> None:
        """Exactly those records go that meet the expression."""
        place = tmp_path / "a"
        values = records(60)
        settings = filled(place, tmp_path, values)
        parsed = [json.loads(value) for value in values]
        erase(settings, "level = 'error' and (message matches '[05]$' or id = '1') or message in ('m2', 'm4')")
        gone = [
            each
            for each in parsed
            if (each["level"] == "error" and (each["message"][-1] in "05" or each["id"] == "1"))
            or each["message"] in {"m2", "m4"}
        ]
        assert 4 < len(gone) < 40
        assert sorted(ids(place)) == sorted(each["id"] for each in parsed if each not in gone)

    def test_escapes(self, tmp_path: Path) -> None:
        """A value is found however it is spelt."""
        place = tmp_path / "a"
        values = [
            b'{"id":"1","user":{"id":"u\\u002d1"}}',
            b'{"id":"2","user":{"id":"u-1"}}',
            b'{"id":"3","user":"u-1"}',
        ]
        settings = filled(place, tmp_path, values, 1)
        assert erase(settings, "user.id = 'u-1'").erased.total() == 2
        assert ids(place) == ["3"]

    def test_a_whole_partition(self, tmp_path: Path) -> None:
        """A file of which nothing would be left is replaced by none."""
        place = tmp_path / "a"
        settings = filled(place, tmp_path, [record(1, victim=True), record(2, victim=True)], 1)
        report = erase(settings)
        assert report.erased.total() == 2
        assert list(place.rglob("*.parquet")) == [] or all(
            "checkpoint" in each.name for each in place.rglob("*.parquet")
        )
        assert ids(place) == []

    def test_s3(self, tmp_path: Path) -> None:
        """In S3 the same is gone, and the same is left."""
        with moto() as (place, access):
            values = records(80)
            settings = configured(place, archive=access)
            with writer(settings, tmp_path) as archive:
                archive.deliver(values[:40], 0)
                archive.deliver(values[40:], 40)
            report = erase(settings)
            assert report.complete
            assert report.erased.total() == 8
            store: Any = settings.retention.archive.store()
            assert sorted(ids(place, store.options())) == others(values)
            client = store.client()
            listed = client.list_objects_v2(Bucket=store.bucket)["Contents"]
            for each in listed:
                body = client.get_object(Bucket=store.bucket, Key=each["Key"])["Body"].read()
                assert b"v1ctim" not in body, each["Key"]
            store.close()


class TestHolds:
    HOLD = ({"name": "Case 7", "where": "message contains 'v1ctim' and level = 'error'"},)

    def test_erasure(self, tmp_path: Path) -> None:
        """What a hold keeps is not erased, and it is said how many records each hold has kept."""
        place = tmp_path / "a"
        values = records(120)
        settings = filled(place, tmp_path, values, hold=[*self.HOLD, {"name": "None", "where": "id = 'nobody'"}])
        report = erase(settings)
        held = [json.loads(each)["id"] for each in values if b"v1ctim" in each and b'"error"' in each]
        assert len(held) == 4
        assert report.erased.total() == 8
        assert report.kept == 4
        assert +report.held == {"Case 7": 4}
        assert sorted(ids(place)) == sorted(others(values) + held)
        again = erase(settings)
        assert (again.erased.total(), again.kept) == (0, 4)
        lifted = configured(place)
        assert erase(lifted).erased.total() == 4
        assert traces(place) == []

    def test_expiry(self, tmp_path: Path) -> None:
        """What a hold keeps does not expire, also where all around it does, and expires once the hold is lifted."""
        from flows.retention_commands import clean

        place = tmp_path / "a"
        values = records(120)
        settings = filled(place, tmp_path, values, hold=list(self.HOLD))
        held = sorted(json.loads(each)["id"] for each in values if b"v1ctim" in each and b'"error"' in each)
        expected = clean(settings, at("2030-01-01"), dry_run=True)
        cleaned = clean(settings, at("2030-01-01"))
        assert expected.to_dict()["expired"] == cleaned.to_dict()["expired"] == 116
        assert sorted(ids(place)) == held
        assert clean(settings, at("2030-01-01")).to_dict()["expired"] == 0
        assert clean(configured(place), at("2030-01-01")).to_dict()["expired"] == 4
        assert ids(place) == []

    def test_what_is_left_stays(self, tmp_path: Path) -> None:
        """Files of which all that is left is held are not written again, however often they are looked at."""
        from flows.retention_commands import clean

        settings = filled(tmp_path / "a", tmp_path, records(120), hold=list(self.HOLD))
        clean(settings, at("2030-01-01"))
        before = DeltaTable(tmp_path / "a")
        cleaned = clean(settings, at("2030-01-02"))
        after = DeltaTable(tmp_path / "a")
        assert (after.version(), sorted(after.file_uris())) == (before.version(), sorted(before.file_uris()))
        assert cleaned.unsettled == []

    def test_it_is_told(self, tmp_path: Path) -> None:
        """`explain` and `search` say which holds keep a record."""
        settings = filled(tmp_path / "a", tmp_path, [record(10, victim=True), record(4)], 1, hold=list(self.HOLD))
        del settings
        flow = flow_file(tmp_path, hold=list(self.HOLD))
        said = CliRunner().invoke(main, ["explain", str(flow)], input=record(10, victim=True) + b"\n" + record(1))
        first, second = [line for line in said.stdout.splitlines() if line.startswith("  archive:")]
        assert first.endswith("; held by 'Case 7', so it stays until that is lifted")
        assert "held" not in second
        said = CliRunner().invoke(main, ["explain", "--json", str(flow)], input=record(10, victim=True))
        assert json.loads(said.stdout)["retention"]["held_by"] == ["Case 7"]
        shown = CliRunner().invoke(main, ["search", str(flow), "--kept"]).stdout.splitlines()
        assert [line.endswith("held by 'Case 7', so it stays until that is lifted") for line in shown[1::2]] == [
            True,
            False,
        ]

    @pytest.mark.parametrize(
        ("hold", "said"),
        [
            (
                [{"name": "A", "where": "user.id = u1"}],
                "retention.hold[0].where: position 11: put text in quotes: 'u1'",
            ),
            ([{"name": "A", "where": "a = 1"}, {"name": "A", "where": "b = 1"}], "another hold has this name"),
            ([{"name": "A"}], "retention.hold[0]: `where` is required"),
        ],
    )
    def test_findings(self, tmp_path: Path, hold: list[dict[str, str]], said: str) -> None:
        """A hold that can't be read is a finding with its place."""
        found = CliRunner().invoke(main, ["check", str(flow_file(tmp_path, hold=hold))])
        assert found.exit_code == 2
        assert said in found.stderr


class TestBeside:
    def test_a_writer(self, tmp_path: Path) -> None:
        """Records that are appended meanwhile are there afterwards, but for those that were to be erased."""
        place = tmp_path / "a"
        values = records(400)
        settings = filled(place, tmp_path, values[:200])
        started = threading.Event()

        def append() -> None:
            with writer(settings, tmp_path) as archive:
                for start in range(200, 400, 20):
                    archive.deliver(values[start : start + 20], start)
                    started.set()

        thread = threading.Thread(target=append)
        thread.start()
        assert started.wait(60)
        erase(settings)
        thread.join(120)
        assert not thread.is_alive()
        found = ids(place)
        assert len(found) == len(set(found))
        assert {each for each in found if "v1ctim" not in each} == set(others(values))
        erase(settings)
        assert sorted(ids(place)) == others(values)
        assert traces(place) == []

    def test_a_compactor(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where a compactor merges the very files that are being rewritten, neither loses what the other has done."""
        place = tmp_path / "a"
        values = records(200)
        settings = filled(place, tmp_path, values, 10)
        original = View.commit
        compacted: list[Any] = []

        def commit(self: View, change: Any) -> None:
            if not compacted:
                compacted.append(True)
                compacted.extend(compact(settings, NOW))
            original(self, change)

        monkeypatch.setattr(View, "commit", commit)
        report = erase(settings)
        assert len(compacted) > 1
        assert report.complete
        assert sorted(ids(place)) == others(values)
        assert traces(place) == []

    def test_a_reader(self, tmp_path: Path) -> None:
        """A search that has begun goes on in the files that took the place of those that were deleted."""
        place = tmp_path / "a"
        values = [record(number, number == 5) for number in range(40)]
        settings = filled(place, tmp_path, values)
        search = Search(settings.retention.archive.store(), Query())
        erase(settings)
        assert len(list(search.newest(100))) == 39


class TestInterrupted:
    def test_killed_anywhere(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Killed at any step and run again, it comes to the same end, and the table is whole in between."""
        from sinks.archive_objects import DirectoryObjects

        steps = ("claim", "replace", "delete", "write")
        values = records(40)
        monkeypatch.setattr(Writers, "discard", lambda self: None)  # a process that is killed tidies nothing up

        class Killed(BaseException):
            """As if it were."""

        left = 0

        def counted(name: str) -> Any:
            original = getattr(DirectoryObjects, name)

            def step(self: Any, *arguments: Any) -> Any:
                nonlocal left
                left -= 1
                if left == 0:
                    raise Killed
                return original(self, *arguments)

            return step

        patched = {name: counted(name) for name in steps}
        at_step, ended = 0, False
        while not ended:
            at_step += 3
            place = tmp_path / str(at_step)
            settings = filled(place, tmp_path, values, 2)
            with monkeypatch.context() as patch:
                for name, step in patched.items():
                    patch.setattr(DirectoryObjects, name, step)
                left = at_step
                try:
                    erase(settings)
                    ended = True
                except Killed:
                    pass
            assert {each for each in ids(place) if "v1ctim" not in each} == set(others(values))
            # What it was about to commit is left alone for an hour.
            assert erase(settings, clock=lambda: time.time() + GRACE_SECONDS + 60).complete
            assert sorted(ids(place)) == others(values)
            assert traces(place) == []
        assert at_step > 9

    def test_a_file_that_may_still_be_committed(self, tmp_path: Path) -> None:
        """A file that a writer may be about to commit is left alone and reported, and gone with the next run."""
        place = tmp_path / "a"
        settings = filled(place, tmp_path, records(40))
        some = next(place.rglob("part-*.parquet"))
        pending = some.with_name("part-pending.parquet")
        pq.write_table(pa.table({"raw": pa.array([record(1, victim=True)], pa.binary())}), pending)
        harmless = some.with_name("part-harmless.parquet")
        pq.write_table(pa.table({"raw": pa.array([record(1)], pa.binary())}), harmless)
        result = CliRunner().invoke(main, ["erase", str(flow_file(tmp_path)), "--where", WHERE, "--yes"])
        assert result.exit_code == 1
        assert (
            "NOT COMPLETE: 1 files that no commit has named yet may hold such records; run it again after"
            in result.stdout
        )
        assert pending.exists()
        assert erase(settings, clock=lambda: time.time() + GRACE_SECONDS + 60).complete
        assert not pending.exists()
        assert harmless.exists()
        assert traces(place) == []


def flow_file(folder: Path, **retention: Any) -> Path:
    """Return a flow file with an archive."""
    path = folder / "flow.yaml"
    flow = {
        "name": "flow",
        "source": {"type": "kafka", "brokers": ["b:9092"], "topics": ["logs"]},
        "destinations": {"search": {"type": "console"}},
        "retention": {"archive": str(folder / "a"), **retention},
    }
    path.write_text(json.dumps(flow))
    return path


class TestCommand:
    @pytest.fixture
    def flow(self, tmp_path: Path) -> Path:
        """A flow with 40 records, four of them a victim's."""
        filled(tmp_path / "a", tmp_path, records(40))
        return flow_file(tmp_path)

    def test_dry_run(self, flow: Path) -> None:
        """A dry run tells what would be erased, and changes nothing."""
        place = flow.with_name("a")
        before = sorted((path, path.stat().st_mtime_ns) for path in place.rglob("*") if path.is_file())
        result = CliRunner().invoke(main, ["erase", str(flow), "--where", WHERE, "--dry-run"])
        assert result.exit_code == 0
        assert result.stdout.startswith("4 records would be erased, from ")
        assert "  the topic logs, until its own retention\n  dead letters in the topics dead.*\n" in result.stdout
        assert "  the destination search (console)\n" in result.stdout
        assert sorted((path, path.stat().st_mtime_ns) for path in place.rglob("*") if path.is_file()) == before

    def test_report(self, flow: Path) -> None:
        """The report counts records, files and bytes, by class."""
        result = CliRunner().invoke(main, ["erase", str(flow), "--where", WHERE, "--yes", "--json"])
        assert result.exit_code == 0
        told = json.loads(result.stdout)
        assert (told["erased"], told["complete"], told["held"]) == (4, True, 0)
        assert sum(told["erased_by_class"].values()) == 4
        assert told["files_deleted"] >= told["files"] > 0
        assert told["bytes_before"] > told["bytes_after"] > 0
        shown = CliRunner().invoke(main, ["retention", "stats", str(flow)]).stdout
        assert shown.startswith("40 records archived: 36 retained")
        assert "0 deleted when they expired, 4 erased" in shown

    def test_nobody_to_ask(self, flow: Path) -> None:
        """Without a terminal it has to be told that it may."""
        result = CliRunner().invoke(main, ["erase", str(flow), "--where", WHERE])
        assert result.exit_code == 2
        assert "4 records of" in result.stderr
        assert "say --yes, or --dry-run" in result.stderr

    def test_a_wrong_expression(self, flow: Path) -> None:
        """An expression that can't be read erases nothing, and is a matter of usage."""
        result = CliRunner().invoke(main, ["erase", str(flow), "--where", "user.id = u1", "--yes"])
        assert result.exit_code == 2
        assert "--where: position 11: put text in quotes: 'u1'" in result.stderr

    def test_no_archive_yet(self, tmp_path: Path) -> None:
        """Where nothing was archived it is said so."""
        result = CliRunner().invoke(main, ["erase", str(flow_file(tmp_path)), "--where", WHERE, "--yes"])
        assert result.exit_code == 1
        assert "there is no archive at" in result.stderr
