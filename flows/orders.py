"""What a supervisor tells its workers, on the pipe that begins with the assignment.

Changed settings come in two steps, so that no worker is asked by settings that it doesn't know: when all of a cluster
have prepared them, all swap. Each tells its supervisor how far it is: `ready` once it runs, `prepared`, `swapped`, and
`settled` once nothing is on its way by the settings before.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pickle import dumps, loads
from typing import IO, Any

from flows.config import Flow
from flows.seats import Seating

_LENGTH = struct.Struct("!Q")


@dataclass(frozen=True, slots=True)
class Prepare:
    """Get ready to decide and deliver by other settings."""

    flow: Flow
    seatings: Mapping[str, Seating]
    """Where each destination's limiters keep their states."""
    revision: int


@dataclass(frozen=True, slots=True)
class Swap:
    """Go on by the settings of this revision."""

    revision: int


def send(descriptor: int, order: Any) -> None:
    """Write an order to a pipe.

    Raises:
        OSError: Nobody reads it any more.
    """
    data = dumps(order)
    data = _LENGTH.pack(len(data)) + data
    while data:
        data = data[os.write(descriptor, data) :]


def receive(inbox: IO[bytes]) -> Any:
    """Return the next order from an unbuffered pipe; None once the supervisor is gone."""
    head = _exactly(inbox, _LENGTH.size)
    if head is None:
        return None
    data = _exactly(inbox, *_LENGTH.unpack(head))
    return None if data is None else loads(data)  # noqa: S301  our own supervisor wrote it


def _exactly(inbox: IO[bytes], size: int) -> bytes | None:
    data = b""
    while len(data) < size:
        piece = inbox.read(size - len(data))
        if not piece:
            return None
        data += piece
    return data
