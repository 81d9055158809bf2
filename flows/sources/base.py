"""What every source shares: the contract with the flow that runs it.

A source is a Bytewax FixedPartitionedSource whose partitions give lists of `Batch`. It stops handing out when the flow
has no room, and ends each partition when the flow is stopping, so that Bytewax records the last epoch.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from pydantic import Field, model_validator

from flows.sources.alignment import Alignment, Lane
from logweir.batch import Batch
from logweir.events import Events
from logweir.paths import FieldPath
from logweir.settings import StrictModel
from logweir.units import Duration
from operators.formats import FORMATS, Format, configured

FIRST_WAIT = timedelta(milliseconds=2)
LONGEST_WAIT = timedelta(milliseconds=64)
"""How long a partition sleeps that has nothing to give, or no room to give it to: doubling from first to longest."""


@dataclass(slots=True)
class SourceContext:
    """What a source needs to know of the flow that runs it."""

    events: Events
    room: Callable[[], int]
    """Bytes that may be handed out now; zero or less when the destinations have enough in flight."""
    taken: Callable[[int], None]
    """Tells the flow how many bytes were handed out."""
    stopping: threading.Event = field(default_factory=threading.Event)
    """Set when the flow is to end: each partition then raises StopIteration."""
    restart: Callable[[str], None] = lambda _reason: None
    """Asks the supervisor for a graceful restart, such as when a topic has grown."""
    group: str = ""
    """The consumer group of this dataflow."""
    recovery: Path | None = None
    """The directory of its recovery store; none where nothing is to be recorded."""
    recorded: Callable[[], Collection[str]] = frozenset
    """Gives the partitions whose states are in that store."""
    passed_over: Callable[[str], bool] = lambda _topic: False
    """Tells which topics the flow itself writes to, so that no pattern means them."""
    alignment: Alignment = field(init=False)
    """How far each partition has been read, in event time, and which have to wait for others."""

    def __post_init__(self) -> None:
        self.alignment = Alignment(self.events)


class SourceSettings(StrictModel):
    """What the settings of every source begin with."""

    repeatable: ClassVar[bool] = True
    """Whether what was read can be read again, after a crash."""

    format: Literal["logweir", "ecs", "otel", "pino", "bunyan", "json", "text"] = Field(
        "logweir", description="Where the fields of a record live; json: where `paths` says; text: a line is a message."
    )
    paths: dict[str, FieldPath] = Field(
        default_factory=dict,
        description="With format json: where each field lives, such as log.severity, or /a.b/c for a key with dots.",
    )

    max_ahead: Duration = Field(
        60.0,
        gt=0,
        description="How far a partition may be read ahead of the slowest one where rules count records by event time, "
        "measured by when records were written (of files: by their own time); those further ahead wait.",
    )

    @model_validator(mode="after")
    def _paths_with_json(self) -> Self:
        if self.paths and self.format != "json":
            msg = f"`paths` goes with format json, not with {self.format}"
            raise ValueError(msg)
        if self.format == "json" and not self.paths:
            msg = "format json needs `paths`, such as {level: severity, message: text}"
            raise ValueError(msg)
        return self

    def layout(self) -> Format:
        """Return where the fields of this source's records live."""
        return configured(self.paths) if self.format == "json" else FORMATS[self.format]

    def open(self, context: SourceContext) -> RecordSource:
        """Return the source for this flow to run.

        Raises:
            SourceError: It can't be read at all.
        """
        raise NotImplementedError


class RecordSource(FixedPartitionedSource[Batch, Any]):
    """What a flow asks of its source beside Bytewax's own questions."""

    def commit_last(self) -> None:
        """Make the last epoch's positions known outside, once the flow has ended well."""

    def partitions(self) -> int:
        """Return how many partitions share a flow's records. It does not change while the flow runs."""
        return 1

    def gone(self, partitions: Iterable[str]) -> set[str]:  # noqa: ARG002
        """Return those of some partitions that there are no more, and most likely never will be again."""
        return set()

    def lag(self) -> int | None:
        """Return how many records wait behind those that this process has read; None where that can't be told."""
        return None

    def lag_seconds(self) -> float | None:
        """Return for how long the oldest of those has been waiting at most; None where that can't be told."""
        return None

    def issues(self) -> list[str]:
        """Return what of the source can't be read at present, and why, in words."""
        return []


class SourcePartition(StatefulSourcePartition[Batch, Any]):
    """A partition that respects the flow's room and its stop. Subclasses implement `read`, `snapshot` and `close`."""

    lane: Lane | None = None
    """Where it stands among the others; none where the source has only one partition, or gives no records."""

    def __init__(self, context: SourceContext) -> None:
        self.context = context
        self._idle = 0
        """Turns in a row that gave nothing."""
        self._over = False

    def read(self, room: int) -> list[Batch]:
        """Return what can be had at once, about `room` bytes at most, or nothing. Must not block.

        Raises:
            StopIteration: There will never be more.
        """
        raise NotImplementedError

    def next_batch(self) -> list[Batch]:
        """Return batches within the room that the flow has."""
        if self._over or self.context.stopping.is_set():
            raise StopIteration
        room = self.context.room()
        try:
            batches = self._read_in_step(room) if room > 0 else []
        except StopIteration:
            if self.lane is None or not self.context.alignment.waits:
                raise
            # That it holds up nobody any more is told with one more batch.
            self._over = True
            self.context.alignment.end(self.lane)
            return self.pulse()
        self._idle = 0 if batches else self._idle + 1
        for batch in batches:
            self.context.taken(batch.account.read_bytes)
        return batches

    def pulse(self) -> list[Batch]:
        """Return a batch that only tells how far the process is, if others have to know."""
        if not self.context.alignment.due():
            return []
        pulse = Batch("", 0, [], [])
        pulse.pulse, pulse.low = True, self.context.alignment.mark()
        self.context.alignment.carry(pulse.low.time)
        return [pulse]

    def _read_in_step(self, room: int) -> list[Batch]:
        """Read what can be had at once, unless other partitions are too far behind."""
        lane, alignment = self.lane, self.context.alignment
        if lane is None or not alignment.active:
            return self.read(room)
        if not alignment.may_read(lane):
            self._idle = 0
            return self.pulse()
        # How far records are that were read is known only when they are decoded, so they come a few at a time.
        batches = self.read(1 if alignment.waits else room)
        if not batches:
            if alignment.holds_up(lane):
                alignment.read_to_end(lane, time.time())
            return self.pulse()
        alignment.carry(alignment.low)
        for batch in batches:
            batch.low = alignment.mark()
        return batches

    def next_awake(self) -> datetime | None:
        """Return at once after a batch, a little later after none."""
        if not self._idle:
            return None
        wait = FIRST_WAIT * float(2 ** min(self._idle - 1, 10))
        return datetime.now(UTC) + min(LONGEST_WAIT, wait)
