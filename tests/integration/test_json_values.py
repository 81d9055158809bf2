"""Odd and bad JSON through a whole flow, from each kind of source: neighbours are delivered, and no worker crashes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.flowing import COMMAND, ROOT, Running, wait_drained
from tests.json_values import REFUSED, TAKEN, between_neighbours
from tests.scenarios import new_name
from tests.servers.kafka import Kafka

RULES = [
    {"name": "No trace", "type": "level", "levels": ["trace"], "action": "exclude"},
    {"name": "Not of tests", "type": "field", "field": "context.service", "operator": "ne", "value": "none"},
    {"name": "Nearly all", "type": "sample", "sample_rate": 0.999999999},
    {"name": "Quick", "type": "regex", "field": "message", "pattern": "never", "action": "exclude"},
    {"name": "Not too many", "type": "rate", "max_per_second": 1_000_000, "by": "context.service"},
]


def flow(folder: Path, source: dict[str, Any], name: str = "odd") -> Path:
    """Write a flow that decides by all kinds of fields, hides some, and writes what is left to a file."""
    settings = {
        "name": name,
        "source": source,
        "rules": RULES,
        "redact": {"fields": ["*.password", "user.id"], "patterns": ["email", "credit_card", "ipv4"]},
        "destinations": {"out": {"type": "file", "path": str(folder / "out.ndjson")}},
        "dead_letter": {"directory": str(folder / "dead")},
        "recovery": {"directory": str(folder / "recovery"), "interval": "500ms"},
        "status": {"listen": "127.0.0.1:0"},
    }
    path = folder / "flow.yaml"
    path.write_text(json.dumps(settings), encoding="utf-8")
    return path


def assert_settled(folder: Path) -> None:
    """Every neighbour is there, and every odd value is there too or set aside with its cause."""
    lines = (folder / "out.ndjson").read_bytes().split(b"\n")[:-1]
    ids = [json.loads(line, parse_int=float).get("id") for line in lines]
    neighbours = len(TAKEN) + len(REFUSED) + 1
    assert sorted(each for each in ids if str(each).startswith("good-")) == sorted(
        f"good-{number}" for number in range(neighbours)
    )
    assert len(lines) == neighbours + len(TAKEN)
    dead = [file.read_bytes() for file in (folder / "dead").rglob("*") if file.is_file()]
    letters = [line for each in dead for line in each.splitlines()]
    assert len(letters) == len(REFUSED)


@pytest.mark.parametrize("kind", ["stdin", "file"])
def test_lines(kind: str, tmp_path: Path) -> None:
    """What is piped can't be read again, so a crash would lose it."""
    messages = between_neighbours()
    assert not any(b"\n" in message for message in messages)
    source = {"type": "stdin"} if kind == "stdin" else {"type": "file", "path": str(tmp_path / "in.log")}
    (tmp_path / "in.log").write_bytes(b"\n".join([*messages, b""]))
    with (tmp_path / "in.log").open("rb") as lines:
        ended = subprocess.run(
            [*COMMAND, "run", str(flow(tmp_path, source))],
            cwd=ROOT,
            stdin=lines if kind == "stdin" else subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
    assert ended.returncode == 0, ended.stderr.decode()
    assert b"crashed" not in ended.stderr
    assert_settled(tmp_path)


@pytest.mark.kafka
def test_messages(kafka: Kafka, tmp_path: Path) -> None:
    """A message that crashed a worker would do so again at each start."""
    topic = new_name("odd")
    kafka.create_topic(topic)
    kafka.produce(topic, between_neighbours(), partition=0)
    source = {"type": "kafka", "brokers": [kafka.brokers], "topics": [topic], "group": topic}
    with Running(flow(tmp_path, source)) as running:
        wait_drained(kafka, topic, "out")
        assert running.stop() == 0
    assert not running.told("flow.crashed")
    assert_settled(tmp_path)
