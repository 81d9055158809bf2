"""The files of the archive's table, and the partitions that they make up: retention class and UTC date."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from typing import NamedTuple
from urllib.parse import unquote

from logweir.archive_table import directory
from logweir.retention import expires, parse_period


class Partition(NamedTuple):
    """The records of one retention class and UTC date."""

    retention: str
    day: date

    @property
    def key(self) -> str:
        """Its directory below the table, which is its key in the dataflow too."""
        return directory(self.retention, self.day)

    def expiry(self) -> datetime | None:
        """Return when its records expire; None for never."""
        return expires(self.day, self.retention)

    def is_over(self, now: datetime) -> bool:
        """Tell whether they have expired."""
        moment = self.expiry()
        return moment is not None and moment <= now


@dataclass(frozen=True, slots=True)
class TableFile:
    """One file, as the table's log describes it."""

    path: str
    """Below the table, as the log spells it."""
    size: int
    """In bytes."""
    modified: float
    """When it was written, in epoch seconds."""
    rows: int | None
    """None where its writer kept no statistics."""
    first: str = ""
    """The least timestamp in it, spelt so that text sorts as time does; empty where it isn't known."""

    @property
    def place(self) -> str:
        """Where it lies below the table, as a listing spells it: the log encodes paths as URLs do."""
        return unquote(self.path)


def partition_of(retention: str | None, day: date | None) -> Partition | None:
    """Return a partition; None for what another program has put under a class that isn't one of logweir's.

    It is left alone: nothing says how long its records are to be kept.
    """
    if retention is None or day is None:
        return None
    try:
        return Partition(retention, day) if parse_period(retention) == retention else None
    except ValueError:
        return None


def in_order(files: Iterable[TableFile]) -> list[TableFile]:
    """Return files in the order of their time, so that a file that is made of them covers a short span."""
    return sorted(files, key=lambda each: (each.first, each.modified, each.path))
