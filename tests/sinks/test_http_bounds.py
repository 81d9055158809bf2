"""What a server can do with its answer: nothing that takes the process's memory, or its time for ever."""

from __future__ import annotations

import gzip
import socket
import threading
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinks import http_bounds
from sinks.destination import Retry
from sinks.http import HttpClient, Response
from sinks.http_bounds import UnusableAnswerError, unpacked


@contextmanager
def serving(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """Answer each connection's first request by this; give the address."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ended = threading.Event()

        def serve() -> None:
            while not ended.is_set():
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection, suppress(OSError):
                    received(connection)
                    answer(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        ended.set()
        # It wakes who accepts.
        with suppress(OSError):
            socket.create_connection(server.getsockname(), timeout=1).close()
        thread.join(10)


def received(connection: socket.socket) -> bytes:
    """Return a whole request: what is closed with something unread takes its answer back."""
    request = b""
    while not request.endswith(b"{}"):
        piece = connection.recv(65_536)
        if not piece:
            break
        request += piece
    return request


def asked(url: str, timeout: float | None = None) -> Response | Retry:
    """Send one request."""
    client = HttpClient(url, {}, timeout=timeout)
    answer = client.request("POST", "/", b"{}")
    client.close()
    assert isinstance(answer, Response | Retry)
    return answer


def _with(head: bytes, *pieces: bytes) -> Callable[[socket.socket], None]:
    def answer(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n" + head + b"\r\nConnection: close\r\n\r\n")
        for piece in pieces:
            connection.sendall(piece)

    return answer


def test_a_bomb(monkeypatch: pytest.MonkeyPatch) -> None:
    """What unpacks to a gigabyte is given up at the bound, and takes no more memory than that."""
    monkeypatch.setattr(http_bounds, "ANSWER_BYTES", 2 << 20)
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join([*(packer.compress(bytes(1 << 20)) for _ in range(1024)), packer.flush()])
    with serving(_with(b"Content-Encoding: gzip", bomb)) as url:
        tracemalloc.start()
        answer = asked(url)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert answer == Retry("unreadable answer: it has more than 2 MB: is that the service's address?")
    assert peak < 16 << 20


def test_an_answer_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same where nothing is packed."""
    monkeypatch.setattr(http_bounds, "ANSWER_BYTES", 1 << 20)
    with serving(_with(b"X: y", *[b"a" * 65_536] * 1000)) as url:
        assert "more than 1 MB" in str(asked(url))


@pytest.mark.parametrize("place", ["head", "body"])
def test_a_byte_at_a_time(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One deadline holds for the whole answer, though each read has something."""
    monkeypatch.setattr("sinks.http.CONNECT_SECONDS", 0.2)

    def drip(connection: socket.socket) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n"
        connection.sendall(head + (b"\r\n" if place == "body" else b"X: "))
        for _ in range(3000):
            connection.sendall(b"a")
            if ended.wait(0.02):
                break

    ended = threading.Event()
    with serving(drip) as url:
        answer = asked(url, timeout=0.5)
        ended.set()
    assert isinstance(answer, Retry)


@pytest.mark.parametrize(
    ("head", "body", "why"),
    [
        (b"Content-Encoding: zstd", b"\x28\xb5\x2f\xfd", "its Content-Encoding is 'zstd', and gzip was asked for"),
        (b"Content-Encoding: gzip", b"no gzip", "it can't be unpacked: Error -3"),
        (
            b"Content-Encoding: gzip",
            gzip.compress(b"cut off" * 100, mtime=0)[:-9],
            "it can't be unpacked: it is cut off",
        ),
    ],
    ids=["another way", "no gzip", "cut off"],
)
def test_what_cannot_be_read(head: bytes, body: bytes, why: str) -> None:
    """It is sent again, with the reason."""
    with serving(_with(head, body)) as url:
        assert f"unreadable answer: {why}" in str(asked(url))


def test_it_is_asked_for() -> None:
    """A server may pack its answer by gzip alone."""
    seen: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                seen.append(received(connection))
                _with(b"Content-Encoding: gzip", gzip.compress(b"{}"))(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        answer = asked(f"http://127.0.0.1:{server.getsockname()[1]}")
        thread.join(10)
    assert isinstance(answer, Response)
    assert answer.body == b"{}"
    assert b"accept-encoding: gzip\r\n" in seen[0].lower()


@given(body=st.binary(max_size=300_000), size=st.integers(1, 70_000), encoding=st.sampled_from(["", "gzip", "deflate"]))
def test_what_is_packed_comes_out(body: bytes, size: int, encoding: str) -> None:
    """However it is cut into pieces."""
    packed = {"": body, "gzip": gzip.compress(body, 1), "deflate": zlib.compress(body, 1)}[encoding]
    pieces = [packed[start : start + size] for start in range(0, len(packed), size)]
    assert unpacked(pieces, encoding) == body


def test_the_bound_is_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is just as long is taken."""
    monkeypatch.setattr(http_bounds, "ANSWER_BYTES", 200_000)
    assert unpacked([gzip.compress(bytes(200_000))], "GZIP") == bytes(200_000)
    with pytest.raises(UnusableAnswerError):
        unpacked([gzip.compress(bytes(200_001))], "gzip")
