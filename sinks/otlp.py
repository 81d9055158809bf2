"""Any backend that speaks OTLP/HTTP: the OpenTelemetry Collector, Grafana Cloud, Honeycomb and others.

Protocol: "OTLP Specification" 1.x (OTLP/HTTP), "Logs Data Model" and the logs' proto files of OpenTelemetry.

    requests are posted to /v1/logs, as protobuf or as JSON, and may be compressed
    the most that a server takes is its own: the Collector's receiver takes 20 MiB, Honeycomb 15 MB, before compression
    an answer may tell how many records were rejected, never which: see sinks/otlp_answers.py
    there is no key by which a repetition is recognised: a request whose answer is lost may be there twice
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal
from urllib.parse import unquote

from pydantic import Field, SecretStr, field_validator

from sinks.address import http_address
from sinks.compression import compress
from sinks.destination import Getter, Limits, Outcome, Probed, Records, probed
from sinks.http import HttpClient, Response
from sinks.otlp_answers import read_answer
from sinks.otlp_json import JsonEncoder
from sinks.otlp_pieces import grouped
from sinks.otlp_protobuf import ProtobufEncoder
from sinks.otlp_record import FIELDS, Mapper
from sinks.secret import HeaderValue, check_names
from sinks.settings import CommonDestination, env_field
from sinks.tls import Tls

MAX_REQUEST_BYTES = 15_000_000
"""Before compression: what Honeycomb takes, and less than the Collector does."""

_PATH = "/v1/logs"
_OWN_HEADERS = {
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "transfer-encoding",
    "upgrade",
}


class Otlp(CommonDestination):
    """Any backend that speaks OTLP/HTTP."""

    type: Literal["otlp"] = Field(description="Any backend of OpenTelemetry, by OTLP/HTTP.")
    url: str = env_field(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        description="The base address, such as http://collector:4318; /v1/logs is appended.",
    )
    headers: dict[str, HeaderValue] = env_field(
        "OTEL_EXPORTER_OTLP_HEADERS",
        default_factory=dict,
        description="Further headers of each request, such as authorization; their values are kept secret.",
    )
    encoding: Literal["protobuf", "json"] = Field("protobuf", description="How requests are encoded.")
    resource: dict[str, str] = Field(
        default_factory=dict,
        description="Attributes of every resource, such as cloud.region; what a record says itself goes before.",
    )
    validate_ssl: bool = Field(True, description="Check the server's certificate.")
    tls: Tls | None = Field(None, description="Authorities and certificates of your own.")
    compression: bool | Literal["gzip", "zstd"] = Field(True, description="Compress request bodies; true is gzip.")

    @field_validator("url")
    @classmethod
    def _base(cls, value: str) -> str:
        whole = http_address(value, "a base address, such as http://collector:4318", "`headers`", base=True)
        return whole.rstrip("/").removesuffix(_PATH)

    @field_validator("headers", mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        """Read the form of the variable: `name=value` with commas between, percent-encoded (W3C Baggage)."""
        if not isinstance(value, str):
            return value
        pairs = [pair.partition("=") for pair in value.split(",") if pair.strip()]
        if not all(found and name.strip() for name, found, _ in pairs):
            msg = "must be a mapping, or text such as authorization=Basic%20abc,x-team=shop"
            raise ValueError(msg)
        return {unquote(name.strip()): unquote(text.strip()) for name, _, text in pairs}

    @field_validator("headers")
    @classmethod
    def _sendable(cls, value: dict[str, SecretStr]) -> dict[str, SecretStr]:
        check_names(value, _OWN_HEADERS)
        return value

    @field_validator("resource")
    @classmethod
    def _named(cls, value: dict[str, str]) -> dict[str, str]:
        if "" in value:
            msg = "an attribute must have a name"
            raise ValueError(msg)
        return value

    def fields(self) -> set[str]:
        """Return the fields that have a place of their own in a log record; the rest is read from its bytes."""
        return set(FIELDS)

    def open(self, getter: Callable[[str], Getter], resume: Any, *, partition: int = 0) -> OtlpDestination:
        """Return the destination; it connects with the first request."""
        del resume, partition
        return OtlpDestination(self, getter)


class OtlpDestination:
    """Sends requests of log records, grouped by their resource.

    Args:
        settings: The destination's settings.
        getter: Gives the reader of each of the settings' `fields`.
    """

    limits = Limits(request_bytes=MAX_REQUEST_BYTES, written=True)
    serial = False

    def __init__(self, settings: Otlp, getter: Callable[[str], Getter]) -> None:
        self.compression: str | None = "gzip" if settings.compression is True else settings.compression or None
        encoder = ProtobufEncoder if settings.encoding == "protobuf" else JsonEncoder
        self._encoder = encoder(Mapper(getter), settings.resource)
        headers = {name: value.get_secret_value() for name, value in settings.headers.items()}
        self._headers = {"content-type": self._encoder.content_type}
        if self.compression:
            self._headers["content-encoding"] = self.compression
        self._client = HttpClient(
            settings.url, headers, verify=settings.validate_ssl, connections=settings.concurrency, tls=settings.tls
        )

    def encode(self, records: Records) -> list[bytes]:
        """Return the records as log records, each with its resource before it."""
        return self._encoder.encode(records) if records.values else []

    def frame(self, pieces: list[bytes]) -> bytes:
        """Return the body of a request, in which each resource is told once."""
        return self._encoder.frame(grouped(pieces))

    def send(self, body: bytes, count: int) -> Outcome:
        """Send one request."""
        answer = self._client.request("POST", _PATH, body, self._headers)
        return read_answer(answer, count) if isinstance(answer, Response) else answer

    def probe(self) -> Probed:
        """Send a request without records, which a server answers like any other."""
        return probed(self.send(compress(self._encoder.empty, self.compression), 0))

    def checkpoint(self) -> None:
        """Keep no state."""

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
