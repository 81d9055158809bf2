from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

import pytest

from tests.five import outage
from tests.servers.apart import Failure
from tests.servers.kafka import Kafka

pytestmark = [pytest.mark.proof, pytest.mark.kafka]


@pytest.mark.parametrize(
    ("broken", "failure", "on_failure", "records"),
    [
        ("elasticsearch", "refused", "hold", 1_000_000),
        ("splunk", "503", "hold", 500_000),
        ("datadog", "refused", "dead_letter", 500_000),
        ("gcp", "503", "dead_letter", 500_000),
    ],
)
def test_one_of_five_is_down(
    kafka: Kafka,
    tmp_path: Path,
    broken: str,
    failure: Failure,
    on_failure: Literal["hold", "dead_letter"],
    records: int,
) -> None:
    """At full speed the other four keep their pace, and it gets all of its own in the end; every ledger balances."""
    found = outage(kafka, tmp_path, broken=broken, failure=failure, on_failure=on_failure, records=records)
    sys.stdout.write("\n" + "\n".join(found.lines()))
    assert max(found.memory.values()) < 300
