"""Who joins a cluster of workers, as the system's table of sockets shows it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from flows import joining
from flows.joining import guard, strangers_in
from tests.flowing import until

CONNECT = """
import encodings.idna, os, socket, sys
os.setuid(12345)
connected = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
print("connected", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def listening() -> socket.socket:
    """A worker's port."""
    return socket.create_server(("127.0.0.1", 0))


def _address(server: socket.socket) -> str:
    return f"127.0.0.1:{server.getsockname()[1]}"


def test_a_cluster_that_is_complete(listening: socket.socket) -> None:
    """Once all have joined nothing is told, and the watch ends."""
    failures: list[BaseException] = []
    with listening, socket.create_server(("127.0.0.1", 0)) as other:
        guard([_address(listening), _address(other)], 0, failures.append)
        watching = [each for each in threading.enumerate() if each.name == "joining"]
        with socket.create_connection(listening.getsockname()), listening.accept()[0]:
            for each in watching:
                each.join(30)
            assert not any(each.is_alive() for each in watching)
    assert failures == []


def test_one_that_does_not_come(listening: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """A join that isn't completed ends in words."""
    monkeypatch.setattr(joining, "JOIN_SECONDS", 0.3)
    failures: list[BaseException] = []
    with listening, socket.create_server(("127.0.0.1", 0)) as other:
        guard([_address(listening), _address(other)], 1, failures.append)
        until(lambda: failures, "it is told")
    assert "of 1 other workers 1 have not joined within 0.3 s" in str(failures[0])


def test_a_table_that_does_not_tell(listening: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no row is known to be this process's nothing can be said of who has joined, and nobody is stopped."""
    monkeypatch.setattr(joining, "JOIN_SECONDS", 0.1)
    real = joining._sockets
    monkeypatch.setattr(joining, "_sockets", lambda: [each._replace(inode="0", user=0) for each in real()])
    failures: list[BaseException] = []
    with listening, socket.create_server(("127.0.0.1", 0)) as other:
        guard([_address(listening), _address(other)], 1, failures.append)
        watching = [each for each in threading.enumerate() if each.name == "joining"]
        for each in watching:
            each.join(30)
        assert not any(each.is_alive() for each in watching)
    assert failures == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_another_user(listening: socket.socket) -> None:
    """Who connects as another user is told of, also if nothing is sent and the join would never be complete."""
    failures: list[BaseException] = []
    with listening, socket.create_server(("127.0.0.1", 0)) as other:
        guard([_address(listening), _address(other)], 0, failures.append)
        port = str(listening.getsockname()[1])
        with subprocess.Popen(
            [sys.executable, "-c", CONNECT, port], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as stranger:
            assert stranger.stdout is not None
            assert stranger.stdout.readline() == b"connected\n"
            with listening.accept()[0]:
                until(lambda: failures, "it is told")
            stranger.communicate()
    assert "user 12345 of this machine has connected to a worker's port" in str(failures[0])


def test_the_table() -> None:
    """A connection has two rows, one of each end; what listens, or waits to be forgotten, is nobody's connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(server.getsockname()), server.accept()[0]:
            time.sleep(0)
            rows = [each for each in joining._sockets() if port in (each.local, each.remote)]
            mine = os.geteuid()
            assert strangers_in(rows, [port], mine) == []
            others = [each._replace(user=12345) for each in rows]
            assert len(strangers_in(others, [port], mine)) == 2
            assert strangers_in(others, [port], 12345) == []
            assert strangers_in([each._replace(user=0) for each in rows], [port], 12345) == []
            assert port in joining._listening()
