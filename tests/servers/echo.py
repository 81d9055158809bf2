"""A proxy that refuses everything, and shows in each answer the request that it got: credentials, decoded too."""

from __future__ import annotations

import base64
import html
import json
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple, Self
from xml.sax.saxutils import escape

PADDINGS = range(380, 520, 13)
"""Characters before what is shown, so that what cuts an answer at 500 or 1,000 cuts sometimes through a secret."""
_CREDENTIALS = ("authorization", "dd-api-key", "x-amz-security-token", "x-planted")


class Echo(NamedTuple):
    """One answer."""

    status: int
    body: str
    kind: str = "application/json"
    location: str = ""


def _json(status: int, said: str) -> Echo:
    """Return an error in the words of all services at once."""
    error = {"type": said, "reason": said, "message": said, "status": said, "code": status, "details": []}
    whole = {"errors": [{"title": said, "detail": said}], "error": error, "text": said, "code": 9}
    return Echo(status, json.dumps({**whole, "message": said, "__type": f"Planted{said}"}))


def _items(said: str) -> Echo:
    """Return an answer to one record that was refused for itself, as Elasticsearch's and as Google's."""
    error = {"type": said, "reason": said, "caused_by": {"reason": said}}
    item = {"create": {"status": 400, "error": error}}
    return Echo(200, json.dumps({"errors": True, "items": [item]}))


def _entries(said: str) -> Echo:
    kind = "type.googleapis.com/google.logging.v2.WriteLogEntriesPartialErrors"
    details = [{"@type": kind, "logEntryErrors": {"0": {"code": 3, "message": said}}}]
    return Echo(400, json.dumps({"error": {"code": 400, "message": said, "details": details}}))


def _xml(said: str) -> Echo:
    code = said.rsplit(maxsplit=1)[-1]
    return Echo(400, f"<Error><Code>{escape(code)}</Code><Message>{escape(said)}</Message></Error>", "application/xml")


ANSWERS: tuple[Callable[[str], Echo], ...] = (
    lambda said: _json(401, said),
    lambda said: Echo(403, said, "text/plain"),
    lambda said: _json(400, said),
    _items,
    _entries,
    _xml,
    lambda said: Echo(200, said, "text/plain"),
    lambda said: Echo(500, f"<html>{html.escape(said)}</html>", "text/html"),
    lambda said: Echo(302, "", "text/plain", f"/login/{said.strip()}"),
    lambda said: _json(404, said),
    lambda said: _json(503, said),
)
REFUSALS = ANSWERS[2:6]
"""Those by which a record is refused for itself."""


class EchoServer:
    """The server; as a context manager it listens inside the block."""

    def __init__(self) -> None:
        self.answers = ANSWERS
        """In turns."""
        self.requests = 0
        self.credentials: set[str] = set()
        """Everything secret that it was sent, and the forms that it has shown it in."""
        self._lock = threading.Lock()
        self._http = _Server(("127.0.0.1", 0), self)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def answer(self, head: str, headers: Mapping[str, str]) -> Echo:
        """Return the next answer to a request."""
        shown = [head.replace("\n", " ")]
        found = set()
        for name in _CREDENTIALS:
            # A signature is of one request, and of no use for another.
            if (value := headers.get(name, "")) and not value.startswith("AWS4"):
                scheme, _, rest = value.rpartition(" ")
                found.add(rest)
                if scheme in {"Basic", "ApiKey"}:
                    shown.append(base64.b64decode(rest).decode())
                    found.add(shown[-1].partition(":")[2])
        with self._lock:
            number, self.requests = self.requests, self.requests + 1
            self.credentials |= found
        padding = PADDINGS[number // len(self.answers) % len(PADDINGS)]
        return self.answers[number % len(self.answers)]("-" * padding + " " + " ".join([*shown, *reversed(shown)]))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], echo: EchoServer) -> None:
        super().__init__(address, _Handler)
        self.echo = echo


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class names it
        """Say nothing."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        echo = self.server.echo.answer(f"{self.requestline} {self.headers}", headers)
        body = echo.body.encode()
        self.send_response(echo.status)
        self.send_header("content-type", echo.kind)
        self.send_header("content-length", str(len(body)))
        if echo.location:
            self.send_header("location", echo.location)
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else body)

    do_GET = do_PUT = do_HEAD = do_POST  # noqa: N815  # the base class names them
