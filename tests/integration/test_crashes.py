"""Whatever dies, at whatever moment, nothing is lost and the index holds each record once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import scenarios
from tests.servers.elastic import FakeElastic
from tests.servers.kafka import Kafka

pytestmark = pytest.mark.kafka


def test_kills_lose_nothing(kafka: Kafka, elastic: FakeElastic, tmp_path: Path) -> None:
    """A flow whose worker and supervisor are killed leaves every record in the index once, and its ledger balances."""
    scenarios.crash(
        kafka,
        elastic.url,
        "logs",
        tmp_path,
        progress=lambda: elastic.documents,
        found=lambda: scenarios.stored_in(elastic),
        kills=3,
        rate=2000,
        longest=1.5,
    )


def test_stops_send_nothing_twice(kafka: Kafka, elastic: FakeElastic, tmp_path: Path) -> None:
    """A flow that is stopped at any moment ends with code 0, and goes on where it ended: no record is sent twice."""
    scenarios.stop_often(kafka, elastic, tmp_path, stops=4, rate=2000, longest=1.5)
