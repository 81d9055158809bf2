"""A flow file that changes where one dataflow feeds all destinations, and a terminal that is closed: no servers."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from pathlib import Path
from typing import Any

from tests.flowing import COMMAND, ROOT, Running, until
from tests.reloading import Changing


def write(directory: Path, source: dict[str, Any]) -> Path:
    """Write a flow from this source into a file, and return its path."""
    settings = {
        "name": "alone",
        "source": source,
        "destinations": {"one": {"type": "file", "path": str(directory / "one.ndjson")}},
        "dead_letter": {"directory": str(directory / "dead")},
        "recovery": {"directory": str(directory / "recovery"), "interval": "200ms"},
        "status": {"listen": "127.0.0.1:0"},
    }
    path = directory / "flow.yaml"
    path.write_text(json.dumps(settings, indent=1))
    return path


def test_one_dataflow_for_all(tmp_path: Path) -> None:
    """Rules are swapped in it, and a destination that is added restarts it: each line is there once, in order."""
    lines, written = tmp_path / "in.ndjson", 0

    def send(count: int) -> None:
        nonlocal written
        with lines.open("a") as out:
            for _ in range(count):
                out.write(json.dumps({"id": f"r{written}", "level": ("info", "debug")[written % 2]}) + "\n")
                written += 1

    def ids(name: str) -> list[int]:
        path = tmp_path / f"{name}.ndjson"
        return [int(json.loads(line)["id"][1:]) for line in path.read_text().splitlines()] if path.exists() else []

    def add(settings: dict[str, Any]) -> None:
        settings["destinations"]["two"] = {"type": "file", "path": str(tmp_path / "two.ndjson")}

    send(100)
    flow = write(tmp_path, {"type": "file", "path": str(lines), "follow": True})
    with Running(flow) as running:
        changing = Changing(flow, running)
        running.until(lambda: len(ids("one")) == 100, "all lines are there")
        (worker,) = running.workers()
        rule = {"name": "No debug", "type": "level", "levels": ["debug"], "action": "exclude"}
        changing.to(lambda settings: settings.update(rules=[rule]))
        send(100)
        running.until(lambda: len(ids("one")) == 150, "half of the lines are there")
        assert running.workers() == [worker]
        changing.to(add)
        send(100)
        running.until(lambda: len(ids("two")) == 50, "the new one has what came then")
        assert running.stop() == 0
    assert ids("one") == [*range(100), *range(100, 300, 2)]
    assert ids("two") == list(range(200, 300, 2))
    assert [each["reason"] for each in running.told("flow.restarted")] == ["changed: destinations.two"]
    assert running.ledgers()["one"].read == 300


def test_what_open_windows_remember_is_hidden(tmp_path: Path) -> None:
    """After a reload that hides the field a limit goes by, nothing names its values, also after a crash and a start."""
    lines, out = tmp_path / "in.ndjson", tmp_path / "one.ndjson"

    def send(number: int, level: str = "info") -> None:
        user = {"email": f"jo{number % 2}@example.com"}
        record = {"id": f"r{number}", "timestamp": "2024-11-24T10:00:00Z", "level": level, "user": user}
        with lines.open("a") as written:
            written.write(json.dumps(record) + "\n")

    def limited(settings: dict[str, Any]) -> None:
        rule = {"name": "Limit", "type": "rate", "max_per_hour": 1, "by": "user.email", "summarise": True}
        settings["rules"] = [{**rule, "levels": ["info"]}]

    lines.touch()
    flow = write(tmp_path, {"type": "file", "path": str(lines), "follow": True})
    settings = json.loads(flow.read_text())
    limited(settings)
    flow.write_text(json.dumps(settings))
    with Running(flow) as running:
        for number in range(10):
            send(number)
        running.until(lambda: out.exists() and out.read_bytes().count(b"\n") == 2, "one of each has passed")
        Changing(flow, running).to(lambda settings: settings.update(redact={"fields": ["user.email"]}))
        before = out.read_bytes()
        send(10)
        running.until(lambda: out.read_bytes().count(b"\n") == 3, "what is hidden is a key of its own")
        running.kill()
    with Running(flow) as running:
        send(11, "error")
        running.until(lambda: b'"r11"' in out.read_bytes(), "it goes on")
        assert running.stop() == 0
    assert b"@example.com" in before
    assert b"@example.com" not in out.read_bytes()[len(before) :]
    told = [json.loads(line) for line in out.read_text().splitlines() if "dropped-" in line]
    assert sum(each["metadata"]["dropped"]["records"] for each in told) == running.ledgers()["one"].dropped["Limit"]
    assert len({each["id"] for each in told}) == len(told) > 0


def test_a_terminal_that_is_closed(tmp_path: Path) -> None:
    """It sends SIGHUP too, but there it means an end: what is in flight is delivered, and nothing runs on unseen."""
    flow = write(tmp_path, {"type": "generate", "rate": 500})
    out = tmp_path / "one.ndjson"
    terminal, end = pty.openpty()
    owned = "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)"
    command = [*COMMAND[:-1], f"{owned}; {COMMAND[-1]}", "run", str(flow)]
    running = subprocess.Popen(command, cwd=ROOT, stdin=end, stdout=end, stderr=end, start_new_session=True)
    os.close(end)
    try:
        until(lambda: out.exists() and out.stat().st_size, "it delivers")
    finally:
        os.close(terminal)
        code = running.wait(60)
    assert code == 0
    assert out.read_bytes().endswith(b"\n")
