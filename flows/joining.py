"""Joining a cluster: the engine's processes connect to each other, each to those with a lower number.

Where one doesn't listen yet the engine says so on standard output, and tries again in a second. So a worker begins once
those listen that it connects to. It looks into the system's table of sockets, since whoever connected in order to find
out would be taken for a worker.

The engine asks nobody who they are. So the same table is asked whose the sockets are that have joined: where another
user's is among them, or the cluster isn't complete in time, the process ends, in words.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from logweir.errors import LogweirError

_SOCKETS = Path("/proc/net/tcp")
_DESCRIPTORS = Path("/proc/self/fd")
_ESTABLISHED, _LISTENING = "01", "0A"
"""TCP_ESTABLISHED and TCP_LISTEN in include/net/tcp_states.h of Linux, as the table spells them: proc(5)."""
_LONGEST_SECONDS = 30.0
"""After that the engine tries by itself."""
_PAUSE_SECONDS = 0.02
JOIN_SECONDS = 120.0
"""So long the workers of a cluster may take until the last one is there."""


def wait_for(addresses: Sequence[str]) -> None:
    """Return when something listens at each of these addresses of this machine; at once where there is no such table.

    Args:
        addresses: host:port each.
    """
    ports = {int(address.rpartition(":")[2]) for address in addresses}
    deadline = time.monotonic() + _LONGEST_SECONDS
    while not ports <= _listening() and time.monotonic() < deadline and _SOCKETS.exists():
        time.sleep(_PAUSE_SECONDS)


def guard(addresses: Sequence[str], worker: int, fail: Callable[[BaseException], None]) -> None:
    """Watch, from now on, who joins the cluster; does nothing where there is no table of sockets.

    Args:
        addresses: host:port of each worker, on this machine.
        worker: The number of this one.
        fail: Ends the process, for the error that it is given.
    """
    if _SOCKETS.exists():
        threading.Thread(target=_watch, args=(addresses, worker, fail), name="joining", daemon=True).start()


def _watch(addresses: Sequence[str], worker: int, fail: Callable[[BaseException], None]) -> None:
    ports = [int(address.rpartition(":")[2]) for address in addresses]
    deadline = time.monotonic() + JOIN_SECONDS
    missing = len(ports)
    while missing:
        if time.monotonic() > deadline:
            if not _own() & {each.inode for each in _sockets()}:
                # A sandbox whose table doesn't show whose sockets are which.
                return
            msg = (
                f"of {len(ports) - 1} other workers {missing} have not joined within {JOIN_SECONDS:g} s: look at what "
                "they told, and at who else is connected to the ports of this process"
            )
            fail(LogweirError(msg))
            return
        time.sleep(_PAUSE_SECONDS)
        sockets = _sockets()
        if strangers := strangers_in(sockets, ports, os.geteuid()):
            msg = (
                f"user {strangers[0].user} of this machine has connected to a worker's port, as only a worker does: "
                "find out who it is, or run with one worker, which listens nowhere"
            )
            fail(LogweirError(msg))
            return
        missing = len(ports) - 1 - _joined(sockets, ports, worker, _own())


class Socket(NamedTuple):
    """A row of the table."""

    local: int
    """The port."""
    remote: int
    state: str
    user: int
    """The number of whose it is."""
    inode: str


def strangers_in(sockets: Sequence[Socket], ports: Sequence[int], user: int) -> list[Socket]:
    """Return the connections with one of these ports that are another user's.

    Root may read and write all that this process has, and is named where the table doesn't tell.
    """
    return [
        each
        for each in sockets
        if each.state == _ESTABLISHED and each.user not in (user, 0) and (each.local in ports or each.remote in ports)
    ]


def _joined(sockets: Sequence[Socket], ports: Sequence[int], worker: int, own: set[str]) -> int:
    """Return how many others have connected to this worker, or it to them."""
    lower = set(ports[:worker])
    return sum(
        each.state == _ESTABLISHED and each.inode in own and (each.local == ports[worker] or each.remote in lower)
        for each in sockets
    )


def _own() -> set[str]:
    """Return the inodes of this process's sockets."""
    links = set()
    for each in _DESCRIPTORS.iterdir():
        # It may be closed meanwhile.
        with suppress(OSError):
            links.add(str(each.readlink()))
    return {link[len("socket:[") : -1] for link in links if link.startswith("socket:[")}


def _sockets() -> list[Socket]:
    try:
        rows = [line.split() for line in _SOCKETS.read_text().splitlines()[1:]]
    except OSError:
        return []
    return [Socket(_port(row[1]), _port(row[2]), row[3], int(row[7]), row[9]) for row in rows]


def _port(address: str) -> int:
    return int(address.rpartition(":")[2], 16)


def _listening() -> set[int]:
    """Return the ports that something listens at."""
    return {each.local for each in _sockets() if each.state == _LISTENING}
