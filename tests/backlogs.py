"""Backlogs of every shape that limits meet when a flow starts, or comes back, and what has to pass of them."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import orjson
from confluent_kafka import Producer

from logweir.times import rfc3339
from tests.flowing import Running, write_flow
from tests.scenarios import new_name
from tests.servers.kafka import Kafka

HALF_AN_HOUR = 1800
LATENESS = 60


class Message(NamedTuple):
    """One record, as it stands in a topic."""

    partition: int
    written: int
    """By its producer's clock, in epoch seconds."""
    happened: int
    """By the record's own timestamp."""
    text: str


Shape = Callable[[int, int], Iterator[Message]]
"""Gives the messages of a backlog, in order in each partition, that begins at a second and has so many records."""


def sparse(begin: int, records: int) -> Iterator[Message]:
    """One record a second in each of four partitions, one partition after another."""
    for partition in range(4):
        for second in range(records // 4):
            yield Message(partition, begin + second, begin + second, f"m{second}")


def uneven(begin: int, records: int) -> Iterator[Message]:
    """One partition has most, one begins late, one ends early, and the last of five has none."""
    span = records // 4
    for second in range(span):
        for number in range(3):
            yield Message(0, begin + second, begin + second, f"m{second}-{number}")
    for second in range(span // 2, span):
        yield Message(1, begin + second, begin + second, f"m{second}-0")
    for second in range(span // 2):
        yield Message(2, begin + second, begin + second, f"m{second}-0")
    for second in range(0, span, 97):
        yield Message(3, begin + second, begin + second, f"m{second}-0")


def clocks(begin: int, records: int) -> Iterator[Message]:
    """One record in fifty comes from a clock that is half an hour ahead; others tell a time that nobody believes."""
    dice = random.Random(begin)
    for partition in range(4):
        for second in range(records // 4):
            odd, written = dice.random(), begin + second
            if odd < 0.02:
                yield Message(partition, written + HALF_AN_HOUR, written + HALF_AN_HOUR, f"ahead {partition} {second}")
            elif odd < 0.04:
                yield Message(partition, written, written - 40 * 86_400, f"wrong {partition} {second}")
            else:
                yield Message(partition, written, written - dice.randrange(LATENESS // 2), f"m{second}")


def judged(message: Message) -> int:
    """Return the second in which a record counts: its own time, or when it was written where that isn't believed."""
    return message.happened if abs(message.happened - message.written) <= LATENESS else message.written


def passing(messages: Iterable[Message], length: int, most: int) -> Counter[int]:
    """Return how many records pass in each window: the specification, written as plainly as it can be."""
    asked = Counter(judged(each) // length for each in messages)
    return Counter({window: min(count, most) for window, count in asked.items()})


class Backlog:
    """A topic with a backlog.

    Args:
        kafka: The broker.
        partitions: How many it has.
    """

    def __init__(self, kafka: Kafka, partitions: int = 5) -> None:
        self.topic = new_name("backlog")
        self.messages: list[Message] = []
        kafka.create_topic(self.topic, partitions)
        self._producer = Producer({"bootstrap.servers": kafka.brokers, "linger.ms": 5, "log_level": 0})

    def send(self, messages: Iterable[Message]) -> None:
        """Produce some more."""
        for each in messages:
            number = len(self.messages)
            record = {"id": f"r{number}", "timestamp": rfc3339(each.happened), "message": each.text, "n": number}
            value, written = orjson.dumps(record), each.written * 1000
            self._producer.produce(self.topic, value, partition=each.partition, timestamp=written)
            self.messages.append(each)
            if not len(self.messages) % 1000:
                self._producer.poll(0)
        assert self._producer.flush(60) == 0


class Passed(NamedTuple):
    """What came out of a flow."""

    messages: list[Message]
    read: int
    dropped: int


def run(kafka: Kafka, backlog: Backlog, rule: dict[str, Any], workers: int, directory: Path, **source: Any) -> Passed:
    """Run a flow with one limit over all that is in the topic; return what has passed in all runs so far."""
    flow, group = prepare(kafka, backlog, rule, directory, **source)
    with Running(flow, "--workers", str(workers)) as running:
        running.drain(kafka, backlog.topic, f"{group}.out")
        assert running.stop() == 0
    return outcome(backlog, directory, running)


def prepare(kafka: Kafka, backlog: Backlog, rule: dict[str, Any], directory: Path, **source: Any) -> tuple[Path, str]:
    """Write a flow with one limit that reads the topic into files; return its path and its group."""
    directory.mkdir(exist_ok=True)
    group = f"{backlog.topic}-{directory.name}"
    settings = {"type": "kafka", "brokers": [kafka.brokers], "topics": [backlog.topic], "group": group, **source}
    out: dict[str, dict[str, Any]] = {"out": {"type": "file", "path": f"{directory}/out-{{partition}}"}}
    flow = write_flow(directory, kafka, backlog.topic, out, source=settings, rules=[{"name": "R", **rule}])
    return flow, group


def outcome(backlog: Backlog, directory: Path, running: Running) -> Passed:
    """Return what a flow that has ended has let pass, in all of its runs."""
    lines = [line for path in directory.glob("out-*") for line in path.read_bytes().splitlines()]
    ledger = running.ledgers()["out"]
    passed = [backlog.messages[orjson.loads(line)["n"]] for line in lines]
    figures = (ledger.read, ledger.delivered, sum(ledger.dropped.values()))
    assert figures == (ledger.read, len(passed), ledger.read - len(passed)), figures
    return Passed(passed, ledger.read, sum(ledger.dropped.values()))


def assert_exact(backlog: Backlog, found: Passed, length: int, most: int) -> None:
    """Assert that in each window as many have passed as the specification says, to the record."""
    assert found.read == len(backlog.messages)
    assert Counter(judged(each) // length for each in found.messages) == passing(backlog.messages, length, most)


def begin_of(records: int, before: int = 600) -> int:
    """Return the second at which a backlog has to begin that ends so long ago."""
    return int(time.time()) - records // 4 - before
