"""What moves through a dataflow: the records of one poll of one partition, and the account of what became of them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple


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

    __slots__ = ("dropped", "gaps", "made", "notices", "read", "read_bytes", "redacted", "rejected")

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

    def copy(self) -> Account:
        """Return an account that later steps of another destination may add to."""
        twin = Account(self.read, self.read_bytes)
        twin.dropped = dict(self.dropped)
        twin.rejected = list(self.rejected)
        twin.gaps, twin.made = self.gaps, self.made
        twin.notices = dict(self.notices)
        twin.redacted = dict(self.redacted)
        return twin


class Batch:
    """The records of one poll of one partition, as columns: the i-th of each column is one record.

    Args:
        topic: The topic, or the file.
        partition: The partition's number.
        values: The raw bytes. After decode each is valid UTF-8: one JSON object that begins with `{`, no raw newlines.
        offsets: Where each record stands in its partition.
        account: What was read and what has become of it; made from the values when left out.
        arrived: When the first record was written to the topic, or read, in epoch seconds, for want of a timestamp.
    """

    __slots__ = (
        "account",
        "anew",
        "arrived",
        "ids",
        "lane",
        "limiters",
        "offsets",
        "partition",
        "records",
        "size",
        "times",
        "topic",
        "turn",
        "values",
        "written",
    )

    def __init__(
        self,
        topic: str,
        partition: int,
        values: list[bytes],
        offsets: Sequence[int],
        account: Account | None = None,
        arrived: float = 0.0,
    ) -> None:
        self.topic = topic
        self.partition = partition
        self.values = values
        self.offsets = offsets
        self.size = sum(map(len, values))
        self.account = account or Account(len(values), self.size)
        self.arrived = arrived or time.time()
        self.times: list[float] = []
        """When each record was written; only where the format has no timestamp of its own, or a step asks for it."""
        self.records: list[Any] = []
        """The projected records; filled by decode."""
        self.written: tuple[float, float] | None = None
        """When the first and the last were written to the topic, in epoch seconds, where that is known."""
        self.limiters: list[int] = []
        """Which limiters are to be asked about each, as bits; empty where there are none."""
        self.anew = False
        """The topic was deleted and made anew: its offsets have begun again with this batch."""
        self.lane = f"{topic}-{partition}"
        """Names where the records have an order: the source's partition. Of files a path, whatever file has it now."""
        self.turn = 0
        """The place among the batches of its process, where a destination has to get them in the order of reading."""
        self.ids: list[str] = []
        """The record's own id, else topic-partition-offset; filled by decode."""

    def __len__(self) -> int:
        return len(self.values)

    def twin(self) -> Batch:
        """Return a batch of the same records with an account of its own, for another destination."""
        batch = Batch(self.topic, self.partition, self.values, self.offsets, self.account.copy(), self.arrived)
        batch.times, batch.records, batch.ids = self.times, self.records, self.ids
        batch.limiters, batch.written = self.limiters, self.written
        batch.anew, batch.turn, batch.lane = self.anew, self.turn, self.lane
        return batch
