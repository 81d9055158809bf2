"""Joining a cluster: the engine's processes connect to each other, each to those with a lower number.

Where one doesn't listen yet the engine says so on standard output, and tries again in a second. So a worker begins once
those listen that it connects to. It looks into the system's table of sockets, since whoever connected in order to find
out would be taken for a worker.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

_SOCKETS = Path("/proc/net/tcp")
_LISTENING = "0A"
"""TCP_LISTEN in include/net/tcp_states.h of Linux, as the table spells it: proc(5)."""
_LONGEST_SECONDS = 30.0
"""After that the engine tries by itself."""
_PAUSE_SECONDS = 0.02


def wait_for(addresses: Sequence[str]) -> None:
    """Return when something listens at each of these addresses of this machine; at once where there is no such table.

    Args:
        addresses: host:port each.
    """
    ports = {int(address.rpartition(":")[2]) for address in addresses}
    deadline = time.monotonic() + _LONGEST_SECONDS
    while not ports <= _listening() and time.monotonic() < deadline and _SOCKETS.exists():
        time.sleep(_PAUSE_SECONDS)


def _listening() -> set[int]:
    """Return the ports that something listens at."""
    try:
        lines = _SOCKETS.read_text().splitlines()[1:]
    except OSError:
        return set()
    fields = (line.split() for line in lines)
    return {int(each[1].rpartition(":")[2], 16) for each in fields if each[3] == _LISTENING}
