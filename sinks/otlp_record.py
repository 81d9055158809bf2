"""What a record is in OpenTelemetry's log data model: "Logs Data Model" and "Semantic Conventions" of OpenTelemetry.

    the record's           becomes
    timestamp              Timestamp, to the nanosecond
    level                  SeverityText as it is, and SeverityNumber
    message                Body
    trace                  TraceId and SpanId
    context                service.name, service.version, deployment.environment.name, host.name of the resource
    id                     the attribute log.record.uid
    error                  the attributes exception.type, exception.message, exception.stacktrace
    user, context          the attributes user.id, user.name, client.address, session.id
    all else               attributes under its own names: `metadata.status`, and maps for what lies deeper

What can't become what stands here, such as a trace id that is none, stays an attribute under its own name. So does all
that another format says elsewhere. Nothing of a record is left out.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from logweir.json_text import without_halves
from logweir.record import Level
from logweir.times import moment_of
from sinks.destination import Getter

RESOURCE = {
    "context.service": "service.name",
    "context.version": "service.version",
    "context.environment": "deployment.environment.name",
    "context.host": "host.name",
}
"""The attributes of the resource by the fields that they come from."""
EXCEPTION = {
    "error.name": "exception.type",
    "error.message": "exception.message",
    "error.stack": "exception.stacktrace",
}
RENAMED = {
    **EXCEPTION,
    "user.username": "user.name",
    "user.ip": "client.address",
    "context.userId": "user.id",
    "context.sessionId": "session.id",
}
"""Attributes that the semantic conventions have a name for; each keeps its own where a record has that name too."""
UID = "log.record.uid"
ORIGINAL = "log.record.original"
FIELDS = ("timestamp", "level", "message", "trace.traceId", "trace.spanId", *RESOURCE, *EXCEPTION)
"""The logical fields that are asked for."""

TRACE_BYTES = 16
SPAN_BYTES = 8

_LATEST = 1 << 64
_DIGITS = 9
_LONG_FRACTION = re.compile(r"[.,][0-9]{10}")
_LONG_INTEGER = 4000
"""Digits: Python refuses to read longer ones (sys.set_int_max_str_digits)."""

_NOTHING: Any = object()


@dataclass(slots=True)
class LogRecord:
    """One record in the data model's terms. All text is plain text."""

    resource: dict[str, str] = field(default_factory=dict)
    time: int = 0
    """Nanoseconds since 1970; 0 where there is no time."""
    severity: int = 0
    severity_text: str = ""
    body: Any = _NOTHING
    trace: bytes = b""
    span: bytes = b""
    attributes: dict[str, Any] = field(default_factory=dict)

    @property
    def has_body(self) -> bool:
        """Whether there is a body."""
        return self.body is not _NOTHING


class Mapper:
    """Makes log records of records of any format and any content.

    Args:
        getter: Gives the reader of each of `FIELDS`.
    """

    def __init__(self, getter: Callable[[str], Getter]) -> None:
        self.getters = {path: getter(path) for path in FIELDS}

    def __call__(self, value: bytes, row: Any, uid: str, level: Level | None) -> LogRecord:
        """Return one record.

        Args:
            value: Its bytes.
            row: Its projected fields.
            uid: Its identity.
            level: Its level; None for one that nobody knows.

        Raises:
            RecursionError: It is nested too deeply; `original` takes any.
        """
        return self._map(parse(value), {path: get(row) for path, get in self.getters.items()}, uid, level)

    def original(self, value: bytes, uid: str) -> LogRecord:
        """Return a record that is nested deeper than Python can follow: as its text, which says all of it."""
        return LogRecord(attributes={UID: uid, ORIGINAL: value.decode()})

    def _map(self, own: dict[str, Any], said: dict[str, Any], uid: str, level: Level | None) -> LogRecord:
        record = LogRecord()
        for path, name in RESOURCE.items():
            if isinstance(said[path], str) and said[path]:
                record.resource[name] = said[path]
                _take(own, path, said[path])
        record.time, exact = nanoseconds(said["timestamp"])
        if record.time and exact:
            _take(own, "timestamp", said["timestamp"])
        record.severity, record.severity_text = _severity(said["level"], level)
        if level is not None or isinstance(said["level"], str | int):
            _take(own, "level", said["level"])
        if said["message"] is not None and not _beyond(said["message"]):
            record.body = said["message"]
            _take(own, "message", record.body)
        self._link(record, own, said["trace.traceId"], said["trace.spanId"])
        record.attributes = _attributes(own)
        if UID not in record.attributes:
            if str(record.attributes.get("id")) == uid and isinstance(record.attributes["id"], str | int):
                del record.attributes["id"]
            record.attributes[UID] = uid
        for path, name in EXCEPTION.items():
            if isinstance(said[path], str):
                record.attributes.setdefault(name, said[path])
        return record

    @staticmethod
    def _link(record: LogRecord, own: dict[str, Any], trace: Any, span: Any) -> None:
        record.trace = identity(trace, TRACE_BYTES)
        if record.trace:
            _take(own, "trace.traceId", trace)
            record.span = identity(span, SPAN_BYTES)
            if record.span:
                _take(own, "trace.spanId", span)


def parse(value: bytes) -> dict[str, Any]:
    """Return a record. A number out of a double's range is its own text; U+FFFD stands for half of a surrogate pair.

    Raises:
        RecursionError: It is nested too deeply.
    """
    try:
        parsed: dict[str, Any] = _decode(value)
    except msgspec.DecodeError:
        # It refuses both in what it doesn't skip.
        parsed = json.loads(without_halves(value), parse_float=_float, parse_int=_integer)
    return parsed


_decode = msgspec.json.Decoder(dict[str, Any]).decode


def _float(text: str) -> float | str:
    number = float(text)
    return text if number in {float("inf"), float("-inf")} else number


def _integer(text: str) -> int | str:
    return text if len(text) > _LONG_INTEGER else int(text)


def _beyond(value: Any) -> bool:
    """Tell whether there is a number in it that is out of a double's range."""
    if isinstance(value, float):
        return math.isinf(value)
    if isinstance(value, dict):
        return any(map(_beyond, value.values()))
    return isinstance(value, list) and any(map(_beyond, value))


def identity(text: Any, size: int) -> bytes:
    """Return the bytes of a hexadecimal id; none for what isn't one of this size, or is all zeros."""
    if not isinstance(text, str) or len(text) != 2 * size:
        return b""
    try:
        found = bytes.fromhex(text)
    except ValueError:
        return b""
    return found if len(found) == size and any(found) else b""


def nanoseconds(value: Any) -> tuple[int, bool]:
    """Return nanoseconds since 1970, and whether they say all that the value does.

    Args:
        value: A time as it stands in a record.

    Returns:
        0 for what is no time, or one that the protocol can't hold: before 1970, or after 2554.
    """
    moment = moment_of(value)
    if moment is None:
        return 0, False
    found = moment.second * 10**_DIGITS + int(moment.fraction.ljust(_DIGITS, "0"))
    exact = not (isinstance(value, str) and _LONG_FRACTION.search(value))
    return (found, exact) if 0 < found < _LATEST else (0, False)


def _severity(said: Any, level: Level | None) -> tuple[int, str]:
    """Return a SeverityNumber and a SeverityText; a level that nobody knows is told as it stands there."""
    return (level.number, level.text) if level is not None else (0, str(said) if isinstance(said, str | int) else "")


def _take(own: dict[str, Any], path: str, value: Any) -> None:
    """Take a field out of a record if it is this value that stands there: what a format has elsewhere stays."""
    group, dot, name = path.rpartition(".")
    holder = own.get(group) if dot else own
    if not isinstance(holder, dict) or name not in holder:
        return
    found = holder[name]
    # By their representation, since 1, 1.0 and true are equal, also within lists.
    if (found == value) if type(found) is type(value) is str else (repr(found) == repr(value)):
        del holder[name]
        if dot and not holder:
            del own[group]


def _attributes(own: dict[str, Any]) -> dict[str, Any]:
    """Return what is left of a record under dotted names, as far as these differ; else under its own."""
    flat = list(_flattened(own))
    names = {name for name, _ in flat}
    if len(names) < len(flat):
        return own
    return {RENAMED[name] if name in RENAMED and RENAMED[name] not in names else name: value for name, value in flat}


def _flattened(own: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in own.items():
        if isinstance(value, dict) and value:
            for inner, each in value.items():
                yield f"{name}.{inner}", each
        else:
            yield name, value


def is_native(kind: type, getters: dict[str, Getter]) -> bool:
    """Tell whether the fields live under their own names, and nowhere else, in records of this format.

    Args:
        kind: The type of the projected records.
        getters: The readers of the logical fields.
    """
    try:
        places = msgspec.to_builtins(kind())
        marked, unmarked = _fill(places, getters, marks=True), _fill(places, getters, marks=False)
        own: Any = msgspec.convert(marked, kind)
        others: Any = msgspec.convert(unmarked, kind)
        return all(get(own) == path and get(others) is None for path, get in getters.items())
    except (TypeError, AttributeError, msgspec.ValidationError):
        return False


def _fill(places: dict[str, Any], paths: dict[str, Getter], *, marks: bool, group: str = "") -> dict[str, Any]:
    """Return a record that says something everywhere, and under each of the paths its own name, or nothing."""
    filled: dict[str, Any] = {}
    for name, inner in places.items():
        path = f"{group}{name}"
        below = [each for each in paths if each.startswith(path + ".")]
        if isinstance(inner, dict):
            filled[name] = _fill(inner, paths, marks=marks, group=path + ".")
        elif below:
            filled[name] = {each.rpartition(".")[2]: each for each in below} if marks else None
        else:
            filled[name] = (path if marks else None) if path in paths else "elsewhere"
    return filled
