"""Limits over backlogs at the size that is promised, with the default lateness and one, two and four workers."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tests.backlogs import HALF_AN_HOUR, Backlog, Shape, assert_exact, begin_of, clocks, run, sparse, uneven
from tests.servers.kafka import Kafka

pytestmark = [pytest.mark.proof, pytest.mark.kafka]

RECORDS = 24_000
LIMITS: list[tuple[dict[str, Any], int, int]] = [
    ({"max_per_second": 100}, 1, 100),
    ({"max_per_second": 3}, 1, 3),
    ({"max_per_minute": 100}, 60, 100),
    ({"max_per_hour": 5000}, 3600, 5000),
]


@pytest.mark.parametrize("shape", [sparse, uneven, clocks])
def test_a_first_start(kafka: Kafka, tmp_path: Path, shape: Shape) -> None:
    """24,000 records: in each window pass exactly as many as the specification says, whoever reads them."""
    backlog = Backlog(kafka)
    backlog.send(shape(begin_of(RECORDS, 2 * HALF_AN_HOUR), RECORDS))
    for workers in (1, 2, 4):
        for number, (limit, length, most) in enumerate(LIMITS):
            started = time.monotonic()
            found = run(kafka, backlog, {"type": "rate", **limit}, workers, tmp_path / f"{workers}-{number}")
            assert_exact(backlog, found, length, most)
            took = time.monotonic() - started
            print(  # noqa: T201
                f"{shape.__name__}, {workers} workers, {limit}: {len(found.messages):,} of {found.read:,} pass, as "
                f"specified, in {took:.1f} s"
            )


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_an_outage(kafka: Kafka, tmp_path: Path, workers: int) -> None:
    """A flow that comes back after hours, and again, passes what it would have passed had it never been away."""
    backlog = Backlog(kafka)
    begin = begin_of(RECORDS, 2 * HALF_AN_HOUR)
    every = list(clocks(begin, RECORDS))
    done: set[int] = set()
    for until in (40, 100, 3000, RECORDS):
        # Of each partition the next ones.
        some = [number for number in range(len(every)) if number % (RECORDS // 4) < until and number not in done]
        backlog.send(every[number] for number in some)
        done.update(some)
        found = run(kafka, backlog, {"type": "rate", "max_per_second": 3}, workers, tmp_path / "flow")
        assert_exact(backlog, found, 1, 3)
    print(f"{workers} workers, four starts: {len(found.messages):,} of {found.read:,} pass, as specified")  # noqa: T201
