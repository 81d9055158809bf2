"""A dataflow's worker processes: what becomes of a stop, a crash and changed settings that come at a bad moment."""

from __future__ import annotations

import io
import json
import signal
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from flows import cluster as module
from flows import supervisor
from flows.assigning import assign
from flows.cluster import Cluster
from flows.config import Flow, LoadedFlow, built
from flows.display import Display
from flows.document import read
from flows.orders import Prepare, Swap
from flows.runtime import Assignment
from flows.worker import EXIT_UNDELIVERED
from logweir.errors import LogweirError
from logweir.events import Events


class Process:
    """Stands for a worker process: it ends when a test says so, and does at once what is ordered."""

    born: Callable[[], None] = staticmethod(lambda: None)
    """Is called as one begins."""

    def __init__(self, assignment: Assignment, on_message: Any, environment: Any) -> None:
        del on_message, environment
        self.assignment = assignment
        self.process = self
        self.code: int | None = None
        self.signals: list[int] = []
        self.status: dict[str, Any] = {}
        self.reached = {"ready": assignment.revision}
        self.unable = ""
        Process.born()

    def poll(self) -> int | None:
        """Return the exit code."""
        return self.code

    def order(self, order: Prepare | Swap) -> None:
        """Do it."""
        stages = ["prepared"] if isinstance(order, Prepare) else ["swapped", "settled"]
        self.reached |= dict.fromkeys(stages, order.revision)

    def signal(self, number: int) -> None:
        """Note a signal."""
        self.signals.append(number)

    def finish(self) -> None:
        """Nothing is left to read."""


@pytest.fixture(autouse=True)
def _processes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(module, "WorkerProcess", Process)
    yield
    Process.born = staticmethod(lambda: None)


class Run:
    """A dataflow, and what it tells.

    Args:
        directory: Of its recovery store.
        workers: How many.
    """

    def __init__(self, directory: Path, workers: int = 1) -> None:
        self.directory = directory
        self.told = io.StringIO()
        flow = self.flow()
        self.cluster = Cluster(assign(flow, ["out"], workers), Events(self.told), Display(flow))
        self.cluster.start()

    def loaded(self, **more: Any) -> LoadedFlow:
        """Return its flow with other settings."""
        settings = {
            "name": "ours",
            "source": {"type": "file", "path": str(self.directory / "in.ndjson")},
            "recovery": {"directory": str(self.directory / "state")},
            "destinations": {"out": {"type": "file", "path": str(self.directory / "out")}},
        }
        return built(read(json.dumps({**settings, **more}).encode(), "flow.yaml"))

    def flow(self, **more: Any) -> Flow:
        """Return its flow with other settings."""
        return self.loaded(**more).flow

    @property
    def workers(self) -> list[Process]:
        """Return the processes."""
        found: Any = self.cluster._workers
        return list(found)

    def tend(self, after: float = 0.0) -> bool:
        """Look after it once, so many seconds from now."""
        return self.cluster.tend(time.monotonic() + after)

    def events(self) -> list[str]:
        """Return the names of what it has told."""
        return [json.loads(line)["event"] for line in self.told.getvalue().splitlines()]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Return a dataflow that runs."""
    return Run(tmp_path)


def test_a_stop_that_comes_while_workers_start(run: Run) -> None:
    """Workers that a restart begins just as the stop comes are stopped too, so that the run ends."""
    run.workers[0].code = 1
    assert run.tend()
    Process.born = staticmethod(lambda: run.cluster.stop(at_once=False))
    assert run.tend(after=60)
    (fresh,) = run.workers
    assert fresh.signals == [signal.SIGTERM]
    fresh.code = 0
    assert not run.tend(after=60)
    assert run.cluster.result == 0


def test_a_store_that_cannot_be_made_is_told_now_and_then(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """With changed settings whose store can't be written, a restart waits and tells so once in a while."""

    def refused(*_: Any) -> Assignment:
        reason = "recovery.directory: No space left on device"
        raise LogweirError(reason)

    run.cluster.want(run.flow(max_in_flight="1MB", recovery={"interval": "3s"}), ["out"])
    monkeypatch.setattr(module, "assign", refused)
    run.workers[0].code = 1
    for _ in range(10):
        assert run.tend()
    run.tend(after=10)
    assert run.events() == ["flow.crashed", "flow.failed"]
    monkeypatch.undo()
    monkeypatch.setattr(module, "WorkerProcess", Process)
    run.tend(after=60)
    assert run.workers[0].assignment.interval == 3


def test_changed_settings_wait_for_room_on_the_disk(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the seats of limiters can't be recorded, the flow runs on by its settings, tells why, and tries again."""

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "remember", full)
    limit = {"name": "Limit", "type": "rate", "max_per_second": 5}
    run.cluster.want(run.flow(rules=[limit]), ["out"])
    for _ in range(5):
        assert run.tend()
    assert run.events() == ["flow.failed"]
    assert not run.cluster.is_current
    assert run.workers[0].signals == []
    monkeypatch.undo()
    run.cluster.want(run.flow(rules=[limit]), ["out"])
    for _ in range(5):
        assert run.tend()
    assert run.cluster.is_current
    assert run.workers[0].reached["settled"] == 1


def test_a_restart_that_could_not_deliver_all_is_no_crash(tmp_path: Path) -> None:
    """Where one of two workers gives up at `stop_timeout`, the other is ended by that, and both start again at once."""
    run = Run(tmp_path, workers=2)
    run.cluster.want(run.flow(recovery={"directory": str(tmp_path / "state"), "interval": "3s"}), ["out"])
    assert run.tend()
    first, second = run.workers
    assert first.signals == second.signals == [signal.SIGTERM]
    first.code = EXIT_UNDELIVERED
    assert run.tend()
    assert second.signals[-1] == signal.SIGKILL
    second.code = -signal.SIGKILL
    assert run.tend()
    assert run.events() == ["flow.restarted"]


def test_a_stop_that_comes_while_another_flow_is_brought_in(run: Run) -> None:
    """Every dataflow is stopped, those too that a changed file has just begun."""
    console = {"type": "console"}
    loaded = run.loaded(isolation="destination", destinations={"out": console, "more": console})
    whole = supervisor.Supervisor(loaded, None, 1, None)
    clusters: list[Any] = whole._clusters
    clusters[0].start()
    whole._on_signal(signal.SIGTERM, None)
    clusters[1].start()
    late = Cluster(assign(loaded.flow, ["out"], 1), Events(run.told), Display(loaded.flow))
    late.start()
    clusters.append(late)
    whole._tend()
    found: list[Any] = [worker for cluster in clusters for worker in cluster._workers]
    assert [worker.signals for worker in found] == [[signal.SIGTERM]] * 3


def test_a_new_destination_whose_store_cannot_be_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried again ever more slowly, told of seldom, shown in the status, and begins once it has its store."""
    console = {"type": "console"}
    run = Run(tmp_path)
    whole = supervisor.Supervisor(run.loaded(isolation="destination", destinations={"out": console}), None, 1, None)
    whole._clusters[0].start()
    blocked = tmp_path / "state" / "ours" / "more"
    blocked.write_text("a file in the place of a directory")
    whole._reload.flow = run.flow(isolation="destination", destinations={"out": console, "more": console})
    whole._adopt()
    added = whole._clusters[1]
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    tried = []
    for _ in range(600):
        now += 1
        before = added._start_at
        assert added.tend(now)
        tried += [now] if added._start_at != before else []
    gaps = [after - before for before, after in pairwise(tried)]
    assert gaps[:5] == [2, 4, 8, 16, 30]
    assert set(gaps[5:]) == {30}
    told = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [each["event"] for each in told] == ["flow.failed"] * 2
    assert told[0]["stream"] == "more"
    assert str(blocked) in told[0]["reason"]
    shown = whole.status()["destinations"]["more"]
    assert (shown["status"], shown["issues"]) == ("disconnected", [told[0]["reason"]])
    assert not added.is_current
    blocked.unlink()
    assert added.tend(now + 30)
    assert added.is_current
    assert whole.status()["destinations"]["more"]["issues"] == []
    workers: Any = added._workers
    assert [worker.assignment.destinations for worker in workers] == [("more",)]


def test_the_wait_has_a_bound() -> None:
    """However often something fails, the next attempt comes."""
    assert [module.backoff(attempts) for attempts in (0, 1, 2, 5, 6, 10_000)] == [1, 1, 2, 16, 30, 30]
