"""Destinations beside each other: each in its own dataflow, or all in one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import scenarios
from tests.servers.elastic import FakeElastic
from tests.servers.kafka import Kafka

pytestmark = pytest.mark.kafka


@pytest.fixture
def other() -> Iterator[FakeElastic]:
    """A second stand-in for Elasticsearch."""
    with FakeElastic() as server:
        yield server


def test_without_isolation(kafka: Kafka, elastic: FakeElastic, other: FakeElastic, tmp_path: Path) -> None:
    """One dataflow serves two destinations, each by its own rules and with its own ledger, also after a restart."""
    scenarios.together(kafka, elastic, other, tmp_path, records=5000)


def test_only(kafka: Kafka, elastic: FakeElastic, other: FakeElastic, tmp_path: Path) -> None:
    """`--only` delivers to what it names, and the rest later begins at its own position."""
    scenarios.only(kafka, elastic, other, tmp_path, records=5000)


def test_an_outage_stays_where_it_is(kafka: Kafka, elastic: FakeElastic, other: FakeElastic, tmp_path: Path) -> None:
    """A destination keeps its pace beside one that is down, which catches up once it is back."""
    scenarios.outage(kafka, elastic, other, tmp_path, seconds=5, rate=2000)
