"""Fifty changes of a flow file under load, with their figures: `make proof`."""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

import pytest

from tests.reloading import under_load
from tests.servers.elastic import FakeElastic
from tests.servers.kafka import Kafka

pytestmark = [pytest.mark.proof, pytest.mark.kafka]


def test_fifty_changes_lose_nothing(kafka: Kafka, elastic: FakeElastic, tmp_path: Path) -> None:
    """Of fifty changes forty are swapped, five take a restart and five are wrong; each record is accounted for."""
    found = under_load(kafka, elastic, tmp_path, changes=50, rate=3000)
    assert (found.swapped, found.restarted, found.refused) == (40, 5, 5)
    sys.stdout.write(
        f"\n  {found.sent:,} read = {found.delivered:,} delivered once + {sum(found.dropped.values()):,} dropped "
        f"{found.dropped}\n  {found.swapped} swapped, {found.restarted} restarted, {found.refused} refused; in force "
        f"after {statistics.median(found.seconds):.2f} s (median), {max(found.seconds):.2f} s at most\n"
    )
