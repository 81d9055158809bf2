"""Erasing records of the archive: found in every file there is, rewritten without them, and the old bytes deleted.

    1  each file of the table is read, and those that hold such records are known
    2  partition by partition, the files that hold some are replaced by others without them, in one commit
    3  what was appended meanwhile is looked at, until a look finds nothing
    4  files that the table names no longer, but which are still in the store, are read too, and deleted where they hold
       such records: what compaction has left for those who are still reading it, what writers that died have left
    5  the log is cleaned of values of files that are gone: see flows/erasure/log.py

Killed at any moment and run again, it goes on: what is erased is found no more, and the steps behind it are done anew.

A file that has been replaced is deleted at once, since no writer will ever commit it again. Who is reading it fails and
has to read the table anew; logweir's own search and compaction do so by themselves. A file that no commit has named may
be in one in a moment, so one that is younger than `GRACE_SECONDS` is left alone and reported.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote

from flows.archiving import FlowArchive
from flows.compaction.execute import ERASED
from flows.compaction.files import Partition, TableFile
from flows.compaction.rewrite import Writers, read
from flows.compaction.view import Change, ConflictError, View
from flows.erasure.log import clean
from flows.holding import LegalHolds
from flows.matching import Matcher
from logweir.archive_table import GRACE_SECONDS
from logweir.errors import LogweirError
from operators.where import Where

if TYPE_CHECKING:
    import pyarrow as pa

_CONFLICTS = 20
"""Times that a partition is tried again, since another has changed the files, before it is left to the next run."""
_ROUNDS = 10
"""Looks at what was appended meanwhile, before it is taken for what will come for ever."""
_PAUSE_SECONDS = 0.1
_SUFFIX = ".parquet"


@dataclass(slots=True)
class Found:
    """What one file holds of what is to be erased."""

    erased: int = 0
    held: Counter[str] = field(default_factory=Counter)
    """By hold, the records that it keeps; one that two keep counts once for each."""
    kept: int = 0
    """Records that are held, each once."""


@dataclass(slots=True)
class Erasure:
    """What was erased, or would be."""

    dry_run: bool
    erased: Counter[str] = field(default_factory=Counter)
    """Records, by retention class."""
    held: Counter[str] = field(default_factory=Counter)
    """Records that stay, by the hold that keeps them."""
    kept: int = 0
    partitions: set[Partition] = field(default_factory=set)
    files: int = 0
    """That held some."""
    bytes_before: int = 0
    bytes_after: int = 0
    deleted: int = 0
    """Files, with those that the table didn't name any more."""
    deleted_bytes: int = 0
    log: int = 0
    """Files of the log that were changed or deleted."""
    pending: dict[str, float] = field(default_factory=dict)
    """Files that no commit has named and that may hold some -> when they can be deleted, in epoch seconds."""
    unsettled: list[str] = field(default_factory=list)
    """Partitions that others have changed all the time."""
    foreign: int = 0
    """Files under classes that aren't logweir's, which are left alone."""

    @property
    def complete(self) -> bool:
        """Whether nothing is left to be done."""
        return not self.pending and not self.unsettled and not self.foreign


class Eraser:
    """Erases what meets an expression.

    Args:
        archive: The flow's archive.
        where: The expression.
        clock: The present, in epoch seconds, by the clock that has dated the files.
        stopping: Tells whether the work is to be broken off.
    """

    def __init__(
        self,
        archive: FlowArchive,
        where: Where,
        clock: Callable[[], float] = time.time,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self.view = View(archive.retention.archive.store(), "erase")
        self._matcher = Matcher(where, archive.layout)
        self._holds = LegalHolds(archive.retention.hold, archive.layout)
        self._target_size = archive.retention.compaction.target_size
        self._clock = clock
        self._stopping = stopping
        self._found: dict[str, Found] = {}
        """What is known of files, by path: none is ever changed."""

    def foresee(self) -> Erasure:
        """Return what would be erased. Changes nothing.

        Raises:
            LogweirError: There is no archive, or it can't be read.
            Exception: Whatever the store raises.
        """
        self._load()
        report = Erasure(dry_run=True, foreign=len(list(self.view.foreign)))
        for partition, files in self._holding().items():
            report.partitions.add(partition)
            for file, found in files:
                report.files += 1
                report.bytes_before += file.size
                report.erased[partition.retention] += found.erased
        self._add_held(report)
        return report

    def erase(self) -> Erasure:
        """Erase them, and return what was erased.

        Raises:
            LogweirError: There is no archive, or it can't be changed.
            Exception: Whatever the store raises; run again, it goes on.
        """
        self._load()
        report = Erasure(dry_run=False)
        listed: list[tuple[str, float, int]] = []
        for _ in range(_ROUNDS):
            report.unsettled = [each.key for each in self._holding() if not self._erase(each, report)]
            # Listed before the table is read: what comes into the table meanwhile is seen to be in it.
            listed = [each for each in self.view.objects.listed() if each[0].endswith(_SUFFIX)]
            self.view.refresh()
            if not self._holding():
                break
        self._add_held(report)
        report.foreign = len(list(self.view.foreign))
        self._delete_useless(listed, report)
        report.log = clean(self.view, self._clock)
        return report

    def _load(self) -> None:
        self.view.load()
        if not self.view.exists:
            msg = f"there is no archive at {self.view.store.place} yet: there is nothing to erase"
            raise LogweirError(msg)

    def _look(self, partition: Partition) -> list[tuple[TableFile, Found]]:
        """Return a partition's files and what they hold; reads those that aren't known yet."""
        looked = []
        for file in list(self.view.partitions.get(partition, {}).values()):
            if file.path not in self._found:
                try:
                    self._found[file.path] = self._count(file)
                except FileNotFoundError:
                    continue  # replaced since; what took its place is looked at later
            looked.append((file, self._found[file.path]))
        return looked

    def _holding(self) -> dict[Partition, list[tuple[TableFile, Found]]]:
        """Return by partition the files that hold some, and what."""
        listed = {partition: self._holding_in(partition) for partition in sorted(self.view.partitions)}
        return {partition: files for partition, files in listed.items() if files}

    def _holding_in(self, partition: Partition) -> list[tuple[TableFile, Found]]:
        return [(file, found) for file, found in self._look(partition) if found.erased]

    def _count(self, file: TableFile) -> Found:
        found = Found()
        for rows in read(self.view, file, ["raw"]):
            taken, held = self._taken(rows)
            found.erased += len(taken)
            found.kept += len({row for some in held.values() for row in some})
            found.held.update({name: len(some) for name, some in held.items()})
        return found

    def _taken(self, rows: pa.RecordBatch) -> tuple[list[int], dict[str, list[int]]]:
        """Return the rows that are to be erased, and by hold those that would be if it didn't keep them."""
        import pyarrow as pa

        values = rows.column("raw")
        matching = self._matcher.rows(values)
        if not matching or not self._holds:
            return matching, {}
        held = {
            name: [matching[at] for at in places]
            for name, places in self._holds.by_name(values.take(pa.array(matching))).items()
        }
        kept = {row for some in held.values() for row in some}
        return [row for row in matching if row not in kept], held

    def _erase(self, partition: Partition, report: Erasure) -> bool:
        """Replace a partition's files that hold some; False where others have changed them all the time."""
        for _ in range(_CONFLICTS):
            try:
                files = self._holding_in(partition)
                if files:
                    self._replace(partition, files, report)
            except (ConflictError, FileNotFoundError):
                time.sleep(_PAUSE_SECONDS)
                self.view.refresh()
            else:
                return True
        return False

    def _replace(self, partition: Partition, files: list[tuple[TableFile, Found]], report: Erasure) -> None:
        import pyarrow as pa

        writers = Writers(self.view, self._target_size, self._stopping)
        erased = 0
        try:
            for file, _ in files:
                for rows in read(self.view, file):
                    taken = set(self._taken(rows)[0])
                    erased += len(taken)
                    rest = rows.filter(pa.array([row not in taken for row in range(rows.num_rows)], pa.bool_()))
                    if rest.num_rows:
                        writers.add(partition, rest)
            added = writers.finish()
            if erased != sum(found.erased for _, found in files):
                msg = f"{partition.key}: {erased} records were found, and another number before"
                raise LogweirError(msg)  # noqa: TRY301  what was written has to go
            # It must not say what was erased.
            change = Change("DELETE", {}, [(partition, file) for file, _ in files], added, {ERASED: erased})
            change.told = {"action": "erase", "erased": {partition.retention: erased}}
        except BaseException:
            writers.discard()
            raise
        try:
            self.view.commit(change)
        except ConflictError:
            writers.discard()
            raise
        # What is left has been looked at: it is held, or isn't meant.
        self._found.update((new.path, Found()) for new in added)
        for _, found in files:
            if found.kept:
                rest = self._found[added[0].path]
                rest.held.update(found.held)
                rest.kept += found.kept
        report.erased[partition.retention] += erased
        report.partitions.add(partition)
        report.files += len(files)
        report.bytes_before += sum(file.size for file, _ in files)
        report.bytes_after += sum(new.size for new in added)
        self._delete([(file.place, file.size) for file, _ in files], report)

    def _delete(self, files: Iterable[tuple[str, int]], report: Erasure) -> None:
        listed = list(files)
        self.view.objects.delete([path for path, _ in listed])
        report.deleted += len(listed)
        report.deleted_bytes += sum(size for _, size in listed)

    def _add_held(self, report: Erasure) -> None:
        for partition in self.view.partitions:
            for _, found in self._look(partition):
                report.held.update(found.held)
                report.kept += found.kept

    def _delete_useless(self, listed: Iterable[tuple[str, float, int]], report: Erasure) -> None:
        """Delete files that hold such records and aren't in the table, or say which may still come into it."""
        needed = self.view.needed()
        useless = [each for each in listed if each[0] not in needed and self._may_hold(*each)]
        young = [written for _, written, _ in useless if written >= self._clock() - GRACE_SECONDS]
        named = self._named_since(min(young)) if young else set()
        for path, written, size in useless:
            if path in named or written < self._clock() - GRACE_SECONDS:
                self._delete([(path, size)], report)
            else:
                report.pending[path] = written + GRACE_SECONDS

    def _named_since(self, since: float) -> set[str]:
        """Return the files that commits since then have named: those aren't named again."""
        named: set[str] = set()
        for entry in self.view.entries():
            named.update(unquote(each["path"]) for name in ("add", "remove") for each in entry.get(name, ()))
            told = (entry.get("commitInfo") or [{}])[0].get("timestamp")
            if told is not None and told < (since - GRACE_SECONDS) * 1000:
                break
        return named

    def _may_hold(self, path: str, written: float, size: int) -> bool:
        """Tell whether a file that isn't in the table holds such records; True where it can't be read."""
        spelt = path.replace("%", "%25")
        found = self._found.get(spelt)
        if found is None or not found.erased:
            try:
                found = self._count(TableFile(spelt, size, written, None))
            except FileNotFoundError:
                return False
            except Exception:  # noqa: BLE001  whatever pyarrow raises at half a file
                return True
        return bool(found.erased)
