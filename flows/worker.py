"""One worker process: runs the dataflow that its supervisor assigns, and reports on it.

Two pipes tie it to the supervisor. On the first come the assignment and then orders (flows/orders.py), and its end
tells that the supervisor is gone. On the second go lines of JSON: `{"status": ...}` every second, `{"event": ...}`,
`{"restart": reason}`, `{"reached": stage, "revision": ...}`, `{"unable": reason}`.
"""

from __future__ import annotations

import fcntl
import gc
import os
import select
import signal
import sys
import threading
import time
import traceback
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import IO, Any

import orjson

from flows import orders
from flows.joining import guard, wait_for
from flows.pickles import only_known
from flows.recovery_store import forget_unfinished, left_to_engine
from flows.runtime import Assignment, Runtime
from logweir.bounded_writer import BoundedWriter
from logweir.errors import DestinationError, LogweirError, NothingToReadError, UndeliveredError
from logweir.events import Events
from logweir.memory import give_back
from logweir.private import private
from logweir.secrecy import Secrets
from logweir.terminal import visible_lines

EXIT_CRASHED = 1
EXIT_UNUSABLE = 3
"""A destination can't be used at all, or there is nothing to read: starting again would not help."""
EXIT_UNDELIVERED = 4
"""Stopped in time, but not everything could be delivered; it is sent again at the next start."""

_STATUS_SECONDS = 1.0
_REPORTS_PER_TRIM = 30
"""After so many, what limits kept of keys that have expired since goes back to the system."""
_LOCK_SECONDS = 15.0
_TRACE_SECONDS = 1.0
_SETTLE_SECONDS = 0.05
"""How often to look whether the settings before a change are done with."""


class Reporter:
    """Sends lines to the supervisor."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out = out
        self._lock = threading.Lock()

    def send(self, **message: Any) -> None:
        """Send one message. A supervisor that is gone is noticed elsewhere."""
        line = orjson.dumps(message, default=str) + b"\n"
        try:
            with self._lock:
                self._out.write(line)
                self._out.flush()
        except OSError:
            pass

    def report(self, runtime: Runtime) -> None:
        """Send the worker's figures."""
        self.send(status=runtime.status(), worker=runtime.assignment.worker)


def begin() -> tuple[Any, Events, IO[bytes], Reporter]:
    """Return the assignment, what tells events, and the two pipes, whose file descriptors are the arguments.

    Where the supervisor is gone already, the process ends.
    """
    # Ctrl-C and a terminal that closes reach the whole foreground group; the supervisor alone decides what they mean.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    inbox = os.fdopen(int(sys.argv[1]), "rb", buffering=0)
    reporter = Reporter(os.fdopen(int(sys.argv[2]), "wb"))
    assignment = orders.receive(inbox)
    if assignment is None:
        sys.exit(EXIT_CRASHED)
    events = Events(secrets=Secrets.of_settings(assignment.flow))
    only_known()
    threading.excepthook = lambda failed: print_trace(failed.exc_value, events.secrets)
    events.listen(lambda entry: reporter.send(event=entry), "info")
    return assignment, events, inbox, reporter


def main() -> None:
    """Run the assignment."""
    assignment, events, inbox, reporter = begin()
    supervised = _Supervised(inbox, events, reporter)
    os._exit(_run(assignment, events, reporter, supervised))


class _Supervised:
    """Does what the supervisor orders, and ends at once when it is gone: nobody would restart this process, or stop it.

    Args:
        inbox: Where orders come from.
        events: Hide the secrets of the settings that come.
        reporter: Tells how far they are.
    """

    def __init__(self, inbox: IO[bytes], events: Events, reporter: Reporter) -> None:
        self._inbox = inbox
        self._events = events
        self._reporter = reporter
        self._runtime: Runtime | None = None
        threading.Thread(target=self._obey_always, name="orders", daemon=True).start()

    def ready(self, runtime: Runtime) -> None:
        """Tell that there is something to give orders to."""
        self._runtime = runtime
        self._reporter.send(reached="ready", revision=runtime.assignment.revision)

    def _obey_always(self) -> None:
        unsettled: int | None = None
        while True:
            if unsettled is None or select.select([self._inbox], [], [], _SETTLE_SECONDS)[0]:
                order = orders.receive(self._inbox)
                if order is None:
                    os._exit(EXIT_CRASHED)
                if self._obey(order):
                    unsettled = order.revision
            if unsettled is not None and self._runtime is not None and self._runtime.settled():
                self._reporter.send(reached="settled", revision=unsettled)
                unsettled = None

    def _obey(self, order: orders.Prepare | orders.Swap) -> bool:
        """Do what is ordered; true when it leaves something to settle."""
        assert self._runtime is not None
        try:
            match order:
                case orders.Prepare(flow=flow):
                    self._events.secrets = Secrets.of_settings(flow)
                    self._runtime.prepare(order)
                    self._reporter.send(reached="prepared", revision=order.revision)
                case orders.Swap(revision=revision):
                    self._runtime.swap(revision)
                    self._reporter.send(reached="swapped", revision=revision)
                    return True
        except Exception as error:  # noqa: BLE001  whatever it is, a restart brings the settings too
            reason = f"{type(error).__name__}: {error}"
            self._reporter.send(unable=self._events.secrets.hide(reason))
        return False


def _run(assignment: Assignment, events: Events, reporter: Reporter, supervised: _Supervised) -> int:
    runtime: Runtime | None = None

    def fail(error: BaseException) -> None:
        """End at once: the epoch stays unrecorded, and what it read is read again."""
        if runtime is not None:
            reporter.report(runtime)
        os._exit(tell(error, events))

    try:
        locks = _lock(assignment)
        # The cluster begins once the last of its workers is here, so nothing of an older one comes after this.
        forget_unfinished(assignment.recovery)
        runtime = Runtime(assignment, events, lambda reason: reporter.send(restart=reason))
        if assignment.worker == 0:
            runtime.forget_gone()
        signal.signal(signal.SIGTERM, lambda _number, _frame: runtime.stop())
        supervised.ready(runtime)
        threading.Thread(target=_report_always, args=(runtime, reporter), daemon=True).start()
        _run_dataflow(runtime, fail)
        runtime.source.commit_last()
        reporter.report(runtime)
        runtime.close()
        for lock in locks:
            lock.close()
    except BaseException as error:  # noqa: BLE001  whatever it is, it is told and becomes the exit code
        return tell(error, events)
    return 0


def _run_dataflow(runtime: Runtime, fail: Any) -> None:
    from bytewax.recovery import RecoveryConfig

    from flows.deliver import dataflow

    assignment = runtime.assignment
    options = {
        "epoch_interval": timedelta(seconds=assignment.interval),
        "recovery_config": RecoveryConfig(assignment.recovery),
    }
    flow = dataflow(runtime, fail)
    # What can't be read is told in words; out of the engine it would come as a panic.
    runtime.source.list_parts()
    # Records make no reference cycles, and looking for some among them would take a tenth of the time.
    gc.freeze()
    gc.set_threshold(200_000, 20, 20)
    if assignment.workers == 1:
        from bytewax.testing import run_main

        with left_to_engine():
            run_main(flow, **options)
    else:
        from bytewax.testing import cluster_main

        wait_for(assignment.addresses[: assignment.worker])
        guard(assignment.addresses, assignment.worker, fail)
        with left_to_engine():
            cluster_main(flow, list(assignment.addresses), assignment.worker, **options)


def _lock(assignment: Assignment) -> list[IO[bytes]]:
    """Take this worker's lock on the recovery store, which a dying predecessor may hold for a moment.

    The first worker takes those too of predecessors that were more.

    Raises:
        LogweirError: Another flow runs on the store.
    """
    store, deadline = assignment.recovery, time.monotonic() + _LOCK_SECONDS
    locks = [_take(store, assignment.worker, deadline)]
    if assignment.worker == 0:
        numbers = [int(path.stem.removeprefix("worker-")) for path in store.glob("worker-*.lock")]
        locks += [_take(store, number, deadline) for number in sorted(numbers) if number >= assignment.workers]
    return locks


def _take(store: Path, number: int, deadline: float) -> IO[bytes]:
    handle = open(store / f"worker-{number}.lock", "wb", opener=private)  # noqa: SIM115  held by the caller
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() > deadline:
                msg = f"{store} is in use by another flow: stop it, or set another recovery.directory"
                raise LogweirError(msg) from None
            time.sleep(0.1)
        else:
            return handle


def _report_always(runtime: Runtime, reporter: Reporter) -> None:
    for number in count(1):
        time.sleep(_STATUS_SECONDS)
        reporter.report(runtime)
        if number % _REPORTS_PER_TRIM == 0:
            give_back()


def print_trace(error: BaseException | None, secrets: Secrets) -> None:
    """Print what a thread has died of, whose work others can do without."""
    out = BoundedWriter(sys.stderr)
    out.write(visible_lines(secrets.hide("".join(traceback.format_exception(error)))))
    # Nobody may be reading it, and the process ends.
    out.close(_TRACE_SECONDS)


def tell(error: BaseException, events: Events) -> int:
    """Tell why this process ends; return its exit code."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, LogweirError):
        cause = cause.__cause__ or cause.__context__
    if isinstance(cause, UndeliveredError):
        events.tell("flow.undelivered", "error", reason=str(cause))
        return EXIT_UNDELIVERED
    if cause is not None:
        events.tell("flow.failed", "error", reason=str(cause))
        return EXIT_UNUSABLE if isinstance(cause, DestinationError | NothingToReadError) else EXIT_CRASHED
    trace = "".join(traceback.format_exception(error))
    events.tell("flow.crashed", "error", reason=f"{type(error).__name__}: {error}", stack=trace)
    return EXIT_CRASHED


if __name__ == "__main__":
    main()
