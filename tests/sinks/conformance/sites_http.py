"""Destinations whose servers speak HTTP, each with its strict stand-in."""

from __future__ import annotations

import base64
import json
from typing import Any

from sinks.destination import Limits
from sinks.elasticsearch import MAX_REQUEST_BYTES
from sinks.loki import MAX_LINE_BYTES
from sinks.loki_answers import LINE_TOO_LONG, TOO_FAR_BEHIND
from sinks.settings import CommonDestination
from sinks.window import TOO_NEW, TOO_OLD
from tests.servers import datadog, splunk
from tests.servers.cloud import Answer
from tests.servers.datadog import FakeDatadog
from tests.servers.elastic import MAX_CONTENT_LENGTH, FakeElastic
from tests.servers.elastic import Fault as ElasticFault
from tests.servers.gcp import FakeLogging, error, key_pair
from tests.servers.http_endpoint import FakeEndpoint
from tests.servers.loki import RATE_LIMITED, FakeLoki, said
from tests.servers.splunk import FakeSplunk
from tests.sinks import elasticsearch_support, test_datadog, test_gcp, test_http_endpoint, test_loki, test_splunk
from tests.sinks.cloud_support import Engine
from tests.sinks.conformance.faults import (
    BROKEN,
    FORBIDDEN,
    GARBAGE,
    SOME_BUSY,
    TOO_LARGE,
    TOO_MANY,
    UNAVAILABLE,
    Fault,
)
from tests.sinks.conformance.site import MANY, POISON, SMALL, WHOLE, HttpSite, Longest, Sent, Variants, dump, repeat

GZIP_OR_NOT: Variants = ({}, {"compression": False})
WITH_ZSTD: Variants = (*GZIP_OR_NOT, {"compression": "zstd"})


class ElasticsearchSite(HttpSite):
    kind = "elasticsearch"
    server: FakeElastic
    variants = GZIP_OR_NOT
    key = "id:pl4nted-k3y"
    encoded_key = base64.b64encode(key.encode()).decode()
    lost_key = ("authorization", "ApiKey another")

    def secrets(self) -> set[str]:
        return {self.key, "pl4nted-k3y", self.encoded_key}

    def made_server(self) -> FakeElastic:
        made = FakeElastic()
        made.authorization = f"ApiKey {self.encoded_key}"
        return made

    def configured(self, url: str, **changes: Any) -> CommonDestination:
        return elasticsearch_support.configured(**{"url": url, "api_key": self.key, "compression": True, **changes})

    def taken(self) -> list[tuple[str, dict[str, Any]]]:
        docs = self.server.docs
        return [(name, json.loads(docs[index, own])) for (index, name), own in self.server.taken.items()]

    def same(self, sent: Sent, got: tuple[str, dict[str, Any]]) -> bool:
        added = {} if "@timestamp" in sent.record else {"@timestamp": got[1].get("@timestamp", "missing")}
        return dump(sent.record | added) == dump(got[1])

    def identity(self, got: tuple[str, dict[str, Any]]) -> str:
        return got[0]

    def number(self, got: tuple[str, dict[str, Any]]) -> int:
        return int(got[1]["n"])

    def arrivals(self) -> list[float]:
        return [each.at for each in self.server.seen]

    def longest(self, run: Engine) -> Longest:
        limit = self.largest(run)
        return Longest(run.request_size, limit, "too large")

    def largest(self, run: Engine) -> int:
        assert MAX_REQUEST_BYTES == MAX_CONTENT_LENGTH
        run.destination.limits = Limits(request_bytes=SMALL)
        self.server.max_content_length = SMALL
        return SMALL

    def plant(self, *answers: Answer | None) -> None:
        self.server.script(*map(_fault, answers))

    def answer_all(self, answer: Answer | None) -> None:
        self.server.fault = _fault(answer)

    def judge(self, answer: Answer) -> None:
        planted = ElasticFault(answer.status, answer.headers, answer.body)
        self.server.fault = lambda _, request: planted if POISON.encode() in request.body else None

    def echo(self, status: int) -> None:
        answer: Any = lambda request: ElasticFault(status, body=repeat(request.headers))  # noqa: E731  a stand-in
        self.server.answer_bulk = answer  # type: ignore[method-assign]

    def refuse_poison(self) -> None:
        fault = 400, {"type": "document_parsing_exception", "reason": "planted"}
        self.server.item_fault = lambda _, doc: fault if POISON.encode() in doc else None

    def take_some(self) -> None:
        seen: set[str] = set()

        def judge(identity: str, _doc: bytes) -> tuple[int, dict[str, Any]] | None:
            new = identity not in seen
            seen.add(identity)
            return (429, {"type": "es_rejected_execution_exception"}) if new and identity[-1] in "135" else None

        self.server.item_fault = judge


def _fault(answer: Answer | None) -> ElasticFault | None:
    """Return an answer as this server plants it; what it says of an error are its own words."""
    if answer is None:
        return None
    return ElasticFault(answer.status, answer.headers, answer.body if answer.status == 200 else None)


class DatadogSite(HttpSite):
    kind = "datadog"
    server: FakeDatadog
    variants = WITH_ZSTD
    own = {
        FORBIDDEN: datadog.FORBIDDEN,
        TOO_LARGE: datadog.TOO_LARGE,
        TOO_MANY: datadog.TOO_MANY,
        UNAVAILABLE: datadog.UNAVAILABLE,
    }
    absent = {**HttpSite.absent, SOME_BUSY: WHOLE}
    lost_key = ("api_key", "another")
    names = {"ddsource", "ddtags", "hostname", "service", "status", "dd.trace_id", "dd.span_id", "message", "timestamp"}

    def secrets(self) -> set[str]:
        return {test_datadog.KEY}

    def made_server(self) -> FakeDatadog:
        made = FakeDatadog(test_datadog.KEY)
        made.texts = False
        return made

    def configured(self, url: str, **changes: Any) -> CommonDestination:
        return test_datadog.configured(url, **changes)

    def taken(self) -> list[dict[str, Any]]:
        return self.server.logs

    def same(self, sent: Sent, got: dict[str, Any]) -> bool:
        # What is no text where Datadog reads text goes elsewhere, as far as there is text for it.
        got = {name.removeprefix("_RESERVED_"): value for name, value in got.items() if f"_RESERVED_{name}" not in got}
        # Null says nothing to Datadog, and a number is no time.
        kept = {name: value for name, value in sent.record.items() if name not in self.names or value is not None}
        if not isinstance(kept.get("timestamp"), str):
            kept.pop("timestamp", None)
        added = {name: value for name, value in got.items() if name in self.names and name not in kept}
        if added.get("message", "") or not all(
            isinstance(value, str) or value == sent.record.get(name) for name, value in added.items()
        ):
            return False
        return dump(kept | added) == dump(got)


class SplunkSite(HttpSite):
    kind = "splunk"
    server: FakeSplunk
    variants = GZIP_OR_NOT
    own = {
        FORBIDDEN: splunk.DISABLED,
        TOO_LARGE: splunk.TOO_LARGE,
        TOO_MANY: splunk.QUEUE_FULL,
        BROKEN: splunk.INTERNAL,
        UNAVAILABLE: splunk.BUSY,
    }
    lost_key = ("token", "another")

    def secrets(self) -> set[str]:
        return {test_splunk.TOKEN}

    def made_server(self) -> FakeSplunk:
        return FakeSplunk(test_splunk.TOKEN)

    def configured(self, url: str, **changes: Any) -> CommonDestination:
        return test_splunk.configured(url, **changes)

    def taken(self) -> list[dict[str, Any]]:
        return [event["event"] for event in self.server.events]

    def longest(self, run: Engine) -> Longest:
        return Longest(run.request_size, self.largest(run), "too large")

    def largest(self, run: Engine) -> int:
        self.server.max_content_length = SMALL
        return SMALL

    def refuse_poison(self) -> None:
        self.server.poison = POISON

    def take_some(self) -> None:
        self.server.busy_at = 3


class SplunkAckSite(SplunkSite):
    def made_server(self) -> FakeSplunk:
        made = super().made_server()
        made.acknowledges = True
        return made

    def configured(self, url: str, **changes: Any) -> CommonDestination:
        return super().configured(url, ack=True, **changes)


class GcpSite(HttpSite):
    kind = "gcp"
    server: FakeLogging
    variants = GZIP_OR_NOT
    causes = frozenset({"rejected: INVALID_ARGUMENT"})
    own = {
        FORBIDDEN: error(7, "Permission 'logging.logEntries.create' denied on resource (or it may not exist)."),
        TOO_MANY: error(8, "Quota exceeded for quota metric 'Write requests'"),
        BROKEN: error(13, "Internal error encountered."),
        UNAVAILABLE: Answer(503, b'{"error":{"code":503,"message":"unavailable","status":"UNAVAILABLE"}}'),
    }
    lost_key = ("public_key", "-")

    def secrets(self) -> set[str]:
        return {key_pair()[0].splitlines()[3][:20], *self.server.tokens}

    def made_server(self) -> FakeLogging:
        return FakeLogging(key_pair()[1])

    def configured(self, url: str, **changes: Any) -> CommonDestination:
        return test_gcp.configured(url, **changes)

    def taken(self) -> list[dict[str, Any]]:
        return list(self.server.entries.values())

    def same(self, sent: Sent, got: dict[str, Any]) -> bool:
        return dump(sent.record) == dump(got["jsonPayload"])

    def identity(self, got: dict[str, Any]) -> str:
        return str(got["insertId"])

    def number(self, got: dict[str, Any]) -> int:
        return int(got["jsonPayload"]["n"])

    def refuse_poison(self) -> None:
        self.server.entry_fault = lambda entry: (3, "planted") if POISON in str(entry["jsonPayload"]) else None

    def take_some(self) -> None:
        seen: set[int] = set()

        def judge(entry: dict[str, Any]) -> tuple[int, str] | None:
            number = entry["jsonPayload"]["n"]
            new = number not in seen
            seen.add(number)
            return (8, "Quota exceeded") if new and number % 2 else None

        self.server.entry_fault = judge


class LokiSite(HttpSite):
    kind = "loki"
    server: FakeLoki
    variants = GZIP_OR_NOT
    causes = frozenset({TOO_OLD, TOO_NEW, TOO_FAR_BEHIND})
    own = {
        FORBIDDEN: said(403, "forbidden"),
        TOO_MANY: said(429, RATE_LIMITED),
        BROKEN: said(500, "at least 2 live replicas required, could only find 1"),
        UNAVAILABLE: said(503, "circuit breaker open, request denied"),
    }
    lost_key = ("required", {"authorization": "Bearer another"})

    def secrets(self) -> set[str]:
        return {test_loki.TOKEN}

    def made_server(self) -> FakeLoki:
        return FakeLoki({"authorization": f"Bearer {test_loki.TOKEN}"})

    def configured(self, url: str, **changes: Any) -> CommonDestination:
        return test_loki.configured(url, token=test_loki.TOKEN, **changes)

    def taken(self) -> list[dict[str, Any]]:
        return self.server.lines()

    def made(self) -> Any:
        return list(self.server.streams)

    def longest(self, run: Engine) -> Longest:
        return Longest(len, MAX_LINE_BYTES, LINE_TOO_LONG)

    def poison(self, number: int) -> bytes:
        return self.record(number, 8 * 86_400)

    def batch(self, fault: Fault) -> list[bytes]:
        if fault is SOME_BUSY:
            return [self.record(number, context={"service": f"s{number % 2}"}) for number in range(1, MANY + 1)]
        return super().batch(fault)

    def refuse_poison(self) -> None:
        """It refuses what is too old."""

    def take_some(self) -> None:
        self.plant(None, self.answer(UNAVAILABLE))


class EndpointSite(HttpSite):
    kind = "http"
    server: FakeEndpoint
    variants = tuple(
        {"body": body, "compression": how} for body in ("ndjson", "array") for how in (False, True, "zstd")
    )
    absent = {**HttpSite.absent, SOME_BUSY: WHOLE, GARBAGE: "any 2xx is a receipt, whatever its body says"}
    lost_key = ("required", {"authorization": "Bearer another"})

    def secrets(self) -> set[str]:
        return {test_http_endpoint.TOKEN, test_http_endpoint.KEY}

    def made_server(self) -> FakeEndpoint:
        return FakeEndpoint(test_http_endpoint.BEARER)

    def configured(self, url: str, **changes: Any) -> CommonDestination:
        self.server.body = changes.get("body", "ndjson")
        return test_http_endpoint.configured(url, headers={"x-key": test_http_endpoint.KEY}, **changes)

    def taken(self) -> list[dict[str, Any]]:
        return self.server.records

    def longest(self, run: Engine) -> Longest:
        return Longest(run.request_size, self.largest(run), "too large")

    def largest(self, run: Engine) -> int:
        self.server.largest = SMALL
        return SMALL
