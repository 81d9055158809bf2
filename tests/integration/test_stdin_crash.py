"""A crash of a flow over standard input, which can't be read again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.flowing import until


def children(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(each) for each in found.stdout.split()]


def test_a_run_that_lost_records_does_not_end_well(tmp_path: Path) -> None:
    """After a crash the rest of the input is delivered, what was lost is told, and the exit code is not 0."""
    flow = {
        "name": "piped",
        "source": {"type": "stdin"},
        "destinations": {"out": {"type": "file", "path": "out.ndjson", "batch": {"flush_interval": "100ms"}}},
        "recovery": {"interval": "200ms"},
        "status": {"listen": "127.0.0.1:0"},
    }
    (tmp_path / "flow.yaml").write_text(json.dumps(flow))
    out = tmp_path / "out.ndjson"
    with (tmp_path / "stderr").open("wb") as stderr:
        command = [sys.executable, "-m", "flows.cli", "run", "flow.yaml"]
        process = subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.PIPE, stderr=stderr)
        assert process.stdin is not None
        try:
            process.stdin.write(b'{"id":"1"}\n')
            process.stdin.flush()
            until(lambda: out.exists() and out.read_bytes().count(b"\n") == 1, "the first record is there")
            (worker,) = children(process.pid)
            os.kill(worker, signal.SIGKILL)
            until(lambda: b"flow.crashed" in (tmp_path / "stderr").read_bytes(), "the crash is told")
            process.stdin.write(b'{"id":"2"}\n')
            process.stdin.close()
            code = process.wait(60)
        finally:
            process.kill()
            process.wait()
    lines = (tmp_path / "stderr").read_text().splitlines()
    events = [json.loads(line) for line in lines if line.startswith("{")]
    assert code == 1
    assert b'{"id":"2"}' in out.read_bytes().splitlines()
    (gap,) = [each for each in events if each["event"] == "source.gap"]
    assert "standard input can't be read again" in gap["reason"]
