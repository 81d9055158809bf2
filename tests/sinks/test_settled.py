"""What a format settles reaches every destination alike: levels by the format's own numbers, and traces."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from pydantic import TypeAdapter

from logweir.batch import Batch
from operators.decode import Decoder
from operators.formats import BUNYAN, ECS, LOGWEIR, OTEL, PINO, Format, configured
from operators.projection import Projection
from sinks import load_sink
from sinks.destination import Records
from tests.servers.otlp import JSON, PROTOBUF, read

URL = "http://127.0.0.1:9"
SETTINGS: dict[str, dict[str, Any]] = {
    "datadog": {"api_key": "k", "url": URL},
    "splunk": {"url": URL, "token": "t"},
    "loki": {"url": URL, "structured_metadata": {"trace_id": "trace.traceId", "code": "metadata.code"}},
    "gcp": {"project_id": "p", "credentials_file": "none.json", "url": URL},
    "otlp": {"url": URL},
    "otlp json": {"url": URL, "encoding": "json"},
    "console": {},
}


def encoded(kind: str, layout: Format, *records: Any) -> list[str]:
    """Return what a destination makes of these records, as text."""
    name, _, variant = kind.partition(" ")
    settings = TypeAdapter(load_sink(name)).validate_python({"type": name, **SETTINGS[kind]})
    projection = Projection(settings.fields(), layout)
    batch = Batch("logs", 0, list(map(orjson.dumps, records)), range(len(records)))
    Decoder(projection, identified=settings.identified)(batch)
    assert not batch.account.rejected
    destination = settings.open(projection.getter, None)
    pieces = destination.encode(Records.of(batch, written=destination.limits.written))
    if name != "otlp":
        return [piece.decode() for piece in pieces]
    groups = [read(destination.frame([piece]), JSON if variant else PROTOBUF).resource_logs[0] for piece in pieces]
    found = [group.scope_logs[0].log_records[0] for group in groups]
    return [json.dumps([each.severity_number, each.severity_text, each.trace_id.hex()]) for each in found]


def _loki(piece: str) -> Any:
    return json.loads(piece.split("\t", maxsplit=1)[0]).get("level")


LEVEL_OF: dict[str, Callable[[str], Any]] = {
    "datadog": lambda piece: json.loads(piece).get("status"),
    "splunk": lambda piece: json.loads(piece).get("fields", {}).get("level"),
    "loki": _loki,
    "gcp": lambda piece: json.loads(piece)["severity"],
    "otlp": lambda piece: json.loads(piece)[0],
    "otlp json": lambda piece: json.loads(piece)[0],
    "console": lambda piece: piece.split()[1],
}
SAID = {
    "info": {"gcp": "INFO", "otlp": 9, "otlp json": 9, "console": "INFO"},
    "error": {"gcp": "ERROR", "otlp": 17, "otlp json": 17, "console": "ERROR"},
    "fatal": {"gcp": "CRITICAL", "otlp": 21, "otlp json": 21, "console": "FATAL", "datadog": "critical"},
}
"""A level in a destination's words, where these are others than ours."""
RECORDS: list[tuple[Format, dict[str, Any], str]] = [
    (OTEL, {"timeUnixNano": "1796040000000000000", "severityNumber": 9, "body": {"stringValue": "m"}}, "info"),
    (OTEL, {"timeUnixNano": "1796040000000000000", "severityNumber": 17, "body": {"stringValue": "m"}}, "error"),
    (OTEL, {"severityNumber": 0, "severityText": "ERROR"}, "error"),
    (PINO, {"level": 50, "time": 1796040000000, "msg": "m"}, "error"),
    (BUNYAN, {"level": 60, "msg": "m"}, "fatal"),
    (LOGWEIR, {"level": 3, "message": "m"}, "error"),
    (LOGWEIR, {"level": 50.0, "message": "m"}, "error"),
    (LOGWEIR, {"level": "dpanic", "message": "m"}, "fatal"),
    (LOGWEIR, {"level": "\x1b[31merror\x1b[39m", "message": "m"}, "error"),
    (ECS, {"log.level": "SUCCESS", "message": "m"}, "info"),
    (configured({"level": "sev"}), {"sev": "ERROR+4", "level": "info"}, "error"),
]


@pytest.mark.parametrize("kind", SETTINGS)
@pytest.mark.parametrize(("layout", "record", "level"), RECORDS)
def test_every_destination_says_the_same_level(kind: str, layout: Format, record: dict[str, Any], level: str) -> None:
    """Rules and destinations read one table, that of the format."""
    (piece,) = encoded(kind, layout, record)
    assert LEVEL_OF[kind](piece) == SAID[level].get(kind, level)


@pytest.mark.parametrize("kind", ["otlp", "otlp json"])
def test_opentelemetry_keeps_its_number_and_its_text(kind: str) -> None:
    """From OTLP to OTLP no fineness is lost; what has no number of its own gets one of its level."""
    records = [
        {"severityNumber": 10, "severityText": "NOTICE"},
        {"severityNumber": 20, "severityText": "ERROR4"},
        {"severityNumber": 17},
        {"severityText": "WARN2"},
        {"severityText": "odd"},
        {},
    ]
    found = [json.loads(each)[:2] for each in encoded(kind, OTEL, *records)]
    assert found == [[10, "NOTICE"], [20, "ERROR4"], [17, ""], [14, "WARN2"], [0, "odd"], [0, ""]]


def test_google_tells_notices_apart_however_they_are_numbered() -> None:
    """Its NOTICE, ALERT and EMERGENCY are finer than our levels, so the record's own words decide."""
    records = [{"severityNumber": 10, "severityText": "NOTICE"}, {"severityNumber": 9}, {"severityText": "alert"}]
    found = [json.loads(piece)["severity"] for piece in encoded("gcp", OTEL, *records, {"severityText": "odd"})]
    assert found == ["NOTICE", "INFO", "ALERT", "DEFAULT"]


@pytest.mark.parametrize("kind", SETTINGS)
@pytest.mark.parametrize("none", ["0" * 32, "0", "-", "", "null"])
def test_a_trace_of_zeros_is_no_trace(kind: str, none: str) -> None:
    """No destination links all records of an application without tracing, also not beside one that has a trace."""
    trace = {"traceId": none, "spanId": none[:16]}
    traced = {"message": "m", "trace": {"traceId": "4bf92f3577b34da6a3ce929d0e0e4736", "spanId": "00f067aa0ba902b7"}}
    record = {"message": "m", "trace": trace, "metadata": {"code": "0"}}
    for piece in encoded(kind, LOGWEIR, record, traced)[:1] + encoded(kind, LOGWEIR, record):
        own = piece.partition("\n")[0].replace(json.dumps(trace, separators=(",", ":")), "")
        assert not none or none == "-" or f'"{none}"' not in own.replace('"code":"0"', "")
        assert not any(name in own for name in ("trace_id", "span_id", "traces/", "spanId", "traceId="))
        assert kind != "loki" or '"code":"0"' in own


def test_null_in_json_is_the_empty_value_of_the_specification() -> None:
    """An AnyValue without a member, as the Collector writes it itself: strict readers take it, and no other form."""
    settings = TypeAdapter(load_sink("otlp")).validate_python({"type": "otlp", **SETTINGS["otlp json"]})
    projection = Projection(settings.fields(), LOGWEIR)
    batch = Batch(
        "logs", 0, [b'{"id":"1","message":"m","a":null,"l":[null,1],"m":{"n":null,"":2},"":null,"_":3}'], range(1)
    )
    Decoder(projection)(batch)
    destination = settings.open(projection.getter, None)
    body = json.loads(destination.frame(destination.encode(Records.of(batch, written=True))))
    (record,) = body["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
    found = {each["key"]: each["value"] for each in record["attributes"]}
    assert (found["a"], found["__"], found["m.n"]) == ({}, {}, {})
    assert found["l"] == {"arrayValue": {"values": [{}, {"intValue": "1"}]}}
    assert "" not in found
