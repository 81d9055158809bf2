"""Generated records as a source: realistic, without end if need be, and the same for the same seed.

Record i depends on the seed, i and the start time alone, so a flow that restarts goes on at record i exactly. Records
are made in blocks of columns, and one pass of `%` over the columns writes them: that is what makes it fast.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from operator import mod
from typing import Any, Literal, TypedDict

from bytewax.inputs import FixedPartitionedSource
from pydantic import Field, field_validator

from flows.sources.base import SourceContext, SourcePartition, SourceSettings
from flows.sources.samples import templates
from logweir.batch import Batch
from logweir.errors import SourceError
from logweir.record import epoch_seconds, rfc3339

_PACE_WAIT = timedelta(milliseconds=20)
_BLOCK = 4096
_TRACES = 1024
"""Traces in a block: about four records each."""

FASTEST_SPACING = 0.00001
"""Seconds between the timestamps of records that are made as fast as possible."""

_BATCH = 2000
"""Records in a batch at most: about 1 MB."""

BURST_SECONDS = 0.1
"""What a generator that was held up may catch up on; beyond that its rate would be a wave."""

_TICKS = 4096
"""To the millisecond: the 12 bits of a UUIDv7 that RFC 9562, method 3, gives to the fraction."""

_FRACTIONS = [b"%03x-" % number for number in range(_TICKS)]
_NUMBERS = [b"%d" % number for number in range(10_000, 20_000)]


class Generate(SourceSettings):
    """Records made up: for a first look, a demonstration or a load test."""

    type: Literal["generate"] = Field("generate", description="Made-up records, realistic and repeatable.")
    rate: float = Field(100.0, ge=0, description="Records a second; 0 is as fast as possible.")
    count: int | None = Field(None, ge=1, description="How many records; without it there is no end.")
    seed: int = Field(0, description="The same seed gives the same records.")
    start_time: str | None = Field(
        None,
        description="The timestamp of the first record, as 2026-01-01T00:00:00Z; the time of the start when left out.",
    )

    @field_validator("start_time")
    @classmethod
    def _is_a_time(cls, value: str | None) -> str | None:
        if value is not None and epoch_seconds(value) is None:
            msg = "must be a time such as 2026-01-01T00:00:00Z"
            raise ValueError(msg)
        return value

    def open(self, context: SourceContext) -> GenerateSource:
        """Return the source."""
        return GenerateSource(self, context)


class Generator:
    """The records of one seed.

    Args:
        seed: Other seeds give other records.
        start_time: The timestamp of record 0, in epoch seconds.
        spacing: Seconds between the timestamps of two records.
    """

    def __init__(self, seed: int = 0, start_time: float = 0.0, spacing: float = FASTEST_SPACING) -> None:
        self._seed = seed
        self._origin = round(start_time * 1000) * _TICKS
        self._step = max(1.0, spacing * 1000 * _TICKS)
        self._templates = templates(seed)
        # Most durations are short and a few are long, as those of services are.
        dice = random.Random(f"durations-{seed}")
        self._durations = [b"%.2f" % dice.lognormvariate(2.5, 1.1) for _ in range(1000)]
        self._block_number = -1
        self._columns: list[list[bytes]] = []

    def batch(self, start: int, count: int) -> list[bytes]:
        """Return records `start` to `start + count - 1`."""
        made: list[bytes] = []
        while count > 0:
            number, first = divmod(start, _BLOCK)
            taken = min(count, _BLOCK - first)
            made += self._make(number, first, first + taken)
            start += taken
            count -= taken
        return made

    def _make(self, number: int, first: int, last: int) -> list[bytes]:
        if number != self._block_number:
            self._columns = self._block(number)
            self._block_number = number
        chosen, tails, requests, traces, spans, numbers, durations = (column[first:last] for column in self._columns)
        base = number * _BLOCK
        ticks = [self._origin + int(index * self._step) for index in range(base + first, base + last)]
        moments = [tick // _TICKS for tick in ticks]
        known = {moment: (_id_time(moment), rfc3339(moment / 1000).encode()) for moment in dict.fromkeys(moments)}
        id_times = [known[moment][0] for moment in moments]
        times = [known[moment][1] for moment in moments]
        fractions = [_FRACTIONS[tick % _TICKS] for tick in ticks]
        values = zip(
            id_times, fractions, tails, times, numbers, requests, numbers, durations, traces, spans, strict=True
        )
        return list(map(mod, chosen, values))

    def _block(self, number: int) -> list[list[bytes]]:
        """Return the columns of one block that don't depend on the time."""
        dice = random.Random(f"{self._seed}-{number}")
        noise = dice.randbytes(8 * _BLOCK).hex().encode()
        tails = [
            b"%b%b-%b" % (_VARIANTS[noise[at] & 3], noise[at + 1 : at + 4], noise[at + 4 : at + 16])
            for at in range(0, 16 * _BLOCK, 16)
        ]
        span_noise = dice.randbytes(8 * _BLOCK).hex().encode()
        traces_noise = dice.randbytes(16 * _TRACES).hex().encode()
        traces = [traces_noise[at : at + 32] for at in range(0, 32 * _TRACES, 32)]
        # The records of a trace stand near each other, between those of others.
        order = [(at & ~63) // 4 + dice_at % 16 for at, dice_at in enumerate(dice.randbytes(_BLOCK))]
        of_trace = [traces[index] for index in order]
        return [
            dice.choices(self._templates, k=_BLOCK),
            tails,
            [trace[:16] for trace in of_trace],
            of_trace,
            [span_noise[at : at + 16] for at in range(0, 16 * _BLOCK, 16)],
            dice.choices(_NUMBERS, k=_BLOCK),
            dice.choices(self._durations, k=_BLOCK),
        ]


_VARIANTS = (b"8", b"9", b"a", b"b")


def _id_time(moment: int) -> bytes:
    digits = b"%012x" % moment
    return b"%b-%b-7" % (digits[:8], digits[8:])


EXAMPLE_START = 1_767_225_600.0
"""2026-01-01: where `batch` begins, so that its records are the same today and tomorrow."""


def batch(seed: int, start: int, count: int, start_time: float = EXAMPLE_START) -> list[bytes]:
    """Return records `start` to `start + count - 1` of this seed."""
    return Generator(seed, start_time).batch(start, count)


def records(seed: int, start: int = 0, now: float | None = None) -> Iterator[bytes]:
    """Return the records of this seed from `start` on, without end; `now` is the timestamp of record 0."""
    generator = Generator(seed, time.time() if now is None else now)
    while True:
        yield from generator.batch(start, _BATCH)
        start += _BATCH


class Pace:
    """How many records are due by the clock.

    Args:
        rate: Records a second; 0 has no limit.
    """

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._last = time.monotonic()
        self._credit = 1.0

    def due(self, most: int) -> int:
        """Return how many may be made now, `most` at most. What a stall left over is forgone, not caught up on."""
        if not self._rate:
            return most
        now = time.monotonic()
        burst = max(1.0, self._rate * BURST_SECONDS)
        self._credit = min(burst, self._credit + (now - self._last) * self._rate)
        self._last = now
        count = min(int(self._credit), most)
        self._credit -= count
        return count


class Progress(TypedDict):
    """Where a generator goes on after a restart."""

    next: int
    start: float
    """The timestamp of record 0: records that are made again have the ids that they had."""


class GenerateSource(FixedPartitionedSource[Batch, Progress]):
    """One partition, since the records have one order."""

    def __init__(self, settings: Generate, context: SourceContext) -> None:
        self._settings = settings
        self._context = context

    def list_parts(self) -> list[str]:
        """Return the one part."""
        return ["generate"]

    def build_part(self, step_id: str, for_part: str, resume_state: Progress | None) -> GeneratePartition:  # noqa: ARG002
        """Return the one partition, from where it was."""
        return GeneratePartition(self._settings, self._context, resume_state)


class GeneratePartition(SourcePartition):
    """Makes records at the rate of the settings."""

    _AVERAGE_BYTES = 512
    _MOST = 16 * _BATCH
    """Records in one poll: what is handed out as fast as possible may still not block the worker for long."""

    def __init__(self, settings: Generate, context: SourceContext, progress: Progress | None) -> None:
        super().__init__(context)
        start = epoch_seconds(settings.start_time) if settings.start_time else None
        self._progress = progress or Progress(next=0, start=time.time() if start is None else start)
        self._paced = settings.rate > 0
        self._pace = Pace(settings.rate)
        self._count = settings.count
        self._generator = Generator(settings.seed, self._progress["start"], _spacing(settings.rate))

    def read(self, room: int) -> list[Batch]:
        """Return the records that are due."""
        start = self._progress["next"]
        most = min(self._MOST, room // self._AVERAGE_BYTES + 1)
        if self._count is not None:
            if start >= self._count:
                raise StopIteration
            most = min(most, self._count - start)
        end = start + self._pace.due(most)
        self._progress = Progress(next=end, start=self._progress["start"])
        return [
            Batch("generate", 0, self._generator.batch(first, last - first), range(first, last))
            for first in range(start, end, _BATCH)
            for last in (min(end, first + _BATCH),)
        ]

    def next_awake(self) -> datetime | None:
        """Wait between two polls where there is a rate, so that a batch is more than one record."""
        return datetime.now(UTC) + _PACE_WAIT if self._paced else super().next_awake()

    def snapshot(self) -> Progress:
        """Return which record is next."""
        return self._progress

    def close(self) -> None:
        """Hold nothing that needs closing."""


def _spacing(rate: float) -> float:
    return 1 / rate if rate else FASTEST_SPACING


Told = Callable[[int], None]
"""Is told, now and then and at the end, how many records have been made."""


class Meter:
    """Draws on a terminal how many records have been made, and how fast."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._drawn = 0.0

    def __call__(self, done: int) -> None:
        """Draw at most four times a second."""
        now = time.monotonic()
        if sys.stderr.isatty() and now - self._drawn >= 0.25:  # noqa: PLR2004
            self._drawn = now
            speed = done / max(0.001, now - self._started)
            sys.stderr.write(f"\r\x1b[K{done:,} records, {speed:,.0f} a second")
            sys.stderr.flush()

    def end(self) -> None:
        """Leave the line clean for what comes next."""
        if self._drawn:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def generate_to_stdout(
    count: int | None = None, rate: float = 0, seed: int = 0, tell: Told | None = None, descriptor: int = 1
) -> int:
    """Write records to standard output, a line each, and return how many; ends quietly when the reader goes away."""
    done = 0
    try:
        for made in _paced(count, rate, seed):
            rest = memoryview(b"\n".join(made) + b"\n")
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            done += len(made)
            if tell:
                tell(done)
    except BrokenPipeError:
        pass
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
    """Write records to a Kafka topic and return how many were delivered.

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

    def report(error: KafkaError | None, _message: Any) -> None:
        if error is not None:
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
    for made in _paced(count, rate, seed):
        _produce(producer, topic, made, report)
        done += len(made)
        if tell:
            tell(done)
        if failed:
            break
    left = producer.flush()
    lost = failed.total() + left
    if lost:
        reason = failed.most_common(1)[0][0] if failed else "no answer"
        msg = f"{lost} of {done} records were not delivered to topic {topic}: {reason}"
        raise SourceError(msg)
    return done


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
    generator = Generator(seed, time.time(), _spacing(rate))
    pace = Pace(rate)
    done = 0
    while count is None or done < count:
        due = pace.due(_BATCH if count is None else min(_BATCH, count - done))
        if due:
            yield generator.batch(done, due)
            done += due
        if rate:
            time.sleep(0.01)
