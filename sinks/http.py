"""HTTP as the destinations use it: one pooled client each, blocking, with transport failures read as outcomes.

Everything goes through this module, so that another client library is a change of one line here.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import orjson

from logweir.secrecy import Secrets
from sinks.destination import Hold, Retry
from sinks.http_bounds import Deadline, UnusableAnswerError, bound, unpacked
from sinks.proxies import WANTS_CREDENTIALS, UnusableVariable, proxy_for, unreadable
from sinks.tls import Tls, UnusableTlsError, authorities
from sinks.unreached import explain

if TYPE_CHECKING:
    import httpx

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 60.0
"""A request that isn't answered within this time is sent again."""
_PROXY_WANTS_CREDENTIALS = 407
_NONE: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Response:
    """An answer: its status, its headers (names in lower case) and its whole body.

    Some servers and proxies repeat a request in an answer, credentials and all. What is told of an answer therefore
    comes from `text`, `json` or `excerpt`, or goes through `hide`, and is cut after that; `body` is for reading alone.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    secrets: Secrets = field(default=Secrets(), repr=False)
    """What was sent in secret."""

    def retry_after(self) -> float | None:
        """Return the seconds that Retry-After asks for (RFC 9110 section 10.2.3: a number or a date), or None."""
        value = self.headers.get("retry-after", "").strip()
        if value.isascii() and value.isdigit():
            return float(value)
        try:
            moment = parsedate_to_datetime(value)
        except (ValueError, OverflowError):
            return None
        # `-0000` is UTC as well, of a clock that doesn't know its zone.
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return max(0.0, (moment - datetime.now(UTC)).total_seconds())

    def hide(self, words: str) -> str:
        """Return words of this answer without what was sent in secret."""
        return self.secrets.hide(words)

    def text(self) -> str:
        """Return the body as text."""
        return self.hide(self.body.decode(errors="replace"))

    def json(self) -> Any:
        """Return the body as plain values; raises ValueError where it is no JSON."""
        return self.secrets.hide_in(orjson.loads(self.body))

    def excerpt(self) -> str:
        """Return the beginning of the body as text, for a reason; where a redirection points, if it is one."""
        target = self.headers.get("location", "") if 300 <= self.status < 400 else ""  # noqa: PLR2004
        if target:
            # What may be secret stands in a query, or before the host.
            scheme, rest, place = self.hide(target.partition("?")[0])[:500].rpartition("//")
            return f"redirected to {scheme}{rest}{place.rpartition('@')[2]}"
        return self.text()[:500].strip()


class HttpClient:
    """A pool of connections to one destination.

    Args:
        url: Its base; paths are appended.
        headers: Sent with every request; their values are secrets.
        verify: Whether the certificate is checked.
        connections: The most requests at once, beside a health check.
        hidden: Further secrets that requests hold, such as in a query, by their names.
        timeout: Seconds to wait for an answer; ANSWER_SECONDS when left out.
        setting: Name of the setting that the address comes from, for what a person is told.
        tls: How connections are encrypted, beyond the usual.
    """

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        *,
        verify: bool = True,
        connections: int = 4,
        hidden: Mapping[str, str] = _NONE,
        timeout: float | None = None,
        setting: str = "url",
        tls: Tls | None = None,
    ) -> None:
        self._url = url.rstrip("/")
        self._setting = setting
        self._headers = dict(headers)
        self._secret = {**hidden, **self._headers}
        """What is secret, as headers."""
        self._secrets = Secrets.of_headers(self._secret)
        self._verify = verify
        self._tls = tls
        named = tls and tls.server_name
        self._extensions = {"sni_hostname": named} if named else None
        self._connections = connections
        self._seconds = timeout or ANSWER_SECONDS
        self._deadline = Deadline()
        self._lock = threading.Lock()
        self._made: httpx.Client | None = None
        self._proxied = ""
        """The variable that names the proxy on the way, if there is one."""

    def request(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Response | Retry | Hold:
        """Send one request; what keeps an answer from coming is a Retry, or a Hold when a person has to mend it.

        Of the headers that are given here `authorization` alone is a secret.
        """
        import httpx

        client = self._client()
        if isinstance(client, Hold):
            return client
        secrets = self._secrets
        if headers is not None and (token := headers.get("authorization")):
            secrets = Secrets.of_headers({**self._secret, "authorization": token})
        self._deadline.at = time.monotonic() + self._seconds + CONNECT_SECONDS
        try:
            with client.stream(
                method, self._url + path, content=body, headers=headers, extensions=self._extensions
            ) as answer:
                content = unpacked(answer.iter_raw(), answer.headers.get("content-encoding", ""))
        except UnusableAnswerError as error:
            return Retry(secrets.hide(f"unreadable answer: {error}"))
        except (httpx.TransportError, httpx.InvalidURL) as error:
            # httpx quotes a header that can't be sent.
            match explain(error, self._url, self._setting, self._proxied):
                case Hold(issue=issue):
                    return Hold(secrets.hide(issue))
                case Retry(reason=reason):
                    return Retry(secrets.hide(reason))
        response = Response(answer.status_code, answer.headers, content, secrets)
        # The answer's stream points back to the answer, which holds the request's body. Workers look for such cycles
        # so seldom that the bodies would fill the memory.
        answer.stream = httpx.ByteStream(b"")
        if response.status == _PROXY_WANTS_CREDENTIALS:
            return Hold(f"{response.status}: {response.excerpt()}: {WANTS_CREDENTIALS}")
        return response

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            if self._made is not None:
                self._made.close()

    def _client(self) -> httpx.Client | Hold:
        """Return the client, made with the first request, or what keeps it from being made: that may be mended."""
        with self._lock:
            try:
                self._made = self._made or self._connected()
            except (UnusableVariable, UnusableTlsError) as error:
                return Hold(str(error))
            except OSError as error:
                return Hold(unreadable("SSL_CERT_FILE" if os.environ.get("SSL_CERT_FILE") else "SSL_CERT_DIR", error))
            return self._made

    def _connected(self) -> httpx.Client:
        """Return a client.

        Raises:
            UnusableVariable: A variable of the environment names no proxy that can be used.
            UnusableTlsError: A file of `tls` is of no use.
            OSError: The authorities to trust can't be read.
        """
        # Here, not above: `logweir check` reads settings and sends nothing.
        import httpx

        proxy = proxy_for(self._url)
        if proxy is not None:
            self._proxied = proxy.variable
            self._secret = {**self._secret, **proxy.credentials()}
            self._secrets = Secrets.of_headers(self._secret)
        context = authorities(self._tls, verify=self._verify) or httpx.create_ssl_context(verify=self._verify)
        if self._tls is not None:
            self._tls.apply(context)
        transport = httpx.HTTPTransport(
            verify=context,
            http2=False,
            # httpx raises where NO_PROXY has a range of IPv6, and knows no ranges.
            trust_env=False,
            proxy=proxy and proxy.url,
            # One more for a health check beside the senders, which would else wait for one of theirs.
            limits=httpx.Limits(max_connections=self._connections + 1, max_keepalive_connections=self._connections),
        )
        return httpx.Client(
            headers={"accept-encoding": "gzip", **self._headers},
            transport=bound(transport, self._deadline),
            trust_env=False,
            timeout=httpx.Timeout(self._seconds, connect=CONNECT_SECONDS),
        )
