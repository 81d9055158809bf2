"""A server of OTLP, which reads requests by OpenTelemetry's own classes."""

from __future__ import annotations

import json
import math
from datetime import datetime
from typing import Any

from logweir.json_text import without_halves
from sinks.settings import CommonDestination
from tests.servers.otlp import FakeOtlp, status
from tests.sinks import otlp_support
from tests.sinks.cloud_support import Engine
from tests.sinks.conformance.faults import FORBIDDEN, SOME_BUSY, TOO_LARGE, TOO_MANY, UNAVAILABLE
from tests.sinks.conformance.site import POISON, SMALL, HttpSite, Longest, Sent
from tests.sinks.otlp_support import LEVELS, Told, promised, told


class OtlpSite(HttpSite):
    kind = "otlp"
    server: FakeOtlp
    variants = tuple(
        {"encoding": encoding, "compression": how} for encoding in ("protobuf", "json") for how in (False, True, "zstd")
    )
    own = {
        FORBIDDEN: status(403, "the key has no permission", 7),
        TOO_LARGE: status(413, "request body too large", 3),
        TOO_MANY: status(429, "too many requests", 8),
        UNAVAILABLE: status(503, "the queue is full", 14),
    }
    absent = {**HttpSite.absent, SOME_BUSY: "what isn't taken is rejected for good"}
    unnamed = True
    lost_key = ("required", {"authorization": "Bearer another"})

    def secrets(self) -> set[str]:
        return {otlp_support.KEY}

    def made_server(self) -> FakeOtlp:
        return FakeOtlp({"authorization": f"Bearer {otlp_support.KEY}"})

    def configured(self, url: str, **changes: Any) -> CommonDestination:
        return otlp_support.configured(url, **changes)

    def taken(self) -> list[Told]:
        return [told(record, resource) for resource, record in self.server.records]

    def same(self, sent: Sent, got: Told) -> bool:
        """Tell whether something that was taken is what the page promises of the record that was sent."""
        record = json.loads(without_halves(sent.value), parse_float=_float)
        if got.time and _nanoseconds(record.pop("timestamp", None)) != got.time:
            return False
        expected = promised(record, sent.offset)
        expected.time = got.time
        if expected.severity_text not in map(str, LEVELS):
            # Whatever was made up may be a level still.
            expected.severity = got.severity
        expected.body, expected.attributes = _said(expected.body), _said(expected.attributes)
        return expected == got

    def identity(self, got: Told) -> str:
        return str(got.attributes["log.record.uid"])

    def number(self, got: Told) -> int:
        return int(got.attributes["n"])

    def longest(self, run: Engine) -> Longest:
        return Longest(run.request_size, self.largest(run), "too large")

    def largest(self, run: Engine) -> int:
        self.server.max_bytes = SMALL
        return SMALL

    def poison(self, number: int) -> bytes:
        return self.record(number, poison=True)

    def refuse_poison(self) -> None:
        self.server.reject = lambda attributes: "planted" if POISON in attributes else ""


class _Beyond(float):
    """A number beyond a double, which is told as its text."""

    text: str


def _float(text: str) -> float:
    found = float(text)
    if math.isfinite(found):
        return found
    beyond = _Beyond(found)
    beyond.text = text
    return beyond


def _said(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _said(each) for name, each in value.items()}
    if isinstance(value, list):
        return list(map(_said, value))
    return value.text if isinstance(value, _Beyond) else value


def _nanoseconds(moment: Any) -> int:
    """Return a time as a server has to be told it; a small number is in seconds, and what is no time has none."""
    if isinstance(moment, int):
        return moment * 1_000_000_000
    if not isinstance(moment, str) or not moment[:1].isdigit():
        return 0
    return round(datetime.fromisoformat(moment).timestamp() * 1000) * 1_000_000
