"""A request on its way to a destination: the records, where each came from, and how often it was sent."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from logweir.batch import Batch
from logweir.head import head_of
from sinks.compression import compress
from sinks.deadletter import DeadLetter
from sinks.destination import Destination, Outcome, Partial, Records, TooLarge


class Request:
    """Some records that are delivered together.

    `offsets` is a column beside those of `records`; topic, partition and log are kept in runs, since neighbours share
    them.
    """

    __slots__ = (
        "alone",
        "attempt",
        "before",
        "offsets",
        "opened",
        "payload",
        "pieces",
        "proofs",
        "records",
        "runs",
        "seen",
        "size",
    )

    def __init__(self, opened: float) -> None:
        self.records = Records()
        self.offsets: list[int] = []
        self.runs: list[tuple[int, str, int, str]] = []
        """(index of the first record, topic, partition, log), ascending."""
        self.size = 0
        """Raw bytes of the records."""
        self.opened = opened
        """When its first record came, on the monotonic clock."""
        self.attempt = 0
        self.pieces: list[bytes] = []
        """The encoded records, until they are framed; empty again after a split, and encoded anew."""
        self.payload: bytes | None = None
        """The encoded, compressed body, kept for retries."""
        self.seen: int | None = None
        """The destination's answers by which anything was taken, when these records were last refused."""
        self.before = 0
        """The records that it had taken before these were first refused."""
        self.proofs = 0
        """How often it took others between two refusals of these."""
        self.alone = False
        """Whether it is a single record that was refused while nothing had ever been taken."""

    def __len__(self) -> int:
        return len(self.offsets)

    def append(
        self, batch: Batch, pieces: list[bytes], start: int, stop: int, size: int, *, written: bool = False
    ) -> None:
        """Add the records start to stop of a batch and of its encoded pieces, `size` raw bytes in all.

        Args:
            batch: Where they are from.
            pieces: Its encoded records.
            start: The first.
            stop: Behind the last.
            size: Their bytes.
            written: Whether to keep when each was written.
        """
        records = self.records
        self.runs.append((len(self.offsets), batch.topic, batch.partition, batch.log))
        whole = start == 0 and stop == len(batch.values)
        records.values += batch.values if whole else batch.values[start:stop]
        records.ids += batch.ids if whole else batch.ids[start:stop]
        records.identities += batch.identities if whole else batch.identities[start:stop]
        records.records += batch.records if whole else batch.records[start:stop]
        records.times += batch.times if whole else batch.times[start:stop]
        records.levels += batch.levels if whole else batch.levels[start:stop]
        records.heads += batch.origin.heads(batch.offsets if whole else batch.offsets[start:stop])
        if written:
            records.written += batch.written[start:stop]
        self.pieces += pieces if whole else pieces[start:stop]
        self.offsets += batch.offsets if whole else batch.offsets[start:stop]
        self.size += size

    def pick(self, indexes: Sequence[int]) -> Request:
        """Return a request of these records alone, with the same count of attempts."""
        part = Request(self.opened)
        part.attempt, part.seen, part.before, part.proofs = self.attempt, self.seen, self.before, self.proofs
        mine = self.records
        part.records = Records(
            [mine.values[index] for index in indexes],
            [mine.ids[index] for index in indexes],
            [mine.records[index] for index in indexes],
            [mine.times[index] for index in indexes] if mine.times else [],
            [mine.levels[index] for index in indexes] if mine.levels else [],
            [mine.written[index] for index in indexes] if mine.written else [],
            [mine.identities[index] for index in indexes] if mine.identities else [],
            [mine.heads[index] for index in indexes],
        )
        part.offsets = [self.offsets[index] for index in indexes]
        for position, index in enumerate(indexes):
            origin = self._origin(index)
            if not part.runs or part.runs[-1][1:] != origin:
                part.runs.append((position, *origin))
        part.size = sum(map(len, part.records.values))
        return part

    def halves(self) -> list[Request]:
        """Return the two halves, to be sent on their own."""
        middle = len(self) // 2
        return [self.pick(range(middle)), self.pick(range(middle, len(self)))]

    def prepare(self, destination: Destination) -> Outcome | None:
        """Encode and compress the records unless that has been done; return an outcome if they can't be sent."""
        limits = destination.limits
        if self.payload is None:
            pieces, self.pieces = self.pieces or destination.encode(self.records), []
            large = [index for index, piece in enumerate(pieces) if len(piece) > limits.record_bytes]
            if large:
                reason = f"{{}} bytes, the destination takes {limits.record_bytes} a record"
                rejected = {index: ("record too large", reason.format(len(pieces[index]))) for index in large}
                rest = [index for index in range(len(pieces)) if index not in rejected]
                return Partial(rejected, retry=rest, after=0.0, certain=True)
            body = destination.frame(pieces)
            if len(body) > limits.request_bytes:
                return TooLarge(f"{len(body)} bytes, the destination takes {limits.request_bytes} a request")
            self.payload = compress(body, destination.compression)
        return None

    def letter(self, index: int, cause: str, reason: str) -> DeadLetter:
        """Return the dead letter of one record."""
        topic, partition, log = self._origin(index)
        value, offset = self.records.values[index], self.offsets[index]
        known = self.records.identities
        identity, head = known[index] if known else "", head_of(self.records.heads[index])
        return DeadLetter(value, topic, partition, offset, cause, reason, self.attempt, identity, head, log)

    def _origin(self, index: int) -> tuple[str, int, str]:
        run = self.runs[bisect_right(self.runs, index, key=lambda run: run[0]) - 1]
        return run[1:]


def cut(batch: Batch, start: int, records: int, size: int) -> tuple[int, int]:
    """Return where a request with room for `records` and `size` bytes ends in this batch, and the bytes until there.

    At least one record is taken, so that a record larger than any request still goes on its way alone.
    """
    if start == 0 and len(batch) <= records and batch.size <= size:
        return len(batch), batch.size
    sums = list(accumulate(map(len, batch.values[start : start + records])))
    count = max(1, bisect_right(sums, size))
    return start + count, sums[count - 1]
