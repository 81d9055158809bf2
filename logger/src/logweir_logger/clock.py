"""Ids and timestamps of records: UUIDv7 (RFC 9562) and RFC 3339, as bytes ready to be written.

Both begin with the millisecond, so that what they share is made once a millisecond. The rest of an id is a counter and,
for each process, 48 random bits; a forked child draws others, so ids differ between all processes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from itertools import product

_PAIRS = [b"%02x" % number for number in range(256)]
_VARIANT = [b"%x-%x" % (high, low) for high in range(16) for low in (0x8, 0x9, 0xA, 0xB)]
"""Four bits of the counter, the group's end, two bits of UUID variant and two more of the counter."""


def _endings() -> Iterator[bytes]:
    """Return an iterator over what stands in an id behind the version: 26 bits of counter, then the process's own."""
    node = os.urandom(6).hex().encode()
    last = [b"%x-%s" % (number, node) for number in range(16)]
    # All of it runs in C, so a step is atomic between threads and takes a tenth of a microsecond.
    return map(b"".join, product(_PAIRS, _VARIANT, _PAIRS, last))


class Clock:
    """Makes the beginnings of records.

    `beat` is (millisecond, the record up to its id's version, the record from behind its id to its level's name);
    who finds another millisecond in it calls `tick`.
    """

    __slots__ = ("_second", "beat", "endings")

    def __init__(self) -> None:
        self._second = (-1, b"")
        self.beat = (-1, b"", b"")
        self.endings = _endings()

    def tick(self, milli: int) -> tuple[int, bytes, bytes]:
        """Return the beat of this millisecond since 1970, and remember it."""
        second, rest = divmod(milli, 1000)
        known, text = self._second
        if second != known:
            text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)).encode()
            # One pair, or another thread could see one's number with the other's text.
            self._second = (second, text)
        head = b'{"id":"%08x-%04x-7' % (milli >> 16 & 0xFFFFFFFF, milli & 0xFFFF)
        self.beat = beat = (milli, head, b'","timestamp":"%s.%03dZ","level":"' % (text, rest))
        return beat

    def renew(self) -> bytes:
        """Draw other random bits, and return the first ending: the counter is used up, or this is a new process."""
        self.endings = endings = _endings()
        return next(endings)


CLOCK = Clock()
"""Of this process: all its loggers share it, so that their ids never meet."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=CLOCK.renew)
