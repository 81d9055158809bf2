"""The supervisor: one dataflow for each destination, as processes of their own, restarted when they crash.

It reads no record itself. SIGTERM and SIGINT are passed on, so that every worker ends its sources, delivers what is in
flight and records its epoch; a second signal ends at once, and what was not recorded is sent again at the next start.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import IO, Any

import orjson

from flows import recovery_store
from flows.config import Flow, LoadedFlow
from flows.display import Display
from flows.plan import limiters_of
from flows.runtime import Assignment
from flows.seats import Seating, remember, remembered
from flows.sources.kafka import Kafka
from flows.worker import EXIT_UNDELIVERED, EXIT_UNUSABLE
from logweir.errors import LogweirError
from logweir.events import Events
from logweir.ledger import Ledger

_BACKOFF_SECONDS = 1.0
_MAX_BACKOFF_SECONDS = 30.0
_STABLE_SECONDS = 60.0
"""A dataflow that ran this long starts over with the shortest backoff."""
_KILL_SECONDS = 10.0
"""Beyond `stop_timeout`, before a worker that doesn't end is killed."""
_TICK_SECONDS = 0.1
_ALLOCATOR = {
    # Bodies of a megabyte come and go all the time: glibc would return each to the system and fetch it again.
    "MALLOC_MMAP_THRESHOLD_": "134217728",
    "MALLOC_TRIM_THRESHOLD_": "268435456",
    # One for each of a worker's busy threads: with fewer they wait for each other's, with more memory is kept in vain.
    "MALLOC_ARENA_MAX": "8",
}
_QUIET = {"RUST_BACKTRACE": "0"}
"""An error leaves the engine as a panic of Rust; the event that tells of it has Python's own stack."""


def run(loaded: LoadedFlow, *, only: Sequence[str] | None = None, workers: int = 1) -> int:
    """Run a flow until its sources end or it is stopped; return the exit code.

    Args:
        loaded: The flow.
        only: The destinations to deliver to; all enabled ones when None.
        workers: Processes for each dataflow.
    """
    flow = loaded.flow
    names = list(only or flow.enabled)
    groups = [[name] for name in names] if flow.isolation == "destination" else [names]
    events = Events(sys.stderr)
    supervisor = Supervisor([assign(flow, group, workers) for group in groups], events, Display(flow))
    return supervisor.run()


def assign(flow: Flow, names: Sequence[str], workers: int) -> Assignment:
    """Return what the workers of one dataflow are told, and make its recovery store unless there is one.

    Raises:
        LogweirError: The store can't be made.
    """
    isolated = flow.isolation == "destination"
    label = names[0] if isolated else "all"
    store = Path(flow.recovery.directory) / flow.name / label
    source = flow.source
    group = source.group if isinstance(source, Kafka) else flow.name
    try:
        recovery_store.make(store)
        partitions = recovery_store.remember_partitions(
            store, {name: flow.enabled[name].partitions * workers for name in names}
        )
        known = remembered(store)
        seatings = {name: known.get(name, Seating()).started(limiters_of(flow, name)) for name in names}
        remember(store, seatings)
    except OSError as error:
        msg = f"recovery.directory {store}: {error.strerror}: make it writable, or set another"
        raise LogweirError(msg) from error
    return Assignment(
        flow=flow,
        destinations=tuple(names),
        group=f"{group}.{label}" if isolated else group,
        recovery=store,
        workers=workers,
        sink_partitions=partitions,
        seatings=seatings,
    )


class Supervisor:
    """Starts the dataflows, restarts them, stops them.

    Args:
        assignments: One for each dataflow.
        events: Where the workers' events are written.
        display: Draws the counters and the closing ledger.
    """

    def __init__(self, assignments: Sequence[Assignment], events: Events, display: Display) -> None:
        self._events = events
        self._display = display
        self._name = assignments[0].flow.name
        self._settings = assignments[0].flow.status
        self._started = time.time()
        self._clusters = [_Cluster(assignment, events, display) for assignment in assignments]
        self._signals = 0

    def run(self) -> int:
        """Return 0 once everything ended well, 1 when something did not."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        for cluster in self._clusters:
            cluster.start()
        # Imported once the workers are on their way, so that it doesn't delay the first record.
        from flows.metrics import registry_of
        from flows.server import serve

        end = serve(self._settings, self.status, registry_of(self.report), self._events)
        while self._tend():
            self._display.draw(self.report())
            time.sleep(_TICK_SECONDS)
        end()
        self._display.close(self.report())
        return max(cluster.result for cluster in self._clusters)

    def report(self) -> dict[str, Any]:
        """Return the ledgers and figures of every destination, all workers added up."""
        return {name: each for cluster in self._clusters for name, each in cluster.report().items()}

    def status(self) -> dict[str, Any]:
        """Return the whole run's status as plain JSON."""
        from flows.status import whole

        return whole(self._name, self.report(), self._started)

    def _tend(self) -> bool:
        """Look after every dataflow, also after those behind one that runs."""
        return any([cluster.tend(time.monotonic()) for cluster in self._clusters])  # noqa: C419

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._signals += 1
        for cluster in self._clusters:
            cluster.stop(at_once=self._signals > 1)


class _Cluster:
    """The worker processes of one dataflow: they start, crash and stop together."""

    def __init__(self, assignment: Assignment, events: Events, display: Display) -> None:
        self._assignment = assignment
        self._label = ",".join(assignment.destinations)
        self._events = events
        self._display = display
        self._workers: list[_Worker] = []
        self._started = 0.0
        self._attempts = 0
        self._start_at: float | None = None
        self._stopping = False
        self._stop_by: float | None = None
        self._restart_reason = ""
        self.result = 0

    def start(self) -> None:
        """Start every worker."""
        count = self._assignment.workers
        addresses = tuple(f"127.0.0.1:{port}" for port in _free_ports(count)) if count > 1 else ()
        self._started = time.monotonic()
        self._start_at = self._stop_by = None
        self._restart_reason = ""
        self._workers = [
            _Worker(
                replace(self._assignment, worker=number, addresses=addresses),
                self._on_message,
                self._display.environment,
            )
            for number in range(count)
        ]

    def tend(self, now: float) -> bool:
        """Look after the processes; False once there is nothing left to do."""
        if self._start_at is not None:
            if self._stopping:
                return False
            if now >= self._start_at:
                self.start()
            return True
        codes = [worker.process.poll() for worker in self._workers]
        if None in codes:
            if self._stop_by is not None and now >= self._stop_by:
                self._kill()
            elif any(code for code in codes):
                # The rest of the cluster can't go on without the one that is gone.
                self._kill()
            return True
        for worker in self._workers:
            worker.finish()
        return self._ended([code for code in codes if code is not None], now)

    def stop(self, *, at_once: bool) -> None:
        """End the workers: their sources first, or the processes at once."""
        self._stopping = True
        if at_once:
            self._kill()
        else:
            self._terminate()

    def report(self) -> dict[str, Any]:
        """Return the figures of this dataflow's destinations."""
        merged: dict[str, Any] = {}
        for name in self._assignment.destinations:
            reports = [worker.status[name] for worker in self._workers if name in worker.status]
            ledger = Ledger()
            for each in reports:
                ledger.merge(Ledger.from_dict(each["ledger"]))
            merged[name] = {
                "type": str(getattr(self._assignment.flow.enabled[name], "type", "")),
                "ledger": ledger,
                "partitions": [part for each in reports for part in each["partitions"]],
                "workers": reports,
                "running": self._start_at is None,
            }
        return merged

    def _terminate(self) -> None:
        self._stop_by = time.monotonic() + self._assignment.flow.stop_timeout + _KILL_SECONDS
        for worker in self._workers:
            worker.signal(signal.SIGTERM)

    def _kill(self) -> None:
        for worker in self._workers:
            worker.signal(signal.SIGKILL)

    def _ended(self, codes: list[int], now: float) -> bool:
        if not any(codes):
            if not self._restart_reason:
                return False
            self._tell("flow.restarted", "info", stream=self._label, reason=self._restart_reason)
            self._start_at = now
            return True
        if self._stopping:
            # One that SIGTERM ended had not begun: from then on it stops in order.
            self.result = int(any(code not in {0, -signal.SIGTERM} for code in codes))
            return False
        if EXIT_UNUSABLE in codes:
            self.result = 1
            return False
        if EXIT_UNDELIVERED in codes and self._restart_reason:
            self._start_at = now
            return True
        self._attempts = 0 if now - self._started > _STABLE_SECONDS else self._attempts + 1
        wait = min(_MAX_BACKOFF_SECONDS, _BACKOFF_SECONDS * 2.0 ** max(0, self._attempts - 1))
        self._tell("flow.crashed", "error", stream=self._label, exit_codes=codes, wait=wait)
        self._start_at = now + wait
        return True

    def _tell(self, event: str, severity: str, **fields: Any) -> None:
        with self._display.aside():
            self._events.tell(event, severity, **fields)

    def _on_message(self, message: dict[str, Any]) -> None:
        """Take a line from a worker; called on its reader's thread."""
        if "event" in message:
            entry = message["event"]
            name, severity = entry.pop("event"), entry.pop("severity")
            del entry["timestamp"]
            self._tell(name, severity, **{"stream": self._label, **entry})
        elif "restart" in message and not self._restart_reason and not self._stopping:
            self._restart_reason = message["restart"]
            self._terminate()


class _Worker:
    """One worker process and the thread that reads what it reports."""

    def __init__(
        self,
        assignment: Assignment,
        on_message: Callable[[dict[str, Any]], None],
        environment: Mapping[str, str],
    ) -> None:
        inbox, self._outbox = os.pipe()
        reports, outlet = os.pipe()
        self.status: dict[str, Any] = {}
        self._on_message = on_message
        command = [sys.executable, "-m", "flows.worker", str(inbox), str(outlet)]
        self.process = subprocess.Popen(  # noqa: S603
            command, pass_fds=(inbox, outlet), env={**_ALLOCATOR, **os.environ, **_QUIET, **environment}
        )
        os.close(inbox)
        os.close(outlet)
        data = pickle.dumps(assignment)
        self._reader = threading.Thread(target=self._read, args=(os.fdopen(reports, "rb"),), daemon=True)
        self._reader.start()
        try:
            os.write(self._outbox, struct.pack("!Q", len(data)))
            while data:
                data = data[os.write(self._outbox, data) :]
        except BrokenPipeError:
            pass  # It died already; its exit code tells.

    def signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.process.poll() is None:
            self.process.send_signal(number)

    def finish(self) -> None:
        """Read the rest of what an ended process has reported."""
        self._reader.join(timeout=5)
        if self._outbox >= 0:
            os.close(self._outbox)
            self._outbox = -1

    def _read(self, reports: IO[bytes]) -> None:
        with reports:
            for line in reports:
                message = orjson.loads(line)
                if "status" in message:
                    self.status = message["status"]
                else:
                    self._on_message(message)


def _free_ports(count: int) -> list[int]:
    """Return ports that were free a moment ago."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
