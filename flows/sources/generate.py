"""Generated records as a source: realistic, without end if need be, and the same for the same seed.

Record i depends on the seed, i and the start time alone, so a flow that restarts goes on at record i exactly. Records
are made in blocks of columns, and one pass of `%` over the columns writes them: that is what makes it fast.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from operator import mod
from typing import Literal, TypedDict

from pydantic import Field, field_validator

from flows.sources.base import RecordSource, SourceContext, SourcePartition, SourceSettings
from flows.sources.samples import templates
from logweir.batch import Batch
from logweir.times import epoch_seconds, rfc3339

_PACE_WAIT = timedelta(milliseconds=20)
_BLOCK = 4096
_TRACES = 1024
"""Traces in a block: about four records each."""

FASTEST_SPACING = 0.00001
"""Seconds between the timestamps of records that are made as fast as possible."""

BATCH = 2000
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
        yield from generator.batch(start, BATCH)
        start += BATCH


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


class GenerateSource(RecordSource):
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
    _MOST = 16 * BATCH
    """Records in one poll: what is handed out as fast as possible may still not block the worker for long."""

    def __init__(self, settings: Generate, context: SourceContext, progress: Progress | None) -> None:
        super().__init__(context)
        self.lane = context.alignment.lane("generate-0")
        start = epoch_seconds(settings.start_time) if settings.start_time else None
        self._progress = progress or Progress(next=0, start=time.time() if start is None else start)
        self._paced = settings.rate > 0
        self._pace = Pace(settings.rate)
        self._count = settings.count
        self._generator = Generator(settings.seed, self._progress["start"], spacing(settings.rate))

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
            for first in range(start, end, BATCH)
            for last in (min(end, first + BATCH),)
        ]

    def next_awake(self) -> datetime | None:
        """Wait between two polls where there is a rate, so that a batch is more than one record."""
        return datetime.now(UTC) + _PACE_WAIT if self._paced else super().next_awake()

    def snapshot(self) -> Progress:
        """Return which record is next."""
        return self._progress

    def close(self) -> None:
        """Hold nothing that needs closing."""


def spacing(rate: float) -> float:
    """Return the seconds between the timestamps of two records at a rate."""
    return 1 / rate if rate else FASTEST_SPACING
