"""New files: the partition of a followed pattern that gives no record, and looks for what matches."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from flows.sources.base import SourceContext, SourcePartition
from flows.sources.file_paths import followed_files, unlistable, why_none
from logweir.batch import Batch

WATCH = "(new files)"
"""The partition's name."""
_WATCH_SECONDS = 2.0
_REPEAT_SECONDS = 60.0
"""How often it is looked whether all directories can be listed, and told which can't."""


class WatchPartition(SourcePartition):
    """Asks for a restart when a new file matches, which gives that file a partition.

    Args:
        pattern: What matches.
        context: What it needs to know of the flow.
        known: The paths that have partitions.
    """

    def __init__(self, pattern: str, context: SourceContext, known: list[Path]) -> None:
        super().__init__(context)
        self._pattern = pattern
        self._known = set(known)
        self._look_around_at = 0.0
        """When to look next at what can't be found, on the monotonic clock."""
        self.issue = ""
        """Why nothing is found, or not all; empty where there is nothing to say."""

    def read(self, room: int) -> list[Batch]:  # noqa: ARG002
        """Look for new files."""
        # Between a rename and a create the path that was read is not there, but its rotated file is no new one.
        new = [path for path in followed_files(self._pattern, self._known) if path not in self._known]
        if new:
            self._known.update(new)
            self.context.restart(f"new files match {self._pattern}: {', '.join(map(str, new))}")
        if time.monotonic() >= self._look_around_at:
            self._look_around_at = time.monotonic() + _REPEAT_SECONDS
            self._look_around()
        return []

    def next_awake(self) -> datetime:
        """Look every few seconds."""
        return datetime.now(UTC) + timedelta(seconds=_WATCH_SECONDS)

    def snapshot(self) -> None:
        """Keep no state."""

    def close(self) -> None:
        """Hold nothing."""

    def _look_around(self) -> None:
        """Tell what can't be found now: a flow that waits in silence looks like one that works."""
        before, self.issue = self.issue, ""
        if closed := unlistable(self._pattern):
            self.issue = f"{'; '.join(closed)}: let logweir's user list it; what it holds is read once it can be"
            self.context.events.tell("source.error", "error", path=self._pattern, reason=self.issue)
        elif not self._known:
            self.issue = f"{why_none(self._pattern)}; one is waited for"
            if self.issue != before:
                self.context.events.tell("source.missing", "warn", path=self._pattern, reason=self.issue)
