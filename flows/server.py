"""What a run serves by HTTP on `status.listen`: whether it lives, whether it is ready, its metrics and its status.

    /healthz      200 while the process lives; a destination that is down is no reason to kill it
    /readyz       200 once every destination takes what it is sent, else 503 with the ones that don't
    /metrics      Prometheus
    /api/status   JSON

Where `status.token` is set, the last two ask for it; the first two tell then no more than yes or no. Without one the
server answers those who name this machine by an address or as `localhost`, so that no page of another site can have a
browser ask for it under that site's name.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import logging
import socket
import threading
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import orjson
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from flows.config import StatusSettings
from logweir.events import Events

if TYPE_CHECKING:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

_START_SECONDS = 10.0
HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
"""Of every answer. There is none that lets other sites read it (CORS)."""

Answer = tuple[int, str, bytes]
"""The status, the content type and the body."""
_PLAIN = "text/plain; charset=utf-8"
_MISDIRECTED = 421
"""RFC 9110, section 15.5.20."""


class StatusServer:
    """Serves until it is closed, on a thread of its own.

    Args:
        listen: host:port.
        token: What `Authorization: Bearer` must hold for metrics and status; empty for none.
        status: Gives the flow's status as plain JSON.
        registry: The metrics.

    Raises:
        OSError: It can't listen there.
    """

    def __init__(
        self, listen: str, token: str, status: Callable[[], dict[str, Any]], registry: CollectorRegistry
    ) -> None:
        self._token = token
        self._status = status
        self._registry = registry
        self._socket = _listening(listen)
        self.port: int = self._socket.getsockname()[1]
        self._server: uvicorn.Server | None = None
        self._closed = False
        self._begun = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="status-server", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Serve no more."""
        # The libraries may still be on their way in: they take a while, and nothing else waits for them.
        self._begun.wait(_START_SECONDS)
        self._closed = True
        if self._server is not None:
            self._server.should_exit = self._server.force_exit = True
        self._thread.join(timeout=1)
        self._socket.close()

    def _serve(self) -> None:
        import uvicorn

        from flows.server_connections import HEADER_BYTES, IDLE_SECONDS, Bounded

        # What it would say of clients is nothing that an operator has to mend.
        logging.getLogger("uvicorn").setLevel(logging.CRITICAL + 1)
        config = uvicorn.Config(
            self.application(),
            http=Bounded,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_keep_alive=IDLE_SECONDS,
            h11_max_incomplete_event_size=HEADER_BYTES,
        )
        self._server = uvicorn.Server(config)
        self._begun.set()
        if not self._closed:
            asyncio.run(self._server.serve(sockets=[self._socket]))

    def application(self) -> Starlette:
        """Return what answers."""
        from starlette.applications import Starlette
        from starlette.exceptions import HTTPException
        from starlette.responses import Response
        from starlette.routing import Route

        def route(path: str, answer: Callable[[Request], Answer]) -> Route:
            async def respond(request: Request) -> Response:
                status, kind, body = answer(request) if self._is_meant(request) else _misdirected()
                more = {"www-authenticate": "Bearer"} if status == 401 else {}  # noqa: PLR2004  RFC 9110
                return Response(body, status, {**HEADERS, **more, "content-type": kind})

            return Route(path, respond, methods=["GET"])

        async def refuse(_request: Request, error: HTTPException) -> Response:
            text = b"there are /healthz, /readyz, /metrics and /api/status, to be read\n"
            return Response(text, error.status_code, {**HEADERS, **(error.headers or {})}, _PLAIN)

        async def defect(_request: Request, error: Exception) -> Response:
            return Response(f"defect: {type(error).__name__}\n", 500, HEADERS, _PLAIN)

        handlers: dict[Any, Callable[..., Awaitable[Response]]] = {HTTPException: refuse, 500: defect}
        routes = [
            route("/healthz", lambda _: (200, _PLAIN, b"ok\n")),
            route("/readyz", lambda request: self._ready(tell=self._knows(request))),
            route("/metrics", self._metrics),
            route("/api/status", self._whole),
        ]
        return Starlette(routes=routes, exception_handlers=handlers)

    def _is_meant(self, request: Request) -> bool:
        """Tell whether a request names this machine, as one does that no page of another site has made."""
        named = request.headers.get("host", "")
        if self._token or not named:
            return True
        host = named.rpartition(":")[0] if not named.endswith("]") and ":" in named else named
        if host.lower() == "localhost":
            return True
        try:
            address = ipaddress.ip_address(host.strip("[]"))
        except ValueError:
            return False
        own = request.scope["server"]
        return address.is_loopback or (own is not None and address == ipaddress.ip_address(own[0]))

    def _knows(self, request: Request) -> bool:
        """Tell whether a request has the token, if there is one."""
        given = request.headers.get("authorization", "").encode("latin-1")
        return not self._token or hmac.compare_digest(given, f"Bearer {self._token}".encode())

    def _ready(self, *, tell: bool) -> Answer:
        waiting = {
            name: each["issues"] or [each["status"]]
            for name, each in self._status()["destinations"].items()
            if not each["healthy"]
        }
        if not waiting:
            return 200, _PLAIN, b"ready\n"
        lines = [f"{name}: {'; '.join(words)}\n" for name, words in waiting.items()] if tell else []
        return 503, _PLAIN, "".join(["not ready\n", *lines]).encode()

    def _metrics(self, request: Request) -> Answer:
        if not self._knows(request):
            return _unknown()
        encoder, kind = choose_encoder(request.headers.get("accept", ""))
        return 200, kind, encoder(self._registry)

    def _whole(self, request: Request) -> Answer:
        if not self._knows(request):
            return _unknown()
        return 200, "application/json", orjson.dumps(self._status(), option=orjson.OPT_INDENT_2)


def _unknown() -> Answer:
    return 401, _PLAIN, b"Authorization: Bearer <status.token> is missing or wrong\n"


def _misdirected() -> Answer:
    text = b"name this machine by its address or as localhost, or set status.token\n"
    return _MISDIRECTED, _PLAIN, text


def _listening(listen: str) -> socket.socket:
    host, _, port = listen.rpartition(":")
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    return socket.create_server((host.strip("[]"), int(port)), family=family, backlog=128)


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
