"""The worker processes of one dataflow: they start, crash, take changed settings, restart and stop together."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from flows.assigning import assign
from flows.changes import Effect, compare
from flows.config import Flow
from flows.display import Display
from flows.orders import Prepare, Swap
from flows.plan import limiters_of
from flows.recovery_store import ledgers
from flows.runtime import Assignment
from flows.seats import Seating, remember
from flows.worker import EXIT_UNDELIVERED, EXIT_UNUSABLE
from flows.worker_process import WorkerProcess
from logweir.errors import LogweirError
from logweir.events import Events
from logweir.ledger import Ledger

BACKOFF_SECONDS = 1.0
MAX_BACKOFF_SECONDS = 30.0
STABLE_SECONDS = 60.0
"""A dataflow that ran this long starts over with the shortest backoff."""
_UNWRITABLE_SECONDS = 30.0
"""After the seats of limiters could not be written, before that is tried again."""
_REMINDER_SECONDS = 300.0
"""Before it is told again that a recovery store can't be made, while that is tried ever again."""
KILL_SECONDS = 10.0
"""Beyond `stop_timeout`, before a worker that doesn't end is killed."""


class Cluster:
    """The workers of one dataflow.

    Args:
        assignment: What they run, without their own numbers.
        events: Where their events are written.
        display: Makes room for them on the terminal.
    """

    def __init__(self, assignment: Assignment, events: Events, display: Display) -> None:
        self._assignment = assignment
        self._events = events
        self._display = display
        self._workers: list[WorkerProcess] = []
        self._started = 0.0
        self._attempts = 0
        self._refusals = 0
        """How often in a row the recovery store could not be made."""
        self._refusal = ""
        """Why."""
        self._remind_at = 0.0
        self._start_at: float | None = None
        self._change_at = 0.0
        """Before then changed settings are not brought in, since their seats could not be written."""
        self._stopping = False
        self._stop_by: float | None = None
        self._restart_reason = ""
        self._wanted: tuple[Flow, tuple[str, ...]] | None = None
        """The settings to go on by, and its destinations then."""
        self._stage = ""
        """What the workers have to reach next, while settings are swapped."""
        self._over = False
        """Ended, by itself or because it can't run."""
        self._stored: dict[str, dict[int, Ledger]] = self._recorded()
        """By destination and sink partition: what the recovery store held when the workers started."""
        self._lost = False
        """Whether a crash has lost records that can't be read again."""
        self._left_out = False
        """Whether something of the source could not be read, and was left out: the run didn't do what it was to do."""
        self.result = 0

    @property
    def destinations(self) -> tuple[str, ...]:
        """Return the destinations that it delivers to."""
        return self._assignment.destinations

    @property
    def key(self) -> str:
        """Return what tells this dataflow from the others of the run: its destination, where each has its own."""
        return self.destinations[0] if self._assignment.flow.isolation == "destination" else ""

    @property
    def is_current(self) -> bool:
        """Tell whether it runs by the settings that are wanted."""
        if self._over:
            return True
        busy = self._wanted or self._restart_reason or self._stage in {"prepared", "swapped"}
        return not busy and self._start_at is None and self._reached("ready")

    def start(self) -> None:
        """Start every worker, by the settings that are wanted; later, if their recovery store can't be made now."""
        if self._wanted is not None:
            flow, names = self._wanted
            try:
                self._assignment = assign(flow, names, self._assignment.workers, self._tell)
            except LogweirError as error:
                self._put_off(str(error))
                return
            self._wanted = None
            self._refusals, self._refusal = 0, ""
        self._stored = self._recorded()
        count = self._assignment.workers
        addresses = tuple(f"127.0.0.1:{port}" for port in free_ports(count)) if count > 1 else ()
        self._started = time.monotonic()
        self._start_at = self._stop_by = None
        self._restart_reason = self._stage = ""
        self._over = False
        self._workers = [
            WorkerProcess(
                replace(self._assignment, worker=number, addresses=addresses),
                self._on_message,
                self._display.environment,
            )
            for number in range(count)
        ]
        if self._stopping:
            # The signal came while they were started, and has reached only those before.
            self._terminate()

    def tend(self, now: float) -> bool:
        """Look after the processes; False once there is nothing left to do."""
        if self._over:
            return False
        if self._start_at is not None:
            if self._stopping:
                self.result = int(bool(self._refusal))
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
            elif not self._stopping and not self._restart_reason:
                self._go_on()
            return True
        for worker in self._workers:
            worker.finish()
        self._over = not self._ended([code for code in codes if code is not None], now)
        return not self._over

    def want(self, flow: Flow, names: Sequence[str]) -> None:
        """Run by this flow from now on: without a restart if it can be, else after a graceful one.

        One that was being stopped runs again then, and one that could not be used is tried again.
        """
        self._wanted = (flow, tuple(names))
        self._change_at = 0.0
        if self._over and self.result:
            self.result = 0
            self._over = False
            self._start_at = time.monotonic()
        elif self._start_at is not None:
            # Other settings may mend what it has crashed of.
            self._start_at = time.monotonic()
        elif self._stopping:
            self._stopping = False
            self._restart_reason = "it is wanted again"

    @property
    def is_stopping(self) -> bool:
        """Tell whether it ends, or has ended, because it was told to."""
        return self._stopping

    def stop(self, *, at_once: bool) -> None:
        """End the workers: their sources first, or the processes at once."""
        self._stopping = True
        if at_once:
            self._kill()
        else:
            self._terminate()

    def _recorded(self) -> dict[str, dict[int, Ledger]]:
        """Return the ledgers that the workers will go on from; nothing of a store that can't be read."""
        assignment = self._assignment
        dataflow = assignment.flow.name.replace("-", "_")
        found = {}
        for name in assignment.destinations:
            try:
                found[name] = ledgers(assignment.recovery, f"{dataflow}.deliver_{name}")
            except (OSError, LogweirError) as error:
                # The workers find it too, and tell of it.
                self._tell("flow.damaged", "error", reason=f"{assignment.recovery}: {error}")
        return found

    def report(self) -> dict[str, Any]:
        """Return the figures of this dataflow's destinations."""
        merged: dict[str, Any] = {}
        for name in self._assignment.destinations:
            reports = [worker.status[name] for worker in self._workers if name in worker.status]
            # Sink partitions that no worker has reported yet have what their last epoch recorded.
            parts = dict(self._stored.get(name, {}))
            for each in reports:
                parts |= {int(number): Ledger.from_dict(one) for number, one in each["ledgers"].items()}
            ledger = Ledger()
            for part in parts.values():
                ledger.merge(part)
            merged[name] = {
                "type": str(getattr(self._assignment.flow.outlets[name], "type", "")),
                "ledger": ledger,
                "partitions": [part for each in reports for part in each["partitions"]],
                "workers": reports,
                "running": self._start_at is None,
                "issue": self._refusal,
            }
        return merged

    def _go_on(self) -> None:
        """Take the next step towards the settings that are wanted, once every worker has taken the one before."""
        unable = next((worker.unable for worker in self._workers if worker.unable), "")
        if unable:
            self._restart(f"settings could not be swapped: {unable}")
        elif not self._stage:
            if self._wanted is not None and self._reached("ready") and time.monotonic() >= self._change_at:
                self._change(*self._wanted)
        elif self._reached(self._stage, self._assignment.revision):
            if self._stage == "prepared":
                self._order(Swap(self._assignment.revision))
            self._stage = {"prepared": "swapped", "swapped": "settled"}.get(self._stage, "")

    def _change(self, flow: Flow, names: tuple[str, ...]) -> None:
        """Begin to swap settings, or to restart where that is needed."""
        present = self._assignment
        changes = [each for each in compare(present.flow, flow) if each.concerns({*present.destinations, *names})]
        reasons = [str(each) for each in changes if each.effect is not Effect.SWAPPED]
        seatings: dict[str, Seating] = {}
        for name in names if not reasons else ():
            seating = present.seatings[name].changed(limiters_of(flow, name))
            if seating is None:
                reasons = ["the order of limits"]
                break
            seatings[name] = seating
        if reasons:
            self._restart(f"changed: {', '.join(reasons)}")
            return
        if changes:
            try:
                # Before any worker knows of them, so that after a crash each limiter finds its own state.
                remember(present.recovery, seatings)
            except OSError as error:
                reason = f"recovery.directory {present.recovery}: {error.strerror}: make it writable, or set another"
                self._tell("flow.failed", "error", stream=self._label, reason=reason)
                self._change_at = time.monotonic() + _UNWRITABLE_SECONDS
                return
        self._wanted = None
        self._assignment = replace(present, flow=flow, seatings=seatings, revision=present.revision + bool(changes))
        if changes:
            self._order(Prepare(flow, seatings, self._assignment.revision))
            self._stage = "prepared"

    def _reached(self, stage: str, revision: int | None = None) -> bool:
        """Tell whether every worker has reached a stage, with this revision of the settings or with any."""
        reached = [worker.reached.get(stage) for worker in self._workers]
        return bool(reached) and all(each is not None and revision in {None, each} for each in reached)

    def _order(self, order: Prepare | Swap) -> None:
        for worker in self._workers:
            worker.order(order)

    def _restart(self, reason: str) -> None:
        """End the workers as a stop does, and start them again."""
        self._restart_reason = reason
        self._terminate()

    def _terminate(self) -> None:
        self._stop_by = time.monotonic() + self._assignment.flow.stop_timeout + KILL_SECONDS
        for worker in self._workers:
            worker.signal(signal.SIGTERM)

    def _kill(self) -> None:
        for worker in self._workers:
            worker.signal(signal.SIGKILL)

    def _ended(self, codes: list[int], now: float) -> bool:
        if self._stopping:
            # One that SIGTERM ended had not begun: from then on it stops in order.
            self.result = int(any(code not in {0, -signal.SIGTERM} for code in codes))
            return False
        # What could not be delivered in time, and told so, is sent again from the recorded position.
        # Where one of several has told so, the others have ended by that too.
        in_order = EXIT_UNDELIVERED in codes or all(code in {0, -signal.SIGTERM} for code in codes)
        if self._restart_reason and in_order:
            self._tell("flow.restarted", "info", stream=self._label, reason=self._restart_reason)
            self._start_at = now
            return True
        if not any(codes):
            self.result = int(self._lost or self._left_out)
            return False
        if EXIT_UNUSABLE in codes and self._wanted is None:
            self.result = 1
            return False
        self._attempts = 0 if now - self._started > STABLE_SECONDS else self._attempts + 1
        wait = backoff(self._attempts)
        self._tell_lost()
        self._tell("flow.crashed", "error", stream=self._label, exit_codes=codes, wait=wait)
        self._start_at = now + wait
        return True

    def _tell_lost(self) -> None:
        """Tell what a crash has lost of a source that can't be read again; a run that lost records never ends well."""
        if self._assignment.flow.source.repeatable:
            return
        self._lost = True
        for name, report in self.report().items():
            reason = (
                f"standard input can't be read again; of {report['ledger'].read} records that were read at least "
                f"{report['ledger'].in_flight} were neither delivered nor set aside when the worker crashed"
            )
            self._tell("source.gap", "error", destination=name, lost=report["ledger"].in_flight, reason=reason)

    def _put_off(self, reason: str) -> None:
        """Start later, since there is no recovery store; tell why at first, when that changes, and now and then."""
        now = time.monotonic()
        if reason != self._refusal or now >= self._remind_at:
            self._tell("flow.failed", "error", stream=self._label, reason=reason)
            self._refusal, self._remind_at = reason, now + _REMINDER_SECONDS
        self._refusals += 1
        self._start_at = now + backoff(self._refusals)

    @property
    def _label(self) -> str:
        return ",".join(self._assignment.destinations)

    def _tell(self, event: str, severity: str, **fields: Any) -> None:
        with self._display.aside():
            self._events.tell(event, severity, **fields)

    def _on_message(self, message: dict[str, Any]) -> None:
        """Take a line from a worker; called on its reader's thread."""
        if "event" in message:
            entry = message["event"]
            name, severity = entry.pop("event"), entry.pop("severity")
            self._left_out = self._left_out or (name, severity) == ("source.gap", "error")
            del entry["timestamp"]
            self._tell(name, severity, **{"stream": self._label, **entry})
        elif "restart" in message and not self._restart_reason and not self._stopping:
            self._restart(message["restart"])


def backoff(attempts: int) -> float:
    """Return the seconds to wait after so many attempts in a row have failed."""
    return min(MAX_BACKOFF_SECONDS, BACKOFF_SECONDS * 2.0 ** min(max(0, attempts - 1), 10))


def free_ports(count: int) -> list[int]:
    """Return ports that were free a moment ago."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
