"""A fast, strict stand-in for Elasticsearch's `_bulk`, whose faults a test chooses.

It records what it was sent, so that a test can say "each record exactly once". `python -m tests.servers.elastic
--count-only` runs one as a process of its own, for benchmarks: its CPU is not counted in the flow's.
"""

from __future__ import annotations

import argparse
import json
import signal
import socket
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import unquote, urlsplit

from tests.servers.bulk import Create, Refused, Request, conflict, failed, own_id, stored, unreadable

MAX_CONTENT_LENGTH = 100 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Fault:
    """How one request goes wrong. What is left at its default goes right."""

    status: int = 0
    """Answered without storing anything; 0: the request is taken."""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    """Of the answer. None: an error body as the real server's for that status."""
    delay: float = 0.0
    """Seconds before the answer, beside other requests."""
    hang: bool = False
    """Stores nothing and never answers, until the server is closed or `release` is called."""
    close: Literal["", "before", "after", "stored"] = ""
    """Hangs up instead of answering: before the body is read, after it, or once everything is stored."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as it was answered."""

    at: float
    """Seconds of the monotonic clock, when it came."""
    path: str
    headers: dict[str, str]
    """Names in lower case."""
    wire_bytes: int
    raw_bytes: int
    ids: list[str]
    status: int
    """0 when there was no answer."""


ChooseFault = Callable[[int, Request], Fault | None]
ItemFault = Callable[[str, bytes], tuple[int, dict[str, Any]] | None]


class FakeElastic:
    """The server; as a context manager it listens inside the block.

    Args:
        port: Of 127.0.0.1; 0 picks a free one.
        count_only: Parse nothing and store nothing: `requests` and `bytes` alone are counted.
        count_docs: With `count_only`, unpack each body and count its documents too.
    """

    def __init__(self, port: int = 0, *, count_only: bool = False, count_docs: bool = False) -> None:
        self.count_only = count_only
        self.count_docs = count_docs
        self.fault: Fault | ChooseFault | None = None
        """For every request, or chosen by its number (from 1) and what it is."""
        self.item_fault: ItemFault | None = None
        """Chosen by id and document: the item's status and error; None: it is stored."""
        self.authorization: str | None = None
        """The only value of the `Authorization` header that is let in."""
        self.version = "8.19.3"
        self.indices: set[str] | None = None
        """Those that exist, when the cluster makes none by itself; None: it does."""
        self.privileges: bool | None = True
        """Whether the key may create documents; None: this server doesn't know privileges, as without security."""
        self.probes = 0
        """`_bulk` requests without a document; `requests` doesn't count them."""
        self.max_content_length = MAX_CONTENT_LENGTH
        """Of a body, unpacked; more is a 413."""
        self.docs: dict[tuple[str, str], bytes] = {}
        """By index and by the record's own id, the first part of an `_id`; by all of it where two would be one."""
        self.taken: dict[tuple[str, str], str] = {}
        """By index and `_id`: the name in `docs`."""
        self.creates: Counter[str] = Counter()
        """How often each id was sent, whatever the answer."""
        self.requests = 0
        self.bytes = 0
        """Of all bodies, as they came."""
        self.documents = 0
        """How many were sent, whatever the answer."""
        self.seen: list[Seen] = []
        self.statuses: Counter[int] = Counter()
        self.violations: list[str] = []
        """Requests that no client of ours may ever send, and documents that can't be stored."""
        self.peak = 0
        """The most requests at one time."""
        self._now = 0
        self._script: deque[Fault | None] = deque()
        self._lock = threading.Lock()
        self._released = threading.Event()
        self._open: set[socket.socket] = set()
        self._thread: threading.Thread | None = None
        self._http = _Server(("127.0.0.1", port), self)
        self.port = self._http.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def script(self, *faults: Fault | None) -> None:
        """Answer the next requests like this, one after another; `fault` applies after the last."""
        with self._lock:
            self._script.extend(faults)

    def release(self) -> None:
        """Let go of the requests that hang: their connections are closed."""
        self._released.set()
        self._released = threading.Event()

    def forget(self) -> None:
        """Have nothing stored any more."""
        with self._lock:
            self.docs.clear()
            self.taken.clear()

    def start(self) -> None:
        """Begin to answer. After `stop`: again, on the same port, with what was stored."""
        if self._http.fileno() < 0:
            self._http = _Server(("127.0.0.1", self.port), self)
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True, name="elastic")
        self._thread.start()

    def stop(self) -> None:
        """Stop listening, and close every connection."""
        if self._thread is None:
            return
        self._released.set()
        self._http.shutdown()
        self._http.server_close()
        with self._lock:
            for connection in self._open:
                # It may have been closed by the other end in the meantime.
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._thread = None

    def stats(self) -> dict[str, int]:
        """Return the counts."""
        return {
            "requests": self.requests,
            "bytes": self.bytes,
            "documents": self.documents,
            "stored": len(self.docs),
            "peak": self.peak,
        }

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def look(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        """Return the answer to what is no `_bulk` request: its status and its body."""
        if path == "/":
            about = {"name": "fake", "cluster_name": "test", "version": {"number": self.version}, "tagline": _TAGLINE}
            return 200, json.dumps(about).encode()
        if path == "/_security/user/_has_privileges" and method == "POST" and self.privileges is not None:
            (asked,) = json.loads(body)["index"]
            told = {name: dict.fromkeys(asked["privileges"], self.privileges) for name in asked["names"]}
            return 200, json.dumps({"username": "me", "has_all_requested": self.privileges, "index": told}).encode()
        if path == "/_cluster/settings" and method == "GET":
            makes = "true" if self.indices is None else "false"
            return 200, json.dumps({"defaults": {"action": {"auto_create_index": makes}}}).encode()
        if method == "HEAD" and not path.startswith("/_"):
            return (200 if unquote(path[1:]) in (self.indices or ()) else 404), b""
        return 400, json.dumps({"error": f"no handler found for uri [{path}] and method [{method}]"}).encode()

    def _choose(self, number: int, request: Request) -> Fault | None:
        with self._lock:
            if self._script:
                return self._script.popleft()
        return self.fault(number, request) if callable(self.fault) else self.fault

    def answer_bulk(self, request: Request) -> Fault:
        """Return how one `_bulk` request ends. `close` or `hang` in it mean that there is no answer."""
        probing = request.headers["content-length"] == "1"
        with self._lock:
            self.requests += not probing
            self.probes += probing
            self._now += 1
            self.peak = max(self.peak, self._now)
            number = self.requests
        try:
            ending = self._judge(number, request)
        except Refused as refused:
            if not probing:
                self._violate(str(refused))
            ending = Fault(refused.status, body=refused.body)
        if ending.hang:
            self._released.wait()
        elif ending.delay:
            self._released.wait(ending.delay)
        self._note(request, 0 if ending.hang or ending.close else ending.status)
        return ending

    def _judge(self, number: int, request: Request) -> Fault:
        fault = self._choose(number, request) or Fault()
        if fault.close == "before":
            return fault
        size = len(request.wire)
        with self._lock:
            self.bytes += size
        self._authenticate(request)
        planted = fault.body if fault.body is not None else _error(fault.status)
        if fault.status and size == 1:
            return Fault(fault.status, fault.headers, planted, fault.delay)
        creates = [] if self.count_only else request.creates
        docs = len(creates) or (request.body.count(b"\n") // 2 if self.count_docs else 0)
        with self._lock:
            self.creates.update(own_id(create.id) for create in creates)
            self.documents += docs
        if fault.hang or fault.close == "after":
            return fault
        if fault.status:
            return Fault(fault.status, fault.headers, planted, fault.delay)
        # Real servers store before they answer, so a lost answer leaves the documents behind.
        answer = _EMPTY if self.count_only else self._store(creates)
        return Fault(200, fault.headers, answer, fault.delay, close=fault.close)

    def _authenticate(self, request: Request) -> None:
        given = request.headers.get("authorization")
        if self.authorization is None or given == self.authorization:
            return
        what = "missing authentication credentials for REST request"
        if given is not None:
            what = (
                "unable to authenticate with provided credentials and anonymous access is not allowed for this request"
            )
        raise Refused(401, "security_exception", what, header={"WWW-Authenticate": ["ApiKey"]})

    def _store(self, creates: list[Create]) -> bytes:
        items = []
        with self._lock:
            for create in creates:
                fault = self.item_fault(own_id(create.id), create.doc) if self.item_fault else None
                if create.fault or not create.id:
                    self.violations.append(f"document {create.id!r}: {create.fault or 'empty _id'}")
                    item = unreadable(create)
                elif fault is not None:
                    item = failed(create, *fault)
                elif (create.index, create.id) in self.taken:
                    item = conflict(create)
                else:
                    name = own_id(create.id)
                    name = create.id if (create.index, name) in self.docs else name
                    self.taken[create.index, create.id] = name
                    self.docs[create.index, name] = create.doc
                    item = stored(create)
                items.append({"create": item})
        errors = any("error" in item["create"] for item in items)
        return json.dumps({"took": 1, "errors": errors, "items": items}, separators=(",", ":")).encode()

    def _violate(self, what: str) -> None:
        if not what.startswith(("401", "413")):
            with self._lock:
                self.violations.append(what)

    def _note(self, request: Request, status: int) -> None:
        known = vars(request)
        ids = [create.id for create in known.get("creates", ())]
        wire, raw = len(known.get("wire", b"")), len(known.get("body", b""))
        with self._lock:
            self._now -= 1
            self.statuses[status] += 1
            if not self.count_only:
                self.seen.append(Seen(request.at, request.path, request.headers, wire, raw, ids, status))


_EMPTY = b'{"took":1,"errors":false,"items":[]}'
_KINDS = {429: "es_rejected_execution_exception", 404: "index_not_found_exception", 403: "security_exception"}


def _error(status: int) -> bytes:
    return Refused(status, _KINDS.get(status, "unavailable_shards_exception"), "planted by the test").body


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], fake: FakeElastic) -> None:
        super().__init__(address, _Handler)
        self.fake = fake

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that hangs up is part of many tests; a defect of this server must still be seen.
        error = sys.exception()
        if not isinstance(error, OSError):
            self.fake.violations.append(f"the fake server failed: {error!r}")
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def setup(self) -> None:
        super().setup()
        with self.server.fake._lock:
            self.server.fake._open.add(self.connection)

    def finish(self) -> None:
        with self.server.fake._lock:
            self.server.fake._open.discard(self.connection)
        super().finish()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class names it
        """Say nothing: tests read the counters."""

    def do_GET(self) -> None:
        fake = self.server.fake
        try:
            fake._authenticate(self._request())
        except Refused as refused:
            self._write(refused.status, {}, refused.body)
            return
        length = int(self.headers.get("content-length", 0))
        status, body = fake.look(self.command, urlsplit(self.path).path, self.rfile.read(length))
        self._write(status, {}, body)

    do_HEAD = do_GET  # noqa: N815  # the base class looks for this name

    def do_POST(self) -> None:
        if urlsplit(self.path).path == "/_security/user/_has_privileges":
            self.do_GET()
            return
        if not urlsplit(self.path).path.endswith("/_bulk") or "content-length" not in self.headers:
            self.close_connection = True
            self.server.fake._violate(f"POST {self.path} with {self.headers}")
            self._write(404, {}, _error(404))
            return
        ending = self.server.fake.answer_bulk(self._request())
        if ending.hang or ending.close:
            self.close_connection = True
            return
        self._write(ending.status, ending.headers, ending.body or b"")

    def _request(self) -> Request:
        headers = {name.lower(): value for name, value in self.headers.items()}
        return Request(self.path, headers, self.rfile.read, self.server.fake.max_content_length)

    def _write(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        lines = [f"HTTP/1.1 {status} {self.responses.get(status, ('',))[0]}", "X-Elastic-Product: Elasticsearch"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        head = "\r\n".join([*lines, "", ""]).encode("latin-1")
        # One write: two would wait for the client's delayed acknowledgement.
        self.wfile.write(head if self.command == "HEAD" else head + body)


_TAGLINE = "You Know, for Search"


def main(arguments: list[str] | None = None) -> int:
    """Run one until SIGTERM or SIGINT, then print its counts as one line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.servers.elastic", description=main.__doc__)
    parser.add_argument("--port", type=int, default=0, help="of 127.0.0.1 (default: a free one)")
    parser.add_argument("--count-only", action="store_true", help="parse and keep nothing")
    parser.add_argument("--count-docs", action="store_true", help="with --count-only: unpack and count documents")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each answer")
    chosen = parser.parse_args(arguments)
    signals = {signal.SIGTERM, signal.SIGINT}
    # Blocked before threads exist, so that only `sigwait` below ever gets them.
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    with FakeElastic(chosen.port, count_only=chosen.count_only, count_docs=chosen.count_docs) as fake:
        fake.fault = Fault(delay=chosen.delay) if chosen.delay else None
        print(fake.url, flush=True)
        signal.sigwait(signals)
    print(json.dumps(fake.stats()), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
