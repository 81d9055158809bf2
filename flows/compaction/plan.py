"""What to do next in one partition of the archive. It reads and changes nothing: it looks at a list of files alone.

The order is what makes it safe. A record expires only after the policies of today have been asked about it, and only
when nothing holds it:

    1  files that the policies of today haven't been asked about are checked: in which of them do records have to move?
    2  those are rewritten, each record to where it belongs
    3  what has expired is dropped, whole, without being read; what is held of it stays
    4  small files are merged. What has to be rewritten anyway is checked on the way

Merging goes by tiers, so that a day that is still being written isn't written anew with each merge: files within a
factor of `_FACTOR` in size are merged once there are `_FACTOR` of them, and each record is rewritten once a tier. A
partition that nothing was added to for a while has the rest of its small files merged.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from flows.compaction.files import Partition, TableFile, in_order

_FACTOR = 8
QUIET_SECONDS = 3600.0
"""A partition that nothing was added to for so long is taken for finished."""


class Finding(Enum):
    """What is known of a file under the policies of today."""

    SETTLED = "settled"
    """Each of its records is where it belongs."""
    MISPLACED = "misplaced"
    """Some are not."""
    HELD = "held"
    """It has expired, and all that is left in it is held."""


@dataclass(frozen=True, slots=True)
class Check:
    """Ask the policies about files."""

    files: tuple[TableFile, ...]


@dataclass(frozen=True, slots=True)
class Drop:
    """Take files out of the table that have expired."""

    files: tuple[TableFile, ...]


@dataclass(frozen=True, slots=True)
class Rewrite:
    """Write files anew: each record to where it belongs, none that has expired, as few files as can be."""

    files: tuple[TableFile, ...]
    decide: frozenset[str]
    """The paths of those whose records the policies have to be asked about."""


Step = Check | Drop | Rewrite


def next_step(
    partition: Partition,
    files: Sequence[TableFile],
    known: Mapping[str, Finding],
    now: datetime,
    target_size: int,
    *,
    held: bool = False,
    merge: bool = True,
) -> Step | None:
    """Return what to do next in a partition; None when all is done. Called again after each step.

    Args:
        partition: The partition.
        files: All of its files.
        known: What is known of files, by path.
        now: The present, as it counts for expiry.
        target_size: The bytes that a file should have.
        held: Whether something in it may be held.
        merge: Whether small files are merged.
    """
    over = partition.is_over(now)
    merges = [] if over or not merge else list(_merges(files, now, target_size))
    merged = {each.path for some in merges for each in some}
    unknown = [each for each in files if each.path not in known and each.path not in merged]
    if unknown:
        return Check(tuple(unknown))
    misplaced = [each for each in files if known.get(each.path) is Finding.MISPLACED and each.path not in merged]
    if misplaced:
        some = next(_bins(misplaced, target_size))
        return Rewrite(tuple(some), frozenset(each.path for each in some))
    if over:
        return _expire(files, known, target_size, held=held)
    if merges:
        some = merges[0]
        return Rewrite(tuple(some), frozenset(e.path for e in some if known.get(e.path) is not Finding.SETTLED))
    return None


def _expire(
    files: Sequence[TableFile], known: Mapping[str, Finding], target_size: int, *, held: bool
) -> Drop | Rewrite | None:
    if not held:
        return Drop(tuple(files)) if files else None
    left = [each for each in files if known.get(each.path) is not Finding.HELD]
    return Rewrite(tuple(next(_bins(left, target_size))), frozenset()) if left else None


def _merges(files: Sequence[TableFile], now: datetime, target_size: int) -> Iterator[list[TableFile]]:
    """Give the files that are to become one each."""
    small = [each for each in files if each.size < target_size / 2]
    if not small:
        return
    if now.timestamp() - max(each.modified for each in files) >= QUIET_SECONDS:
        tiers: Iterable[list[TableFile]] = [small]
        least = 2
    else:
        by_tier: dict[int, list[TableFile]] = {}
        for each in small:
            by_tier.setdefault(_tier(each.size, target_size), []).append(each)
        tiers = [by_tier[tier] for tier in sorted(by_tier, reverse=True)]
        least = _FACTOR
    for tier in tiers:
        for some in _bins(tier, target_size):
            if len(some) >= least or (len(some) > 1 and _size(some) >= target_size / 2):
                yield some


def _tier(size: int, target_size: int) -> int:
    """Return 1 for files of nearly the target's size, more for smaller ones."""
    return math.ceil(math.log(target_size / max(size, 1), _FACTOR))


def _bins(files: Iterable[TableFile], target_size: int) -> Iterator[list[TableFile]]:
    """Give files in the order of their time, as many at once as make up one of the target's size."""
    some: list[TableFile] = []
    size = 0
    for each in in_order(files):
        if some and size + each.size > target_size:
            yield some
            some, size = [], 0
        some.append(each)
        size += each.size
    if some:
        yield some


def _size(files: Iterable[TableFile]) -> int:
    return sum(each.size for each in files)
