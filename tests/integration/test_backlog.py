"""Limits over a backlog, with the default lateness: as many pass as the specification says, to the record."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import orjson
import pytest

from logweir.times import epoch_seconds, rfc3339
from tests.backlogs import (
    HALF_AN_HOUR,
    Backlog,
    Shape,
    assert_exact,
    begin_of,
    clocks,
    passing,
    prepare,
    run,
    sparse,
    uneven,
)
from tests.flowing import Running
from tests.servers.kafka import Kafka

pytestmark = pytest.mark.kafka

PER_SECOND = {"type": "rate", "max_per_second": 3}
RECORDS = 4000


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("shape", [sparse, uneven, clocks])
def test_a_first_start(kafka: Kafka, tmp_path: Path, shape: Shape, workers: int) -> None:
    """Whatever the shape of a backlog, it is limited as it would have been while it was written."""
    backlog = Backlog(kafka)
    backlog.send(shape(begin_of(RECORDS, 2 * HALF_AN_HOUR), RECORDS))
    found = run(kafka, backlog, PER_SECOND, workers, tmp_path / "flow")
    assert_exact(backlog, found, 1, 3)


def test_a_limit_that_nothing_exceeds(kafka: Kafka, tmp_path: Path) -> None:
    """It drops nothing of a backlog whose clocks are ahead, also of now."""
    backlog = Backlog(kafka)
    backlog.send(clocks(begin_of(RECORDS, 60), RECORDS))
    found = run(kafka, backlog, {"type": "rate", "max_per_second": 1000}, 2, tmp_path / "flow")
    assert (found.dropped, len(found.messages)) == (0, len(backlog.messages))


def test_an_outage(kafka: Kafka, tmp_path: Path) -> None:
    """A flow that comes back goes on in the windows that it had, and counts what came meanwhile by its own time."""
    backlog = Backlog(kafka)
    begin = begin_of(RECORDS)
    every = list(sparse(begin, RECORDS))
    backlog.send(each for each in every if each.written < begin + 100)
    for workers, until in ((1, begin + 130), (2, begin + 700), (1, begin + RECORDS)):
        found = run(kafka, backlog, PER_SECOND, workers, tmp_path / "flow")
        assert_exact(backlog, found, 1, 3)
        done = set(backlog.messages)
        backlog.send(each for each in every if each not in done and each.written < until)
    assert_exact(backlog, run(kafka, backlog, PER_SECOND, 1, tmp_path / "flow"), 1, 3)


def test_repetitions_in_other_partitions(kafka: Kafka, tmp_path: Path) -> None:
    """Of what stands in four partitions at one time, one passes."""
    backlog = Backlog(kafka)
    backlog.send(sparse(begin_of(RECORDS), RECORDS))
    found = run(kafka, backlog, {"type": "dedupe", "by": "message", "window": "10s"}, 2, tmp_path / "flow")
    assert sorted(each.text for each in found.messages) == sorted({each.text for each in backlog.messages})


def test_a_backlog_of_several_files(tmp_path: Path) -> None:
    """Files are read side by side: each second of four of them keeps what the limit says."""
    begin, seconds = begin_of(0), range(4000)
    (tmp_path / "in").mkdir()
    for number in range(4):
        lines = [
            {"timestamp": rfc3339(begin - 4000 + second), "message": f"{number} " + "x" * 300} for second in seconds
        ]
        (tmp_path / "in" / f"{number}.log").write_text("".join(json.dumps(each) + "\n" for each in lines))
    (tmp_path / "in" / "empty.log").touch()
    flow = {
        "name": "files",
        "source": {"type": "file", "path": str(tmp_path / "in" / "*.log")},
        "rules": [{"name": "R", **PER_SECOND}],
        "destinations": {"out": {"type": "file", "path": str(tmp_path / "out.ndjson")}},
        "recovery": {"directory": str(tmp_path / "recovery"), "interval": "500ms"},
        "dead_letter": {"directory": str(tmp_path / "dead")},
        "status": {"listen": "127.0.0.1:0"},
    }
    (tmp_path / "flow.yaml").write_text(json.dumps(flow))
    with Running(tmp_path / "flow.yaml") as running:
        assert running.process.wait(120) == 0
    records = map(orjson.loads, (tmp_path / "out.ndjson").read_bytes().splitlines())
    found = Counter(int(epoch_seconds(each["timestamp"]) or 0) for each in records)
    assert found == dict.fromkeys(range(begin - 4000, begin), 3)


def test_a_kill_in_the_middle(kafka: Kafka, tmp_path: Path) -> None:
    """Windows go on with the positions that were recorded with them, however much had been read beyond these."""
    backlog = Backlog(kafka)
    backlog.send(uneven(begin_of(4 * RECORDS), 4 * RECORDS))
    directory = tmp_path / "flow"
    flow, group = prepare(kafka, backlog, PER_SECOND, directory)
    for number in range(1, 3):
        with Running(flow, "--workers", "2") as running:
            running.until(lambda number=number: written(directory) > number * RECORDS, "it delivers")  # type: ignore[misc]
            running.kill()
    with Running(flow, "--workers", "2") as running:
        running.drain(kafka, backlog.topic, f"{group}.out")
        assert running.stop() == 0
    # Of what the interrupted epochs had sent some stands in the files twice; the ledger tells what passed.
    ledger = running.ledgers()["out"]
    passed = passing(backlog.messages, 1, 3).total()
    assert (ledger.read, ledger.delivered) == (len(backlog.messages), passed)
    assert ledger.dropped == {"R": len(backlog.messages) - passed}


def written(directory: Path) -> int:
    """Return how many lines there are."""
    return sum(path.read_bytes().count(b"\n") for path in directory.glob("out-*"))
