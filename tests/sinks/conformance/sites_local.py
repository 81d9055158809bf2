"""Destinations on this machine: a file, and standard output."""

from __future__ import annotations

import fcntl
import json
import os
import threading
import time
from contextlib import suppress
from typing import Any

from sinks.console import Console, Terminal
from sinks.file import File
from sinks.settings import CommonDestination
from tests.sinks.cloud_support import Engine
from tests.sinks.conformance.faults import (
    ALL_REFUSED,
    ANSWERS,
    CUT,
    FORBIDDEN,
    NETWORK,
    NO_ROOM,
    POISONED,
    PROXY_AUTH,
    SILENT,
    SLOW,
    SOME_BUSY,
    UNAUTHORIZED,
    Fault,
)
from tests.sinks.conformance.site import MANY, WHOLE, Site

FULL = "/dev/full"
"""Has no room."""
_PIPE_BYTES = 4096
_SLOW_SECONDS = 0.01
_LOCAL = {
    **dict.fromkeys(NETWORK, "there is no network on the way"),
    **dict.fromkeys(ANSWERS, "there is nobody who answers"),
    UNAUTHORIZED: "there is nobody to log in to",
    **dict.fromkeys((*POISONED, ALL_REFUSED), "whatever a record holds is written"),
    PROXY_AUTH: "there is no network on the way",
    SOME_BUSY: WHOLE,
}


class FileSite(Site):
    kind = "file"
    absent = {**_LOCAL, FORBIDDEN: "for root, as whom tests may run, everything is permitted"}

    def start(self) -> None:
        self._place = self.folder / "out"
        self._place.mkdir()
        self.path = self._place / "out.ndjson"

    def settings(self, **changes: Any) -> CommonDestination:
        return File.model_validate({"type": "file", "path": str(self.path), **changes})

    def taken(self) -> list[dict[str, Any]]:
        return [json.loads(line) for path in self._place.iterdir() for line in path.read_bytes().splitlines()]

    def made(self) -> Any:
        return list(self._place.iterdir())

    def begin(self, fault: Fault) -> None:
        self.path.rename(self._place / "before.ndjson")
        self.path.symlink_to(FULL)

    def end(self, fault: Fault) -> None:
        self.path.unlink()


class ConsoleSite(Site):
    kind = "console"
    absent = {
        **{fault: why for fault, why in _LOCAL.items() if fault not in {CUT, SLOW, SILENT}},
        FORBIDDEN: "who starts logweir has opened it already",
    }
    words = {CUT: "ends the flow", SILENT: "delivered"}

    def start(self) -> None:
        self._read: list[bytes] = []
        self._marks = 0
        self._before = 0
        self._pause = 0.0
        self._stopped = threading.Event()
        self._descriptor = -1

    def settings(self, **changes: Any) -> CommonDestination:
        return Console.model_validate({"type": "console", "style": "json", **changes})

    def opened(self, run: Engine) -> None:
        """Read what it writes, as the next program would."""
        assert isinstance(run.destination, Terminal)
        self._terminal = run.destination
        self._close()
        reader, self._descriptor = os.pipe()
        fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._terminal._descriptor = self._descriptor
        self._stopped.clear()
        self._reader = threading.Thread(target=self._read_all, args=(reader,), daemon=True)
        self._reader.start()
        self.stack.callback(self._close)

    def taken(self) -> list[dict[str, Any]]:
        """Return what was written, once all of it is read: a mark is its end."""
        self._marks += 1
        mark = b"#%d" % self._marks
        os.write(self._descriptor, mark + b"\n")
        while mark not in (lines := b"".join(self._read).split(b"\n")[:-1]):
            time.sleep(_SLOW_SECONDS)
        return [json.loads(line) for line in lines if not line.startswith(b"#")]

    def made(self) -> Any:
        return b"".join(self._read)

    def batch(self, fault: Fault) -> list[bytes]:
        # More than a pipe holds that nobody reads.
        return [self.record(number, pad="x" * _PIPE_BYTES) for number in range(1, MANY + 1)]

    def met(self) -> bool:
        """Tell whether it was written to."""
        return len(self._read) > self._before

    def begin(self, fault: Fault) -> None:
        self._before = len(self._read)
        if fault is NO_ROOM:
            self._terminal._descriptor = os.open(FULL, os.O_WRONLY)
        elif fault is CUT:
            self.taken()  # all that was written before is read
            self._stopped.set()
            with suppress(BrokenPipeError):  # it has looked already
                os.write(self._descriptor, b"#cut\n")
            self._reader.join()
        else:
            self._pause = _SLOW_SECONDS if fault is SLOW else float("inf")

    def end(self, fault: Fault) -> None:
        if fault is NO_ROOM:
            os.close(self._terminal._descriptor)
            self._terminal._descriptor = self._descriptor
        self._pause = 0.0

    def _read_all(self, reader: int) -> None:
        with os.fdopen(reader, "rb", buffering=0) as pipe:
            while not self._stopped.is_set() and (some := pipe.read(_PIPE_BYTES)):
                self._read.append(some)
                while self._pause > _SLOW_SECONDS and not self._stopped.is_set():
                    time.sleep(_SLOW_SECONDS)
                time.sleep(self._pause)

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            self._reader.join()
