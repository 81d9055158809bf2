"""The archive at length, with its figures: `make proof`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests import archiving
from tests.servers.kafka import Kafka

pytestmark = [pytest.mark.proof, pytest.mark.kafka]


@pytest.mark.parametrize("workers", [1, 2])
def test_twenty_kills(kafka: Kafka, tmp_path: Path, workers: int) -> None:
    """After twenty kills the table holds each record once; at every moment between it could be read."""
    found = archiving.crash(kafka, tmp_path, "--workers", str(workers), kills=20, rate=5000, longest=2.0)
    sys.stdout.write(
        f"\n  {workers} workers, 20 kills in {found.seconds:.0f} s: {found.sent:,} records, {found.commits} commits, "
        f"{found.duplicates:,} came again and were there already; the table was read {found.reads} times meanwhile"
    )
