"""From the application to a file: the logger writes to Kafka, a deliver flow reads it, and nothing has changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from logweir_logger import KafkaOutput, LogContext, StructuredLogger

from tests.flowing import Running, assert_ledger, wait_drained, write_flow
from tests.servers.kafka import Kafka

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=40,
)
TEXT = st.text(max_size=50)


@pytest.mark.kafka
def test_round_trip(kafka: Kafka, tmp_path: Path) -> None:
    """What an application logs is in the destination's file, equal, whatever JSON its metadata hold."""
    topic = "logger-round-trip"
    kafka.create_topic(topic)
    logged: list[dict[str, Any]] = []
    logger = StructuredLogger(
        "checkout",
        environment="production",
        version="1.2.3",
        level="trace",
        outputs=[KafkaOutput(kafka.brokers, topic), logged.append],
        redact=False,
    )
    given_metadata: list[dict[str, Any]] = []

    @given(st.sampled_from(["trace", "info", "fatal"]), TEXT, st.dictionaries(TEXT, JSON), TEXT)
    @settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
    def log(level: str, message: str, metadata: dict[str, Any], user: str) -> None:
        with LogContext.start_span(userId=user):
            logger.log(level, message, metadata=metadata, performance={"duration": 1.5}, error=ValueError(message))
        given_metadata.append(metadata)

    log()
    assert logger.flush(30)
    logger.close()
    out = tmp_path / "out.ndjson"
    flow = write_flow(tmp_path, kafka, topic, {"disk": {"type": "file", "path": str(out)}})
    with Running(flow) as running:
        wait_drained(kafka, topic, "disk")
        assert running.stop() == 0
        (ledger,) = running.ledgers().values()
    delivered = [orjson.loads(line) for line in out.read_bytes().split(b"\n") if line]
    assert delivered == logged
    assert [record["metadata"] for record in delivered] == given_metadata
    assert_ledger(ledger, read=len(logged), delivered=len(logged), dropped={}, dead={})
