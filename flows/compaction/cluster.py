"""The compaction's worker processes: started, restarted when they crash or settings change, and stopped together."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from flows.archiving import FlowArchive
from flows.cluster import KILL_SECONDS, STABLE_SECONDS, backoff, free_ports
from flows.compaction.work import COUNTS, OTHER_COUNTS
from flows.compaction.worker import CompactAssignment
from flows.config import Flow
from flows.worker_process import WorkerProcess

STREAM = "archive"
_MODULE = "flows.compaction.worker"


class Compaction:
    """The workers.

    Args:
        flow: The flow, which has an archive.
        workers: How many processes.
        tell: Tells an event: its name, its severity and its fields.
        environment: Variables for the processes.
        once: Whether they end by themselves, and aren't started again.
    """

    def __init__(
        self,
        flow: Flow,
        workers: int,
        tell: Callable[..., None],
        environment: Mapping[str, str],
        *,
        once: bool = False,
    ) -> None:
        self._flow = flow
        self._count = workers
        self._tell = tell
        self._environment = environment
        self._once = once
        self._workers: list[WorkerProcess] = []
        self._started = 0.0
        self._attempts = 0
        self._start_at: float | None = None
        self._stopping = False
        self._restart_reason = ""
        self._stop_by: float | None = None
        self._over = False
        self.result = 0

    @property
    def is_over(self) -> bool:
        """Tell whether it has ended for good."""
        return self._over

    def start(self) -> None:
        """Start every worker."""
        addresses = tuple(f"127.0.0.1:{port}" for port in free_ports(self._count)) if self._count > 1 else ()
        whole = CompactAssignment(self._flow, self._once, workers=self._count, addresses=addresses)
        self._started = time.monotonic()
        self._start_at = self._stop_by = None
        self._restart_reason = ""
        self._workers = [
            WorkerProcess(replace(whole, worker=number), self._on_message, self._environment, _MODULE)
            for number in range(self._count)
        ]

    def tend(self, now: float) -> bool:
        """Look after the processes; False once they have ended for good."""
        if self._over:
            return False
        if self._start_at is not None:
            if self._stopping:
                self._over = True
            elif now >= self._start_at:
                self.start()
            return not self._over
        codes = [worker.process.poll() for worker in self._workers]
        if None in codes:
            if (self._stop_by is not None and now >= self._stop_by) or any(codes):
                self._signal(signal.SIGKILL)
            return True
        for worker in self._workers:
            worker.finish()
        self._ended([code for code in codes if code is not None], now)
        return not self._over

    def want(self, flow: Flow) -> None:
        """Run by this flow from now on, after a graceful restart where it means something else."""
        if self._over or self._stopping:
            self._flow, self._stopping = flow, False
            self._restart_reason = "it is wanted again"
            if self._over:
                self._over, self._start_at = False, time.monotonic()
        elif _runs_by(flow.archive) != _runs_by(self._flow.archive):
            self._flow = flow
            self._restart_reason = "changed: retention"
            if self._start_at is None:
                self._terminate()

    def stop(self, *, at_once: bool = False) -> None:
        """End the workers: what is half done is broken off, and changes nothing."""
        self._stopping = True
        if at_once:
            self._signal(signal.SIGKILL)
        elif self._stop_by is None:
            self._terminate()

    def report(self) -> dict[str, Any]:
        """Return what all workers together have done and found, as plain JSON."""
        statuses = [worker.status for worker in self._workers if worker.status]
        issues = list(dict.fromkeys(issue for each in statuses for issue in each["issues"]))
        ended = [each for each in statuses if each["round"] is not None]
        last = max(ended, key=lambda each: str(each["round"]["at"]), default=None)
        totals: dict[str, Any] = {"expired": Counter[str](), "moved": Counter[str]()}
        for each in statuses:
            for name, found in totals.items():
                found.update(each["since_start"][name])
        return {
            "running": self._start_at is None and not self._over,
            "healthy": not issues and self._start_at is None,
            "issues": issues,
            "last_round": None if last is None else last["round"],
            "since_start": {
                **{name: dict(found) for name, found in totals.items()},
                **{name: sum(each["since_start"][name] for each in statuses) for name in (*COUNTS, *OTHER_COUNTS)},
            },
            "archive": None if last is None else last["archive"],
        }

    def _ended(self, codes: list[int], now: float) -> None:
        if self._stopping or self._once or (not any(codes) and not self._restart_reason):
            self.result = int(any(code not in {0, -signal.SIGTERM} for code in codes))
            self._over = True
        elif self._restart_reason and all(code in {0, -signal.SIGTERM} for code in codes):
            self._tell("flow.restarted", "info", stream=STREAM, reason=f"compaction: {self._restart_reason}")
            self._start_at = now
        else:
            self._attempts = 0 if now - self._started > STABLE_SECONDS else self._attempts + 1
            wait = backoff(self._attempts)
            self._tell("archive.crashed", "error", stream=STREAM, exit_codes=codes, wait=wait)
            self._start_at = now + wait

    def _terminate(self) -> None:
        self._stop_by = time.monotonic() + self._flow.stop_timeout + KILL_SECONDS
        self._signal(signal.SIGTERM)

    def _signal(self, number: int) -> None:
        for worker in self._workers:
            worker.signal(number)

    def _on_message(self, message: dict[str, Any]) -> None:
        """Take a line from a worker; called on its reader's thread."""
        if "event" in message:
            entry = message["event"]
            name, severity = entry.pop("event"), entry.pop("severity")
            del entry["timestamp"]
            self._tell(name, severity, **{"stream": STREAM, **entry})


def wanted(flow: Flow) -> bool:
    """Tell whether a flow that runs has its archive compacted."""
    return flow.archive is not None and flow.archive.retention.compaction.enabled


def _runs_by(archive: FlowArchive | None) -> object:
    """Return what a worker goes by."""
    if archive is None:
        return None
    settings = archive.retention
    place = settings.archive.model_dump(exclude={"batch", "retry", "health_interval", "takes"})
    return settings.model_dump(exclude={"archive"}), place, archive.layout.name, archive.layout.places
