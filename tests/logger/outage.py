"""An application that logs at a steady pace while its broker goes away and comes back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass

from tests.logger.kafka_support import SOURCE, consumed
from tests.servers.kafka import Kafka

TOLD = "Kafka missed records of this application"
PROGRAM = """
import gc, json, sys, time
from array import array
from logweir_logger import KafkaOutput, StructuredLogger
brokers, rate, seconds, bound = sys.argv[1], *map(int, sys.argv[2:])
output = KafkaOutput(brokers, "t", when_full="drop", fallback=None, max_records=bound, max_bytes=1 << 30)
logger = StructuredLogger("checkout", outputs=[output]).child(requestId="r-123456")
logger.info("first")
logger.flush(30)
took = array("q")
now, clock = time.perf_counter, time.perf_counter_ns
started = now()
print("started", flush=True)
number = 0
while number < rate * seconds:
    due = min(rate * seconds, int((now() - started) * rate))
    while number < due:
        before = clock()
        logger.info(
            "order placed",
            metadata={"number": number, "amount": 99.5, "currency": "EUR", "items": 3, "customer": "c-123"},
        )
        took.append(clock() - before)
        number += 1
    time.sleep(0.001)
elapsed = now() - started
deadline = now() + 60
while output._since and now() < deadline:
    time.sleep(0.1)
logger.flush(60)
ordered = sorted(took)
at = lambda share: ordered[int(share * (len(ordered) - 1))] / 1e3
print(json.dumps({
    "logged": number, "rate": number / elapsed, "p50": at(0.5), "p99": at(0.99), "p999": at(0.999), "most": at(1),
    **output.stats(),
}))
"""


@dataclass
class Outage:
    """What the application saw and what the broker has."""

    logged: int
    rate: float
    """Records a second."""
    p50: float
    """Microseconds a call took, here and below."""
    p99: float
    p999: float
    most: float
    dropped: int
    delivered: int
    """Distinct records of the application in the topic."""

    def __str__(self) -> str:
        return (
            f"{self.logged:,} records at {self.rate:,.0f} a second: {self.delivered:,} delivered, "
            f"{self.dropped:,} dropped and told; a call took {self.p50:.1f} us in the median, {self.p99:.1f} us at "
            f"p99, {self.p999:.0f} us at p99.9, {self.most / 1000:.1f} ms at most"
        )


def outage(*, rate: int, before: int, away: int, after: int, bound: int) -> Outage:
    """Let an application log at this rate while its broker is away for some seconds, and check what became of it.

    Raises:
        AssertionError: A record is lost untold, delivered twice, or dropped though there was room.
    """
    with Kafka() as kafka:
        kafka.create_topic("t")
        arguments = [kafka.brokers, str(rate), str(before + away + after), str(bound)]
        environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
        command = [sys.executable, "-c", PROGRAM, *arguments]
        application = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
        assert application.stdout is not None
        try:
            assert application.stdout.readline() == b"started\n"
            time.sleep(before)
            kafka.stop()
            time.sleep(away)
            kafka.start()
            said = json.loads(application.stdout.readline())
            assert application.wait(30) == 0
        finally:
            application.kill()
            application.wait()
            application.stdout.close()
        found = consumed(kafka.brokers, "t")
    dropped = sum(said["dropped"].values())
    told = [record["metadata"] for record in found if record["message"] == TOLD]
    numbers = [record["metadata"]["number"] for record in found if record["message"] == "order placed"]
    assert said["waiting"] == said["undelivered"] == 0
    assert len(numbers) == len(set(numbers)), "delivered twice"
    assert len(numbers) + dropped == said["logged"], "lost untold"
    assert sum(sum(each["dropped"].values()) for each in told) == dropped
    assert len(told) == (1 if dropped else 0)
    if dropped:
        # The queue took at least what it is said to hold before anything was dropped.
        assert rate * away - dropped >= 0.9 * min(bound, rate * away) or len(numbers) >= bound
    latencies = {name: said[name] for name in ("rate", "p50", "p99", "p999", "most")}
    return Outage(logged=said["logged"], dropped=dropped, delivered=len(numbers), **latencies)
