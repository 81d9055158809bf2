"""What the tests of OTLP share: what a server reads of a record, and what the page says that it should read."""

from __future__ import annotations

import copy
import json
import math
import re
from dataclasses import dataclass, field
from typing import Any, Literal
from unittest.mock import patch

from hypothesis import strategies as st
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from pydantic import TypeAdapter

from operators.formats import LOGWEIR, Format
from sinks.otlp import Otlp
from sinks.otlp_protobuf import ProtobufEncoder
from sinks.otlp_wire import MAX_DEPTH
from tests.servers.otlp import JSON, PROTOBUF, members, plain, read
from tests.sinks.cloud_support import Encoder

Way = Literal["straight", "general", "json"]
WAYS: tuple[Way, ...] = ("straight", "general", "json")
ARRIVED = 1_790_000_000.0
KEY = "pl4nted-s3cret"
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"

TIMES: dict[Any, int] = {
    "2026-11-01T10:00:00Z": 1_793_527_200_000_000_000,
    "2026-11-01T10:00:00.123456789Z": 1_793_527_200_123_456_789,
    "2026-11-01T12:00:00.5+02:00": 1_793_527_200_500_000_000,
    1767323045678: 1_767_323_045_678_000_000,
}
"""Timestamps that are told as such; any other stays an attribute."""
LEVELS: dict[Any, int] = {"info": 9, "WARNING": 13, "fatal": 21, 30: 9, "odd": 0, "": 0}
RESOURCE = {
    "service": "service.name",
    "version": "service.version",
    "environment": "deployment.environment.name",
    "host": "host.name",
}
CONVENTIONS = {
    "error.name": "exception.type",
    "error.message": "exception.message",
    "error.stack": "exception.stacktrace",
    "user.username": "user.name",
    "user.ip": "client.address",
    "context.userId": "user.id",
    "context.sessionId": "session.id",
}


def configured(url: str = "http://127.0.0.1:9", **changes: Any) -> Otlp:
    """Return settings as a flow file gives them."""
    given = {"type": "otlp", "url": url, "headers": {"Authorization": f"Bearer {KEY}"}}
    return TypeAdapter(Otlp).validate_python({**given, **changes})


_encoded = Encoder(configured, ARRIVED)


@dataclass(eq=False)
class Told:
    """What a log record says, as plain values."""

    resource: dict[str, Any] = field(default_factory=dict)
    time: int = 0
    severity: int = 0
    severity_text: str = ""
    body: Any = None
    trace: str = ""
    span: str = ""
    attributes: dict[str, Any] = field(default_factory=dict)

    def __eq__(self, other: object) -> bool:
        """Compare as JSON does: 1, 1.0 and true differ."""
        return repr(self) == repr(other)

    def __hash__(self) -> int:
        return hash(repr(self))

    def __repr__(self) -> str:
        return json.dumps(vars(self), sort_keys=True, ensure_ascii=False)


def told(record: LogRecord, resource: dict[str, Any]) -> Told:
    """Return what a record says that a server has read."""
    return Told(
        resource,
        record.time_unix_nano,
        record.severity_number,
        record.severity_text,
        plain(record.body),
        record.trace_id.hex(),
        record.span_id.hex(),
        members(record.attributes),
    )


def sent(*values: bytes, way: Way = "straight", layout: Format = LOGWEIR, **changes: Any) -> list[Told]:
    """Return what a server reads of each of these records, by one of the ways to write them."""
    changes["encoding"] = "json" if way == "json" else "protobuf"
    if way == "general":
        with patch.object(ProtobufEncoder, "_is_native", return_value=False):
            pieces = _encoded(*values, layout=layout, **changes)
    else:
        pieces = _encoded(*values, layout=layout, **changes)
    _, destination = _encoded.made[f"{layout.name} {changes}"]
    found = []
    for piece in pieces:
        request = read(destination.frame([piece]), JSON if way == "json" else PROTOBUF)
        (group,) = request.resource_logs
        ((record,),) = (scope.log_records for scope in group.scope_logs)
        assert record.observed_time_unix_nano == ARRIVED * 1e9
        found.append(told(record, members(group.resource.attributes)))
    return found


def promised(record: dict[str, Any], offset: int = 0) -> Told:
    """Return what the page promises of a record in logweir's own format."""
    left = copy.deepcopy(record)
    made = Told()
    _promise_fields(made, left)
    own = left.get("id")
    uid = str(own) if type(own) in {str, int} and own != "" else f"logs-0-{offset}"
    pairs = [
        (f"{name}.{inner}", each)
        for name, value in left.items()
        if isinstance(value, dict)
        for inner, each in value.items()
    ]
    pairs += [(name, value) for name, value in left.items() if not (isinstance(value, dict) and value)]
    names = {name for name, _ in pairs}
    if len(names) < len(pairs):
        found = left
    else:
        found = {
            CONVENTIONS[name] if name in CONVENTIONS and CONVENTIONS[name] not in names else name: value
            for name, value in pairs
        }
    if "log.record.uid" not in found:
        if type(own) in {str, int} and str(own) == uid:
            del found["id"]
        found["log.record.uid"] = uid
    for name in ("name", "message", "stack"):
        error = record.get("error")
        if isinstance(error, dict) and isinstance(error.get(name), str):
            found.setdefault(CONVENTIONS[f"error.{name}"], error[name])
    made.attributes = {name: rendered(value) for name, value in named(found).items()}
    return made


def _promise_fields(made: Told, left: dict[str, Any]) -> None:
    for name, attribute in RESOURCE.items():
        if (
            isinstance(left.get("context"), dict)
            and left["context"].get(name)
            and isinstance(left["context"][name], str)
        ):
            made.resource[attribute] = _moved(left, "context", name)
    if type(left.get("timestamp")) in {str, int} and left["timestamp"] in TIMES:
        made.time = TIMES[left.pop("timestamp")]
    if type(left.get("level")) in {str, int}:
        level = left.pop("level")
        made.severity, made.severity_text = LEVELS.get(level, 0), str(level)
    if left.get("message") is not None and not _beyond(left["message"]):
        made.body = rendered(left.pop("message"))
    if _has_id(left, "traceId", len(TRACE)):
        made.trace = _moved(left, "trace", "traceId")
        if _has_id(left, "spanId", len(SPAN)):
            made.span = _moved(left, "trace", "spanId")


def _beyond(value: Any) -> bool:
    """Tell whether there is a number in it that is out of a double's range."""
    if isinstance(value, dict | list):
        return any(map(_beyond, value.values() if isinstance(value, dict) else value))
    return isinstance(value, float) and math.isinf(value)


def _has_id(left: dict[str, Any], name: str, digits: int) -> bool:
    value = left["trace"].get(name) if isinstance(left.get("trace"), dict) else None
    return isinstance(value, str) and bool(re.fullmatch(f"[0-9a-f]{{{digits}}}", value)) and bool(value.strip("0"))


def _moved(left: dict[str, Any], group: str, name: str) -> Any:
    value = left[group].pop(name)
    if not left[group]:
        del left[group]
    return value


def named(members: dict[str, Any]) -> dict[str, Any]:
    """Return members without an empty name, as the page promises."""
    if "" not in members:
        return members
    instead = next("_" * count for count in range(1, 9) if "_" * count not in members)
    return {name or instead: value for name, value in members.items()}


def rendered(value: Any, depth: int = 0) -> Any:
    """Return a value as the page says that it is sent."""
    if type(value) is int and not -(2**63) <= value < 2**63:
        return str(value)
    if isinstance(value, dict | list) and depth >= MAX_DEPTH:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if isinstance(value, dict):
        return {name: rendered(each, depth + 1) for name, each in named(value).items()}
    return [rendered(each, depth + 1) for each in value] if isinstance(value, list) else value


NAMES = st.sampled_from(
    ["a", "b", "a.b", "", "_", "é", "name", "exception.type", "user.id", "log.record.uid", "x" * 130]
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-5, 300)
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(["é" * 70, "\x00\x1b[31m", "\U0001f600", "x" * 127, "y" * 128, "z" * 16_384])
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=2), max_leaves=5
)


def group(*names: str) -> st.SearchStrategy[Any]:
    """Return an object with some of these members, and perhaps others; or something else."""
    own = st.fixed_dictionaries({}, optional={name: VALUES | st.text(max_size=4) for name in names})
    more = st.dictionaries(NAMES, VALUES, max_size=1)
    return st.builds(lambda one, two: one | two, own, more) | VALUES


RECORDS = st.builds(
    lambda known, more: more | known,
    st.fixed_dictionaries(
        {},
        optional={
            "id": st.sampled_from(["1", "é", "", 5, None, [1]]),
            "timestamp": st.sampled_from([*TIMES, *["x", "", None, [1], True, "1969-01-01T00:00:00Z"]]),
            "level": st.sampled_from([*LEVELS, None, True, ["error"], 1.5]),
            "message": st.text(max_size=9) | VALUES,
            "category": st.just("http") | VALUES,
            "context": group("service", "version", "environment", "host", "userId", "sessionId", "requestId"),
            "metadata": group("status"),
            "performance": group("duration"),
            "error": group("name", "message", "stack"),
            "user": group("id", "username", "name", "ip"),
            "trace": st.fixed_dictionaries(
                {},
                optional={
                    "traceId": st.sampled_from([TRACE, "0" * 32, "x" * 32, " " * 32, TRACE[1:], 5, None]),
                    "spanId": st.sampled_from([SPAN, "0" * 16, "é" * 16, SPAN[:14] + "  ", ["a"]]),
                    "parentSpanId": st.sampled_from([SPAN, "é", None]),
                },
            )
            | VALUES,
        },
    ),
    st.dictionaries(NAMES, VALUES, max_size=2),
)
USUAL = {
    "id": "1",
    "timestamp": "2026-11-01T10:00:00Z",
    "level": "info",
    "message": "m",
    "context": {"service": "shop", "version": "1", "environment": "test", "host": "h", "requestId": "r"},
    "metadata": {"status": 200, "ok": True, "rate": 0.5},
    "trace": {"traceId": TRACE, "spanId": SPAN},
}


def text(record: dict[str, Any], *, escaped: bool) -> bytes:
    """Return a record as JSON, with or without escapes of what isn't ASCII."""
    return json.dumps(record, ensure_ascii=escaped).encode()
