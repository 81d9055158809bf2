"""A worker joins its cluster once those listen that it connects to."""

from __future__ import annotations

import socket
import threading

import pytest

from flows import joining
from flows.cluster import free_ports
from flows.joining import wait_for


@pytest.mark.skipif(not joining._SOCKETS.exists(), reason="needs Linux's table of sockets")
def test_waiting() -> None:
    """It waits for each of them, and takes up no connection meanwhile."""
    first, second = free_ports(2)
    joined = threading.Event()

    def join() -> None:
        wait_for([f"127.0.0.1:{first}", f"127.0.0.1:{second}"])
        joined.set()

    with socket.socket() as bound, socket.create_server(("127.0.0.1", first)) as server:
        bound.bind(("127.0.0.1", second))
        threading.Thread(target=join, daemon=True).start()
        # One that is bound and doesn't listen refuses connections.
        assert not joined.wait(0.2)
        bound.listen()
        assert joined.wait(30)
        for each in (server, bound):
            each.settimeout(0)
            with pytest.raises(BlockingIOError):
                each.accept()


def test_the_first() -> None:
    """The first worker waits for none."""
    wait_for([])
