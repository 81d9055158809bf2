"""What is in the archive, and what has gone from it: from the table's log alone, without a look into its files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

from flows.compaction.execute import ERASED, EXPIRED, expired_of
from flows.compaction.files import Partition
from flows.compaction.rewrite import read
from flows.compaction.view import View
from logweir.retention import FOREVER, days_of
from logweir.times import rfc3339


@dataclass(slots=True)
class Kept:
    """What is there of one retention class, or of one policy."""

    records: int = 0
    bytes: int = 0
    files: int = 0
    oldest: str | None = None
    """The least timestamp, in RFC 3339; where only the day is known, its begin."""
    expires: datetime | None = None
    """When the next of them expire; None for never."""
    expiring: int = 0
    """How many that are."""

    def add(self, partition: Partition, records: int, size: int, files: int, oldest: str) -> None:
        """Take some records of a partition into account."""
        if not records and not files:
            return
        self.records += records
        self.bytes += size
        self.files += files
        self.oldest = min(filter(None, (self.oldest, oldest)))
        moment = partition.expiry()
        if moment is None:
            return
        if self.expires is None or moment < self.expires:
            self.expires, self.expiring = moment, 0
        if moment == self.expires:
            self.expiring += records

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON."""
        return {
            "records": self.records,
            "bytes": self.bytes,
            "files": self.files,
            "oldest": self.oldest,
            "next_expiry": None if self.expires is None else rfc3339(self.expires.timestamp()),
            "expiring": self.expiring,
        }


@dataclass(slots=True)
class Figures:
    """The whole archive."""

    version: int = -1
    """Of the table; -1 where there is none yet."""
    kept: dict[str, Kept] = field(default_factory=dict)
    """By retention class, from the shortest to forever."""
    deleted: int = 0
    """Records that have expired since there is an archive."""
    deleted_by_class: dict[str, int] = field(default_factory=dict)
    erased: int = 0
    """Records that were erased, by `logweir erase`."""
    foreign: int = 0
    """Files under classes that aren't logweir's, which are left alone."""

    @property
    def retained(self) -> int:
        """The records that are there."""
        return sum(each.records for each in self.kept.values())

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON."""
        moments = [each.expires for each in self.kept.values() if each.expires is not None]
        soonest = min(moments, default=None)
        oldest = [each.oldest for each in self.kept.values() if each.oldest is not None]
        return {
            "version": self.version,
            "total": self.retained + self.deleted + self.erased,
            "retained": self.retained,
            "deleted": self.deleted,
            "erased": self.erased,
            "bytes": sum(each.bytes for each in self.kept.values()),
            "files": sum(each.files for each in self.kept.values()),
            "oldest": min(oldest, default=None),
            "next_expiry": None if soonest is None else rfc3339(soonest.timestamp()),
            "expiring": sum(each.expiring for each in self.kept.values() if each.expires == soonest and soonest),
            "classes": {
                name: {**each.to_dict(), "deleted": self.deleted_by_class.get(name, 0)}
                for name, each in self.kept.items()
            },
            "foreign_files": self.foreign,
        }


def figures(view: View, classes: Iterable[str]) -> Figures:
    """Return what is in the archive.

    Args:
        view: The table, up to date.
        classes: Retention classes that there may be: those of the flow's policies.
    """
    found = Figures(view.version)
    if not view.exists:
        return found
    kept = {name: Kept() for name in sorted({*classes, *(each.retention for each in view.partitions)}, key=length)}
    for partition, files in view.partitions.items():
        for each in files.values():
            oldest = _oldest(partition.day, each.first)
            kept[partition.retention].add(partition, each.rows or 0, each.size, 1, oldest)
    found.kept = kept
    found.deleted, found.erased = view.counter(EXPIRED), view.counter(ERASED)
    found.deleted_by_class = {name: view.counter(expired_of(name)) for name in kept}
    found.foreign = len(list(view.foreign))
    return found


def by_policy(view: View) -> dict[tuple[str | None, str], Kept]:
    """Return what each policy and class hold: reads one small column of every file. Bytes are their share of them."""
    found: dict[tuple[str | None, str], Kept] = {}
    for partition, files in view.partitions.items():
        for file in files.values():
            counts: dict[str | None, int] = {}
            for rows in read(view, file, ["policy"]):
                for each in rows.column("policy").value_counts().to_pylist():
                    counts[each["values"]] = counts.get(each["values"], 0) + each["counts"]
            whole = sum(counts.values())
            for name, number in counts.items():
                kept = found.setdefault((name, partition.retention), Kept())
                kept.add(partition, number, file.size * number // whole, 1, _oldest(partition.day, file.first))
    return found


def length(retention: str) -> float:
    """Return the days of a class, so that classes can be put in order."""
    days = None if retention == FOREVER else days_of(retention)
    return float("inf") if days is None else days


def _oldest(day: date, first: str) -> str:
    begin = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return rfc3339((datetime.fromisoformat(first) if first else begin).timestamp())
