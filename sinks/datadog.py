"""Datadog, by the Logs intake v2.

Protocol: "Send logs", "Log Management" and "Correlate logs and traces" in the Datadog documentation, and the `LogsApi`
of Datadog's own API clients.

    a request is an array of at most 1,000 logs and 5 MB before compression; a log has at most 1 MB
    a longer log is accepted and silently cut, so it is never sent: `oversize` says what becomes of it
    a log older than 18 hours or more than 2 hours ahead is shown at another time, see `time_window`
    there is no key by which a repetition is recognised: a request whose answer is lost may be there twice
    logs and traces are joined on `dd.trace_id` and `dd.span_id`: decimal, of the low 64 bits
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Container, Iterable
from contextlib import suppress
from datetime import datetime
from operator import countOf, itemgetter
from typing import Any, Literal

import msgspec
import orjson
from msgspec import UNSET
from pydantic import Field, field_validator

from logweir.batch import Batch
from logweir.json_text import text_of, without_halves
from logweir.paths import members as listing
from logweir.times import moment_of
from sinks.address import without_credentials
from sinks.columns import Columns, enclosed, within
from sinks.datadog_answers import read_answer
from sinks.destination import Getter, Limits, Outcome, Probed, Records, probed
from sinks.heads import Heads, Member, said
from sinks.http import HttpClient, Response
from sinks.members import members, written
from sinks.secret import HeaderSecret
from sinks.settings import CommonDestination, env_field
from sinks.tls import Tls
from sinks.trace import SPAN_DIGITS, TRACE_DIGITS, low_halves
from sinks.window import TimeWindow

MAX_REQUEST_BYTES = 5_000_000
"""Of the array before compression ("Send logs": 5 MB)."""
MAX_REQUEST_RECORDS = 1_000
MAX_RECORD_BYTES = 1_000_000
"""Of one log ("Send logs": 1 MB); what is longer would be cut without a word."""
PAST_SECONDS = 18 * 3600.0
FUTURE_SECONDS = 2 * 3600.0

Site = Literal[
    "datadoghq.com",
    "us3.datadoghq.com",
    "us5.datadoghq.com",
    "ap1.datadoghq.com",
    "ap2.datadoghq.com",
    "uk1.datadoghq.com",
    "datadoghq.eu",
    "ddog-gov.com",
    "us2.ddog-gov.com",
]

_PATH = "/api/v2/logs"
_STATUS = {"trace": "debug", "fatal": "critical"}
"""Levels that Datadog has another name for."""
_TRUNCATED = b"...TRUNCATED..."
"""Ends a message that was cut, as Datadog's agent does it."""
_LONGEST_CHARACTER = 12
"""Bytes: an escaped surrogate pair."""
_FIFTH = itemgetter(4)


class Datadog(CommonDestination):
    """Datadog's log management, by the Logs intake v2."""

    type: Literal["datadog"] = Field(description="Datadog, by the Logs intake v2.")
    api_key: HeaderSecret = env_field("DATADOG_API_KEY", description="An API key of the organisation.")
    site: Site = env_field("DATADOG_SITE", default="datadoghq.com", description="The organisation's site.")
    url: str | None = Field(None, description="Where to send instead of the site's intake, such as a proxy.")
    service: str | None = Field(None, description="The service of records that name none in `context.service`.")
    source: str = Field("logweir", min_length=1, description="`ddsource`: it chooses the pipeline in Datadog.")
    hostname: str | None = Field(None, description="The host of records that name none in `context.host`.")
    tags: list[str] = Field(
        default_factory=list,
        description="Tags of every record, such as team:shop; each record's environment and version are added.",
    )
    validate_ssl: bool = Field(True, description="Check the server's certificate.")
    tls: Tls | None = Field(None, description="Authorities and certificates of your own.")
    compression: bool | Literal["gzip", "zstd"] = Field(True, description="Compress request bodies; true is gzip.")
    oversize: Literal["dead_letter", "truncate"] = Field(
        "dead_letter", description="What becomes of a record over 1 MB: set it aside, or cut its message."
    )
    time_window: Literal["deliver", "dead_letter"] = Field(
        "deliver",
        description="What becomes of a record outside 18 h past to 2 h ahead, which Datadog shows at another time: "
        "deliver and count it, or set it aside.",
    )

    timestamps: Literal["text", "milliseconds"] = Field(
        "text",
        description="How a log says its time: as ISO 8601 text, which Datadog reads, or as a number of milliseconds "
        "since 1970, which some other intakes of its protocol want.",
    )

    @field_validator("url")
    @classmethod
    def _no_credentials(cls, value: str | None) -> str | None:
        return without_credentials(value, "api_key")

    @field_validator("tags")
    @classmethod
    def _no_commas(cls, value: list[str]) -> list[str]:
        if any("," in tag or not tag.strip() for tag in value):
            msg = "a tag must be neither empty nor hold a comma, which separates tags"
            raise ValueError(msg)
        return value

    def fields(self) -> set[str]:
        """Return what a log's reserved attributes come from."""
        return {"timestamp", "level", "message", _RESERVED, *_HEAD_FIELDS, _HOST_FIELD, *_TRACE_FIELDS}

    def open(self, getter: Callable[[str], Getter], resume: Any, partition: int = 0) -> DatadogDestination:
        """Return the destination; it connects with the first request."""
        del resume, partition
        return DatadogDestination(self, getter)


_HEAD_FIELDS = ("context.service", "context.environment", "context.version")
_HOST_FIELD = "context.host"
_TRACE_FIELDS = ("trace.traceId", "trace.spanId")
_RESERVED_NAMES = ("ddsource", "ddtags", "hostname", "service", "status", "dd.trace_id", "dd.span_id", "dd")
_RESERVED = listing(*_RESERVED_NAMES)
"""What a record may say itself of what is put before it."""
_TEXTS = {*_RESERVED_NAMES} - {"dd.trace_id", "dd.span_id"}
"""Of these, what Datadog reads as text; `dd` is an object, and the ids may be numbers."""


class _Native(msgspec.Struct, gc=False):
    """Tells whether a record has its message and its time where Datadog looks for them."""

    message: Any = None
    timestamp: Any = None


_NOTHING_RESERVED = (UNSET,) * len(_RESERVED_NAMES)
_native = msgspec.json.Decoder(_Native).decode
_READ = re.compile(rb'"\d{4}-\d\d-\d\dT\d\d:[0-5]\d:[0-5]\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:?\d\d)"|[1-9]\d{11,13}')
"""A time that the log date remapper reads: ISO 8601, or milliseconds since 1970."""


class _Attributes:
    """The reserved attributes that go before a record.

    Args:
        settings: What is said of a record that doesn't say it itself.
    """

    def __init__(self, settings: Datadog) -> None:
        self._settings = settings

    def head(self, level: Any, service: Any, environment: Any, version: Any) -> str:
        """Return the beginning of a log, up to its host."""
        settings = self._settings
        tags = list(settings.tags)
        tags += [
            f"{name}:{value.replace(',', '_')}"
            for name, value in (("env", environment), ("version", version))
            if said(value)
        ]
        found = {
            "ddsource": settings.source,
            "ddtags": ",".join(tags),
            "service": said(service) or settings.service,
            "status": _STATUS.get(level, level),
        }
        return orjson.dumps({name: value for name, value in found.items() if value})[:-1].decode() + ","


class DatadogDestination:
    """Sends arrays of logs.

    Args:
        settings: The destination's settings.
        getter: Gives the reader of each of the settings' `fields`.
    """

    serial = False
    limits = Limits(MAX_REQUEST_BYTES, MAX_REQUEST_RECORDS, MAX_RECORD_BYTES)

    def __init__(self, settings: Datadog, getter: Callable[[str], Getter]) -> None:
        self.compression: str | None = "gzip" if settings.compression is True else settings.compression or None
        self._truncate = settings.oversize == "truncate"
        self._milliseconds = settings.timestamps == "milliseconds"
        self._timestamp, self._message = getter("timestamp"), getter("message")
        self._columns = Columns(getter(name) for name in (*_TRACE_FIELDS, _HOST_FIELD, *_HEAD_FIELDS))
        self._reserved = getter(_RESERVED)
        self._heads = Heads(_Attributes(settings).head)
        self._hosts = Member("hostname", settings.hostname)
        self._window = TimeWindow(PAST_SECONDS, FUTURE_SECONDS, refuse=settings.time_window == "dead_letter")
        self._headers = {"content-type": "application/json"}
        if self.compression:
            self._headers["content-encoding"] = self.compression
        self._client = HttpClient(
            settings.url or f"https://http-intake.logs.{settings.site}",
            {"dd-api-key": settings.api_key.get_secret_value()},
            verify=settings.validate_ssl,
            tls=settings.tls,
            connections=settings.concurrency,
            setting="url" if settings.url else "site",
        )

    def screen(self, batch: Batch) -> dict[str, int]:
        """Count what lies outside Datadog's time window, or set it aside."""
        return self._window.screen(batch, time.time())

    def encode(self, records: Records) -> list[bytes]:
        """Return each record with Datadog's attributes before its own bytes."""
        rows, values = records.records, records.values
        trace_ids, span_ids, hosts, *parts = self._columns.of(rows)
        heads = self._heads.of([records.levels, *parts])
        before, hosts, behind = self._hosts.of(hosts)
        between = f'{behind}"dd.trace_id":"'
        starts = [
            (
                f'{head}{before}{host}{between}{trace}","dd.span_id":"{span}",'
                if span
                else f'{head}{before}{host}{between}{trace}",'
            )
            if trace
            else f"{head}{before}{host}{behind}"
            for head, host, trace, span in zip(
                heads, hosts, low_halves(trace_ids, TRACE_DIGITS), low_halves(span_ids, SPAN_DIGITS), strict=True
            )
        ]
        pieces = within(starts, values)
        for index in self._odd(records):
            own = orjson.loads(starts[index][:-1] + "}")
            pieces[index] = self._general(values[index], rows[index], own, records.times[index])
        if self._truncate and max(map(len, pieces), default=0) > MAX_RECORD_BYTES:
            pieces = [_cut(piece) if len(piece) > MAX_RECORD_BYTES else piece for piece in pieces]
        return pieces

    def frame(self, pieces: list[bytes]) -> bytes:
        """Return the array."""
        return enclosed(b"[", pieces, b"]")

    def send(self, body: bytes, count: int) -> Outcome:
        """Send one array; it is taken or refused as a whole."""
        del count
        answer = self._client.request("POST", _PATH, body, self._headers)
        return read_answer(answer) if isinstance(answer, Response) else answer

    def probe(self) -> Probed:
        """Send what Datadog's agent sends to check the way without sending logs: an empty object.

        Datadog has a call that validates a key, but on another host, to which a firewall or `url` may have no way.
        """
        headers = {"content-type": "application/json"}
        answer = self._client.request("POST", _PATH, b"{}", headers)
        return probed(read_answer(answer)) if isinstance(answer, Response) else answer

    def checkpoint(self) -> None:
        """Keep no state."""

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _odd(self, records: Records) -> Iterable[int]:
        """Return the records that can't simply have the attributes put before them, by index.

        They say one of these themselves, or have their message or time where Datadog doesn't look.
        """
        rows, count = records.records, len(records)
        if self._milliseconds:
            return range(count)
        with suppress(TypeError, IndexError, KeyError):
            if (
                countOf(map(type, map(self._message, rows)), str) == count
                and list(map(self._timestamp, rows)) == records.times
                and countOf(map(self._reserved, rows), _NOTHING_RESERVED) == count
                and self._native(records, 0)
            ):
                return ()
        plain = [index for index in range(count) if self._is_plain(rows[index], records.times[index])]
        # Where a field lives is the same for all records of a source.
        if not plain or not self._native(records, plain[0]):
            return range(count)
        return set(range(count)).difference(
            index for index in plain if self._reserved(rows[index]) == _NOTHING_RESERVED
        )

    def _is_plain(self, row: Any, time: str) -> bool:
        """Tell whether a record has a message, and the time that it is read as stands there as it is."""
        return type(self._message(row)) is str and self._timestamp(row) == time

    def _native(self, records: Records, index: int) -> bool:
        """Tell whether this record's message and time stand under Datadog's own names."""
        try:
            own, row = _native(without_halves(records.values[index])), records.records[index]
        except msgspec.DecodeError:  # a number out of range where it would be text
            return False
        return bool(own.message == self._message(row) and own.timestamp == self._timestamp(row))

    def _general(self, value: bytes, row: Any, attributes: dict[str, str], time: str) -> bytes:
        """Return any record as a log: what it says itself stays, what it lacks is added, and no name is there twice."""
        there = members(value)
        own = {name: raw for name, raw in there.items() if raw != b"null" and _says(name, raw)}
        added: dict[str, Any] = {name: value for name, value in attributes.items() if name not in own}
        if "dd" in own:
            added = {name: value for name, value in added.items() if not name.startswith("dd.")}
        if "message" not in own:
            message = self._message(row)
            added["message"] = message if isinstance(message, str) else "" if message is None else text_of(message)
        stands = own.get("timestamp", b"")
        if self._milliseconds:
            added["timestamp"] = round(datetime.fromisoformat(time).timestamp() * 1000)
        # One that nobody can read stays: Datadog takes the time of arrival then.
        elif not _READ.fullmatch(stands) and (not stands or moment_of(self._timestamp(row)) is not None):
            added["timestamp"] = time
        for name in added.keys() & there.keys() - {"timestamp"}:
            if there[name] != b"null":
                there[_elsewhere(name, there)] = there[name]
        rest = written({name: raw for name, raw in there.items() if name not in added})
        return b"{" + b",".join(filter(None, [orjson.dumps(added)[1:-1], rest])) + b"}"


def _says(name: str, raw: bytes) -> bool:
    """Tell whether Datadog reads this value of a record's own: of its reserved attributes all but `dd` are text."""
    return raw[:1] == (b"{" if name == "dd" else b'"') or name not in _TEXTS


def _elsewhere(name: str, there: Container[str]) -> str:
    """Return the name of an attribute that can't have its own, since Datadog reads text there."""
    name = f"_RESERVED_{name}"
    while name in there:
        name = f"_{name}"
    return name


def _cut(piece: bytes) -> bytes:
    """Return a log that is too long with as much of its message as fits; as it is, where that isn't enough."""
    there = members(piece)
    message = there.get("message", b"")
    room = len(message) - (len(piece) - MAX_RECORD_BYTES) - len(_TRUNCATED) - 2
    if not message.startswith(b'"') or room < 0:
        return piece
    kept = message[1 : 1 + room]
    for _ in range(_LONGEST_CHARACTER):
        text = b'"%b%b"' % (kept, _TRUNCATED)
        with suppress(ValueError):
            json.loads(text)
            there["message"] = text
            break
        kept = kept[:-1]
    return b"{" + written(there) + b"}"
