"""Log records in protobuf: opentelemetry/proto/logs/v1/logs.proto and common.proto.

Records of the usual shape are written by sinks/otlp_usual.py. All others take the general path through `Mapper`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import UNSET

from logweir.record import Level
from sinks.destination import Records
from sinks.otlp_record import RESOURCE, LogRecord, Mapper, is_native
from sinks.otlp_usual import BODY, NO_HOST, SPAN, TIME, TRACE, UsualEncoder, resources, severity
from sinks.otlp_wire import ATTRIBUTE, any_value, field, fixed64, key_value, named, varint, wire, wired

# Tags: a field's number times 8, and its wire type.
_OBSERVED = "\x59"
_RESOURCE_LOGS, _SCOPE_LOGS, _RECORD = b"\x0a", b"\x12", b"\x12"


class ProtobufEncoder:
    """Writes log records, each with its resource before it, and requests made of them.

    Args:
        mapper: The general path.
        resource: Attributes of every resource.
    """

    content_type = "application/x-protobuf"
    empty = b""
    """A request without records."""

    def __init__(self, mapper: Mapper, resource: Mapping[str, str]) -> None:
        self._mapper = mapper
        self._resources = resources(resource)
        self._usual = UsualEncoder(self._resources)
        self._native: dict[type, bool] = {}

    def encode(self, records: Records) -> list[bytes]:
        """Return the records, each with its resource before it."""
        values, ids, rows = records.values, records.ids, records.records
        # Many are written at once.
        known = {each: _OBSERVED + fixed64(round(each * 1e9)) for each in set(records.written)}
        observed = list(map(known.__getitem__, records.written))
        if self._is_native(type(rows[0])):
            pieces, others = self._usual(values, ids, observed)
        else:
            pieces, others = [b""] * len(values), [*range(len(values))]
        for index in others:
            pieces[index] = self._general(
                values[index], rows[index], ids[index], records.levels[index], observed[index]
            )
        return pieces

    def frame(self, groups: Mapping[bytes, list[bytes]]) -> bytes:
        """Return the body of a request.

        Args:
            groups: The records by their resource.
        """
        parts = []
        for resource, records in groups.items():
            logs: list[bytes] = []
            for record in records:
                logs += _RECORD, _size(len(record)), record
            size = sum(map(len, logs))
            scope = _SCOPE_LOGS + _size(size)
            parts += [_RESOURCE_LOGS, _size(len(resource) + len(scope) + size), resource, scope, *logs]
        return b"".join(parts)

    def _is_native(self, kind: type) -> bool:
        if kind not in self._native:
            self._native[kind] = is_native(kind, self._mapper.getters)
        return self._native[kind]

    def _general(self, value: bytes, row: Any, uid: str, level: Level | None, observed: str) -> bytes:
        plain = value.isascii() and b"\\u" not in value and uid.isascii()
        try:
            text = self._fields(self._mapper(value, row, uid, level), plain=plain)
        except RecursionError:
            text = self._fields(self._mapper.original(value, uid), plain=False)
        return (text + observed).encode("latin-1")

    def _fields(self, record: LogRecord, *, plain: bool) -> str:
        """Return a record's resource and fields.

        Args:
            record: The record.
            plain: Whether all its own text is ASCII.
        """
        attributes = named(record.attributes if plain else wired(record.attributes))
        service, version, environment, host = (wired(record.resource.get(name, UNSET)) for name in RESOURCE.values())
        if host is UNSET:
            parts = [self._resources((service, version, environment, NO_HOST))]
        else:
            parts = [self._resources((service, version, environment, len(host))), host]
        if record.time:
            parts.append(TIME + fixed64(record.time))
        parts.append(severity(record.severity, wire(record.severity_text)))
        if record.has_body:
            parts.append(field(BODY, any_value(wired(record.body))))
        parts += [field(ATTRIBUTE, key_value(name, value)) for name, value in attributes.items()]
        parts += [
            field(tag, identity.decode("latin-1"))
            for tag, identity in ((TRACE, record.trace), (SPAN, record.span))
            if identity
        ]
        return "".join(parts)


def _size(number: int) -> bytes:
    return varint(number).encode("latin-1")
