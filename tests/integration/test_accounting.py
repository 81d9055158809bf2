"""What is read is delivered, dropped by a named rule or dead-lettered: a real broker and a real node are asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import scenarios
from tests.servers.kafka import Kafka
from tests.servers.opensearch import OpenSearch

pytestmark = [pytest.mark.kafka, pytest.mark.opensearch]


@pytest.mark.parametrize("rules", ["none", "selective"])
def test_every_record_is_accounted_for(kafka: Kafka, opensearch: OpenSearch, tmp_path: Path, rules: str) -> None:
    """Every record is in the index once, in the count of the rule that dropped it, or in the dead letter."""
    scenarios.account(kafka, opensearch, tmp_path, rules=rules, records=10_000, plant=200)
