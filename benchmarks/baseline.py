"""The loop that one would write first: consume, orjson.loads, the rules by hand, orjson.dumps, gzip 6, httpx.

`python -m benchmarks.baseline BROKERS TOPIC URL RULES COUNT` ends after COUNT records; RULES is `all` or `selective`.
"""

from __future__ import annotations

import gzip
import random
import sys
from typing import Any

import httpx
import orjson
from confluent_kafka import Consumer

BATCH_BYTES = 1_000_000


def passes(record: dict[str, Any]) -> bool:
    """Apply the selective rules."""
    level = record.get("level")
    if level in {"error", "fatal"}:
        return True
    if level in {"debug", "trace"}:
        return False
    if record.get("context", {}).get("environment") != "production":
        return False
    return not (level == "info" and random.random() >= 0.1)


def main() -> None:
    """Run the loop."""
    brokers, topic, url, rules, count = sys.argv[1:6]
    consumer = Consumer(
        {
            "bootstrap.servers": brokers,
            "group.id": f"baseline-{rules}-{random.random()}",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": True,
        }
    )
    consumer.subscribe([topic])
    client = httpx.Client()
    lines: list[bytes] = []
    size = 0
    left = int(count)
    while left > 0:
        for message in consumer.consume(1000, 1.0):
            if message.error():
                continue
            left -= 1
            record = orjson.loads(message.value() or b"")
            if rules == "selective" and not passes(record):
                continue
            record["@timestamp"] = record["timestamp"]
            line = orjson.dumps(record)
            lines += [orjson.dumps({"create": {"_id": record["id"]}}), line]
            size += len(line)
            if size >= BATCH_BYTES:
                send(client, url, lines)
                lines, size = [], 0
    if lines:
        send(client, url, lines)
    consumer.close()


def send(client: httpx.Client, url: str, lines: list[bytes]) -> None:
    """Send one bulk request."""
    body = gzip.compress(b"\n".join(lines) + b"\n", 6)
    headers = {"content-type": "application/x-ndjson", "content-encoding": "gzip"}
    answer = client.post(f"{url}/logs/_bulk", content=body, headers=headers)
    if orjson.loads(answer.raise_for_status().content)["errors"]:
        print("errors", answer.text[:200])


if __name__ == "__main__":
    main()
