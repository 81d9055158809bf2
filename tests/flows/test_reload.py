"""What becomes of a changed flow file, before any worker hears of it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from flows.config import load
from flows.flow_file import FlowFile
from flows.reload import Reload

SECRET = "s3cret-s3cret"
FLOW: dict[str, Any] = {
    "name": "shop",
    "source": {"type": "kafka", "brokers": ["localhost:9092"], "topics": ["logs"]},
    "destinations": {
        "search": {"type": "elasticsearch", "url": "http://localhost:9200", "index": "logs", "api_key": SECRET},
        "files": {"type": "file", "path": "./out.ndjson"},
    },
}


class Told:
    """A flow file that changes, and what is told of it.

    Args:
        path: The file.
        only: What `--only` says.
    """

    def __init__(self, path: Path, only: list[str] | None = None) -> None:
        self.path = path
        path.write_text(json.dumps(FLOW))
        self.events: list[dict[str, Any]] = []
        self.reload = Reload(load(path), FlowFile(path), only, self._tell)

    def change(self, **settings: Any) -> bool:
        """Change top settings, and read it."""
        return self.write(json.dumps({**FLOW, **settings}, indent=1))

    def write(self, text: str) -> bool:
        """Write it, and read it."""
        self.path.write_text(text)
        return self.reload.look(0.0, asked=True)

    def _tell(self, event: str, severity: str, **fields: Any) -> None:
        self.events.append({"event": event, "severity": severity, **fields})


@pytest.fixture
def told(tmp_path: Path) -> Told:
    """Return a flow that runs."""
    return Told(tmp_path / "flow.yaml")


def test_another_flow_is_accepted(told: Told) -> None:
    """It tells what is swapped and what restarts, by the settings' names, and counts as reloaded once all run by it."""
    before = told.reload.outcomes.version
    assert told.change(max_in_flight="1MB", dead_letter={"topic_prefix": "gone."})
    assert told.reload.flow.max_in_flight == 1_000_000
    (event,) = told.events
    assert (event["event"], event["swapped"], event["restart"]) == (
        "config.changed",
        ["max_in_flight"],
        ["dead_letter.topic_prefix"],
    )
    outcomes = told.reload.outcomes
    assert (outcomes.version != before, outcomes.pending, outcomes.reloaded) == (True, True, 0)
    told.reload.arrived(2.5)
    told.reload.arrived(3.5)
    assert (outcomes.pending, outcomes.reloaded) == (False, 1)
    assert told.events[1:] == [
        {"event": "config.reloaded", "severity": "info", "version": outcomes.version, "seconds": 2.5}
    ]


def test_the_version_is_the_files(told: Told) -> None:
    """It is what sha256sum shows of the file."""
    told.write(json.dumps({**FLOW, "rules": []}) + "\n# a remark\n")
    (event,) = told.events
    assert event["event"] == "config.unchanged"
    digest = hashlib.sha256(told.path.read_bytes()).hexdigest()
    assert told.reload.outcomes.version == event["version"] == digest[:12]


def test_what_is_wrong_is_told_as_check_does(told: Told) -> None:
    """Every finding with its place, none with a secret; the flow before stays, and right again means accepted again."""
    before = told.reload.flow
    broken = json.dumps(FLOW, indent=1).replace('"index"', '"indx"').replace('"shop"', "5")
    assert not told.write(broken)
    (event,) = told.events
    assert (event["event"], event["severity"]) == ("config.refused", "error")
    assert [each.split(": ")[0] for each in event["findings"]] == [f"{told.path}:2:10", f"{told.path}:16:4"]
    assert event["in_force"] == told.reload.outcomes.version
    assert SECRET not in str(told.events)
    assert told.reload.flow is before
    assert told.reload.outcomes.to_dict()["findings"] == event["findings"]
    assert not told.write(json.dumps(FLOW))
    assert told.reload.outcomes.to_dict()["findings"] == []


@pytest.mark.parametrize("settings", [{"name": "other"}, {"recovery": {"directory": "./x"}}, {"isolation": "none"}])
def test_what_the_position_belongs_to(told: Told, settings: dict[str, Any]) -> None:
    """It is refused with what to do, at its place in the file."""
    assert not told.change(**settings)
    (finding,) = told.events[0]["findings"]
    assert str(next(iter(settings))) in finding
    assert "stop the flow, and start it with this file" in finding


def test_nothing_left_to_deliver_to(tmp_path: Path) -> None:
    """A run that was left at some destinations doesn't go on with none, nor with others."""
    told = Told(tmp_path / "flow.yaml", ["search"])
    assert not told.change(destinations={"files": FLOW["destinations"]["files"]})
    assert "none of search is enabled" in told.events[0]["findings"][0]


def test_what_cannot_be_compiled(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """Patterns that are right each and too large together are found before any worker has them."""
    patterns = [{"name": f"p{number}", "pattern": f"{number}[a-z]{{900}}"} for number in range(99)]
    before = told.reload.flow
    with monkeypatch.context() as patched:
        patched.setattr("operators.patterns.OPTIONS.max_mem", 1 << 20)
        assert not told.change(redact={"patterns": patterns})
    assert "too large together" in told.events[0]["findings"][0]
    assert told.reload.flow is before


def test_a_file_that_is_gone(told: Told) -> None:
    """Asked to read it, the flow says that it can't, and goes on."""
    told.path.unlink()
    assert not told.reload.look(0.0, asked=True)
    assert told.events[0]["findings"] == [f"{told.path}: can't be read: No such file or directory"]


def test_without_a_file(told: Told) -> None:
    """A flow without a file has nothing to read."""
    reload = Reload(load(json.dumps(FLOW)), None, None, told._tell)
    assert not reload.look(0.0, asked=True)
    assert told.events == []
