"""A compactor that never rests, as a process of its own: it is killed, and two of them work at once.

    python -m tests.flows.compaction.beside '{"archive": {"path": ...}, "policies": [...]}'

Standard output has a line for each commit.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from flows.compaction.execute import Known
from flows.compaction.files import Partition
from tests.flows.compaction.support import compactor
from tests.sinks.archive_support import configured

ROOT = Path(__file__).resolve().parents[3]


def start(place: Path | str, **settings: Any) -> subprocess.Popen[bytes]:
    """Start one.

    Args:
        place: The table.
        settings: Those of the archive, as `configured` takes them.
    """
    command = [sys.executable, "-m", "tests.flows.compaction.beside", json.dumps({"place": str(place), **settings})]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)


def main() -> None:
    """Merge as soon as there are two files, for ever."""
    settings = json.loads(sys.argv[1])
    # Every file seems to be there for long, so that each is merged at once.
    made = compactor(configured(settings.pop("place"), **settings), lambda: time.time() + 7200)
    known: dict[Partition, Known] = {}
    while True:
        made.view.refresh()
        for each in list(made.view.partitions):
            done = made.tend(each, known.setdefault(each, {}))
            for _ in range(done.commits):
                sys.stdout.write("commit\n")
            sys.stdout.flush()
        time.sleep(0.005)


if __name__ == "__main__":
    main()
