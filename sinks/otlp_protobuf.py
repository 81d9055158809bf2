"""Log records in protobuf: opentelemetry/proto/logs/v1/logs.proto and common.proto.

Records of the usual shape, which say everything under logweir's own names, are written straight from their bytes. All
others take the general path through `Mapper`, which says the same of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, NoReturn

import msgspec
from msgspec import UNSET, Meta, UnsetType

from sinks.destination import Records
from sinks.otlp_pieces import head
from sinks.otlp_record import RENAMED, RESOURCE, UID, LogRecord, Mapper, is_native, nanoseconds
from sinks.otlp_wire import Names, any_value, field, fixed64, key_value, varint, wire, wired, write_attributes

_TIMES_LIMIT = 10_000
_RESOURCES_LIMIT = 10_000
_LEVELS_LIMIT = 1_000
_LONG = 1024

# Tags: a field's number times 8, and its wire type.
_TIME, _OBSERVED = "\x09", "\x59"
_SEVERITY, _SEVERITY_TEXT, _BODY, _STRING = "\x10", "\x1a", "\x2a", "\x0a"
_TRACE, _SPAN = "\x4a", "\x52"
_RESOURCE, _RESOURCE_ATTRIBUTE = "\x0a", "\x0a"
_RESOURCE_LOGS, _SCOPE_LOGS, _RECORD = b"\x0a", b"\x12", b"\x12"

_TRACE_HEX, _SPAN_HEX = f"{ord(_TRACE):02x}10", f"{ord(_SPAN):02x}08"
"""The tags with the lengths, 16 and 8 bytes."""
_LINKED_BYTES = 18 + 10 + 9
"""Both ids and the observed time, each with its tag."""
_ZERO_IDS = {"0" * 32, "0" * 16}
_NO_CONTEXT = (UNSET,) * 4


class _Trace(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    trace: Annotated[str, Meta(min_length=32, max_length=32)] = msgspec.field(name="traceId")
    span: Annotated[str, Meta(min_length=16, max_length=16)] = msgspec.field(name="spanId")
    parent: str | UnsetType = msgspec.field(name="parentSpanId", default=UNSET)


_Group = Annotated[dict[str, Any], Meta(min_length=1)]


class _Usual(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """The usual shape. What doesn't fit, such as a member of another name, is refused and takes the general path."""

    timestamp: str
    message: str
    id: Annotated[str, Meta(min_length=1)] | UnsetType = UNSET
    level: str = ""
    category: str | UnsetType = UNSET
    context: _Group | UnsetType = UNSET
    metadata: _Group | UnsetType = UNSET
    performance: _Group | UnsetType = UNSET
    error: _Group | UnsetType = UNSET
    trace: _Trace | UnsetType = UNSET
    user: _Group | UnsetType = UNSET


_usual = msgspec.json.Decoder(_Usual).decode


class _UnusualError(Exception):
    """The record takes the general path."""


def _unusual() -> NoReturn:
    raise _UnusualError


class _Times(dict[str, str]):
    """A record's time as its field, by the timestamp."""

    def __missing__(self, text: str) -> str:
        found, exact = nanoseconds(text)
        if not (found and exact):
            _unusual()
        made = _TIME + fixed64(found)
        if len(self) >= _TIMES_LIMIT:
            self.clear()
        self[text] = made
        return made


class _Levels(dict[str, str]):
    """Severity and its text as their fields, by the level."""

    def __init__(self, mapper: Mapper) -> None:
        super().__init__({"": ""})
        self._mapper = mapper

    def __missing__(self, level: str) -> str:
        made = _severity(self._mapper.severity(level), level)
        if len(self) < _LEVELS_LIMIT:
            self[level] = made
        return made


class _Bodies(dict[int, str]):
    """What stands before a body of text, by its length."""

    def __missing__(self, length: int) -> str:
        start = _STRING + varint(length)
        made = f"{_BODY}{varint(len(start) + length)}{start}"
        if length < _LONG:
            self[length] = made
        return made


class _Resources(dict[tuple[Any, ...], str]):
    """Resources by what of a record's context they are made of, in the order of `RESOURCE`."""

    def __init__(self, static: Mapping[str, str]) -> None:
        super().__init__()
        self._static = static

    def __missing__(self, key: tuple[Any, ...]) -> str:
        found = {name: value for name, value in zip(RESOURCE.values(), key, strict=True) if value is not UNSET}
        if not all(type(value) is str and value for value in found.values()):
            _unusual()
        made = _resource({**wired(self._static), **found})
        if len(self) >= _RESOURCES_LIMIT:
            self.clear()
        self[key] = made
        return made


def _severity(number: int, text: str) -> str:
    return (_SEVERITY + varint(number) if number else "") + (field(_SEVERITY_TEXT, text) if text else "")


def _resource(attributes: Mapping[str, str]) -> str:
    """Return a resource, with the length of the whole before it."""
    pairs = [field(_RESOURCE_ATTRIBUTE, key_value(name, value)) for name, value in attributes.items()]
    return head(field(_RESOURCE, "".join(pairs)).encode("latin-1")).decode("latin-1")


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
        self._times, self._levels = _Times(), _Levels(mapper)
        self._resources, self._bodies = _Resources(resource), _Bodies()
        self._names, self._metadata, self._performance = Names(), Names("metadata."), Names("performance.")
        self._uid, self._category = self._names[UID], self._names["category"]
        self._parent = self._names["trace.parentSpanId"]
        self._context, self._error, self._user = (
            Names(group, {path.removeprefix(group): name for path, name in RENAMED.items()})
            for group in ("context.", "error.", "user.")
        )
        # Where the user's own id is there, that of the context doesn't take its name.
        self._context_beside_user = Names("context.", {"sessionId": RENAMED["context.sessionId"]})
        self._native: dict[type, bool] = {}

    def encode(self, records: Records) -> list[bytes]:
        """Return the records, each with its resource before it."""
        values, ids, rows = records.values, records.ids, records.records
        observed = _OBSERVED + fixed64(max(0, round(records.arrived * 1e9)))
        if not self._is_native(type(rows[0])):
            return [self._general(*each, observed) for each in zip(values, rows, ids, strict=True)]
        observed_hex = observed.encode("latin-1").hex()
        pieces = []
        for index, value in enumerate(values):
            try:
                pieces.append(self._straight(value, ids[index], observed, observed_hex))
            except (_UnusualError, TypeError, ValueError, msgspec.DecodeError):
                pieces.append(self._general(value, rows[index], ids[index], observed))
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

    def _straight(self, value: bytes, uid: str, observed: str, observed_hex: str) -> bytes:
        """Return a record of the usual shape.

        Raises:
            _UnusualError, TypeError, ValueError, msgspec.DecodeError: It has another.
        """
        if not value.isascii():
            # So decoded, its texts are wire text.
            value = value.decode("latin-1").encode()
        # The search for one byte is far quicker than that for two, and most records have none.
        if b"\\" in value and b"\\u" in value:
            _unusual()
        own = _usual(value)
        if own.id is not UNSET:
            uid = own.id
        elif not uid.isascii():
            uid = wire(uid)
        context, user, message = own.context, own.user, own.message
        if context is UNSET:
            resource = self._resources[_NO_CONTEXT]
        else:
            take = context.pop
            resource = self._resources[
                take("service", UNSET), take("version", UNSET), take("environment", UNSET), take("host", UNSET)
            ]
        parts = [resource, self._times[own.timestamp], self._levels[own.level], self._bodies[len(message)], message]
        parts += self._uid[len(uid)], uid
        if own.category is not UNSET:
            parts += self._category[len(own.category)], own.category
        groups: tuple[tuple[Names, dict[str, Any] | UnsetType], ...] = (
            (self._beside(user) if user else self._context, context),
            (self._metadata, own.metadata),
            (self._performance, own.performance),
        )
        if own.error is not UNSET or user is not UNSET:
            groups += (self._error, own.error), (self._user, user)
        write_attributes(parts, groups)
        parts.append(observed if own.trace is UNSET else self._linked(own.trace, observed_hex))
        return "".join(parts).encode("latin-1")

    def _linked(self, trace: _Trace, observed_hex: str) -> str:
        """Return the fields of a trace, and the observed time behind them."""
        ids = bytes.fromhex(f"{_TRACE_HEX}{trace.trace}{_SPAN_HEX}{trace.span}{observed_hex}")
        if len(ids) != _LINKED_BYTES or trace.trace in _ZERO_IDS or trace.span in _ZERO_IDS:
            # White space among the digits is skipped, and zeros are no id.
            _unusual()
        text = ids.decode("latin-1")
        if trace.parent is not UNSET:
            text += self._parent[len(trace.parent)] + trace.parent
        return text

    def _beside(self, user: dict[str, Any]) -> Names:
        if "username" in user and "name" in user:
            _unusual()
        return self._context_beside_user if "id" in user else self._context

    def _general(self, value: bytes, row: Any, uid: str, observed: str) -> bytes:
        plain = value.isascii() and b"\\u" not in value and uid.isascii()
        try:
            text = self._fields(self._mapper(value, row, uid), plain=plain)
        except RecursionError:
            text = self._fields(self._mapper.original(value, uid), plain=False)
        return (text + observed).encode("latin-1")

    def _fields(self, record: LogRecord, *, plain: bool) -> str:
        """Return a record's resource and fields.

        Args:
            record: The record.
            plain: Whether all its own text is ASCII.
        """
        attributes = record.attributes if plain else wired(record.attributes)
        resource = [record.resource.get(name, UNSET) for name in RESOURCE.values()]
        parts = [self._resources[tuple(wired(resource))]]
        if record.time:
            parts.append(_TIME + fixed64(record.time))
        parts.append(_severity(record.severity, wire(record.severity_text)))
        if record.has_body:
            parts.append(field(_BODY, any_value(wired(record.body))))
        write_attributes(parts, [(self._names, attributes)])
        parts += [
            field(tag, identity.decode("latin-1"))
            for tag, identity in ((_TRACE, record.trace), (_SPAN, record.span))
            if identity
        ]
        return "".join(parts)


def _size(number: int) -> bytes:
    return varint(number).encode("latin-1")
