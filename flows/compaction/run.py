"""`logweir compact`: the compaction flow alone, without the destinations."""

from __future__ import annotations

import signal
import sys
import time
from types import FrameType
from typing import Any

from flows.compaction.cluster import Compaction
from flows.config import LoadedFlow
from flows.reload import Outcomes
from logweir.bounded_writer import BoundedWriter
from logweir.events import Events, left_out
from logweir.secrecy import Secrets
from logweir.terminal import visible
from logweir.units import format_bytes

_TICK_SECONDS = 0.1


class CompactionRun:
    """Runs it until it is stopped, or once.

    Args:
        loaded: The flow, which has an archive.
        workers: How many processes.
        once: Look at every partition, and end.
    """

    def __init__(self, loaded: LoadedFlow, workers: int, *, once: bool) -> None:
        self._loaded = loaded
        self._once = once
        self._events = Events(BoundedWriter(sys.stderr, left_out), secrets=Secrets.of_settings(loaded.flow))
        self._compaction = Compaction(loaded.flow, workers, self._events.tell, {}, once=once)
        self._config = Outcomes(loaded.document.version)
        self._started = time.time()
        self._signals = 0

    def run(self) -> int:
        """Return 0 when all went well, else 1."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        self._compaction.start()
        end = self._serve() if not self._once else lambda: None
        while self._compaction.tend(time.monotonic()):
            time.sleep(_TICK_SECONDS)
        end()
        return self._compaction.result

    def report(self) -> dict[str, Any]:
        """Return what was done, as plain JSON."""
        return self._compaction.report()

    def status(self) -> dict[str, Any]:
        """Return the status, as that of a whole flow which has no destinations."""
        from flows.status import whole

        return whole(self._loaded.flow.name, {}, self._started, self._config.to_dict(), self.report())

    def _serve(self) -> Any:
        from flows.metrics import registry_of
        from flows.server import serve

        registry = registry_of(dict, self._config.to_dict, self.report)
        return serve(self._loaded.flow.status, self.status, registry, self._events)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._signals += 1
        self._compaction.stop(at_once=self._signals > 1)


def report_text(report: dict[str, Any]) -> str:
    """Return what was done as text."""
    done = report["since_start"]
    expired, moved = sum(done["expired"].values()), sum(done["moved"].values())
    lines = [f"{expired:,} records expired"]
    lines += [f"  {number:>14,}  kept {name}" for name, number in sorted(done["expired"].items())]
    lines.append(f"{moved:,} records were moved to another class or policy")
    lines += [f"  {number:>14,}  to {name}" for name, number in sorted(done["moved"].items())]
    before, after = format_bytes(done["bytes_removed"]), format_bytes(done["bytes_added"])
    lines.append(f"{done['files_removed']:,} files ({before}) became {done['files_added']:,} ({after})")
    deleted = format_bytes(done["vacuumed_bytes"])
    lines.append(f"{done['vacuumed_files']:,} files ({deleted}) that the table needs no longer were deleted")
    lines += [f"failed: {issue}" for issue in report["issues"]]
    return "\n".join(map(visible, lines))
