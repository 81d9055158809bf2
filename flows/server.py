"""What a run serves by HTTP on `status.listen`: whether it lives, whether it is ready, its metrics and its status.

    /healthz      200 while the process lives; a destination that is down is no reason to kill it
    /readyz       200 once every destination takes what it is sent, else 503 with the ones that don't
    /metrics      Prometheus
    /api/status   JSON

Where `status.token` is set, the last two ask for it; the first two tell then no more than yes or no.
"""

from __future__ import annotations

import hmac
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any

import orjson
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from flows.config import StatusSettings
from logweir.events import Events

CONNECTIONS = 32
"""Requests at once; more are refused, so that nobody can exhaust the supervisor's memory."""
_TIMEOUT_SECONDS = 10.0
_PLAIN = "text/plain; charset=utf-8"


class StatusServer:
    """Serves until it is closed, on a thread of its own.

    Args:
        listen: host:port.
        token: What `Authorization: Bearer` must hold for metrics and status; empty for none.
        status: Gives the flow's status as plain JSON.
        registry: The metrics.
    """

    def __init__(
        self, listen: str, token: str, status: Callable[[], dict[str, Any]], registry: CollectorRegistry
    ) -> None:
        host, _, port = listen.rpartition(":")
        self._token = token
        self._status = status
        self._registry = registry
        self._server = _server_class(host)((host.strip("[]"), int(port)), _Handler)
        self._server.site = self
        self.port: int = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, name="status-server", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Serve no more."""
        # `shutdown` waits for the server's loop, which polls every half second.
        threading.Thread(target=self._server.shutdown, daemon=True).start()
        self._server.server_close()
        self._thread.join(timeout=1)

    def answer(self, path: str, accept: str, authorization: str) -> tuple[int, str, bytes]:
        """Return the status, the content type and the body of an answer."""
        known = not self._token or hmac.compare_digest(authorization.encode(), f"Bearer {self._token}".encode())
        match path:
            case "/healthz":
                return 200, _PLAIN, b"ok\n"
            case "/readyz":
                return self._ready(tell=known)
            case "/metrics" | "/api/status" if not known:
                return 401, _PLAIN, b"Authorization: Bearer <status.token> is missing or wrong\n"
            case "/metrics":
                encoder, kind = choose_encoder(accept)
                return 200, kind, encoder(self._registry)
            case "/api/status":
                return 200, "application/json", orjson.dumps(self._status(), option=orjson.OPT_INDENT_2)
        return 404, _PLAIN, b"there are /healthz, /readyz, /metrics and /api/status\n"

    def _ready(self, *, tell: bool) -> tuple[int, str, bytes]:
        waiting = {
            name: each["issues"] or [each["status"]]
            for name, each in self._status()["destinations"].items()
            if not each["healthy"]
        }
        if not waiting:
            return 200, _PLAIN, b"ready\n"
        lines = [f"{name}: {'; '.join(words)}\n" for name, words in waiting.items()] if tell else []
        return 503, _PLAIN, "".join(["not ready\n", *lines]).encode()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    site: StatusServer

    def __init__(self, *args: Any) -> None:
        self._slots = threading.BoundedSemaphore(CONNECTIONS)
        super().__init__(*args)

    def server_bind(self) -> None:
        """Bind, without asking the name server for our own name as http.server would."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = "", self.socket.getsockname()[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer on a thread, unless there are too many."""
        if self._slots.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, and make room for another."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that went away."""


class _Server6(_Server):
    address_family = socket.AF_INET6


def _server_class(host: str) -> type[_Server]:
    return _Server6 if host.startswith("[") else _Server


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _TIMEOUT_SECONDS
    server_version = "logweir"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer with a body."""
        self._answer(body=True)

    def do_HEAD(self) -> None:
        """Answer without."""
        self._answer(body=False)

    def log_message(self, *_args: object) -> None:
        """Stay quiet: stderr belongs to the events."""

    def _answer(self, *, body: bool) -> None:
        site = self.server.site
        asked = self.headers
        status, kind, text = site.answer(
            self.path.partition("?")[0], asked.get("accept", ""), asked.get("authorization", "")
        )
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(text)))
        self.send_header("cache-control", "no-store")
        if status == 401:  # noqa: PLR2004
            self.send_header("www-authenticate", "Bearer")
        self.end_headers()
        if body:
            self.wfile.write(text)


def serve(
    settings: StatusSettings, status: Callable[[], dict[str, Any]], registry: CollectorRegistry, events: Events
) -> Callable[[], None]:
    """Serve a run's status; return the function that ends it.

    A port that is taken is told and is no reason to stop delivering.
    """
    token = settings.token.get_secret_value() if settings.token else ""
    try:
        return StatusServer(settings.listen, token, status, registry).close
    except OSError as error:
        reason = f"status.listen {settings.listen}: {error.strerror}: neither status nor metrics are served"
        events.tell("flow.status", "warn", reason=reason)
        return lambda: None
