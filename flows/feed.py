"""Hands generated records to standard output or to a Kafka topic, at a rate."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator
from typing import IO

from logweir.errors import SourceError

_FLUSH_SECONDS = 60.0
_BLOCK = 100

_TICKS = 20
"""How often a second a rate is kept: in each tick its share is handed out at once."""


def made(seed: int, rate: float | None) -> Iterator[bytes]:
    """Yield records of this seed without end, with timestamps that go on at this rate from now."""
    from flows.sources.generate import Generator, records

    if rate is None:
        yield from records(seed)
        return
    generator = Generator(seed, time.time(), 1 / rate)
    for start in itertools.count(0, _BLOCK):
        yield from generator.batch(start, _BLOCK)


def paced(records: Iterable[bytes], rate: float | None, count: int | None) -> Iterator[bytes]:
    """Yield up to `count` records, `rate` a second; as fast as they come and without an end where these are None."""
    chosen = itertools.islice(records, count)
    if rate is None:
        yield from chosen
        return
    started = time.monotonic()
    step = max(1, int(rate / _TICKS))
    given = 0
    while some := list(itertools.islice(chosen, step)):
        wait = started + given / rate - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        given += len(some)
        yield from some


def to_stream(records: Iterable[bytes], out: IO[bytes], *, flush: bool) -> None:
    """Write one line a record."""
    for record in records:
        out.write(record + b"\n")
        if flush:
            out.flush()
    out.flush()


def to_kafka(records: Iterable[bytes], brokers: str, topic: str) -> int:
    """Produce one message a record, and return how many.

    Raises:
        SourceError: A broker refused one, or none answered.
    """
    from confluent_kafka import KafkaException, Producer

    failures: list[str] = []

    def delivered(error: object, message: object) -> None:
        del message
        if error is not None:
            failures.append(str(error))

    producer = Producer({"bootstrap.servers": brokers, "linger.ms": 50, "compression.type": "zstd"})
    count = 0
    try:
        for record in records:
            while not _produce(producer, topic, record, delivered):
                producer.poll(0.1)
            producer.poll(0)
            count += 1
            if failures:
                break
        left = producer.flush(_FLUSH_SECONDS)
    except KafkaException as error:
        msg = f"produce to {topic}: {error}"
        raise SourceError(msg) from None
    if failures or left:
        msg = (
            f"produce to {topic} at {brokers}: {failures[0] if failures else f'{left} messages were not taken in time'}"
        )
        raise SourceError(msg)
    return count


def _produce(producer: object, topic: str, record: bytes, delivered: object) -> bool:
    """Hand one record to the producer; false when its queue is full."""
    try:
        producer.produce(topic, record, on_delivery=delivered)  # type: ignore[attr-defined]
    except BufferError:
        return False
    return True
