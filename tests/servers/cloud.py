"""What the stand-ins for cloud services share: an HTTP server of one operation or more, whose faults a test chooses."""

from __future__ import annotations

import gzip
import json
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

import zstandard


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, planted by a test or made by the server."""

    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)
    close: bool = False
    """Hang up instead."""


class Refused(Exception):  # noqa: N818  # an answer, not a defect
    """The request is answered with an error."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(f"{answer.status}: {answer.body.decode()}")
        self.answer = answer


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object whose keys are all different, as `object_pairs_hook` of a strict parser."""
    found = dict(pairs)
    if len(found) != len(pairs):
        msg = f"a key is there twice in {[name for name, _ in pairs]}"
        raise ValueError(msg)
    return found


class CloudServer:
    """A server on a free port of 127.0.0.1; as a context manager it listens inside the block."""

    def __init__(self) -> None:
        self.script: deque[Answer | None] = deque()
        """How the next requests are answered, one after another, without taking anything; None: as usual."""
        self.fault: Answer | None = None
        """How all are answered once the script is at its end."""
        self.judge: Callable[[bytes], Answer | None] | None = None
        """How a request is answered, by its unpacked body, where nothing is planted; None: as usual."""
        self.requests = 0
        self.arrivals: list[float] = []
        """Seconds of the monotonic clock, when each request came."""
        self.violations: list[str] = []
        """Requests that no client of ours may ever send."""
        self.lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._thread: threading.Thread | None = None
        self._http = _Server(("127.0.0.1", 0), self)
        self._port = self._http.server_address[1]
        self.url = f"http://127.0.0.1:{self._port}"

    def answer(self, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Return the answer to one POST or PUT; names of headers are in lower case, `:method` stands among them.

        Raises:
            Refused: It is answered with an error.
        """
        raise NotImplementedError

    def handle(self, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Return the planted answer, else the server's own."""
        with self.lock:
            self.requests += 1
            self.arrivals.append(time.monotonic())
            planted = self.script.popleft() if self.script else self.fault
        if planted is None and self.judge is not None:
            planted = self.judge(_unpacked(body, headers.get("content-encoding", "")))
        if planted is not None:
            return planted
        try:
            return self.answer(path, headers, body)
        except Refused as refused:
            return refused.answer

    def look(self, method: str, path: str, headers: Mapping[str, str]) -> Answer:
        """Return the answer to a GET or a HEAD, by which nothing is sent."""
        del method, path, headers
        return Answer(405)

    def violated(self, what: str) -> None:
        """Note a request that no client of ours may ever send."""
        with self.lock:
            self.violations.append(what)

    def start(self) -> None:
        """Begin to answer. After `stop`: again, on the same port, with what was taken."""
        if self._http.fileno() < 0:
            self._http = _Server(("127.0.0.1", self._port), self)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop listening, and close every connection."""
        if self._thread is None:
            return
        self._http.shutdown()
        self._http.server_close()
        with self.lock:
            for connection in self._open:
                # It may have been closed by the other end in the meantime.
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._thread = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], cloud: CloudServer) -> None:
        super().__init__(address, _Handler)
        self.cloud = cloud

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that hangs up is part of many tests; a defect of this server must still be seen.
        error = sys.exception()
        if not isinstance(error, OSError):
            self.cloud.violated(f"the server failed: {error!r}")
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def setup(self) -> None:
        super().setup()
        with self.server.cloud.lock:
            self.server.cloud._open.add(self.connection)

    def finish(self) -> None:
        with self.server.cloud.lock:
            self.server.cloud._open.discard(self.connection)
        super().finish()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class names it
        """Say nothing: tests read the counters."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self._reply(self.server.cloud.handle(self.path, self._named(), body))

    do_PUT = do_POST  # noqa: N815  # the base class names it

    def do_GET(self) -> None:
        self._reply(self.server.cloud.look(self.command, self.path, self._named()))

    do_HEAD = do_GET  # noqa: N815  # the base class names it

    def _named(self) -> dict[str, str]:
        return {":method": self.command, **{name.lower(): value for name, value in self.headers.items()}}

    def _reply(self, answer: Answer) -> None:
        if answer.close:
            self.close_connection = True
            return
        lines = [f"HTTP/1.1 {answer.status} {self.responses.get(answer.status, ('',))[0]}"]
        lines += [f"{name}: {value}" for name, value in {"Content-Type": "application/json", **answer.headers}.items()]
        lines += [f"Content-Length: {len(answer.body)}"]
        # One write: two would wait for the client's delayed acknowledgement.
        body = b"" if self.command == "HEAD" else answer.body
        self.wfile.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)


def _unpacked(body: bytes, encoding: str) -> bytes:
    if encoding == "zstd":
        return zstandard.ZstdDecompressor().decompressobj().decompress(body)
    return gzip.decompress(body) if encoding == "gzip" else body


def dumped(value: Any) -> bytes:
    """Return JSON as services write it."""
    return json.dumps(value, separators=(",", ":")).encode()
