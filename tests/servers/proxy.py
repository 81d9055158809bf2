"""A TCP proxy in front of any server, whose faults a test chooses: what a network or a half-dead server does."""

from __future__ import annotations

import select
import socket
import ssl
import struct
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Literal, Self

from tests.servers.process import free_ports

Way = Literal["", "refused", "cut", "unanswered", "slow", "silent", "garbage"]
"""Nothing; no connection is accepted; one is cut within a request; one is cut once the server has answered; an answer
takes its time; none ever comes; what comes is of no protocol."""

SLOW_SECONDS = 0.3
GARBAGE = b"SSH-2.0-OpenSSH_9.6\r\n" + bytes(range(256)) + b"\r\n\r\n"
_LOOK_SECONDS = 0.02
_CHUNK = 1 << 16


class Proxy:
    """The proxy; as a context manager it listens inside the block.

    Args:
        target: The port of the server, on 127.0.0.1.
        port: Its own port; 0 picks a free one.
    """

    def __init__(self, target: int, port: int = 0) -> None:
        self.port = port or free_ports(1)[0]
        self.way: Way = ""
        self.met = 0
        """How many connections have met the fault."""
        self.context: ssl.SSLContext | None = None
        """Makes it speak TLS, with the certificate in it; the server speaks none."""
        self._target = target
        self._born = 0
        """Connections that were made before are to be closed."""
        self._connections: list[threading.Thread] = []
        self._lock = threading.Lock()
        """Around which connections there are, and when they were made."""
        self._ended = threading.Event()
        # Bound to a port that was asked for, it keeps that one while it doesn't listen.
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._listener.settimeout(_LOOK_SECONDS)
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def fail(self, way: Way) -> None:
        """Begin to fail, for connections that are there already too."""
        self.met = 0
        self.way = way
        if way == "refused":
            self._listener.shutdown(socket.SHUT_RDWR)
            self.drop()

    def heal(self) -> None:
        """Be a proxy like any other again; what hangs is let go of."""
        before, self.way = self.way, ""
        if before == "refused":
            self._listener.listen(128)
        elif before in {"silent", "garbage"}:
            self.drop()

    def drop(self) -> None:
        """Close all connections."""
        with self._lock:
            self._born += 1
            connections, self._connections = self._connections, []
        # One that is made meanwhile goes on, and isn't waited for.
        for connection in connections:
            connection.join()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self.drop()
        self._listener.close()

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            except OSError:  # it doesn't listen at the moment
                time.sleep(_LOOK_SECONDS)
                continue
            with self._lock:
                connection = threading.Thread(target=self._serve, args=(client, self._born), daemon=True)
                connection.start()
                self._connections.append(connection)

    def _serve(self, client: socket.socket, born: int) -> None:
        """Serve one connection until an end closes it, or the fault does."""
        sides = [client]
        # A peer that hangs up, or doesn't like the certificate, is part of the game.
        with suppress(OSError):
            client.settimeout(10)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.context is not None:
                sides[0] = client = self.context.wrap_socket(client, server_side=True)
            server = socket.create_connection(("127.0.0.1", self._target), 10)
            sides.append(server)
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while born == self._born and not self._ended.is_set():
                for side in _readable(client, server):
                    if not self._pass_on(side, client, server):
                        return
        for side in sides:
            side.close()

    def _pass_on(self, side: socket.socket, client: socket.socket, server: socket.socket) -> bool:
        """Pass some bytes on, or what the fault makes of them; False when the connection is at its end."""
        data, way = side.recv(_CHUNK), self.way
        if not data:
            client.close()
            server.close()
            return False
        if side is client and way in {"cut", "silent", "garbage"}:
            self.met += 1
            if way == "cut":
                server.sendall(data[: len(data) // 2])
                _reset(client, server)
                return False
            # The client hangs up on it. Hanging up first would take the rest of it away.
            client.sendall(GARBAGE if way == "garbage" else b"")
            return True
        if side is server and way in {"unanswered", "slow"}:
            self.met += 1
            if way == "unanswered":
                _reset(client, server)
                return False
            time.sleep(SLOW_SECONDS)
        (server if side is client else client).sendall(data)
        return True


def _readable(client: socket.socket, server: socket.socket) -> list[socket.socket]:
    if isinstance(client, ssl.SSLSocket) and client.pending():
        return [client]
    found: list[socket.socket] = select.select([client, server], [], [], _LOOK_SECONDS)[0]
    return found


def _reset(*sides: socket.socket) -> None:
    """Close connections so that the other end sees them cut, not ended."""
    for side in sides:
        side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        side.close()
