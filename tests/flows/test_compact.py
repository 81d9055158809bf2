"""The compaction flow: as a dataflow, alone by `logweir compact`, and beside what `logweir run` delivers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from bytewax.testing import run_main
from click.testing import CliRunner
from deltalake import DeltaTable, write_deltalake
from prometheus_client import generate_latest

from flows.archiving import FlowArchive
from flows.ask import status_text
from flows.cli import main
from flows.compact import dataflow
from flows.compaction.cluster import Compaction
from flows.compaction.run import CompactionRun, report_text
from flows.compaction.work import Listed, Work
from flows.config import load
from flows.metrics import registry_of
from flows.reload import Outcomes
from flows.status import whole
from logweir.errors import LogweirError
from logweir.events import Events
from sinks.archive_objects import DirectoryObjects
from tests.flowing import COMMAND, ROOT, Running, until
from tests.flows.compaction.crashing import crash
from tests.flows.compaction.simulated import simulate
from tests.flows.compaction.support import at, classes, record
from tests.sinks.archive_support import configured, rows, writer

ALL = [{"name": "all", "period": "100y"}]


def worked(settings: FlowArchive, clock: Any = time.time) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Run the dataflow once in this process; return its status and its events."""
    told: list[dict[str, Any]] = []
    events = Events()
    events.listen(told.append)
    work = Work(settings, events, once=True, clock=clock)
    run_main(dataflow(work, once=True))
    return work.status(), told


class TestDataflow:
    def test_rounds(self, tmp_path: Path) -> None:
        """Two rounds do all that is to be done, and tell what that was; the next have nothing left to do."""
        settings = configured(tmp_path / "a")
        with writer(settings, tmp_path) as archive:
            for number in range(3):
                archive.deliver([record(number * 2), record(number * 2 + 1, level="error")], number * 2)
        now = at("2026-02-01")
        status, told = worked(settings, now)
        assert status["since_start"]["expired"] == {"7d": 3}
        assert (status["archive"]["retained"], status["archive"]["deleted"]) == (3, 3)
        assert [each["event"] for each in told] == ["archive.compacted"]
        assert told[0]["expired"] == {"7d": 3}
        assert set(classes(tmp_path / "a")) == {"1", "3", "5"}
        status, told = worked(settings, now)
        assert (status["since_start"]["commits"], told) == (0, [])
        assert status["round"]["settled"]

    def test_what_moves_is_merged_too(self, tmp_path: Path) -> None:
        """Records that change their class are merged with those that are there, within the same run."""
        with writer(configured(tmp_path / "a"), tmp_path) as archive:
            for number in range(3):
                archive.deliver([record(number * 2), record(number * 2 + 1, level="error")], number * 2)
        status, _ = worked(configured(tmp_path / "a", policies=ALL), lambda: time.time() + 7200)
        assert set(classes(tmp_path / "a").values()) == {("100y", "all")}
        assert status["since_start"]["moved"] == {"100y": 6}
        assert len(DeltaTable(tmp_path / "a").file_uris()) == 1

    def test_a_quiet_round(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where there is nothing to do, a round takes a few requests, however many partitions there are."""
        settings = configured(tmp_path / "a", policies=ALL)
        with writer(settings, tmp_path) as archive:
            archive.deliver([record(day, f"2026-01-{day:02}") for day in range(1, 31)])
        worked(settings)
        asked: list[str] = []
        read = DirectoryObjects.read

        def noted(objects: DirectoryObjects, path: str) -> bytes | None:
            asked.append(path)
            return read(objects, path)

        monkeypatch.setattr(DirectoryObjects, "read", noted)
        worked(settings)
        assert 0 < len(asked) < 12

    def test_a_store_that_fails(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """While the table can't be read, a round asks once, not for each partition; then all is well again."""
        settings = configured(tmp_path / "a", policies=ALL)
        with writer(settings, tmp_path) as archive:
            archive.deliver([record(day, f"2026-01-{day:02}") for day in range(1, 31)])
        told: list[dict[str, Any]] = []
        events = Events()
        events.listen(told.append)
        work = Work(settings, events)
        partitions = work.partitions()
        asked: list[str] = []

        def failing(_objects: DirectoryObjects, path: str) -> bytes:
            asked.append(path)
            raise OSError(5, "Input/output error")

        with monkeypatch.context() as patch:
            patch.setattr(DirectoryObjects, "read", failing)
            listed = [Listed(2, time.time(), len(partitions), each) for each in partitions]
            looked = [work.look(each, {}) for each in listed]
            work.conclude(looked)
        assert all(each.failed for each in looked)
        assert len(asked) == 2
        assert work.failing
        assert "Input/output error" in work.status()["issues"][0]
        work.conclude([work.look(each._replace(round=3, at=time.time()), {}) for each in listed])
        assert work.status()["issues"] == []
        assert [each["status"] for each in told if each["event"] == "archive.compaction"] == ["error", "well"]

    def test_many_issues(self, tmp_path: Path) -> None:
        """However many partitions fail, a few issues are told, and those of partitions that are gone are forgotten."""
        work = Work(configured(tmp_path / "a"), Events())
        for number in range(9):
            work._fail(str(number), LogweirError(f"issue {number}"))
        assert work.status()["issues"] == [*(f"issue {number}" for number in range(5)), "and 4 more"]
        work._refresh()
        assert not work.failing

    def test_nothing_yet(self, tmp_path: Path) -> None:
        """Before anything is archived a round is quiet."""
        status, told = worked(configured(tmp_path / "a"))
        assert (status["archive"]["retained"], status["issues"], told) == (0, [], [])
        assert not (tmp_path / "a").exists()

    def test_failures(self, tmp_path: Path) -> None:
        """What can't be done is told once in words, and all else is done."""
        settings = configured(tmp_path / "a", policies=ALL)
        with writer(settings, tmp_path) as archive:
            for day in ("2026-01-01", "2026-01-02"):
                for number in range(2):
                    archive.deliver([record(number, day)], number + (day > "2026-01-01") * 10)
        next((tmp_path / "a").rglob("date=2026-01-01/*.parquet")).unlink()
        status, told = worked(settings, lambda: time.time() + 7200)
        assert status["since_start"]["failures"] == 2
        assert status["since_start"]["files_removed"] == 2
        assert "No such file" in status["issues"][0]
        assert [each["event"] for each in told] == ["archive.compaction", "archive.compacted"]
        write = (tmp_path / "a/_delta_log/00000000000000000009.json").write_text
        write("nonsense")
        assert worked(settings)[0]["issues"]


def flow_file(directory: Path, **more: Any) -> Path:
    """Write a flow of made-up records with an archive, and return its path."""
    flow = {
        "name": "a",
        "source": {"type": "generate", "rate": 2000, "start_time": "2026-01-01T00:00:00Z"},
        "destinations": {"out": {"type": "file", "path": str(directory / "out.ndjson")}},
        "retention": {
            "archive": {"path": str(directory / "a"), "batch": {"flush_interval": "100ms"}},
            "policies": ALL,
            "compaction": {"interval": "1s"},
        },
        "recovery": {"directory": str(directory / "recovery"), "interval": "200ms"},
        "status": {"listen": "127.0.0.1:0"},
        **more,
    }
    path = directory / "flow.yaml"
    path.write_text(json.dumps(flow))
    return path


def compactors(run: Running) -> list[int]:
    """Return the process ids of a run's compaction."""
    found = []
    for task in Path(f"/proc/{run.process.pid}/task").glob("*/children"):
        found += [int(pid) for pid in task.read_text().split()]
    return [pid for pid in found if b"flows.compaction.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_beside_a_flow(tmp_path: Path) -> None:
    """A flow that runs has its archive compacted, goes on when the compaction is killed, and starts that again."""
    path = flow_file(tmp_path)
    with Running(path) as run:
        run.until(lambda: run.told("archive.compacted"), "it is compacted")
        for pid in compactors(run):
            os.kill(pid, signal.SIGKILL)
        run.until(lambda: run.told("archive.crashed"), "that it was killed is noticed")
        before = len(run.told("archive.compacted"))
        run.until(lambda: len(run.told("archive.compacted")) > before, "it is compacted again")
        assert run.stop() == 0
        ledger = run.ledgers()["archive"]
        assert rows(tmp_path / "a").height == ledger.delivered - ledger.duplicates
    assert classes(tmp_path / "a")


def test_a_flow_that_ends(tmp_path: Path) -> None:
    """When there is nothing more to read, the compaction ends with the flow; switched off it doesn't run."""
    source = {"type": "generate", "rate": 0, "count": 2000}
    with Running(flow_file(tmp_path, source=source)) as run:
        until(lambda: run.process.poll() is not None, "it ends")
        assert run.process.returncode == 0
    retention = {"archive": str(tmp_path / "a"), "compaction": {"enabled": False}}
    with Running(flow_file(tmp_path, retention=retention)) as run:
        run.until(run.workers, "it runs")
        assert compactors(run) == []
        path = flow_file(tmp_path, retention={"archive": str(tmp_path / "a")})
        run.until(lambda: run.told("config.reloaded") and compactors(run), "it is switched on")
        path.write_text(path.read_text().replace('"retention": {', '"retention": {"default_period": "8d", '))
        run.until(lambda: any("compaction" in each["reason"] for each in run.told("flow.restarted")), "by new policies")
        flow_file(tmp_path, retention=retention)
        run.until(lambda: not compactors(run), "it is switched off")
        assert run.stop() == 0


def test_alone(tmp_path: Path) -> None:
    """`logweir compact --once` does all that is to be done, on two workers, says what that was, and ends."""
    path = flow_file(tmp_path)
    archive = load(path).flow.archive
    assert archive is not None
    with writer(archive, tmp_path) as made:
        for number in range(16):
            made.deliver([record(number, f"2026-01-0{number % 2 + 1}")], number)
    command = [*COMMAND, "compact", str(path), "--once", "--workers", "2"]
    found = subprocess.run([*command, "--json"], cwd=ROOT, capture_output=True, check=True)
    done = json.loads(found.stdout)
    assert (done["since_start"]["files_removed"], done["since_start"]["files_added"]) == (16, 2)
    assert (done["archive"]["retained"], done["healthy"]) == (16, True)
    assert set(classes(tmp_path / "a")) == set(map(str, range(16)))
    assert "16 files" in report_text(done)
    assert b"retrying" not in found.stderr


def test_json_goes_with_once(tmp_path: Path) -> None:
    """What goes on for ever has nothing to print at its end, so `--json` without `--once` is refused."""
    result = CliRunner().invoke(main, ["compact", str(flow_file(tmp_path)), "--json"])
    assert result.exit_code == 2
    assert "goes with --once" in result.stderr


def test_kept_alone(tmp_path: Path) -> None:
    """`logweir compact` goes on until it is stopped, and serves what it has done."""
    path = flow_file(tmp_path)
    archive = load(path).flow.archive
    assert archive is not None
    with writer(archive, tmp_path) as made:
        for number in range(8):
            made.deliver([record(number)], number)
    run = CompactionRun(load(path), 1, once=False)
    run._compaction.start()
    try:
        until(lambda: run._compaction.tend(time.monotonic()) and run.report()["archive"], "a round")
        status = run.status()
        assert (status["healthy"], status["retention"]["archive"]["retained"]) == (True, 8)
        text = generate_latest(registry_of(dict, run._config.to_dict, run.report)).decode()
        assert 'logweir_archive_records{class="100y"} 8.0' in text
        assert 'logweir_archive_deleted_records_total{class="100y"} 0.0' in text
        assert "logweir_compaction_healthy 1.0" in text
        assert "8 records retained" in status_text(status)
    finally:
        run._on_signal(signal.SIGTERM, None)
        until(lambda: not run._compaction.tend(time.monotonic()), "it ends")
    assert run._compaction.result == 0


def test_failures_are_told(tmp_path: Path) -> None:
    """What can't be done makes the run unhealthy, with the reason, and `--once` fails; destinations stay ready."""
    path = flow_file(tmp_path)
    write_deltalake(tmp_path / "a", pa.table({"x": [1]}))
    compaction = Compaction(load(path).flow, 1, lambda *_args, **_more: None, {}, once=True)
    compaction.start()
    until(lambda: not compaction.tend(time.monotonic()), "it ends")
    assert compaction.result == 1
    status = whole("a", {}, time.time(), Outcomes("1").to_dict(), compaction.report())
    assert not status["healthy"]
    assert "is a table of another kind" in status_text(status)
    assert "failed: " in report_text(compaction.report())


def test_months(tmp_path: Path) -> None:
    """Over months, with policies that change on the way, exactly those records are left that should be."""
    found = simulate(tmp_path, 20_000, 60, 1, 10_000)
    assert 0 < found.left < found.records
    assert found.files < found.files_written


def test_killed(tmp_path: Path) -> None:
    """A compactor that is killed beside a writer has lost and doubled nothing, and the table could always be read."""
    assert crash(tmp_path, kills=2, longest=0.5).merged > 0
