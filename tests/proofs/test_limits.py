"""Limits at the size that is promised, with their figures."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import limits
from tests.servers.elastic import FakeElastic
from tests.servers.kafka import Kafka

pytestmark = [pytest.mark.proof, pytest.mark.kafka]


def test_twenty_kills(kafka: Kafka, elastic: FakeElastic, tmp_path: Path) -> None:
    """No recorded epoch grants a window more than its limit; a kill adds at most what its epoch had sent before."""
    found = limits.crash(kafka, elastic, tmp_path, kills=20, records=20_000, limit=100)
    print(f"\n{found.read:,} read, {found.delivered:,} delivered: exactly what the limits let through")  # noqa: T201
    most = ", ".join(f"{count:,}" for count in found.interrupted)
    print(f"20 kills, epochs of 0.5 s; interrupted ones had sent {most}; {found.extra:,} over the limits")  # noqa: T201
    assert found.extra <= sum(found.interrupted)
