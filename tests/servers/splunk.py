"""A strict stand-in for Splunk's HTTP Event Collector, with indexer acknowledgement and its own error bodies."""

from __future__ import annotations

import json
import re
import zlib
from collections import Counter
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.servers.cloud import Answer, CloudServer, Refused, dumped, unique

NO_DATA = Answer(400, b'{"text":"No data","code":5}')
INVALID_TOKEN = Answer(403, b'{"text":"Invalid token","code":4}')
DISABLED = Answer(403, b'{"text":"Token disabled","code":1}')
UNAUTHORIZED = Answer(401, b'{"text":"Invalid authorization","code":3}')
INCORRECT_INDEX = Answer(400, b'{"text":"Incorrect index","code":7,"invalid-event-number":1}')
NO_CHANNEL = Answer(400, b'{"text":"Data channel is missing","code":10}')
ACK_DISABLED = Answer(400, b'{"text":"ACK is disabled","code":14}')
INTERNAL = Answer(500, b'{"text":"Internal server error","code":8}')
BUSY = Answer(503, b'{"text":"Server is busy","code":9}')
QUEUE_FULL = Answer(429, b'{"text":"Queue at capacity","code":26}')
TOO_LARGE = Answer(413, b'{"text":"The request is too large"}')
NOT_FOUND = Answer(404, b'{"text":"The requested URL was not found on this server.","code":404}')
HEALTHY = Answer(200, b'{"text":"HEC is healthy","code":17}')
UNHEALTHY = Answer(503, b'{"text":"HEC is unhealthy, queues are full","code":18}')

_NAMES = {"time", "host", "source", "sourcetype", "index", "fields", "event"}
_TIME = re.compile(rb'\{"time":[0-9]+\.[0-9]{3},')
_DECODER = json.JSONDecoder(object_pairs_hook=unique)


class FakeSplunk(CloudServer):
    """The collector.

    Args:
        token: The only one that is let in.
    """

    def __init__(self, token: str) -> None:
        super().__init__()
        self.token = token
        self.index = "main"
        """The only one that the token may write to."""
        self.acknowledges = False
        self.first = 1
        """How `invalid-event-number` counts."""
        self.poison = ""
        """An event that holds this is refused."""
        self.busy_at: int | None = None
        """The event of this index finds the server busy, once."""
        self.lost_acks = 0
        """So many of the next requests are received and never indexed."""
        self.health = HEALTHY
        """Of the collector; it is told to anybody."""
        self.max_content_length = 100_000_000
        self.events: list[dict[str, Any]] = []
        """What is indexed."""
        self.sent: Counter[str] = Counter()
        """How often each event was taken, by its bytes."""
        self.questions: Counter[tuple[str, int]] = Counter()
        self._pending: dict[tuple[str, int], list[dict[str, Any]]] = {}
        self._next: Counter[str] = Counter()

    def answer(self, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Judge one request."""
        parts = urlsplit(path)
        if headers.get("authorization") != f"Splunk {self.token}":
            raise Refused(INVALID_TOKEN)
        channel = headers.get("x-splunk-request-channel", "")
        if parts.path == "/services/collector/ack":
            assert parse_qs(parts.query)["channel"] == [channel]
            return self._acks(channel, json.loads(body))
        if parts.path != "/services/collector/event":
            self.violated(f"POST {path}")
            raise Refused(NOT_FOUND)
        if self.acknowledges and not channel:
            raise Refused(NO_CHANNEL)
        raw = zlib.decompress(body, wbits=31) if headers.get("content-encoding") == "gzip" else body
        if len(raw) > self.max_content_length:
            raise Refused(TOO_LARGE)
        return self._take(channel, raw)

    def look(self, method: str, path: str, headers: Mapping[str, str]) -> Answer:
        """Answer a question for the collector's health."""
        if (method, path) != ("GET", "/services/collector/health"):
            self.violated(f"{method} {path}")
            return NOT_FOUND
        return self.health

    def _take(self, channel: str, raw: bytes) -> Answer:
        try:
            events = _parsed(raw)
        except (ValueError, AssertionError) as error:
            self.violated(str(error))
            raise Refused(Answer(400, b'{"text":"Invalid data format","code":6}')) from None
        if not events:
            raise Refused(NO_DATA)
        taken: list[dict[str, Any]] = []
        ending = None
        for number, event in enumerate(events):
            if event.get("index", "main") != self.index:
                ending = self._named(INCORRECT_INDEX, number)
            elif self.poison and self.poison in json.dumps(event["event"]):
                ending = self._named(Answer(400, b'{"text":"Invalid data format","code":6}'), number)
            elif number == self.busy_at:
                self.busy_at = None
                ending = self._named(BUSY, number)
            if ending is not None:
                break
            taken.append(event)
        with self.lock:
            self.sent.update(json.dumps(event["event"]) for event in taken)
            if ending is None and self.acknowledges:
                ack_id = self._next[channel]
                self._next[channel] += 1
                if self.lost_acks:
                    self.lost_acks -= 1
                else:
                    self._pending[channel, ack_id] = taken
                return Answer(200, dumped({"text": "Success", "code": 0, "ackId": ack_id}))
            self.events += taken
        return ending or Answer(200, b'{"text":"Success","code":0}')

    def _named(self, answer: Answer, number: int) -> Answer:
        return Answer(
            answer.status,
            dumped({**json.loads(answer.body), "invalid-event-number": number + self.first}),
            answer.headers,
        )

    def _acks(self, channel: str, asked: dict[str, list[int]]) -> Answer:
        if not self.acknowledges:
            raise Refused(ACK_DISABLED)
        with self.lock:
            found = {}
            for ack_id in asked["acks"]:
                # The first question comes too early, and an answered one is forgotten.
                self.questions[channel, ack_id] += 1
                early = self.questions[channel, ack_id] == 1
                indexed = None if early else self._pending.pop((channel, ack_id), None)
                self.events += indexed or []
                found[str(ack_id)] = indexed is not None
        return Answer(200, dumped({"acks": found}))


def _parsed(raw: bytes) -> list[dict[str, Any]]:
    text, at, events = raw.decode(), 0, []
    while at < len(text):
        event, end = _DECODER.raw_decode(text, at)
        assert isinstance(event, dict)
        assert set(event) <= _NAMES, f"unknown names in {set(event)}"
        assert event.get("event") not in (None, ""), "no event"
        assert _TIME.match(text[at:end].encode()), "a time without milliseconds"
        assert all(isinstance(value, str) for value in event.get("fields", {}).values()), "fields are flat text"
        events.append(event)
        at = end
        while text[at : at + 1] in {"\n", " ", "\r"}:
            at += 1
    return events
