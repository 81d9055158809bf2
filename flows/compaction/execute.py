"""Carrying out what the plan says, in one partition: each step ends with one commit, or changes nothing."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from flows.compaction.decide import ASKED, Decider
from flows.compaction.files import Partition, TableFile, in_order
from flows.compaction.holds import Holds, NothingHeld
from flows.compaction.plan import Check, Drop, Finding, Rewrite, Step, next_step
from flows.compaction.rewrite import StoppedError, Writers, count, read
from flows.compaction.view import Change, ConflictError, View
from logweir.archive_table import GRACE_SECONDS
from logweir.errors import LogweirError

if TYPE_CHECKING:
    import pyarrow as pa

CONFLICTS = 5
"""Times that a partition is looked at anew, since another changed what was to be changed, before it waits a round."""

EXPIRED = "logweir:expired"
"""The counter of records that have expired, all classes together."""
ERASED = "logweir:erased"
"""The counter of records that were erased (flows/erasure)."""


def expired_of(retention: str) -> str:
    """Return the counter of records of one class that have expired."""
    return f"{EXPIRED}/{retention}"


def checked_by(fingerprint: str) -> str:
    """Return the counter that says up to when files were checked: in epoch milliseconds, by policies."""
    return f"logweir:checked/{fingerprint}"


@dataclass(slots=True)
class Done:
    """What was done in one partition."""

    partition: Partition
    expired: Counter[str] = field(default_factory=Counter)
    """Records that are gone, by the class under which they expired."""
    moved: Counter[str] = field(default_factory=Counter)
    """Records that have another class now, by that; and of the same class under another policy."""
    files_removed: int = 0
    files_added: int = 0
    bytes_removed: int = 0
    bytes_added: int = 0
    commits: int = 0
    conflicts: int = 0
    seconds: float = 0.0
    settled: bool = True
    """Nothing is left to be done there."""

    def __bool__(self) -> bool:
        return bool(self.commits)


Known = dict[str, Finding]
"""What is known of a partition's files, by path: the state that is kept between rounds."""


class Compactor:
    """Carries out the plan.

    Args:
        view: The table.
        decider: The policies of today.
        target_size: The bytes that a file should have.
        clock: The present, as it counts for expiry, in epoch seconds.
        stopping: Tells whether the work is to be broken off.
        holds: What must not be deleted.
        merge: Whether small files are merged.
    """

    def __init__(
        self,
        view: View,
        decider: Decider,
        target_size: int,
        clock: Callable[[], float] = time.time,
        stopping: Callable[[], bool] = lambda: False,
        holds: Holds | None = None,
        *,
        merge: bool = True,
    ) -> None:
        self.view = view
        self._decider = decider
        self._target_size = target_size
        self._clock = clock
        self._stopping = stopping
        self._holds = holds or NothingHeld()
        self._merge = merge

    def tend(self, partition: Partition, known: Known) -> Done:
        """Do all that is to be done in a partition.

        Args:
            partition: The partition.
            known: What is known of its files; brought up to date.

        Raises:
            StoppedError: The work is to be broken off.
            Exception: Whatever the store raises.
        """
        done = Done(partition)
        started = time.monotonic()
        while (step := self.plan(partition, known)) is not None and not self._stopping():
            try:
                self._carry_out(partition, step, known, done)
            except ConflictError:
                done.conflicts += 1
                self.view.refresh()
                if done.conflicts > CONFLICTS:
                    break
        done.settled = step is None
        done.seconds = time.monotonic() - started
        return done

    def plan(self, partition: Partition, known: Known) -> Step | None:
        """Return what is to be done next in a partition."""
        files = self.view.partitions.get(partition, {})
        for path in known.keys() - files.keys():
            del known[path]
        checked = self.view.counter(checked_by(self._decider.fingerprint)) / 1000 if self.view.exists else 0.0
        for each in files.values():
            if each.modified <= checked:
                known.setdefault(each.path, Finding.SETTLED)
        return next_step(
            partition,
            list(files.values()),
            known,
            self._now(),
            self._target_size,
            held=self._holds.may_hold(partition),
            merge=self._merge,
        )

    def foresee(self, partition: Partition) -> Done:
        """Return what would expire in a partition now, and what would move to another class. Changes nothing."""
        done = Done(partition)
        known: Known = {}
        self.plan(partition, known)
        over, held = partition.is_over(self._now()), self._holds.may_hold(partition)
        for each in self.view.partitions.get(partition, {}).values():
            decide = each.path not in known
            if over and not decide and not held:
                done.expired[partition.retention] += count(self.view, each)
                done.bytes_removed += each.size
            elif over or decide:
                rewriting = _Rewriting(partition, self._decider, self._holds, self._now(), _NoWriters())
                columns = None if held else ASKED if self._decider.looks else ASKED[:-1]
                for rows in read(self.view, each, columns):
                    rewriting.add(rows, decide=decide)
                done.expired.update(rewriting.expired)
                done.moved.update(rewriting.moved)
                done.bytes_removed += each.size * rewriting.expired.total() // max(rewriting.read, 1)
        return done

    def checked(self, since: float) -> None:
        """Record in the table that all files were checked which were there at some time.

        A file that a writer had written by then may have come into the table after it, so that counts from earlier on.

        Args:
            since: When the table was read that was checked, in epoch seconds.
        """
        name, value = checked_by(self._decider.fingerprint), int((since - GRACE_SECONDS) * 1000)
        if value - self.view.counter(name) > GRACE_SECONDS * 1000:
            self.view.commit(Change("OPTIMIZE", reached={name: value}, told={"action": "check"}))

    def _carry_out(self, partition: Partition, step: Step, known: Known, done: Done) -> None:
        if isinstance(step, Check):
            for each in step.files:
                known[each.path] = self._check(partition, each)
        elif isinstance(step, Drop):
            self._drop(partition, step, done)
        else:
            self._rewrite(partition, step, known, done)

    def _check(self, partition: Partition, file: TableFile) -> Finding:
        """Return whether all of a file's records are where they belong."""
        columns = ASKED if self._decider.looks else ASKED[:-1]
        for rows in read(self.view, file, columns):
            self._go_on()
            if self._decider.misplaced(rows, self._decider.of(rows), partition.retention):
                return Finding.MISPLACED
        return Finding.SETTLED

    def _holds_all(self, file: TableFile) -> bool:
        """Tell whether each of a file's records is held; reads up to the first that isn't."""
        import pyarrow.compute as pc

        for rows in read(self.view, file):
            self._go_on()
            if not pc.all(self._holds.held(rows)).as_py():
                return False
        return True

    def _go_on(self) -> None:
        if self._stopping():
            msg = "compaction was stopped"
            raise StoppedError(msg)

    def _drop(self, partition: Partition, step: Drop, done: Done) -> None:
        rows = sum(count(self.view, each) for each in step.files)
        condition = f"retention = '{partition.retention}' AND date = '{partition.day}'"
        change = Change("DELETE", {"predicate": f'["{condition}"]'}, [(partition, each) for each in step.files])
        self._commit(change, {partition.retention: rows}, Counter(), done)

    def _rewrite(self, partition: Partition, step: Rewrite, known: Known, done: Done) -> None:
        if partition.is_over(self._now()) and not step.decide:
            # A file of which nothing goes stays as it is, however often that is asked.
            held = [each for each in step.files if self._holds_all(each)]
            known.update((each.path, Finding.HELD) for each in held)
            step = Rewrite(tuple(each for each in step.files if each not in held), step.decide)
            if not step.files:
                return
        writers = Writers(self.view, self._target_size, self._stopping)
        rewriting = _Rewriting(partition, self._decider, self._holds, self._now(), writers)
        try:
            for each in in_order(step.files):
                rows = 0
                for batch in read(self.view, each):
                    rewriting.add(batch, decide=each.path in step.decide)
                    rows += batch.num_rows
                if each.rows is not None and rows != each.rows:
                    msg = f"{each.path}: it has {rows} records, and the table's log says {each.rows}"
                    raise LogweirError(msg)  # noqa: TRY301  what was written has to go
            files = writers.finish()
        except BaseException:
            writers.discard()
            raise
        if sum(each.rows for each in files) + rewriting.expired.total() != rewriting.read:
            writers.discard()
            msg = f"{partition.key}: {rewriting.read} records were read, and another number written"
            raise LogweirError(msg)
        changes = bool(rewriting.expired or rewriting.moved)
        change = Change("UPDATE" if changes else "OPTIMIZE", {}, [(partition, each) for each in step.files], files)
        try:
            self._commit(change, rewriting.expired, rewriting.moved, done)
        except ConflictError:
            writers.discard()
            raise
        over = partition.is_over(self._now())
        known.update(
            (each.path, Finding.HELD if over else Finding.SETTLED) for each in files if each.partition == partition
        )

    def _commit(self, change: Change, expired: dict[str, int], moved: Counter[str], done: Done) -> None:
        gone = Counter(expired)
        if gone.total():
            change.deleted = {EXPIRED: gone.total(), **{expired_of(name): number for name, number in gone.items()}}
        change.told = {
            "action": "expire" if gone else "move" if moved else "merge",
            **({"expired": dict(gone)} if gone else {}),
            **({"moved": dict(moved)} if moved else {}),
        }
        self.view.commit(change)
        done.commits += 1
        done.expired.update(gone)
        done.moved.update(moved)
        done.files_removed += len(change.removed)
        done.files_added += len(change.added)
        done.bytes_removed += sum(file.size for _, file in change.removed)
        done.bytes_added += sum(new.size for new in change.added)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)


class _Sink(Protocol):
    """Takes the rows that stay."""

    def add(self, partition: Partition, rows: pa.RecordBatch) -> None:
        """Take some."""
        ...


class _NoWriters:
    """Keeps nothing."""

    def add(self, partition: Partition, rows: pa.RecordBatch) -> None:
        """Do nothing."""


class _Rewriting:
    """Sends each row to where it belongs."""

    def __init__(self, partition: Partition, decider: Decider, holds: Holds, now: datetime, writers: _Sink) -> None:
        self._partition = partition
        self._decider = decider
        self._holds = holds
        self._now = now
        self._writers = writers
        self.read = 0
        self.expired: Counter[str] = Counter()
        self.moved: Counter[str] = Counter()

    def add(self, rows: pa.RecordBatch, *, decide: bool) -> None:
        """Take rows of the partition."""
        import pyarrow.compute as pc

        self.read += rows.num_rows
        if not decide:
            self._keep(self._partition, rows)
            return
        numbers = self._decider.of(rows)
        if not self._decider.misplaced(rows, numbers, self._partition.retention):
            self._keep(self._partition, rows)
            return
        for number in pc.unique(numbers).to_pylist():
            if number is None:
                self._keep(self._partition, rows.filter(numbers.is_null()))
                continue
            retention = self._decider.classes[number]
            some = rows.filter(pc.equal(numbers, number))
            if retention != self._partition.retention or self._other_policy(some, number):
                self.moved[retention] += some.num_rows
            self._keep(Partition(retention, self._partition.day), self._named(some, number))

    def _other_policy(self, rows: pa.RecordBatch, number: int) -> bool:
        import pyarrow as pa

        return self._decider.misplaced(
            rows, pa.repeat(pa.scalar(number, pa.int32()), rows.num_rows), self._decider.classes[number]
        )

    def _named(self, rows: pa.RecordBatch, number: int) -> pa.RecordBatch:
        """Return rows under the policy of this number."""
        import pyarrow as pa

        place = rows.schema.get_field_index("policy")
        name = pa.repeat(self._decider.names[number], rows.num_rows).cast(rows.schema.field(place).type)
        return rows.set_column(place, rows.schema.field(place), name)

    def _keep(self, partition: Partition, rows: pa.RecordBatch) -> None:
        """Write rows; those that have expired are gone, unless they are held."""
        import pyarrow.compute as pc

        if partition.is_over(self._now):
            if self._holds.may_hold(partition):
                held = self._holds.held(rows)
                self.expired[partition.retention] += rows.num_rows - pc.sum(held).as_py()
                rows = rows.filter(held)
            else:
                self.expired[partition.retention] += rows.num_rows
                return
        if rows.num_rows:
            self._writers.add(partition, rows)
