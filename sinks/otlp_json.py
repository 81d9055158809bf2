"""Log records in OTLP/JSON: "JSON Protobuf Encoding" in the OTLP specification.

The names are lowerCamelCase, numbers of 64 bits are text, and the ids of traces and spans are hexadecimal.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import isfinite
from typing import Any

import orjson

from logweir.record import Level
from sinks.destination import Records
from sinks.otlp_pieces import head
from sinks.otlp_record import LogRecord, Mapper
from sinks.otlp_wire import MAX_DEPTH, MAX_INT64, MIN_INT64, named


class JsonEncoder:
    """Writes log records, each with its resource before it, and requests made of them.

    Args:
        mapper: Makes log records.
        resource: Attributes of every resource; a record's own win.
    """

    content_type = "application/json"
    empty = b'{"resourceLogs":[]}'
    """A request without records."""

    def __init__(self, mapper: Mapper, resource: Mapping[str, str]) -> None:
        self._mapper, self._resource = mapper, resource

    def encode(self, records: Records) -> list[bytes]:
        """Return the records, each with its resource before it."""
        observed = [str(round(each * 1e9)) for each in records.written]
        columns = zip(records.values, records.records, records.ids, records.levels, observed, strict=True)
        return [self._encode(*each) for each in columns]

    def frame(self, groups: Mapping[bytes, list[bytes]]) -> bytes:
        """Return the body of a request.

        Args:
            groups: The records by their resource.
        """
        parts = [
            b'{"resource":%b,"scopeLogs":[{"logRecords":[%b]}]}' % (resource, b",".join(records))
            for resource, records in groups.items()
        ]
        return b'{"resourceLogs":[%b]}' % b",".join(parts)

    def _encode(self, value: bytes, row: Any, uid: str, level: Level | None, observed: str) -> bytes:
        try:
            record = self._mapper(value, row, uid, level)
            fields = _fields(record)
        except RecursionError:
            record = self._mapper.original(value, uid)
            fields = _fields(record)
        fields["observedTimeUnixNano"] = observed
        resource = {"attributes": _key_values({**self._resource, **record.resource}, 0)}
        return head(orjson.dumps(resource)) + orjson.dumps(fields)


def _fields(record: LogRecord) -> dict[str, Any]:
    fields: dict[str, Any] = {"attributes": _key_values(record.attributes, 0)}
    if record.time:
        fields["timeUnixNano"] = str(record.time)
    if record.severity:
        fields["severityNumber"] = record.severity
    if record.severity_text:
        fields["severityText"] = _text(record.severity_text)
    if record.has_body:
        fields["body"] = _any_value(record.body, 0)
    if record.trace:
        fields["traceId"] = record.trace.hex()
    if record.span:
        fields["spanId"] = record.span.hex()
    return fields


def _key_values(members: Mapping[str, Any], depth: int) -> list[dict[str, Any]]:
    return [{"key": _text(name), "value": _any_value(value, depth)} for name, value in named(members).items()]


def _any_value(value: Any, depth: int) -> dict[str, Any]:
    kind = type(value)
    if value is None:
        made: dict[str, Any] = {}
    elif kind is bool:
        made = {"boolValue": value}
    elif kind is int and MIN_INT64 <= value <= MAX_INT64:
        made = {"intValue": str(value)}
    elif kind is float:
        made = {"doubleValue": value if isfinite(value) else "Infinity" if value > 0 else "-Infinity"}
    elif kind is dict and depth < MAX_DEPTH:
        made = {"kvlistValue": {"values": _key_values(value, depth + 1)}}
    elif kind is list and depth < MAX_DEPTH:
        made = {"arrayValue": {"values": [_any_value(each, depth + 1) for each in value]}}
    else:
        text = value if kind is str else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        made = {"stringValue": _text(text)}
    return made


def _text(text: str) -> str:
    """Return text as JSON can have it: half of a surrogate pair is written as an escape."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
