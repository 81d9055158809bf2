"""A worker as its supervisor has it: the process, the pipe with its orders, and what it reports."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import IO, Any

import orjson

from flows import orders

ALLOCATOR = {
    # Bodies of a megabyte come and go all the time: glibc would return each to the system and fetch it again.
    "MALLOC_MMAP_THRESHOLD_": "134217728",
    "MALLOC_TRIM_THRESHOLD_": "268435456",
    # One for each of a worker's busy threads: with fewer they wait for each other's, with more memory is kept in vain.
    "MALLOC_ARENA_MAX": "8",
    # Arrow's own allocator returns memory to the system that the next commit needs again.
    "ARROW_DEFAULT_MEMORY_POOL": "system",
}
"""How a worker's memory is allocated."""
_QUIET = {
    # An error leaves the engine as a panic of Rust; the event that tells of it has Python's own stack.
    "RUST_BACKTRACE": "0",
    # Arrow loads numpy where that is installed, which starts a thread for each core that would have nothing to do.
    "OPENBLAS_NUM_THREADS": "1",
}


class WorkerProcess:
    """One worker process and the thread that reads what it reports.

    Args:
        assignment: What it is to run, as its module takes it.
        on_message: Is called on the reader's thread with what is neither a status nor a stage.
        environment: Variables for it, beside our own.
        module: What runs in it.
    """

    def __init__(
        self,
        assignment: Any,
        on_message: Callable[[dict[str, Any]], None],
        environment: Mapping[str, str],
        module: str = "flows.worker",
    ) -> None:
        inbox, self._outbox = os.pipe()
        reports, outlet = os.pipe()
        self.status: dict[str, Any] = {}
        self.reached: dict[str, int] = {}
        """The stages of a change that it has reached: the revision of each."""
        self.unable = ""
        """Why it could not go on by other settings."""
        self._on_message = on_message
        command = [sys.executable, "-m", module, str(inbox), str(outlet)]
        self.process = subprocess.Popen(  # noqa: S603
            command, pass_fds=(inbox, outlet), env={**ALLOCATOR, **os.environ, **_QUIET, **environment}
        )
        os.close(inbox)
        os.close(outlet)
        self._reader = threading.Thread(target=self._read, args=(os.fdopen(reports, "rb"),), daemon=True)
        self._reader.start()
        self.order(assignment)

    def order(self, order: Any) -> None:
        """Send an order. One that has died tells by its exit code."""
        with suppress(BrokenPipeError):
            orders.send(self._outbox, order)

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
                elif "reached" in message:
                    self.reached[message["reached"]] = message["revision"]
                elif "unable" in message:
                    self.unable = message["unable"]
                else:
                    self._on_message(message)
