"""Any HTTP endpoint that takes records as lines of JSON or as a JSON array.

Protocol: RFC 9110 (methods, status codes, Retry-After), RFC 6585 (429), RFC 7617 and RFC 6750 (credentials).

    how much a receiver takes at most is its own to say: `batch` limits a request, and a 413 splits it
    a request is taken as a whole or not at all: a receiver that takes a part of one must not answer 2xx
    redirects are not followed: a POST that is redirected may arrive without its body
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from sinks.address import http_address
from sinks.destination import (
    Delivered,
    Getter,
    Hold,
    Invalid,
    Limits,
    Outcome,
    Probed,
    Records,
    Retry,
    TooLarge,
    blame_of,
    probed,
)
from sinks.http import HttpClient, Response
from sinks.secret import HeaderSecret, HeaderValue, authorization, check_credentials, check_names
from sinks.settings import CommonDestination
from sinks.tls import Tls

_CONTENT_TYPES = {"ndjson": "application/x-ndjson", "array": "application/json"}
_OWN_HEADERS = {"connection", "content-encoding", "content-length", "host", "transfer-encoding", "upgrade"}
"""What belongs to the connection, or follows from the body."""
_NO_SUCH_METHOD = 501
_PASSING = {408, 425, 429}
_MISDIRECTED = {
    404: "check url",
    405: "check method, and url",
    410: "the endpoint is gone: check url",
    415: "check body and compression, and the content-type in headers if there is one",
}
_UNAUTHORIZED = {
    401: "check username and password, token, or headers",
    403: "check username and password, token, or headers, and that they may write there",
    407: "a proxy wants credentials: check the ones in HTTPS_PROXY or HTTP_PROXY",
}


class HttpEndpoint(CommonDestination):
    """Any HTTP endpoint that takes JSON."""

    type: Literal["http"] = Field(description="Any HTTP endpoint, by requests of JSON lines or of a JSON array.")
    url: str = Field(description="Where to send, whole; secrets belong into `headers`, `token` or `password`.")
    method: Literal["POST", "PUT"] = Field("POST", description="The method of a request.")
    body: Literal["ndjson", "array"] = Field(
        "ndjson", description="ndjson is a record on each line, array is one JSON array of records."
    )
    headers: dict[str, HeaderValue] = Field(
        default_factory=dict, description="Further headers of each request; their values are kept secret."
    )
    username: str | None = Field(None, description="User for basic authentication.")
    password: SecretStr | None = Field(None, description="The user's password.")
    token: HeaderSecret | None = Field(None, description="Token for bearer authentication.")
    validate_ssl: bool = Field(True, description="Check the server's certificate.")
    tls: Tls | None = Field(None, description="Authorities and certificates of your own.")
    compression: bool | Literal["gzip", "zstd"] = Field(
        False, description="Compress request bodies, which not every receiver understands; true is gzip."
    )
    health_path: str | None = Field(
        None, description="Path on the same server whose GET answers 2xx when it is well, such as /healthz."
    )

    @field_validator("url")
    @classmethod
    def _whole(cls, value: str) -> str:
        wanted = "a whole address, such as https://logs.example.com/ingest"
        return http_address(value, wanted, "username and password, or token")

    @field_validator("headers")
    @classmethod
    def _sendable(cls, value: dict[str, SecretStr]) -> dict[str, SecretStr]:
        check_names(value, _OWN_HEADERS)
        return value

    @field_validator("health_path")
    @classmethod
    def _rooted(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith("/"):
            msg = "must be a path that begins with /"
            raise ValueError(msg)
        return value

    @model_validator(mode="after")
    def _one_authentication(self) -> HttpEndpoint:
        check_credentials(self.username, self.password, self.token)
        if (self.token or self.username) and "authorization" in map(str.lower, self.headers):
            msg = "set either the authorization header, or token, or username and password"
            raise ValueError(msg)
        return self

    def fields(self) -> set[str]:
        """Return no field: the records are sent as they are."""
        return set()

    def open(self, getter: Callable[[str], Getter], resume: Any, *, partition: int = 0) -> HttpEndpointDestination:
        """Return the destination; it connects with the first request."""
        del getter, resume, partition
        return HttpEndpointDestination(self)


class HttpEndpointDestination:
    """Sends records as they are, and reads what the status of the answer means.

    Args:
        settings: The destination's settings.
    """

    limits = Limits()
    serial = False

    def __init__(self, settings: HttpEndpoint) -> None:
        self.compression: str | None = "gzip" if settings.compression is True else settings.compression or None
        self._array = settings.body == "array"
        self._method = settings.method
        self._health = settings.health_path
        parts = urlsplit(settings.url)
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        own = {name.lower(): value.get_secret_value() for name, value in settings.headers.items()}
        credentials = authorization(settings.username, settings.password, settings.token)
        # A type that is set replaces ours; on a health check none is sent.
        self._headers = {"content-type": own.pop("content-type", _CONTENT_TYPES[settings.body])}
        if self.compression:
            self._headers["content-encoding"] = self.compression
        self._client = HttpClient(
            f"{parts.scheme}://{parts.netloc}",
            own | credentials,
            verify=settings.validate_ssl,
            tls=settings.tls,
            connections=settings.concurrency,
        )

    def encode(self, records: Records) -> list[bytes]:
        """Return the records as they are."""
        return records.values

    def frame(self, pieces: list[bytes]) -> bytes:
        """Return the body: lines, each with its end, or one array."""
        return b"[%b]" % b",".join(pieces) if self._array else b"\n".join([*pieces, b""])

    def send(self, body: bytes, count: int) -> Outcome:
        """Send one request; it is taken or refused as a whole."""
        del count
        answer = self._client.request(self._method, self._path, body, self._headers)
        return read_answer(answer) if isinstance(answer, Response) else answer

    def probe(self) -> Probed:
        """Ask `health_path`; without one send a HEAD, whose answer tells of credentials and load, and else of life."""
        answer = self._client.request("GET" if self._health else "HEAD", self._health or self._path)
        if not isinstance(answer, Response):
            return answer
        outcome = read_answer(answer)
        if isinstance(outcome, Delivered) or answer.status in _UNAUTHORIZED:
            return probed(outcome)
        if self._health:
            return outcome if isinstance(outcome, Retry) else Hold(f"{answer.status}: check health_path")
        # Few endpoints that take records know HEAD, which is all that the other answers say; 501 is one of them.
        return outcome if isinstance(outcome, Retry) and answer.status != _NO_SUCH_METHOD else Delivered()

    def checkpoint(self) -> None:
        """Keep no state."""

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def read_answer(answer: Response) -> Outcome:
    """Return what an answer means."""
    status, said = answer.status, answer.excerpt()
    reason = f"{status}: {said}" if said else str(status)
    if 200 <= status < 300:  # noqa: PLR2004
        outcome: Outcome = Delivered()
    elif status in _UNAUTHORIZED:
        outcome = Hold(f"{reason}: {_UNAUTHORIZED[status]}", blame_of(status))
    elif status in _MISDIRECTED:
        outcome = Hold(f"{reason}: {_MISDIRECTED[status]}")
    elif status in {400, 422}:
        outcome = Invalid("refused by the endpoint", reason)
    elif status == 413:  # noqa: PLR2004
        outcome = TooLarge(reason)
    elif status in _PASSING or status >= 500:  # noqa: PLR2004
        outcome = Retry(reason, answer.retry_after(), blame_of(status))
    elif 300 <= status < 400:  # noqa: PLR2004
        outcome = Hold(f"{status}: redirected{_target(answer)}, which is not followed: check url")
    else:
        outcome = Hold(f"{reason}: check url, method, body and headers", blame_of(status))
    return outcome


def _target(answer: Response) -> str:
    """Return where a redirect points, without what may be secret in it."""
    try:
        parts = urlsplit(answer.headers.get("location", ""))
        place = f"{parts.scheme}://{parts.hostname}" if parts.hostname else ""
        place += f":{parts.port}" if parts.port else ""
    except ValueError:
        return ""
    return answer.hide(f" to {place}{parts.path}") if place or parts.path else ""
