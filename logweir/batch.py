"""What moves through a dataflow: the records of one poll of one partition, and the account of what became of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from itertools import compress
from typing import Any, NamedTuple, Protocol

from logweir.head import NO_HEAD, Headed
from logweir.record import Level


class Rejected(NamedTuple):
    """A record that can't be delivered, on its way to the dead letter."""

    value: bytes
    offset: int
    cause: str
    """A short fixed phrase that the ledger counts by, such as `not JSON`."""
    detail: str
    """The whole reason, for the person who reads the dead letter."""


class Account:
    """What has been read, and what the steps so far have taken out, with the cause.

    It travels with its batch, also when no record is left, so that the sink's ledger is exact.
    """

    __slots__ = ("dropped", "gaps", "levels_noted", "made", "notices", "read", "read_bytes", "redacted", "rejected")

    def __init__(self, read: int = 0, read_bytes: int = 0) -> None:
        self.read = read
        self.read_bytes = read_bytes
        self.dropped: dict[str, int] = {}
        self.rejected: list[Rejected] = []
        self.made = 0
        """Records that the flow has added itself, such as a limit's summary; never part of `read`."""
        self.gaps = 0
        """Offsets that the source could not read because they no longer exist; never part of `read`."""
        self.notices: dict[str, int] = {}
        """Records by what was done to them, or could not be, without a drop."""
        self.levels_noted = False
        """Whether a step has counted the records whose level is not known, which are counted once."""
        self.redacted: dict[str, int] = {}
        """Records in which something was hidden, by the field or pattern; one counts once for each of its names."""

    def drop(self, cause: str, count: int) -> None:
        """Note that `count` records were dropped by the rule or cause of this name."""
        if count:
            self.dropped[cause] = self.dropped.get(cause, 0) + count

    def notice(self, cause: str, count: int) -> None:
        """Note what was done to `count` records, or could not be, without a drop."""
        if count:
            self.notices[cause] = self.notices.get(cause, 0) + count

    def redact(self, names: Iterable[str]) -> None:
        """Note that these fields and patterns had something to hide in one record."""
        for name in names:
            self.redacted[name] = self.redacted.get(name, 0) + 1

    def merge(self, other: Account) -> None:
        """Take over what was noted of some of the records apart from the others."""
        self.read += other.read
        self.read_bytes += other.read_bytes
        self.made += other.made
        self.gaps += other.gaps
        self.rejected += other.rejected
        for own, more in (
            (self.dropped, other.dropped),
            (self.notices, other.notices),
            (self.redacted, other.redacted),
        ):
            for name, count in more.items():
                own[name] = own.get(name, 0) + count

    def copy(self) -> Account:
        """Return an account that later steps of another destination may add to."""
        twin = Account(self.read, self.read_bytes)
        twin.dropped = dict(self.dropped)
        twin.rejected = list(self.rejected)
        twin.gaps, twin.made = self.gaps, self.made
        twin.notices, twin.levels_noted = dict(self.notices), self.levels_noted
        twin.redacted = dict(self.redacted)
        return twin


class Origin(Protocol):
    """What the source knows of a batch's records beside their bytes, found out when it is asked for."""

    noted: bool
    """Whether somebody has noted when each was written; else they count as written when they were read."""

    def written(self, offsets: Sequence[int]) -> Sequence[float]:
        """Return when the records of these offsets were written to the source, in epoch seconds."""
        ...

    def heads(self, offsets: Sequence[int]) -> Sequence[Headed]:
        """Return what the messages of these offsets have beside their values: key, headers, timestamp."""
        ...


class Low(NamedTuple):
    """Up to when a process has read its partitions, when it had so many; others may have come since."""

    time: float = 0.0
    """None of them gives what was written before, in epoch seconds; zero where that is not known."""
    lanes: int = 0
    """How many it had."""

    def __bool__(self) -> bool:
        return bool(self.time)


class Batch:
    """The records of one poll of one partition, as columns: the i-th of each column is one record.

    Args:
        topic: The topic, or the file.
        partition: The partition's number.
        values: The raw bytes. After decode each is valid UTF-8: one JSON object that begins with `{`, no raw newlines.
        offsets: Where each record stands in its partition.
        account: What was read and what has become of it; made from the values when left out.
        origin: Where the records come from; without it they count as written now.
    """

    __slots__ = (
        "_written",
        "account",
        "adopted",
        "digests",
        "identities",
        "ids",
        "lane",
        "levels",
        "limiters",
        "log",
        "low",
        "offsets",
        "origin",
        "partition",
        "pulse",
        "records",
        "size",
        "times",
        "topic",
        "turn",
        "values",
    )

    def __init__(
        self,
        topic: str,
        partition: int,
        values: list[bytes],
        offsets: Sequence[int],
        account: Account | None = None,
        origin: Origin | None = None,
    ) -> None:
        self.topic = topic
        self.partition = partition
        self.values = values
        self.offsets = offsets
        self.size = sum(map(len, values))
        self.account = account or Account(len(values), self.size)
        self.origin: Origin = origin or ReadAt(time.time())
        self._written: Sequence[float] | None = None
        self.records: list[Any] = []
        """The projected records; filled by decode."""
        self.times: list[str] = []
        """When each record happened, as RFC 3339 text in UTC: its own time, else when it was written.

        Filled by the final decode where the destination reads times.
        """
        self.levels: list[Level | None] = []
        """The level of each; filled by the final decode where the destination reads levels."""
        self.limiters: list[int] = []
        """Which limiters are to be asked about each, as bits; empty where there are none."""
        self.adopted = False
        """The log's name was not recorded when the flow began to read it: earlier positions in it have none."""
        self.lane = f"{topic}-{partition}"
        """Names where the records have an order: the source's partition. Of files a path, whatever file has it now."""
        self.low = Low()
        """None of the process's partitions gives, from this batch on, what was written before.

        As far as a partition is in the order of writing. Filled where limits count by event time.
        """
        self.pulse = False
        """It has no records, and nobody has to account for it: it only carries `low`."""
        self.turn = 0
        """The place among the batches of its process, where a destination has to get them in the order of reading."""
        self.ids: list[str] = []
        """The record's own id, else topic-partition-offset; filled by decode."""
        self.log = ""
        """Names the log whose offsets these are, whatever else had its name before; empty where that's unknown."""
        self.digests: list[str] = []
        """Of the bytes of each record as they were read, where a step changes them before the identities are known."""
        self.identities: list[str] = []
        """What tells each record from every other and is the same at each repetition.

        Its own id joined with a digest of its bytes as they were read, else its place in the log; filled by decode
        where the destination asks for it.
        """

    def __len__(self) -> int:
        return len(self.values)

    @property
    def written(self) -> Sequence[float]:
        """Return when each record was written to the source, in epoch seconds; to files and pipes, when it was read.

        It is the time of a record that has none of its own, and the same whenever the record is read from a topic.
        """
        if self._written is None:
            self._written = self.origin.written(self.offsets)
        return self._written

    @written.setter
    def written(self, column: Sequence[float]) -> None:
        self._written = column

    def twin(self) -> Batch:
        """Return a batch of the same records with an account of its own, for another destination."""
        return self._of(self.values, self.offsets, self.account.copy()).with_columns_of(self, _as_it_is)

    def picked(self, passed: Sequence[Any]) -> Batch:
        """Return a batch of the records for which `passed` is true, with the same account."""

        def of(column: Iterable[Any]) -> list[Any]:
            return list(compress(column, passed))

        return self._of(of(self.values), of(self.offsets), self.account).with_columns_of(self, of)

    def keep(self, passed: Sequence[Any]) -> None:
        """Leave only the records for which `passed` is true."""
        kept = self.picked(passed)
        for name in _COLUMNS:
            setattr(self, name, getattr(kept, name))

    def with_columns_of(self, batch: Batch, of: Callable[[Iterable[Any]], list[Any]]) -> Batch:
        """Take over what else a batch knows of its records, each column by way of `of`; return itself."""
        self._written = None if batch._written is None else of(batch._written)
        self.records, self.times, self.levels = of(batch.records), of(batch.times), of(batch.levels)
        self.ids, self.limiters = of(batch.ids), of(batch.limiters)
        self.digests, self.identities = of(batch.digests), of(batch.identities)
        self.adopted, self.turn, self.lane, self.log = batch.adopted, batch.turn, batch.lane, batch.log
        self.low = batch.low
        return self

    def join_columns(self, first: Batch, second: Batch) -> None:
        """Take over what two batches know of their records, which are this one's, one after another."""
        if first._written is not None or second._written is not None:
            self._written = [*first.written, *second.written]
        for name in ("records", "times", "levels", "ids", "digests", "identities", "limiters"):
            setattr(self, name, [*getattr(first, name), *getattr(second, name)])

    def _of(self, values: list[bytes], offsets: Sequence[int], account: Account) -> Batch:
        return Batch(self.topic, self.partition, values, offsets, account, self.origin)


_COLUMNS = (
    "values",
    "offsets",
    "size",
    "_written",
    "records",
    "times",
    "levels",
    "ids",
    "digests",
    "identities",
    "limiters",
)
"""What `keep` replaces."""


def _as_it_is(column: Any) -> Any:
    return column


class ReadAt:
    """The origin of records that nobody has noted the writing of: they count as written when they were read.

    Args:
        moment: Epoch seconds.
    """

    __slots__ = ("moment",)
    noted = False

    def __init__(self, moment: float) -> None:
        self.moment = moment

    def written(self, offsets: Sequence[int]) -> Sequence[float]:
        """Return the time of reading for each."""
        return [self.moment] * len(offsets)

    def heads(self, offsets: Sequence[int]) -> Sequence[Headed]:
        """Return that they were no messages."""
        return [NO_HEAD] * len(offsets)
