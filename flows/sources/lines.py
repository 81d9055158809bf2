"""Lines: cuts a stream of chunks into records at newlines, wherever the chunks happen to end.

A line that is too large is never held whole: its beginning becomes a rejected record, the rest is passed over.
"""

from __future__ import annotations

from itertools import accumulate
from operator import methodcaller

from logweir.batch import Account, Batch, Rejected

TOO_LARGE = "too large"
EMPTY_LINE = "empty line"

KEPT_BYTES = 65_536
"""Of a line that is too large, so much goes to the dead letter: enough to see where it came from."""

_ENDS_IN_CR = methodcaller("endswith", b"\r")


class Lines:
    """One stream, as batches of its complete lines.

    Args:
        topic: Names the stream in each batch.
        limit: The most bytes of a line.
        offset: Where the first byte that is fed stands in the stream.
        partition: The partition's number in each batch.
    """

    def __init__(self, topic: str, limit: int, offset: int = 0, partition: int = 0) -> None:
        self.topic = topic
        self.partition = partition
        self.position = offset
        """Where the first line starts that has not been given out: the place to resume from."""
        self._limit = limit
        self._held: list[bytes] = []
        """The incomplete line; of one that is too large only the beginning."""
        self._length = 0
        """Of the incomplete line, all of it."""

    @property
    def fed(self) -> int:
        """Where the next byte to feed stands in the stream."""
        return self.position + self._length

    def feed(self, chunk: bytes) -> Batch | None:
        """Take the next bytes and return the lines that they complete, if any."""
        account = Account()
        rejected_to = self.position
        if self._length > self._limit:
            head, newline, chunk = chunk.partition(b"\n")
            self._hold(head)
            if not newline:
                return None
            self._reject(account)
        elif self._held and b"\n" in chunk:
            chunk = b"".join([*self._held, chunk])
            self._held, self._length = [], 0
        lines = chunk.split(b"\n")
        last = lines.pop()
        starts = list(accumulate((len(line) + 1 for line in lines), initial=self.position))
        self.position = starts.pop()
        batch = self._batch(lines, starts, account) if lines or self.position != rejected_to else None
        self._hold(last)
        return batch

    def end(self) -> Batch | None:
        """Return the last line, when the stream ended without a newline."""
        if not self._length:
            return None
        account = Account()
        start = self.position
        if self._length > self._limit:
            self._reject(account)
            self.position -= 1  # there was no newline
            return self._batch([], [], account)
        line = b"".join(self._held)
        self.position += self._length
        self._held, self._length = [], 0
        return self._batch([line], [start], account)

    def _hold(self, piece: bytes) -> None:
        if not piece:
            return
        self._held.append(piece)
        self._length += len(piece)
        if self._length > self._limit:
            self._held = [b"".join(self._held)[:KEPT_BYTES]]

    def _reject(self, account: Account) -> None:
        """Settle the held line, which is too large and complete."""
        account.rejected.append(self._too_large(self._held[0], self._length, self.position))
        account.read += 1
        account.read_bytes += self._length
        self.position += self._length + 1
        self._held, self._length = [], 0

    def _too_large(self, beginning: bytes, length: int, offset: int) -> Rejected:
        value = beginning[:KEPT_BYTES]
        detail = f"a line of {length} bytes, max_record_bytes is {self._limit}; its first {len(value)} bytes are kept"
        return Rejected(value, offset, TOO_LARGE, detail)

    def _batch(self, lines: list[bytes], starts: list[int], account: Account) -> Batch:
        """Return complete lines as a batch, without those that are empty or too large."""
        account.read += len(lines)
        account.read_bytes += sum(map(len, lines))
        if lines and max(map(len, lines)) > self._limit:
            large = [index for index, line in enumerate(lines) if len(line) > self._limit]
            account.rejected += [self._too_large(lines[index], len(lines[index]), starts[index]) for index in large]
            for index in reversed(large):
                del lines[index], starts[index]
        if any(map(_ENDS_IN_CR, lines)):
            lines = [line.removesuffix(b"\r") for line in lines]
        if b"" in lines:
            kept = [index for index, line in enumerate(lines) if line]
            account.drop(EMPTY_LINE, len(lines) - len(kept))
            lines, starts = [lines[index] for index in kept], [starts[index] for index in kept]
        batch = Batch(self.topic, self.partition, lines, starts, account)
        batch.lane = self.topic
        return batch
