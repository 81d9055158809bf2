"""What the tests of the logger's Kafka output share: programs that log, and what has arrived of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

SOURCE = Path(__file__).resolve().parents[2] / "logger" / "src"
QUICK = {"linger.ms": 5}


def consumed(brokers: str, topic: str, timeout: float = 30.0) -> list[dict[str, Any]]:
    """Return all records of a topic of one partition."""
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": "reads", "log_level": 0})
    try:
        part = TopicPartition(topic, 0, OFFSET_BEGINNING)
        _, end = consumer.get_watermark_offsets(part, timeout=timeout)
        consumer.assign([part])
        found: list[dict[str, Any]] = []
        while len(found) < end:
            for message in consumer.consume(10_000, 1.0):
                assert message.error() is None, message.error()
                found.append(orjson.loads(message.value() or b""))
        return found
    finally:
        consumer.close()


def run(program: str, *arguments: str, timeout: float = 60.0) -> subprocess.CompletedProcess[bytes]:
    """Run a program that logs, to its end."""
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    command = [sys.executable, "-W", "ignore", "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, env=environment, timeout=timeout, check=False)


def lines(data: bytes) -> list[dict[str, Any]]:
    """Return the records among lines of standard error."""
    return [orjson.loads(line) for line in data.splitlines() if line.startswith(b"{")]
