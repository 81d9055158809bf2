"""Cleaning the table's log of what it says about files that are gone: the least and greatest values in them.

The log's entries are in the way of nothing but their statistics, which are values of records, such as an id. They can't
be deleted: whoever is about to claim a version that has been taken would find it free. So an entry is replaced by one
that says the same without the statistics of files that aren't in the table any more ("Delta Transaction Log Protocol",
"Per-file Statistics": they are optional). Checkpoints say the same again, so a new one takes the place of all others.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import orjson

from flows.compaction.vacuum import is_left
from flows.compaction.view import View
from logweir.archive_table import GRACE_SECONDS

_ENTRY = re.compile(r"_delta_log/(\d{20})\.json")
_SUM = re.compile(r"_delta_log/(\d{20})\.(?:checkpoint\..*|crc|\d{20}\.compacted\.json)")
"""What sums entries up from some version on, or up to it."""
_HIDDEN = re.compile(r"_delta_log/\..*")
"""Such as the checksums that other programs keep of entries, which are wrong from then on."""
_THREADS = 8
"""Entries that are read at a time: most of that is waiting, where they lie in S3."""


def clean(view: View, clock: Callable[[], float] = time.time) -> int:
    """Take the statistics of files that are gone out of the log, and return how many of its files that changed.

    Args:
        view: The table; brought up to date.
        clock: The present, in epoch seconds.

    Raises:
        Exception: Whatever the store raises; done again, it goes on where it was.
    """
    view.refresh()
    needed = {path for files in view.partitions.values() for path in files} | set(view.foreign)
    listed = list(view.objects.log())
    entries = [path for path, *_ in listed if (entry := _ENTRY.fullmatch(path)) and int(entry[1]) <= view.version]
    with ThreadPoolExecutor(_THREADS) as pool:
        changed = sum(pool.map(lambda path: _clean(view, path, needed), entries))
    view.checkpoint()
    useless = [path for path, written, _ in listed if _is_useless(path, written, view.version, clock())]
    view.objects.delete(useless)
    return changed + len(useless)


def _clean(view: View, path: str, needed: set[str]) -> bool:
    """Take statistics out of one entry; True where there were any."""
    entry = view.objects.read(path)
    if entry is None:
        return False
    lines = [_without_statistics(line, needed) for line in entry.splitlines()]
    cleaned = b"".join(line + b"\n" for line in lines)
    if cleaned.rstrip(b"\n") == entry.rstrip(b"\n"):
        return False
    view.objects.replace(path, cleaned)
    return True


def _without_statistics(line: bytes, needed: set[str]) -> bytes:
    """Return a line of an entry, the very same unless it has statistics of a file that isn't needed."""
    if b'"stats"' not in line:
        return line
    action = orjson.loads(line)
    touched = False
    for name in ("add", "remove"):
        about = action.get(name)
        if about and about.get("stats") is not None and about["path"] not in needed:
            del about["stats"]
            touched = True
    return orjson.dumps(action) if touched else line


def _is_useless(path: str, written: float, version: int, now: float) -> bool:
    """Tell whether a file of the log only sums up what is summed up anew, or was left by who has died."""
    if found := _SUM.fullmatch(path):
        return int(found[1]) < version
    return is_left(path, written, now) or (bool(_HIDDEN.fullmatch(path)) and written < now - GRACE_SECONDS)
