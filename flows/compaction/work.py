"""What one worker process of the compaction does, round after round, and the figures that it tells of it."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from flows.archiving import FlowArchive
from flows.compaction.execute import Done, Known
from flows.compaction.figures import Figures, figures
from flows.compaction.files import Partition
from flows.compaction.opened import compactor_of, in_words
from flows.compaction.rewrite import StoppedError
from flows.compaction.vacuum import vacuum
from flows.retention_commands import classes_of
from logweir.events import Events
from logweir.memory import give_back
from logweir.times import rfc3339

_ISSUES = 5
"""Told of one worker at a time."""
VACUUM_SECONDS = 3600.0
"""Between two looks for files that the table needs no longer: every file of the store is listed for it."""


class Listed(NamedTuple):
    """A partition that is to be looked at in a round; without one where there is none at all."""

    round: int
    at: float
    """When the round has begun, in epoch seconds."""
    total: int
    """The partitions of the round."""
    partition: Partition | None


class Looked(NamedTuple):
    """What came of it."""

    listed: Listed
    done: Done | None
    failed: bool


@dataclass(slots=True)
class Totals:
    """What one worker has done since it started."""

    expired: Counter[str] = field(default_factory=Counter)
    moved: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    """Files and bytes removed and added, commits, conflicts, failures, and what vacuum has deleted."""

    def add(self, done: Done) -> None:
        """Take what was done in one partition into account."""
        self.expired.update(done.expired)
        self.moved.update(done.moved)
        for name in COUNTS:
            if (number := getattr(done, name, 0)) != 0:
                self.counts[name] += number

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON."""
        return {
            "expired": dict(self.expired),
            "moved": dict(self.moved),
            **{name: self.counts[name] for name in (*COUNTS, *OTHER_COUNTS)},
        }


COUNTS = ("files_removed", "files_added", "bytes_removed", "bytes_added", "commits", "conflicts")
OTHER_COUNTS = ("failures", "vacuumed_files", "vacuumed_bytes")


class Work:
    """The work of one process.

    Args:
        archive: The flow's archive.
        events: Where it tells what happens.
        once: Whether this isn't to go on for ever: then files that aren't needed are deleted in each round.
        clock: The present, as it counts for expiry.
    """

    def __init__(
        self, archive: FlowArchive, events: Events, *, once: bool = False, clock: Callable[[], float] = time.time
    ) -> None:
        self.settings = archive.retention.compaction
        self.stopping = threading.Event()
        self._classes = classes_of(archive)
        self._compactor = compactor_of(archive, "compact", clock, self.stopping.is_set)
        self._view = self._compactor.view
        self._events = events
        self._once = once
        self._issues: dict[str, str] = {}
        """By what has failed."""
        self._totals = Totals()
        self._figures: Figures | None = None
        self._round: dict[str, Any] | None = None
        self._vacuumed = float("-inf")
        self._seen = float("-inf")
        """When the table was brought up to date: once a round, since each time takes a request."""
        self._unread = 0
        """The round in which it could not be read."""

    @property
    def failing(self) -> bool:
        """Tell whether something has failed that has not gone well since."""
        return bool(self._issues)

    def partitions(self) -> list[Partition]:
        """Return the table's partitions; none where it can't be read."""
        try:
            self._seen = time.time()
            self._view.load()
        except Exception as error:  # noqa: BLE001  whatever the store raises is told in words
            self._fail("table", error)
            return []
        self._well("table")
        # The oldest first, so that what has expired goes before anything is merged.
        return sorted(self._view.partitions, key=lambda each: each[::-1])

    def look(self, listed: Listed, known: Known) -> Looked:
        """Do what is to be done in a partition."""
        partition = listed.partition
        if partition is None or self.stopping.is_set():
            return Looked(listed, None, failed=self.stopping.is_set())
        if self._unread == listed.round:
            return Looked(listed, None, failed=True)
        try:
            if self._seen < listed.at:
                # Where this fails, it would for every partition, and each time take as long as a request may.
                self._unread = listed.round
                self._refresh()
                self._unread = 0
            done = self._compactor.tend(partition, known)
        except StoppedError:
            return Looked(listed, None, failed=True)
        except Exception as error:  # noqa: BLE001  as above; the next round tries again
            self._fail(partition.key, error)
            return Looked(listed, None, failed=True)
        self._well(partition.key)
        self._totals.add(done)
        return Looked(listed, done, failed=False)

    def is_gone(self, partition: Partition | None) -> bool:
        """Tell whether a partition is in the table no more, so that nothing has to be known of it."""
        return partition is None or partition not in self._view.partitions

    def conclude(self, looked: list[Looked]) -> None:
        """End a round: remember what was checked, delete what isn't needed, count what there is."""
        at = looked[0].listed.at
        added = Totals()
        for each in looked:
            if each.done is not None:
                added.add(each.done)
        settled = all(each.done is None or each.done.settled for each in looked)
        failed = any(each.failed for each in looked)
        if self.stopping.is_set():
            return
        try:
            self._refresh()
            if self._view.exists:
                if settled and not failed:
                    self._compactor.checked(at)
                self._vacuum()
            self._figures = figures(self._view, self._classes)
        except Exception as error:  # noqa: BLE001  as above
            self._fail("round", error)
        else:
            self._well("round")
        seconds = round(time.time() - at, 3)
        self._round = {"at": rfc3339(at), "seconds": seconds, "partitions": looked[0].listed.total, "settled": settled}
        if added.counts["commits"]:
            told = {name: value for name, value in added.to_dict().items() if value}
            self._events.tell("archive.compacted", "info", seconds=seconds, **told)
        give_back()

    def status(self) -> dict[str, Any]:
        """Return what this process has done and found, as plain JSON."""
        return {
            "issues": self._told(),
            "since_start": self._totals.to_dict(),
            "round": self._round,
            "archive": None if self._figures is None else self._figures.to_dict(),
        }

    def _told(self) -> list[str]:
        issues = list(dict.fromkeys(self._issues.values()))
        more = len(issues) - _ISSUES
        return [*issues[:_ISSUES], *([f"and {more} more"] if more > 0 else [])]

    def _refresh(self) -> None:
        seen = time.time()
        self._view.refresh()
        self._seen = seen
        present = {"table", "round", *(each.key for each in self._view.partitions)}
        for what in self._issues.keys() - present:
            del self._issues[what]

    def _vacuum(self) -> None:
        if time.monotonic() - self._vacuumed < VACUUM_SECONDS and not self._once:
            return
        found = vacuum(self._view, self.settings.grace)
        self._vacuumed = time.monotonic()
        self._totals.counts["vacuumed_files"] += found.files
        self._totals.counts["vacuumed_bytes"] += found.bytes

    def _fail(self, what: str, error: Exception) -> None:
        words = in_words(self._view.store, error)
        self._totals.counts["failures"] += 1
        if words not in self._issues.values():
            self._events.tell("archive.compaction", "error", status="error", issue=words)
        self._issues[what] = words

    def _well(self, what: str) -> None:
        if self._issues.pop(what, None) is not None and not self._issues:
            self._events.tell("archive.compaction", "info", status="well", issue="")
