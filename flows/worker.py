"""One worker process: runs the dataflow that its supervisor assigns, and reports on it.

Two pipes tie it to the supervisor. On the first comes the assignment, and its end tells that the supervisor is gone. On
the second go lines of JSON: `{"status": ...}` every second, `{"event": ...}`, `{"restart": reason}`.
"""

from __future__ import annotations

import fcntl
import gc
import os
import pickle
import signal
import struct
import sys
import threading
import time
import traceback
from datetime import timedelta
from pathlib import Path
from typing import IO, Any

import orjson

from flows.recovery_store import forget_unfinished
from flows.runtime import Assignment, Runtime
from logweir.errors import DestinationError, LogweirError, UndeliveredError
from logweir.events import Events
from logweir.secrecy import Secrets

EXIT_CRASHED = 1
EXIT_UNUSABLE = 3
"""A destination can't be used at all: starting again would not help."""
EXIT_UNDELIVERED = 4
"""Stopped in time, but not everything could be delivered; it is sent again at the next start."""

_STATUS_SECONDS = 1.0
_LOCK_SECONDS = 15.0


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


def main() -> None:
    """Run the assignment; the two pipes' file descriptors are the arguments."""
    # Ctrl-C reaches the whole foreground group; the supervisor alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    inbox = os.fdopen(int(sys.argv[1]), "rb", buffering=0)
    reporter = Reporter(os.fdopen(int(sys.argv[2]), "wb"))
    assignment = _receive(inbox)
    threading.Thread(target=_die_with_supervisor, args=(inbox,), daemon=True).start()
    secrets = Secrets.of_settings(assignment.flow)
    threading.excepthook = lambda failed: _print_trace(failed.exc_value, secrets)
    events = Events(secrets=secrets)
    events.listen(lambda entry: reporter.send(event=entry), "info")
    os._exit(_run(assignment, events, reporter))


def _run(assignment: Assignment, events: Events, reporter: Reporter) -> int:
    runtime: Runtime | None = None

    def fail(error: BaseException) -> None:
        """End at once: the epoch stays unrecorded, and what it read is read again."""
        if runtime is not None:
            reporter.report(runtime)
        os._exit(_tell(error, events))

    try:
        locks = _lock(assignment)
        # The cluster begins once the last of its workers is here, so nothing of an older one comes after this.
        forget_unfinished(assignment.recovery)
        runtime = Runtime(assignment, events, lambda reason: reporter.send(restart=reason))
        signal.signal(signal.SIGTERM, lambda _number, _frame: runtime.stop())
        threading.Thread(target=_report_always, args=(runtime, reporter), daemon=True).start()
        _run_dataflow(runtime, fail)
        runtime.source.commit_last()
        reporter.report(runtime)
        runtime.close()
        for lock in locks:
            lock.close()
    except BaseException as error:  # noqa: BLE001  whatever it is, it is told and becomes the exit code
        return _tell(error, events)
    return 0


def _run_dataflow(runtime: Runtime, fail: Any) -> None:
    from bytewax.recovery import RecoveryConfig

    from flows.deliver import dataflow

    assignment = runtime.assignment
    options = {
        "epoch_interval": timedelta(seconds=assignment.flow.recovery.interval),
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

        run_main(flow, **options)
    else:
        from bytewax.testing import cluster_main

        cluster_main(flow, list(assignment.addresses), assignment.worker, **options)


def _receive(inbox: IO[bytes]) -> Assignment:
    """Read the length and the pickle that the supervisor writes; the pipe stays open behind it."""
    (size,) = struct.unpack("!Q", _exactly(inbox, 8))
    assignment: Assignment = pickle.loads(_exactly(inbox, size))  # noqa: S301  our own supervisor wrote it
    return assignment


def _exactly(inbox: IO[bytes], size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = inbox.read(size - len(data))
        if not piece:
            sys.exit(EXIT_CRASHED)
        data += piece
    return data


def _die_with_supervisor(inbox: IO[bytes]) -> None:
    """End at once when the supervisor is gone: nobody would restart this process, or stop it."""
    while inbox.read(1):
        pass
    os._exit(EXIT_CRASHED)


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
    handle = (store / f"worker-{number}.lock").open("wb")
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
    while True:
        time.sleep(_STATUS_SECONDS)
        reporter.report(runtime)


def _print_trace(error: BaseException | None, secrets: Secrets) -> None:
    """Print what a thread has died of, whose work others can do without."""
    sys.stderr.write(secrets.hide("".join(traceback.format_exception(error))))
    sys.stderr.flush()


def _tell(error: BaseException, events: Events) -> int:
    """Tell why this process ends; return its exit code."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, LogweirError):
        cause = cause.__cause__ or cause.__context__
    if isinstance(cause, UndeliveredError):
        events.tell("flow.undelivered", "error", reason=str(cause))
        return EXIT_UNDELIVERED
    if cause is not None:
        events.tell("flow.failed", "error", reason=str(cause))
        return EXIT_UNUSABLE if isinstance(cause, DestinationError) else EXIT_CRASHED
    trace = "".join(traceback.format_exception(error))
    events.tell("flow.crashed", "error", reason=f"{type(error).__name__}: {error}", stack=trace)
    return EXIT_CRASHED


if __name__ == "__main__":
    main()
