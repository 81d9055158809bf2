"""Vacuum: deletes files that the table no longer names, and those that it never will.

A file stays for the grace period after it was removed from the table, since whoever reads the table may read it still.
One that no commit has named may still get into one for `GRACE_SECONDS`: a writer may be about to commit it. Whoever
is killed while he makes an entry of the log leaves a part of it under another name, which is nothing to any reader.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote

from flows.compaction.view import View
from logweir.archive_table import GRACE_SECONDS

_SUFFIX = ".parquet"
_LEFT = re.compile(r"_delta_log/(?:\..*\.tmp|_commit_.*|.*#\d+)")
"""What `claim` and `replace` write before it has its name (sinks/archive_objects.py), and what delta-rs does."""


@dataclass(slots=True)
class Vacuumed:
    """What was deleted."""

    files: int = 0
    bytes: int = 0


def vacuum(view: View, grace: float, clock: Callable[[], float] = time.time, *, dry_run: bool = False) -> Vacuumed:
    """Delete what the table doesn't need.

    Args:
        view: The table; brought up to date.
        grace: Seconds after which a file is deleted that was removed from the table.
        clock: The present, in epoch seconds, by the clock that has dated the files.
        dry_run: Only count.
    """
    now = clock()
    # Listed before the table is read: what comes into the table meanwhile is seen to be in it.
    listed = [each for each in view.objects.listed() if each[0].endswith(_SUFFIX)]
    view.refresh()
    needed = view.needed() | _lately_removed(view, now - grace)
    old = now - GRACE_SECONDS
    useless = [(path, size) for path, written, size in listed if path not in needed and written < old]
    useless += [(path, size) for path, written, size in view.objects.log() if is_left(path, written, now)]
    if not dry_run:
        view.objects.delete([path for path, _ in useless])
    return Vacuumed(len(useless), sum(size for _, size in useless))


def is_left(path: str, written: float, now: float) -> bool:
    """Tell whether a file of the log was left by whoever died before it had its name.

    Args:
        path: Below the table.
        written: When, in epoch seconds.
        now: The present, likewise.
    """
    return bool(_LEFT.fullmatch(path)) and written < now - GRACE_SECONDS


def _lately_removed(view: View, since: float) -> set[str]:
    """Return the files that commits since then have removed."""
    removed: set[str] = set()
    for entry in view.entries():
        told = (entry.get("commitInfo") or [{}])[0].get("timestamp")
        if told is not None and told < since * 1000:
            break
        removed.update(unquote(each["path"]) for each in entry.get("remove", ()))
    return removed
