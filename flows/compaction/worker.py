"""One worker process of the compaction: runs the dataflow, and reports on it.

It speaks with its supervisor as a worker of a destination does (flows/worker.py), and takes no orders but its end.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import IO

from flows.compaction.opened import archive_of
from flows.compaction.work import Work
from flows.config import Flow
from flows.joining import guard, wait_for
from flows.worker import EXIT_CRASHED, Reporter, begin, tell
from logweir.events import Events

_STATUS_SECONDS = 1.0
_EPOCH_SECONDS = 3600.0
"""Nothing is recorded with an epoch. Rounds that follow each other at once have one each, so that none overtakes."""


@dataclass(frozen=True, slots=True)
class CompactAssignment:
    """What the supervisor tells a worker to run."""

    flow: Flow
    once: bool = False
    worker: int = 0
    workers: int = 1
    addresses: tuple[str, ...] = ()
    """host:port of each worker's process, when there are several."""


def main() -> None:
    """Run the assignment."""
    # What the engine has to say of its cluster must not stand among what `logweir compact --json` prints.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    assignment, events, inbox, reporter = begin()
    threading.Thread(target=_end_with_supervisor, args=(inbox,), daemon=True).start()
    os._exit(_run(assignment, events, reporter))


def _run(assignment: CompactAssignment, events: Events, reporter: Reporter) -> int:
    try:
        work = Work(archive_of(assignment.flow), events, once=assignment.once)
        signal.signal(signal.SIGTERM, lambda _number, _frame: work.stopping.set())
        threading.Thread(target=_report_always, args=(work, reporter), daemon=True).start()
        _run_dataflow(assignment, work, lambda error: os._exit(tell(error, events)))
        reporter.send(status=work.status())
    except BaseException as error:  # noqa: BLE001  whatever it is, it is told and becomes the exit code
        return tell(error, events)
    return EXIT_CRASHED if assignment.once and work.failing else 0


def _run_dataflow(assignment: CompactAssignment, work: Work, fail: Callable[[BaseException], None]) -> None:
    from bytewax.testing import cluster_main, run_main

    from flows.compact import dataflow

    flow = dataflow(work, once=assignment.once)
    interval = timedelta(0) if assignment.once else timedelta(seconds=_EPOCH_SECONDS)
    if assignment.workers == 1:
        run_main(flow, epoch_interval=interval)
    else:
        wait_for(assignment.addresses[: assignment.worker])
        guard(assignment.addresses, assignment.worker, fail)
        cluster_main(flow, list(assignment.addresses), assignment.worker, epoch_interval=interval)


def _end_with_supervisor(inbox: IO[bytes]) -> None:
    while inbox.read(1):
        pass
    os._exit(EXIT_CRASHED)


def _report_always(work: Work, reporter: Reporter) -> None:
    while True:
        time.sleep(_STATUS_SECONDS)
        reporter.send(status=work.status())


if __name__ == "__main__":
    main()
