"""What the tests of redrives share: flows, letters as a flow writes them, and `logweir redrive` as a process."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import orjson

from sinks.deadletter import DeadLetter, DirectoryDeadLetters
from tests.flowing import COMMAND, ROOT, until

REFUSED = "rejected: mapper_parsing_exception"
QUICK = {
    "batch": {"max_records": 50, "flush_interval": "50ms"},
    "retry": {"backoff": "50ms", "max_backoff": "200ms"},
}


def record(number: int, **more: Any) -> bytes:
    """Return a record with an id."""
    return orjson.dumps({"id": f"r{number}", "level": "info", "message": f"number {number}", **more})


def letter(number: int, **changes: Any) -> DeadLetter:
    """Return the letter of a record that was refused once."""
    plain = DeadLetter(record(number), "logs", number % 3, number, REFUSED, "the first reason", 1)
    return plain._replace(**changes)


def write_letters(directory: Path, letters: Iterable[DeadLetter], partition: int = 0, destination: str = "out") -> Path:
    """Write letters as a flow does, and return the file."""
    out = DirectoryDeadLetters(directory, destination, partition)
    out.write(list(letters))
    out.flush()
    out.close()
    return directory / (f"{destination}-{partition}.ndjson" if partition else f"{destination}.ndjson")


def dead(directory: Path) -> list[dict[str, Any]]:
    """Return every line of every file of dead letters."""
    return [
        orjson.loads(line)
        for path in sorted(directory.glob("*.ndjson"))
        for line in path.read_bytes().split(b"\n")
        if line
    ]


def write_flow(folder: Path, destination: dict[str, Any], **more: Any) -> Path:
    """Write a flow whose dead letters are in a directory, and return its path."""
    flow = {
        "name": "again",
        "source": {"type": "file", "path": str(folder / "in.ndjson")},
        "destinations": {"out": {**QUICK, **destination}},
        "dead_letter": {"directory": str(folder / "dead")},
        "recovery": {"directory": str(folder / "recovery"), "interval": "200ms"},
        "status": {"listen": "127.0.0.1:0"},
        **more,
    }
    path = folder / "flow.yaml"
    path.write_text(json.dumps(flow))
    return path


def to_elastic(url: str, **more: Any) -> dict[str, Any]:
    """Return a destination that is the stand-in."""
    return {"type": "elasticsearch", "url": url, "index": "logs", **more}


class Ended(NamedTuple):
    """What a redrive has left behind."""

    code: int
    out: str
    events: list[dict[str, Any]]
    text: str
    """What is on stderr beside the events."""

    def told(self, event: str) -> list[dict[str, Any]]:
        """Return the events of this kind."""
        return [each for each in self.events if each["event"] == event]

    @property
    def report(self) -> dict[str, Any]:
        """Return what it said with --json, after a look at its sum."""
        report: dict[str, Any] = json.loads(self.out)
        if not report["dry_run"]:
            parts = [sum(report[name].values()) for name in ("dropped", "failed", "not_records")]
            assert report["read"] == report["delivered"] + sum(parts) + report["in_flight"]
        return report


class Redriving:
    """One `logweir redrive` that runs beside the test; as a context manager nothing of it survives the block."""

    def __init__(self, flow: Path, *arguments: str, folder: Path) -> None:
        self._out, self._err = folder / "stdout", folder / "stderr"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [*COMMAND, "redrive", str(flow), "--to", "out", "--json", *arguments], cwd=ROOT, stdout=out, stderr=err
            )

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()
        self.process.wait(10)

    def stop(self, number: int) -> Ended:
        """Send it a signal, and return how it ends."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self, timeout: float = 60) -> Ended:
        """Return how it ends."""
        code = self.process.wait(timeout)
        return ended(code, self._out.read_text(), self._err.read_text())

    def told(self, event: str) -> list[dict[str, Any]]:
        """Return the events of this kind so far."""
        return ended(0, "", self._err.read_text()).told(event)

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for a condition while it runs."""
        until(lambda: condition() or self.process.poll() is not None, what)
        assert self.process.poll() is None, f"it ended before: {what}: {self._err.read_text()}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()


def redrive(flow: Path, *arguments: str, to: str = "out", timeout: float = 120) -> Ended:
    """Run `logweir redrive` to its end."""
    command = [*COMMAND, "redrive", str(flow), "--to", to, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=timeout)
    return ended(done.returncode, done.stdout, done.stderr)


def ended(code: int, out: str, err: str) -> Ended:
    """Take apart what was printed."""
    events, text = [], []
    for line in err.splitlines():
        try:
            events.append(orjson.loads(line))
        except ValueError:
            text.append(line)
    return Ended(code, out, events, "\n".join(text))
