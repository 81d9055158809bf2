"""Log records in protobuf, of records of the usual shape: those that say everything under logweir's own names.

They are written straight from their bytes. What they say is what the general path, in sinks/otlp_protobuf.py, says.
"""

from __future__ import annotations

from binascii import unhexlify
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, NoReturn

import msgspec
from msgspec import UNSET, Meta, UnsetType

from logweir.record import LevelTable
from sinks.otlp_pieces import head
from sinks.otlp_record import RENAMED, RESOURCE, UID, nanoseconds
from sinks.otlp_tables import DOUBLE_HEAD, Names, Table, fixed
from sinks.otlp_wire import any_value, double, field, fixed64, integer, key_value, varint, wire, wired

_TIMES_LIMIT = 10_000
_RESOURCES_LIMIT = 10_000
_LEVELS_LIMIT = 1_000
_BODIES_LIMIT = 1_000
_INTEGERS_LIMIT = 10_000

# Tags: a field's number times 8, and its wire type.
TIME, BODY, TRACE, SPAN = "\x09", "\x2a", "\x4a", "\x52"
_SEVERITY, _SEVERITY_TEXT = "\x10", "\x1a"
_LEVELS = LevelTable()
_RESOURCE, _RESOURCE_ATTRIBUTE = "\x0a", "\x0a"

_TRACE_HEX, _SPAN_HEX = f"{ord(TRACE):02x}10", f"{ord(SPAN):02x}08"
"""The tags with the lengths, 16 and 8 bytes."""
_NO_TRACE, _NO_SPAN = "0" * 32, "0" * 16

ResourceKey = tuple[Any, Any, Any, int]
"""Service, version and environment, each UNSET where a record has none, and the length of its host's name."""
NO_HOST = -1
"""In place of the length of a host's name."""
_NOWHERE = (UNSET, UNSET, UNSET, NO_HOST)
_HOST = RESOURCE["context.host"]
_BACKSLASH = ord("\\")


class _Trace(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    trace: Annotated[str, Meta(min_length=32, max_length=32)] = msgspec.field(name="traceId")
    span: Annotated[str, Meta(min_length=16, max_length=16)] = msgspec.field(name="spanId")
    parent: str | UnsetType = msgspec.field(name="parentSpanId", default=UNSET)


_Text = Annotated[str, Meta(min_length=1)]
_Group = Annotated[dict[str, Any], Meta(min_length=1)]


class _Context(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    service: str | UnsetType = UNSET
    version: str | UnsetType = UNSET
    environment: str | UnsetType = UNSET
    host: str | UnsetType = UNSET
    request: str | UnsetType = msgspec.field(name="requestId", default=UNSET)
    user: str | UnsetType = msgspec.field(name="userId", default=UNSET)
    session: str | UnsetType = msgspec.field(name="sessionId", default=UNSET)


_NOTHING_SAID = _Context()


class _Shape(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """The usual shape. What doesn't fit, such as a member of another name, is refused and takes the general path."""

    timestamp: str
    message: str
    id: _Text | UnsetType = UNSET
    level: str = ""
    category: str | UnsetType = UNSET
    metadata: _Group | UnsetType = UNSET
    performance: _Group | UnsetType = UNSET
    error: _Group | UnsetType = UNSET
    trace: _Trace | UnsetType = UNSET
    user: _Group | UnsetType = UNSET


class _Usual(_Shape, gc=False, forbid_unknown_fields=True):
    context: _Context | UnsetType = UNSET


class _OwnNames(_Shape, gc=False, forbid_unknown_fields=True):
    """The usual shape, where a context may have members of any name and any kind: it takes longer."""

    context: _Group | UnsetType = UNSET


_usual = msgspec.json.Decoder(_Usual).decode
_own_names = msgspec.json.Decoder(_OwnNames).decode
_Groups = tuple[tuple[Names, dict[str, Any] | UnsetType], ...]


class _UnusualError(Exception):
    """The record takes the general path."""


def _unusual() -> NoReturn:
    raise _UnusualError


def _place(context: dict[str, Any] | UnsetType) -> tuple[ResourceKey, Any]:
    """Return of which resource a record is, and its host; of a context with names of its own these are taken out."""
    if context is UNSET:
        return _NOWHERE, UNSET
    take = context.pop
    host = take("host", UNSET)
    size = NO_HOST if host is UNSET else len(host)
    return (take("service", UNSET), take("version", UNSET), take("environment", UNSET), size), host


def _time(text: str) -> str:
    """Return a record's time as its field."""
    found, exact = nanoseconds(text)
    return TIME + fixed64(found) if found and exact else _unusual()


def _body(length: int) -> str:
    """Return what stands before a body of text of this length."""
    return field(BODY, any_value("-" * length))[: -length or None]


def resources(static: Mapping[str, str]) -> Table[ResourceKey]:
    """Return the resources up to a host's name, with the length of the whole before each.

    The name comes last, and only its length matters: to find one among thousands of hosts costs more than to write it.

    Args:
        static: Attributes of every resource.
    """
    names, attributes = RESOURCE.values(), wired(static)
    without_host = {name: value for name, value in attributes.items() if name != _HOST}

    def make(key: ResourceKey) -> str:
        found = {name: value for name, value in zip(names, key[:3], strict=False) if value is not UNSET}
        length = key[3]
        if not length or not all(type(value) is str and value for value in found.values()):
            _unusual()
        if length == NO_HOST:
            return _resource({**attributes, **found})
        return _resource({**without_host, **found, _HOST: "-" * length})[:-length]

    return Table(make, _RESOURCES_LIMIT)


def severity(number: int, text: str) -> str:
    """Return a severity's fields."""
    return (_SEVERITY + varint(number) if number else "") + (field(_SEVERITY_TEXT, text) if text else "")


def _severity(text: str) -> str:
    """Return the fields of a level under logweir's own name, where its numbers are the usual ones."""
    level = _LEVELS[text]
    return severity(0 if level is None else level.number, text)


def _resource(attributes: Mapping[str, str]) -> str:
    """Return a resource, with the length of the whole before it."""
    pairs = [field(_RESOURCE_ATTRIBUTE, key_value(name, value)) for name, value in attributes.items()]
    return head(field(_RESOURCE, "".join(pairs)).encode("latin-1")).decode("latin-1")


class UsualEncoder:
    """Writes records of the usual shape.

    Args:
        resources: The resources, which the general path shares.
    """

    def __init__(self, resources: Table[ResourceKey]) -> None:
        self._resources, self._times, self._bodies = resources, Table(_time, _TIMES_LIMIT), Table(_body, _BODIES_LIMIT)
        self._levels = Table(_severity, _LEVELS_LIMIT)
        self._integers = Table(integer, _INTEGERS_LIMIT)
        self._uid, self._category, self._parent = fixed(UID), fixed("category"), fixed("trace.parentSpanId")
        self._request, self._session = fixed("context.requestId"), fixed(RENAMED["context.sessionId"])
        # Where the user's own id is there, that of the context doesn't take its name.
        self._person, self._person_beside = fixed(RENAMED["context.userId"]), fixed("context.userId")
        self._metadata, self._performance = Names("metadata."), Names("performance.")
        self._context, self._error, self._user = (
            Names(group, {path.removeprefix(group): name for path, name in RENAMED.items()})
            for group in ("context.", "error.", "user.")
        )
        self._context_beside = Names("context.", {"sessionId": RENAMED["context.sessionId"]})

    def __call__(  # noqa: C901, PLR0912, PLR0915  a call for each part of a record takes a tenth longer
        self, values: Sequence[bytes], ids: Sequence[str], observed: Sequence[str]
    ) -> tuple[list[bytes], list[int]]:
        """Return the records, each with its resource before it, and the indexes of those that have another shape.

        In place of the latter stands nothing.

        Args:
            values: Their bytes.
            ids: Their identities.
            observed: Of each, the field of the time at which it was observed.
        """
        resources, times, levels = self._resources.known, self._times.known, self._levels.known
        bodies, integers = self._bodies.known, self._integers.known
        uids, categories, requests, sessions = self._uid, self._category, self._request, self._session
        metadata, performance = self._metadata, self._performance
        decode: Callable[[bytes], _Usual | _OwnNames] = _usual
        pieces: list[bytes] = []
        others: list[int] = []
        for value, identity, seen in zip(values, ids, observed, strict=True):
            try:
                # So decoded, its texts are wire text.
                plain = value if value.isascii() else value.decode("latin-1").encode()
                # The search for one byte is far quicker than that for two, and most records have none.
                if _BACKSLASH in value and b"\\u" in value:
                    _unusual()
                try:
                    own = decode(plain)
                except msgspec.ValidationError:
                    own = _own_names(plain)
                    # Its neighbours are likely to be like it.
                    decode = _own_names
                context, message, user, uid = own.context, own.message, own.user, own.id or wire(identity)
                if isinstance(context, _Context):
                    host = context.host
                    size = NO_HOST if host is UNSET else len(host)
                    key = context.service, context.version, context.environment, size
                    if host is UNSET and context == _NOTHING_SAID:
                        _unusual()
                else:
                    key, host = _place(context)
                try:
                    parts = [resources[key], host or "", times[own.timestamp], levels[own.level]]
                    parts += bodies[len(message)], message, uids[len(uid)], uid
                except KeyError:
                    parts = [self._resources(key), host or "", self._times(own.timestamp), self._levels(own.level)]
                    parts += self._bodies(len(message)), message, uids[len(uid)], uid
                if own.category is not UNSET:
                    parts += categories[len(own.category)], own.category
                if isinstance(context, _Context):
                    if context.request is not UNSET:
                        parts += requests[len(context.request)], context.request
                    if context.user is not UNSET:
                        heads = self._person_beside if user is not UNSET and "id" in user else self._person
                        parts += heads[len(context.user)], context.user
                    if context.session is not UNSET:
                        parts += sessions[len(context.session)], context.session
                groups: _Groups = (metadata, own.metadata), (performance, own.performance)
                if isinstance(context, dict) or user is not UNSET or own.error is not UNSET:
                    groups += self._others(own)
                for names, members in groups:
                    if members is UNSET:
                        continue
                    known = names.known
                    for name, each in members.items():
                        kind = type(each)
                        try:
                            if kind is str:
                                parts.append(known[name][len(each)])
                                parts.append(each)
                            elif kind is float:
                                parts.append(known[name][DOUBLE_HEAD])
                                parts.append(double(each).decode("latin-1"))
                            else:
                                made = integers[each] if kind is int else any_value(each)
                                parts.append(known[name][~len(made)])
                                parts.append(made)
                        except KeyError:
                            parts.append(self._made(names, name, each))
                trace = own.trace
                if trace is not UNSET:
                    # Zeros are no id, and what is no hexadecimal digit is an error.
                    if trace.trace == _NO_TRACE or trace.span == _NO_SPAN:
                        _unusual()
                    parts.append(unhexlify(f"{_TRACE_HEX}{trace.trace}{_SPAN_HEX}{trace.span}").decode("latin-1"))
                    if trace.parent is not UNSET:
                        parts += self._parent[len(trace.parent)], trace.parent
                parts.append(seen)
                pieces.append("".join(parts).encode("latin-1"))
            except (_UnusualError, TypeError, ValueError, IndexError, RecursionError, msgspec.DecodeError):
                others.append(len(pieces))
                pieces.append(b"")
        return pieces, others

    def _others(self, own: _Usual | _OwnNames) -> _Groups:
        """Return the groups of attributes that most records don't have."""
        user, names = own.user, self._context
        if user is not UNSET:
            if "username" in user and "name" in user:
                _unusual()
            if "id" in user:
                names = self._context_beside
        context = own.context if isinstance(own.context, dict) else UNSET
        return (names, context), (self._error, own.error), (self._user, user)

    def _made(self, names: Names, name: str, value: Any) -> str:
        """Return an attribute of a name, a length or a number that is not known yet, and keep these."""
        if type(value) is int:
            self._integers(value)
        return names.attribute(name, value)
