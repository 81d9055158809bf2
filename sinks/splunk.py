"""Splunk, by the HTTP Event Collector.

Protocol: "Format events for HTTP Event Collector", "Troubleshoot HTTP Event Collector" (the codes) and "About HTTP
Event Collector Indexer Acknowledgment" in the Splunk documentation.

    a request is event objects one after another; an event's time is in seconds, with milliseconds as decimals
    the most that a server takes is its own `max_content_length` (limits.conf): a 413 splits the request
    an event that is refused ends a request's processing: those before it are taken, those behind it not looked at
    200 means received; with acknowledgement, which a token has or has not, the collector tells when it is indexed
    there is no key by which a repetition is recognised: a request whose answer is lost may be there twice
"""

from __future__ import annotations

import re
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any, Literal

import orjson
from pydantic import Field, field_validator

from logweir.units import Duration
from sinks.address import without_credentials
from sinks.columns import Columns, joined
from sinks.destination import Delivered, Getter, Hold, Limits, Outcome, Probed, Records, Retry, probed
from sinks.heads import Heads, Member, said
from sinks.http import HttpClient, Response
from sinks.secret import HeaderSecret
from sinks.settings import CommonDestination, env_field
from sinks.splunk_answers import NO_ACKNOWLEDGEMENT, NO_DATA, EventNumbers, Reply, read_answer
from sinks.tls import Tls

FIRST_POLL_SECONDS = 0.1
LONGEST_POLL_SECONDS = 5.0
"""Between two questions whether a request is indexed; the pause doubles from the first."""

_EVENT = "/services/collector/event"
_ACK = "/services/collector/ack"
_HEALTH = "/services/collector/health"
_COLLECTOR = re.compile(r"/services/collector(/event|/raw)?(/1\.0)?/?$")
_SECONDS_LIMIT = 10_000
"""Bounds the cache of seconds, whatever the timestamps are."""
_SECOND, _MILLISECONDS = itemgetter(slice(19)), itemgetter(slice(19, 23))
_IN_MILLISECONDS = len("2026-01-01T00:00:00.000Z")
"""Parts of a time in UTC: up to the second, the milliseconds with the dot before them, and the zone."""
_HEAD_FIELDS = ("context.service", "context.environment")
_HOST_FIELD = "context.host"


class Splunk(CommonDestination):
    """Splunk Enterprise or Splunk Cloud, by the HTTP Event Collector."""

    type: Literal["splunk"] = Field(description="Splunk, by the HTTP Event Collector.")
    url: str = env_field(
        "SPLUNK_HEC_URL", description="The collector's address, such as https://splunk.example.com:8088."
    )
    token: HeaderSecret = env_field("SPLUNK_HEC_TOKEN", description="A token of the collector.")
    index: str | None = env_field("SPLUNK_INDEX", default=None, description="The index; the token's own when left out.")
    source: str = Field("logweir", min_length=1, description="The events' source.")
    sourcetype: str = Field("_json", min_length=1, description="The events' source type.")
    host: str | None = Field(None, description="The host of records that name none in `context.host`.")
    validate_ssl: bool = Field(True, description="Check the server's certificate.")
    tls: Tls | None = Field(None, description="Authorities and certificates of your own.")
    compression: bool | Literal["gzip"] = Field(True, description="Compress request bodies with gzip.")
    ack: bool = Field(
        False, description="Count a record as delivered only once it is indexed; the token must have acknowledgement."
    )
    ack_timeout: Duration = Field(
        300.0, gt=0, description="How long to wait for the acknowledgement of a request before it is sent again."
    )

    @field_validator("url")
    @classmethod
    def _base(cls, value: str) -> str:
        return _COLLECTOR.sub("", without_credentials(value, "token"))

    def fields(self) -> set[str]:
        """Return what an event's time, host and indexed fields come from."""
        return {"timestamp", "level", *_HEAD_FIELDS, _HOST_FIELD}

    def open(self, getter: Callable[[str], Getter], resume: Any, partition: int = 0) -> SplunkDestination:
        """Return the destination; it connects with the first request."""
        del resume, partition
        return SplunkDestination(self, getter)


class _Seconds(dict[str, str]):
    """Seconds since 1970 by the text of a second in UTC: neighbours share them."""

    def __missing__(self, text: str) -> str:
        seconds = int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())
        if len(self) >= _SECONDS_LIMIT:
            self.clear()
        self[text] = written = str(seconds)
        return written


class SplunkDestination:
    """Sends events, and where asked to waits until they are indexed.

    Args:
        settings: The destination's settings.
        getter: Gives the reader of each of the settings' `fields`.
    """

    limits = Limits()
    serial = False

    def __init__(self, settings: Splunk, getter: Callable[[str], Getter]) -> None:
        self.compression: str | None = "gzip" if settings.compression else None
        self._settings = settings
        self._columns = Columns(getter(name) for name in (_HOST_FIELD, *_HEAD_FIELDS))
        self._heads = Heads(self._head)
        self._hosts = Member("host", settings.host)
        self._seconds = _Seconds()
        self._numbers = EventNumbers()
        self._channel = str(uuid.uuid4())
        """Of this destination alone: it is what acknowledgements are counted by."""
        self._asking = str(uuid.uuid4())
        """A channel without requests, to ask whether there are acknowledgements: one that is told is forgotten."""
        self._promised = False
        """Whether the token is known to have acknowledgement."""
        self._closed = threading.Event()
        self._headers = {"content-type": "application/json"}
        if self.compression:
            self._headers["content-encoding"] = self.compression
        if settings.ack:
            self._headers["x-splunk-request-channel"] = self._channel
        self._client = HttpClient(
            settings.url,
            {"authorization": f"Splunk {settings.token.get_secret_value()}"},
            verify=settings.validate_ssl,
            tls=settings.tls,
            connections=settings.concurrency,
        )

    def encode(self, records: Records) -> list[bytes]:
        """Return an event for each record, which is the event's `event` with its own bytes."""
        hosts, *parts = self._columns.of(records.records)
        seconds = map(self._seconds.__getitem__, map(_SECOND, records.times))
        fractions = _milliseconds(records.times)
        before, hosts, behind = self._hosts.of(hosts)
        heads = self._heads.of([records.levels, *parts])
        starts = [
            f'{{"time":{second}{fraction},{before}{host}{behind}{head}'
            for second, fraction, host, head in zip(seconds, fractions, hosts, heads, strict=True)
        ]
        return joined(starts, records.values, b"}")

    def frame(self, pieces: list[bytes]) -> bytes:
        """Return the events one after another."""
        return b"\n".join(pieces)

    def send(self, body: bytes, count: int) -> Outcome:
        """Send one request; with `ack`, return when it is indexed."""
        if self._settings.ack and not self._promised:
            refusal = self._ask_for_acknowledgement()
            if refusal is not None:
                return refusal
        answer = self._client.request("POST", _EVENT, body, self._headers)
        if not isinstance(answer, Response):
            return answer
        outcome = read_answer(answer, count, self._numbers, acknowledged=self._settings.ack)
        if isinstance(outcome, Hold):
            self._promised = False
        if self._settings.ack and isinstance(outcome, Delivered):
            return self._acknowledged(Reply(answer).ack_id)
        return outcome

    def probe(self) -> Probed:
        """Ask whether the collector is healthy, which it tells anybody, then let it look at the token.

        That it does before it refuses a request for having no event.
        """
        health = self._client.request("GET", _HEALTH)
        if not isinstance(health, Response):
            return health
        if health.status in {429, 503}:
            return Retry(Reply(health).reason, health.retry_after())
        if self._settings.ack:
            refusal = self._ask_for_acknowledgement()
            return Delivered() if refusal is None else probed(refusal)
        headers = {"content-type": "application/json"}
        answer = self._client.request("POST", _EVENT, b"", headers)
        if not isinstance(answer, Response):
            return answer
        if Reply(answer).code == NO_DATA:
            return Delivered()
        return probed(read_answer(answer, 1, EventNumbers(), acknowledged=False))

    def checkpoint(self) -> None:
        """Keep no state."""

    def close(self) -> None:
        """Close the connections."""
        self._closed.set()
        self._client.close()

    def _head(self, level: Any, service: Any, environment: Any) -> str:
        """Return what stands between an event's host and its record."""
        settings = self._settings
        members: dict[str, Any] = {"source": settings.source, "sourcetype": settings.sourcetype}
        if settings.index:
            members["index"] = settings.index
        fields = {"level": level, "service": said(service), "environment": said(environment)}
        if any(fields.values()):
            members["fields"] = {name: value for name, value in fields.items() if value}
        return orjson.dumps(members)[1:-1].decode() + ',"event":'

    def _ask_for_acknowledgement(self) -> Outcome | None:
        """Return why nothing can be sent yet; None once the token is known to have acknowledgement.

        It is asked before anything is sent: without acknowledgement each repetition would be there twice.
        """
        answer = self._question(0, self._asking)
        if not isinstance(answer, Response):
            return answer
        if Reply(answer).acks is not None:
            self._promised = True
            return None
        outcome = read_answer(answer, 1, self._numbers, acknowledged=True)
        return outcome if isinstance(outcome, Hold | Retry) else Retry(Reply(answer).reason)

    def _acknowledged(self, ack_id: int | None) -> Outcome:
        """Wait until a request is indexed."""
        if ack_id is None:
            self._promised = False
            return Hold(NO_ACKNOWLEDGEMENT)
        deadline = time.monotonic() + self._settings.ack_timeout
        pause = FIRST_POLL_SECONDS
        while not self._closed.wait(min(pause, max(0.0, deadline - time.monotonic()))):
            pause = min(2 * pause, LONGEST_POLL_SECONDS)
            answer = self._question(ack_id, self._channel)
            acks = Reply(answer).acks if isinstance(answer, Response) else None
            if acks and acks.get(str(ack_id)) is True:
                return Delivered()
            if time.monotonic() >= deadline:
                return Retry(f"not acknowledged within {self._settings.ack_timeout:g} s")
        return Retry("stopped before it was acknowledged")

    def _question(self, ack_id: int, channel: str) -> Response | Retry | Hold:
        headers = {"content-type": "application/json", "x-splunk-request-channel": channel}
        return self._client.request("POST", f"{_ACK}?channel={channel}", orjson.dumps({"acks": [ack_id]}), headers)


def _milliseconds(times: list[str]) -> list[str]:
    """Return the fractions of times in UTC as three digits behind a dot."""
    if set(map(len, times)) == {_IN_MILLISECONDS}:
        return list(map(_MILLISECONDS, times))
    return [f".{time[20:-1][:3]:0<3}" for time in times]
