"""What an answer of a server may take: one deadline for all of it, and so many bytes once it is unpacked.

httpx has a time limit for each read, so that it waits without end for a server that drips, and unpacks whatever comes.
"""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Iterable
from ssl import SSLContext
from typing import TYPE_CHECKING, Any

import httpcore

if TYPE_CHECKING:
    import httpx

ANSWER_BYTES = 32 << 20
"""Unpacked. An answer of the Bulk API in which each of 10,000 documents has failed takes a third of that."""
_PIECE_BYTES = 1 << 16
_WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}

Option = tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]


class UnusableAnswerError(Exception):
    """The answer is too long, or not packed as was asked for."""


class Deadline(threading.local):
    """When the request of a thread has to be done, in seconds of the monotonic clock."""

    at = float("inf")

    def left(self, timeout: float | None) -> float:
        """Return how long a step may take.

        Raises:
            httpcore.ReadTimeout: The time is over.
        """
        seconds = self.at - time.monotonic()
        if seconds <= 0:
            msg = "the whole answer took too long"
            raise httpcore.ReadTimeout(msg)
        return seconds if timeout is None else min(seconds, timeout)


def bound(transport: httpx.HTTPTransport, deadline: Deadline) -> httpx.HTTPTransport:
    """Make a transport heed a deadline at each read and write; return it."""
    # There is no other way in: httpx makes the pool itself.
    transport._pool._network_backend = _Backend(deadline)  # noqa: SLF001
    return transport


def unpacked(pieces: Iterable[bytes], encoding: str) -> bytes:
    """Return the body of an answer.

    Args:
        pieces: As they come.
        encoding: The Content-Encoding.

    Raises:
        UnusableAnswerError: It is too long, or packed in a way that was not asked for, or broken.
    """
    name = encoding.strip().lower()
    body = bytearray()
    if name in ("", "identity"):
        for piece in pieces:
            body += piece
            _check(body)
        return bytes(body)
    if name not in _WINDOW_BITS:
        msg = f"its Content-Encoding is {encoding[:50]!r}, and gzip was asked for"
        raise UnusableAnswerError(msg)
    packed = zlib.decompressobj(_WINDOW_BITS[name])
    try:
        for piece in pieces:
            rest, more = piece, b""
            while rest or len(more) == _PIECE_BYTES:
                more = packed.decompress(rest, _PIECE_BYTES)
                body += more
                _check(body)
                rest = packed.unconsumed_tail
    except zlib.error as error:
        msg = f"it can't be unpacked: {error}"
        raise UnusableAnswerError(msg) from None
    if not packed.eof and body:
        msg = "it can't be unpacked: it is cut off"
        raise UnusableAnswerError(msg)
    return bytes(body)


def _check(body: bytearray) -> None:
    if len(body) > ANSWER_BYTES:
        msg = f"it has more than {ANSWER_BYTES >> 20} MB: is that the service's address?"
        raise UnusableAnswerError(msg)


class _Backend(httpcore.NetworkBackend):
    """Connects as httpcore does, to what heeds the deadline."""

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline
        self._real = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Option] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect."""
        stream = self._real.connect_tcp(host, port, self._deadline.left(timeout), local_address, socket_options)
        return _Stream(stream, self._deadline)

    def sleep(self, seconds: float) -> None:
        """Wait."""
        self._real.sleep(seconds)


class _Stream(httpcore.NetworkStream):
    """One connection."""

    def __init__(self, real: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._real = real
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Return what has come."""
        return self._real.read(max_bytes, self._deadline.left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send."""
        self._real.write(buffer, self._deadline.left(timeout))

    def close(self) -> None:
        """Close."""
        self._real.close()

    def start_tls(
        self, ssl_context: SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        """Encrypt from here on."""
        stream = self._real.start_tls(ssl_context, server_hostname, self._deadline.left(timeout))
        return _Stream(stream, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        """Return what is known of the connection."""
        return self._real.get_extra_info(info)
