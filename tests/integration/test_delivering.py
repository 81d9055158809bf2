"""How a flow that runs is seen from its broker and its destinations."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import scenarios
from tests.servers.elastic import FakeElastic
from tests.servers.kafka import Kafka

pytestmark = pytest.mark.kafka


def test_workers_come_and_go(kafka: Kafka, elastic: FakeElastic, tmp_path: Path) -> None:
    """Two workers share the work, one goes on with their ledger, and when one of two dies nothing is lost."""
    scenarios.scale(kafka, elastic, tmp_path, records=5000)


def test_the_group_commits_what_is_delivered(kafka: Kafka, elastic: FakeElastic, tmp_path: Path) -> None:
    """The group is never ahead of what was delivered, and a flow without its recovery store goes on from there."""
    scenarios.commit(kafka, elastic, tmp_path, seconds=4, rate=2000)


def test_the_first_record_is_delivered(kafka: Kafka, elastic: FakeElastic, tmp_path: Path) -> None:
    """A flow that starts delivers what waits for it."""
    scenarios.start_up(kafka, elastic, tmp_path)


def test_a_new_broker(kafka: Kafka, elastic: FakeElastic, tmp_path: Path) -> None:
    """A broker that has not coordinated any group yet is asked again, and the flow starts without an error."""
    # The shared one has coordinated groups already; asked for all the same, so that this is skipped where it is.
    with Kafka() as fresh:
        scenarios.start_up(fresh, elastic, tmp_path)
