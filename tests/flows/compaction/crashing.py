"""A compactor that is killed again and again beside a writer, for the test and for longer in the proof."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path
from typing import NamedTuple

from deltalake import DeltaTable

from flows.compaction.vacuum import vacuum
from flows.compaction.view import View
from tests.archiving import Reader
from tests.flows.compaction import beside
from tests.flows.compaction.support import classes, record
from tests.sinks.archive_support import configured, writer

POLICIES = [
    {"name": "errors", "period": "forever", "levels": ["error"]},
    {"name": "warnings", "period": "90y", "levels": ["warn"], "priority": 1},
    {"name": "all", "period": "100y"},
]
_LEVELS = ("info", "warn", "error")
_SIZE = 50


class Crashes(NamedTuple):
    """What a compactor went through."""

    records: int
    written: int
    """Commits of the writer."""
    merged: int
    """Those of the compactor."""
    reads: int
    """How often the whole table was read meanwhile."""
    orphans: int
    """Files that its deaths have left."""


def crash(folder: Path, kills: int, longest: float) -> Crashes:
    """Kill the compactor at random moments, and check that each record is there once, and was all the time.

    Args:
        folder: Holds the table.
        kills: How often.
        longest: The most seconds that it lives after its first commit.
    """
    place = folder / "a"
    settings = configured(place, policies=POLICIES)
    chance = random.Random(kills)
    ended = threading.Event()
    commits = 0

    def write() -> None:
        nonlocal commits
        with writer(settings, folder) as archive:
            while not ended.wait(0.02):
                start = commits * _SIZE
                some = [record(each, level=_LEVELS[each % 3]) for each in range(start, start + _SIZE)]
                archive.deliver(some, start)
                commits += 1

    writing = threading.Thread(target=write)
    writing.start()
    with Reader(place) as reader:
        for _ in range(kills):
            process = beside.start(place, policies=POLICIES)
            assert process.stdout is not None
            with process.stdout as lines:
                assert lines.readline() == b"commit\n"
                # What it does meanwhile must not fill the pipe.
                threading.Thread(target=lines.read, daemon=True).start()
                time.sleep(chance.random() * longest)
                process.kill()
                process.wait()
        ended.set()
        writing.join()
    assert reader.problems == []
    assert reader.reads > 0
    expected = {
        str(each): [("100y", "all"), ("90y", "warnings"), ("forever", "errors")][each % 3]
        for each in range(commits * _SIZE)
    }
    assert classes(place) == expected
    table = DeltaTable(place)
    merged = sum("logweir" in each for each in table.history())
    view = View(settings.retention.archive.store())
    removed = vacuum(view, 0, lambda: time.time() + 7200).files
    assert classes(place) == expected
    history = table.history()
    gone = sum(int(each["operationMetrics"]["numRemovedFiles"]) for each in history if "logweir" in each)
    return Crashes(len(expected), commits, merged, reader.reads, removed - gone)
