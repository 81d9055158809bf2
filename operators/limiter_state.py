"""What every limiter's state has in common: one bucket of keys, asked by groups of records that are alike."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Collection, Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple, Protocol


class Suppressed(NamedTuple):
    """What a window has dropped of one key."""

    key: str
    start: int
    """Epoch seconds."""
    length: int
    """Seconds."""
    records: int
    part: int = 0
    """How often the window was told of before."""


class Group(NamedTuple):
    """Records that are alike to the limiters."""

    number: int
    """Within its batch."""
    limiters: int
    """Which ones are to be asked, as bits."""
    keys: tuple[str, ...]
    """For each limiter."""
    second: int
    """When they happened, in epoch seconds."""
    records: int
    """How many have passed so far."""
    dropped: tuple[tuple[int, int], ...] = ()
    """(limiter, records), of those that have dropped some."""


Packed = tuple[str, bytes]
"""Keys as one text, and the length of each."""


def packed(keys: Collection[str]) -> Packed:
    """Return keys for a snapshot. A million texts by themselves take a pickle ten times as long."""
    return "".join(keys), array("I", map(len, keys)).tobytes()


def unpacked(keys: Packed) -> list[str]:
    """Return the keys of a snapshot."""
    text, lengths = keys
    return [text[start:end] for start, end in pairwise(accumulate(numbers("I", lengths), initial=0))]


def numbers(kind: str, packed: bytes) -> array[int]:
    """Return the numbers of a snapshot; `kind` is an array's type code."""
    found = array(kind)
    found.frombytes(packed)
    return found


Ask = tuple[str, int, int]
"""A key, a second, and how many records."""


class LimiterState(Protocol):
    """The state of one limiter for one bucket of keys."""

    notices: Counter[str]
    """What the bounds on memory have changed, in records, since it was asked last."""

    def take(self, key: str, second: int, count: int) -> int:
        """Return how many of `count` records of one key and second pass."""
        ...

    def take_all(self, asks: Sequence[Ask]) -> list[int]:
        """Return how many of each pass; the same as to `take` one after another."""
        ...

    def read_until(self, reached: float) -> list[Suppressed]:
        """Note how far all partitions have been read; return what the windows have dropped that close by this.

        Args:
            reached: The watermark, in epoch seconds: what comes now is at most `lateness` older.
        """
        ...

    def told(self) -> list[Suppressed]:
        """Return what the open windows have dropped so far, and count anew; for when nothing more may come."""
        ...

    def configure(self, settings: Any, lateness: float, max_keys: int) -> list[Suppressed]:
        """Go on by changed settings, which are those of the constructor; what is remembered stays as far as it can.

        Returns:
            What was dropped in windows that there are no more.
        """
        ...

    def to_dict(self) -> dict[str, Any]:
        """Return a copy as plain values, for a snapshot."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a snapshot."""
        ...
