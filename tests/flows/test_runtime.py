"""A worker's state while its flow's settings change: by which settings it answers, and what it still hides."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.assigning import assign
from flows.config import built
from flows.document import read
from flows.orders import Prepare
from flows.runtime import Runtime
from logweir.events import Events
from operators.limiter_state import Suppressed
from operators.summaries import Summary

LIMIT = {"name": "Limit", "type": "rate", "max_per_minute": 2, "by": "user.email", "summarise": True}


class Worker:
    """A worker that runs no dataflow.

    Args:
        directory: Of its files.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._assignment = assign(self._flow(), ["out"], 1)
        self.runtime = Runtime(self._assignment, Events(io.StringIO()), lambda _reason: None)

    def _flow(self, **more: Any) -> Any:
        settings = {
            "name": "ours",
            "source": {"type": "generate"},
            "rules": [LIMIT],
            "dead_letter": {"directory": str(self._directory / "dead")},
            "recovery": {"directory": str(self._directory / "state")},
            "destinations": {"out": {"type": "file", "path": str(self._directory / "out")}},
        }
        return built(read(json.dumps({**settings, **more}).encode(), "flow.yaml")).flow

    def reload(self, revision: int, **more: Any) -> None:
        """Go over to other settings."""
        self.runtime.prepare(Prepare(self._flow(**more), self._assignment.seatings, revision))
        self.runtime.swap(revision)


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    """Return a worker."""
    found = Worker(tmp_path)
    yield found
    found.runtime.close()


def test_a_summary_of_what_is_hidden_since(worker: Worker) -> None:
    """Windows from before a reload remember what it hides; a summary that is made after it no longer tells that."""
    summary = Summary("0000", "Limit", ("user.email",), [Suppressed("jo@example.com", 1_790_000_000, 60, 5)])
    before = worker.runtime.settle("out", summary)
    worker.reload(1, redact={"fields": ["user.email"]})
    after = worker.runtime.settle("out", summary)
    assert before is not None
    assert after is not None
    assert b"jo@example.com" in before.values[0]
    assert b"jo@example.com" not in after.values[0]
    told = json.loads(after.values[0])
    assert told["user"] == {"email": "[redacted]"}
    assert told["metadata"]["dropped"]["records"] == 5
    assert after.ids == [told["id"]] != before.ids


def test_settings_that_are_forgotten(worker: Worker) -> None:
    """Of settings from before the last but one nobody has a slot any more, and to ask is no error."""
    (slot,) = worker.runtime._plan.places["out"]
    worker.reload(1)
    for revision in (None, 0, 1):
        assert worker.runtime.place("out", slot, revision) is not None
    worker.reload(2)
    assert worker.runtime.place("out", slot, 0) is None
    assert worker.runtime.place("out", slot, 1) is not None
