"""Made-up records for standard output or a Kafka topic, at a rate: what `logweir generate` does."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from flows.sources.generate import BATCH, Generator, Pace, spacing
from logweir.errors import SourceError

_DRAW_SECONDS = 0.25
_PACE_SECONDS = 0.01

Told = Callable[[int], None]
"""Is told, with each batch, how many records have been made."""


class Meter:
    """Draws on a terminal how many records have been made, and how fast."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._drawn = 0.0

    def __call__(self, done: int) -> None:
        """Draw at most four times a second."""
        now = time.monotonic()
        if sys.stderr.isatty() and now - self._drawn >= _DRAW_SECONDS:
            self._drawn = now
            speed = done / max(0.001, now - self._started)
            sys.stderr.write(f"\r\x1b[K{done:,} records, {speed:,.0f} a second")
            sys.stderr.flush()

    def end(self) -> None:
        """Leave the line clean for what comes next."""
        if self._drawn:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def generate_to_stdout(count: int | None = None, *, rate: float = 0, seed: int = 0, descriptor: int = 1) -> int:
    """Write records to standard output, a line each, and return how many.

    It ends quietly when the reader goes away, or at Ctrl-C.
    """
    done = 0
    with suppress(BrokenPipeError, KeyboardInterrupt):
        for made in _paced(count, rate, seed):
            rest = memoryview(b"\n".join(made) + b"\n")
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            done += len(made)
    return done


def generate_to_kafka(
    brokers: Sequence[str],
    topic: str,
    count: int | None = None,
    *,
    rate: float = 0,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    tell: Told | None = None,
) -> int:
    """Write records to a Kafka topic and return how many were delivered. Ctrl-C ends it like the count does.

    Args:
        brokers: Where to connect first, host:port.
        topic: The topic.
        count: How many records; without it there is no end.
        rate: Records a second; 0 is as fast as possible.
        seed: The same seed gives the same records.
        settings: librdkafka's own names, such as security.protocol.
        tell: Is told how many have been made.

    Raises:
        SourceError: The settings are wrong, or deliveries failed; says how many and why.
    """
    from confluent_kafka import KafkaError, KafkaException, Producer

    failed: Counter[str] = Counter()

    delivered = 0

    def report(error: KafkaError | None, _message: Any) -> None:
        nonlocal delivered
        if error is None:
            delivered += 1
        else:
            failed[error.str()] += 1

    try:
        producer = Producer(
            {
                "bootstrap.servers": ",".join(brokers),
                "linger.ms": 50,
                "compression.type": "lz4",
                "queue.buffering.max.messages": 200_000,
                "message.timeout.ms": 30_000,
                **(settings or {}),
            }
        )
    except KafkaException as error:
        msg = f"settings: {error.args[0].str()}"
        raise SourceError(msg) from error
    done = 0
    with suppress(KeyboardInterrupt):
        for made in _paced(count, rate, seed):
            done += len(made)
            _produce(producer, topic, made, report)
            if tell:
                tell(done)
            if failed:
                break
    left = producer.flush()
    lost = failed.total() + left
    if lost:
        reason = failed.most_common(1)[0][0] if failed else "no answer"
        msg = f"{lost} of {lost + delivered} records were not delivered to topic {topic}: {reason}"
        raise SourceError(msg)
    return delivered


def _produce(producer: Any, topic: str, values: list[bytes], report: Callable[[Any, Any], None]) -> None:
    for value in values:
        while True:
            try:
                producer.produce(topic, value, on_delivery=report)
            except BufferError:
                producer.poll(0.1)  # the queue is full: room comes with the next delivery reports
                continue
            break
    producer.poll(0)


def _paced(count: int | None, rate: float, seed: int) -> Iterator[list[bytes]]:
    """Give batches at this rate, until `count` records have been given."""
    generator = Generator(seed, time.time(), spacing(rate))
    pace = Pace(rate)
    done = 0
    while count is None or done < count:
        due = pace.due(BATCH if count is None else min(BATCH, count - done))
        if due:
            yield generator.batch(done, due)
            done += due
        if rate:
            time.sleep(_PACE_SECONDS)
