"""Limits at the size that is promised, with their figures."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import limits
from tests.servers.elastic import FakeElastic
from tests.servers.kafka import Kafka

pytestmark = pytest.mark.proof


@pytest.mark.kafka
def test_twenty_kills(kafka: Kafka, elastic: FakeElastic, tmp_path: Path) -> None:
    """No recorded epoch grants a window more than its limit; a kill adds at most what its epoch had sent before."""
    found = limits.crash(kafka, elastic, tmp_path, kills=20, records=20_000, limit=100)
    print(f"\n{found.read:,} read, {found.delivered:,} delivered: exactly what the limits let through")  # noqa: T201
    most = ", ".join(f"{count:,}" for count in found.interrupted)
    print(f"20 kills, epochs of 0.5 s; interrupted ones had sent {most}; {found.extra:,} over the limits")  # noqa: T201
    assert found.extra <= sum(found.interrupted)


MANY = 1_000_000_000
LIMITS: dict[str, dict[str, object]] = {
    "a limit": {"type": "rate", "max_per_minute": MANY},
    "three limits": {"type": "rate", "max_per_second": MANY, "max_per_minute": MANY, "max_per_hour": MANY},
    "repetitions": {"type": "dedupe", "window": "60s"},
}


@pytest.mark.parametrize("limit", LIMITS)
def test_a_million_keys(tmp_path: Path, limit: str) -> None:
    """A key takes less than 300 bytes for as long as it is remembered, and none once it has expired."""
    found = limits.many_keys(tmp_path, LIMITS[limit], keys=1_000_000)
    print(  # noqa: T201
        f"\n{limit}: {found.bytes_a_key:.0f} bytes a key, {found.bytes_left:.0f} once they have expired; "
        f"{found.few:.2f} us of CPU a record with 12 keys, {found.many:.2f} us with 1,000,000: "
        f"{found.few / found.many:.2f} times the throughput"
    )
    assert found.bytes_a_key < 300
    assert found.bytes_left < 30
