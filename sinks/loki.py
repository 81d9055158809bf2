"""Grafana Loki and Grafana Cloud Logs, by the push API.

Protocol: "Ingest logs" in the Loki HTTP API, "Enforce rate limits and push request validation" and "limits_config" in
the Loki documentation.

    a line is at most 256 KB, a stream has at most 15 labels, a value of one 2,048 bytes, an entry 128 pieces of
    structured metadata of 64 KB together; each is a setting of the server
    an entry is refused when it is older than a week, more than 10 minutes ahead, or older than the newest of its stream
    by more than half of max_chunk_age; the answer is a 400, and the other entries of the request are kept
    of several streams in a request the ingester reports the trouble of the last one alone: what it refused of another
    is answered by 204. So a stream that may meet trouble goes by a request of its own
    an entry that is there already, by stream, time and line, is not stored or not shown again
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal
from urllib.parse import urlsplit

import orjson
from pydantic import Field, SecretStr, field_validator, model_validator

from logweir.batch import Batch
from logweir.paths import FieldPath
from logweir.units import Bytes, Duration
from sinks.compression import compress
from sinks.destination import Delivered, Getter, Invalid, Limits, Outcome, Partial, Probed, Records, probed
from sinks.http import HttpClient, Response
from sinks.loki_answers import LINE_TOO_LONG, Sent, read_answer, refusals, remaining
from sinks.loki_entries import SECOND, Entries
from sinks.loki_streams import MAX_LABEL_VALUE_BYTES, Streams
from sinks.secret import HeaderSecret, authorization, check_credentials
from sinks.settings import CommonDestination, env_field
from sinks.tls import Tls
from sinks.trace import TRACE_FIELDS
from sinks.window import TimeWindow, set_aside

MAX_LABELS = 15
MAX_LABEL_NAME_BYTES = 1024
MAX_LINE_BYTES = 256 * 1024
MAX_METADATA_ENTRIES = 128
PAST_SECONDS = 7 * 86_400
"""Loki's reject_old_samples_max_age."""
FUTURE_SECONDS = 600
"""Loki's creation_grace_period."""
ALONE_BYTES = 250_000
"""A stream of which a request has this much goes by one of its own: it may meet the rate limit of a stream."""

_PATH = "/loki/api/v1/push"
_NAME = re.compile("[a-zA-Z_][a-zA-Z0-9_]*")
_TENANT = re.compile(r"[a-zA-Z0-9!_.*'()-]{1,150}")
_NO_STREAMS = b"at least one valid stream"


class Loki(CommonDestination):
    """A tenant of Grafana Loki."""

    type: Literal["loki"] = Field(description="Grafana Loki or Grafana Cloud Logs, by the push API.")
    url: str = env_field("LOKI_ADDR", description="Loki's address, such as https://logs.example.com:3100.")
    labels: dict[str, str] = Field(
        default_factory=lambda: {"job": "logweir"}, min_length=1, description="Labels of every stream."
    )
    label_fields: dict[str, FieldPath] = Field(
        default_factory=lambda: {"service": "context.service", "level": "level"},
        description="Labels by the field of the record that they come from; choose fields of few values.",
    )
    max_streams: int = Field(
        1000,
        ge=1,
        le=100_000,
        description="The most streams at a time, for each partition; the records of further ones share one stream "
        "whose label_fields are `other`.",
    )
    structured_metadata: dict[str, FieldPath] = Field(
        default_factory=lambda: {"trace_id": "trace.traceId"},
        max_length=MAX_METADATA_ENTRIES,
        description="Structured metadata of each entry by the field that it comes from; any number of values will do.",
    )
    tenant: str | None = env_field("LOKI_ORG_ID", default=None, description="The tenant (X-Scope-OrgID).")
    username: str | None = env_field("LOKI_USERNAME", default=None, description="User for basic authentication.")
    password: SecretStr | None = env_field("LOKI_PASSWORD", default=None, description="The user's password.")
    token: HeaderSecret | None = env_field(
        "LOKI_BEARER_TOKEN", default=None, description="Token for bearer authentication."
    )
    max_line_size: Bytes = Field(
        MAX_LINE_BYTES, gt=0, description="The server's max_line_size; a longer record is set aside."
    )
    max_chunk_age: Duration = Field(
        7200.0, gt=0, description="The server's max_chunk_age; half of it is how far a record may be behind its stream."
    )
    time_window: Literal["deliver", "dead_letter"] = Field(
        "deliver",
        description="What becomes of a record older than a week or more than 10 minutes ahead: deliver sends it, and "
        "sets it aside if Loki refuses it; dead_letter sets it aside at once.",
    )
    validate_ssl: bool = Field(True, description="Check the server's certificate.")
    tls: Tls | None = Field(None, description="Authorities and certificates of your own.")
    compression: bool | Literal["gzip"] = Field(True, description="Compress request bodies with gzip.")

    @field_validator("url")
    @classmethod
    def _base(cls, value: str) -> str:
        value = value.rstrip("/").removesuffix(_PATH)
        try:
            sound = urlsplit(value).scheme in {"http", "https"} and bool(urlsplit(value).hostname)
        except ValueError:
            sound = False
        if not sound or "@" in value or "?" in value:
            msg = "must be Loki's address, such as https://logs.example.com:3100, without credentials and query"
            raise ValueError(msg)
        return value

    @field_validator("tenant")
    @classmethod
    def _tenant_id(cls, value: str | None) -> str | None:
        if value is not None and (value in {".", ".."} or not _TENANT.fullmatch(value)):
            msg = "must be 1 to 150 letters, digits and ! - _ . * ' ( )"
            raise ValueError(msg)
        return value

    @field_validator("labels", "label_fields", "structured_metadata")
    @classmethod
    def _names(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if not _NAME.fullmatch(name) or name.startswith("__") or len(name) > MAX_LABEL_NAME_BYTES:
                msg = f"{name!r} is no name: letters, digits and _, not beginning with a digit or __"
                raise ValueError(msg)
        return value

    @field_validator("labels")
    @classmethod
    def _values(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            if not 0 < len(text.encode()) <= MAX_LABEL_VALUE_BYTES:
                msg = f"{name} must have 1 to {MAX_LABEL_VALUE_BYTES} bytes"
                raise ValueError(msg)
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Loki:
        check_credentials(self.username, self.password, self.token)
        both = self.labels.keys() & self.label_fields.keys()
        if both:
            msg = f"labels and label_fields both have {', '.join(sorted(both))}"
            raise ValueError(msg)
        if len(self.labels) + len(self.label_fields) > MAX_LABELS:
            msg = f"labels and label_fields must be at most {MAX_LABELS} together"
            raise ValueError(msg)
        return self

    def fields(self) -> set[str]:
        """Return what an entry's time, stream and structured metadata come from."""
        return {"timestamp", *self.label_fields.values(), *self.structured_metadata.values()}

    def open(self, getter: Callable[[str], Getter], resume: Any, *, partition: int = 0) -> LokiDestination:
        """Return the destination; it connects with the first request."""
        del resume, partition
        return LokiDestination(self, getter)


class LokiDestination:
    """Sends streams, and reads which entries were refused.

    Args:
        settings: The destination's settings.
        getter: Gives the reader of each of the settings' `fields`.
    """

    limits = Limits()
    serial = False
    compression: str | None = None
    """`send` makes requests of what the engine has framed, and compresses those."""

    def __init__(self, settings: Loki, getter: Callable[[str], Getter]) -> None:
        self._method = "gzip" if settings.compression else None
        self._label_getters = [(path, getter(path)) for path in settings.label_fields.values()]
        self._streams = Streams(settings.labels, list(settings.label_fields), settings.max_streams)
        metadata = settings.structured_metadata
        traces = {name for name, path in metadata.items() if path in TRACE_FIELDS}
        self._entries = Entries({name: getter(path) for name, path in metadata.items()}, traces)
        self._longest = settings.max_line_size
        refuse = settings.time_window == "dead_letter"
        self._window = TimeWindow(PAST_SECONDS, FUTURE_SECONDS, refuse=True) if refuse else None
        self._span = int(settings.max_chunk_age / 2 * SECOND)
        self._fresh = max(0, self._span - FUTURE_SECONDS * SECOND)
        """What is younger can't be too far behind, since no entry of its stream is further ahead."""
        self._headers = {"content-type": "application/json"}
        if self._method:
            self._headers["content-encoding"] = self._method
        self._tenant = {"x-scope-orgid": settings.tenant} if settings.tenant else {}
        self._headers |= self._tenant
        self._client = HttpClient(
            settings.url,
            authorization(settings.username, settings.password, settings.token),
            verify=settings.validate_ssl,
            tls=settings.tls,
            connections=settings.concurrency,
        )

    def screen(self, batch: Batch) -> dict[str, int]:
        """Set aside lines that are too long, and what is outside of the time window; count what is altered."""
        if max(map(len, batch.values)) > self._longest:
            said = f"{{}} bytes, max_line_size is {self._longest}"
            sizes = enumerate(map(len, batch.values))
            set_aside(batch, {at: (LINE_TOO_LONG, said.format(size)) for at, size in sizes if size > self._longest})
        if self._window is not None and batch:
            self._window.screen(batch, time.time())
        return self._streams.altered(self._of(batch.records, batch.levels)) | self._entries.altered(
            batch.records, batch.values
        )

    def encode(self, records: Records) -> list[bytes]:
        """Return what an entry is made of for each record; its line is the record's own bytes."""
        rows = records.records
        return self._entries.of(self._of(rows, records.levels), records.times, rows, records.values)

    def frame(self, pieces: list[bytes]) -> bytes:
        """Return the entries, each on two lines, for `send`."""
        return b"\n".join(pieces)

    def send(self, body: bytes, count: int) -> Outcome:
        """Send the entries by streams, those that may meet trouble by requests of their own."""
        request = _Request(body)
        parts = list(self._parts(request))[::-1]
        rejected: dict[int, tuple[str, str]] = {}
        while parts:
            part = parts.pop()
            outcome = self._push(part, request, rejected)
            if isinstance(outcome, Invalid) and len(part) > 1:
                # Alone, each stream has an answer of its own.
                parts += [{stream: indexes} for stream, indexes in part.items()]
            elif not isinstance(outcome, Delivered):
                retry = sorted(at for each in (part, *parts) for indexes in each.values() for at in indexes)
                retry = [at for at in retry if at not in rejected]
                if len(retry) == count:
                    return outcome
                return Partial(rejected, **remaining(outcome, retry))
        return Partial(rejected, certain=True) if rejected else Delivered()

    def probe(self) -> Probed:
        """Push no streams, which Loki answers by 422, or by 204: a token that may write need not be able to read."""
        headers = {"content-type": "application/json", **self._tenant}
        answer = self._client.request("POST", _PATH, b'{"streams":[]}', headers)
        if not isinstance(answer, Response):
            return answer
        if answer.status in {400, 422} and _NO_STREAMS in answer.body:
            return Delivered()
        return probed(read_answer(answer))

    def checkpoint(self) -> None:
        """Keep no state."""

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _of(self, rows: list[Any], levels: Sequence[Any]) -> list[str]:
        """Return the streams of records; a level that nobody knows is a label as it stands there."""
        if not self._label_getters:
            return [self._streams[()]] * len(rows)
        columns: list[list[Any]] = []
        for path, get in self._label_getters:
            if path != "level":
                columns.append(list(map(get, rows)))
            elif None in set(levels):
                columns.append([level or get(row) for level, row in zip(levels, rows, strict=True)])
            else:
                columns.append([*levels])
        return self._streams.of(columns)

    def _parts(self, request: _Request) -> Iterator[_Part]:
        """Return the entries by requests, and in each by streams in order of their time."""
        recent = f"{max(0, time.time_ns() - self._fresh):019d}"
        shared: _Part = {}
        times = request.times
        for stream, indexes in request.streams.items():
            indexes.sort(key=times.__getitem__)
            if (
                times[indexes[0]] >= recent
                and self._streams.is_known(stream)
                and sum(map(len, map(request.lines.__getitem__, indexes))) < ALONE_BYTES
            ):
                shared[stream] = indexes
                continue
            # A request of a longer span would make itself too far behind, were it sent again.
            start = 0
            for position, index in enumerate(indexes):
                if int(times[index]) - int(times[indexes[start]]) > self._span:
                    yield {stream: indexes[start:position]}
                    start = position
            yield {stream: indexes[start:]}
        if shared:
            yield shared

    def _push(self, part: _Part, request: _Request, rejected: dict[int, tuple[str, str]]) -> Outcome:
        """Send entries until all are taken or refused for certain; the outcome is that of those not in `rejected`."""
        while part := {stream: left for stream, all_ in part.items() if (left := _without(all_, rejected))}:
            body = b'{"streams":[%b]}' % b",".join(
                b'{"stream":%b,"values":%b}' % (stream.encode(), request.values(indexes))
                for stream, indexes in part.items()
            )
            answer = self._client.request("POST", _PATH, compress(body, self._method), self._headers)
            if not isinstance(answer, Response):
                return answer
            outcome = read_answer(answer)
            if isinstance(outcome, Delivered) and len(part) == 1:
                self._streams.known(next(iter(part)))
            if not isinstance(outcome, Invalid):
                return outcome
            order = [at for indexes in part.values() for at in indexes]
            found = refusals(answer, request.sent(order, alone=len(part) == 1))
            if not found:
                return outcome
            rejected.update((order[at], why) for at, why in found.items())
        return Delivered()


_Part = dict[str, list[int]]
"""Some entries of a request by their index, for each stream in order of their time."""


class _Request:
    """What the engine has framed, as columns."""

    def __init__(self, body: bytes) -> None:
        parts = body.decode().split("\n")
        self.lines = parts[1::2]
        self.streams: dict[str, list[int]] = {}
        """The indexes of each stream's entries."""
        self.times: list[str] = []
        """Of one width, so that they compare as the numbers do."""
        self._metadata: list[str] = []
        for index, head in enumerate(parts[::2]):
            stream, moment, metadata = head.split("\t")
            self.times.append(moment)
            self._metadata.append(metadata)
            if stream in self.streams:
                self.streams[stream].append(index)
            else:
                self.streams[stream] = [index]

    def values(self, indexes: list[int]) -> bytes:
        """Return these entries as JSON."""
        times, lines, metadata, raw = self.times, self.lines, self._metadata, orjson.Fragment
        return orjson.dumps(
            [[times[at], lines[at], raw(metadata[at])] if metadata[at] else [times[at], lines[at]] for at in indexes]
        )

    def sent(self, order: list[int], *, alone: bool) -> Sent:
        """Return what an answer is read with."""
        return Sent([int(self.times[at]) for at in order], [len(self.lines[at].encode()) for at in order], alone)


def _without(indexes: list[int], rejected: dict[int, tuple[str, str]]) -> list[int]:
    return [at for at in indexes if at not in rejected] if rejected else indexes
