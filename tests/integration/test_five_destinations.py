"""Five destinations of one topic, of which one is down: it lags, alone, and loses nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from tests.five import outage
from tests.servers.apart import Failure
from tests.servers.kafka import Kafka

pytestmark = pytest.mark.kafka


@pytest.mark.parametrize(
    ("broken", "failure", "on_failure"),
    [
        ("splunk", "refused", "hold"),
        ("cloudwatch", "503", "hold"),
        ("datadog", "503", "dead_letter"),
    ],
)
def test_one_of_five_is_down(
    kafka: Kafka, tmp_path: Path, broken: str, failure: Failure, on_failure: Literal["hold", "dead_letter"]
) -> None:
    """The other four get every record meanwhile, it gets all of its own in the end, and every ledger balances."""
    found = outage(kafka, tmp_path, broken=broken, failure=failure, on_failure=on_failure, records=20_000)
    print("\n".join(found.lines()))  # noqa: T201  # figures, with -s
    assert max(found.memory.values()) < 300
