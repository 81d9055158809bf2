"""Formats: where the fields of a record live in the logs of other programs.

A format maps a logical path (design: the record) to the wire paths that may hold it, tried in order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from logweir.paths import keys_of
from logweir.record import OTEL_LEVELS, USUAL_LEVELS, LevelTable

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Alternative:
    """One place where a field may live."""

    path: Path
    """The keys from the top of the record; a key may itself hold dots, as in ECS's `log.level`."""
    convert: Callable[[Any], Any] | None = None


@dataclass(frozen=True, slots=True)
class Format:
    """Where fields live. What isn't listed is found at its own dotted path."""

    name: str
    places: Mapping[str, tuple[Alternative, ...]] = field(default_factory=dict)
    metadata: Callable[[str], tuple[Alternative, ...]] | None = None
    """Where `metadata.<name>` lives, when not under `metadata`."""
    levels: Mapping[int, str] = field(default_factory=lambda: USUAL_LEVELS)
    """What a numeric level means."""
    level_text: Alternative | None = None
    """Where a level is said in words, when `level` is a number."""
    dotted: bool = False
    """Whether each name with dots may be nested objects, or keys that hold the dots."""
    wrap: bool = False
    """The value isn't JSON: each line becomes the `message` of a record."""

    def wire(self, path: str) -> tuple[Alternative, ...]:
        """Return where this logical path may live, the first that is set wins."""
        if path in self.places:
            return self.places[path]
        head, _, rest = path.partition(".")
        if head == "metadata" and rest and self.metadata is not None:
            return self.metadata(rest)
        return _dotted(path) if self.dotted and not path.startswith("/") else (Alternative(keys_of(path)),)


def _at(*paths: str, convert: Callable[[Any], Any] | None = None) -> tuple[Alternative, ...]:
    return tuple(Alternative(tuple(path.split(".")), convert) for path in paths)


def _dotted(*paths: str, convert: Callable[[Any], Any] | None = None) -> tuple[Alternative, ...]:
    """Return each path as nested objects and as keys with dots in it: ECS loggers write either, and both mixed."""
    return tuple(Alternative(keys, convert) for path in paths for keys in _splits(path.split(".")))


_MIXED = 5
"""Levels; of a longer path only the two forms without a mixture are looked for."""


def _splits(keys: Sequence[str]) -> list[Path]:
    """Return all ways to write keys: each as one of its own, or some joined by dots."""
    if len(keys) > _MIXED:
        return [tuple(keys), (".".join(keys),)]
    if len(keys) < 2:  # noqa: PLR2004
        return [tuple(keys)]
    return [(".".join(keys[:count]), *rest) for count in range(1, len(keys)) for rest in _splits(keys[count:])] + [
        (".".join(keys),)
    ]


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list) and value else value


def _nanoseconds(value: Any) -> Any:
    if not isinstance(value, int | float):
        return value
    try:
        return value / 1_000_000
    except OverflowError:  # an integer beyond a double, which a rule sees as infinite
        return math.inf if value > 0 else -math.inf


LOGWEIR = Format("logweir")

ECS = Format(
    "ecs",
    {
        "id": _dotted("event.id"),
        "timestamp": _at("@timestamp"),
        "level": _dotted("log.level"),
        "category": _dotted("event.category", convert=_first),
        "context.service": _dotted("service.name"),
        "context.environment": _dotted("service.environment"),
        "context.version": _dotted("service.version"),
        "context.host": _dotted("host.name", "host.hostname"),
        "context.requestId": _dotted("http.request.id"),
        "performance.duration": _dotted("event.duration", convert=_nanoseconds),
        "error.name": _dotted("error.type"),
        "error.stack": _dotted("error.stack_trace"),
        "trace.traceId": _dotted("trace.id"),
        "trace.spanId": _dotted("span.id"),
        "trace.parentSpanId": _dotted("parent.id"),
        "user.username": _dotted("user.name"),
        "user.ip": _dotted("client.ip", "source.ip"),
    },
    metadata=lambda name: _dotted(f"labels.{name}"),
    dotted=True,
)

_NODE = {
    "timestamp": _at("time"),
    "message": _at("msg"),
    "context.service": _at("name"),
    "context.host": _at("hostname"),
    "context.requestId": _at("reqId", "req_id", "req.id"),
    "performance.duration": _at("responseTime", "duration"),
    "error": _at("err", "error"),
    "error.name": _at("err.type", "err.name"),
    "error.message": _at("err.message"),
    "error.stack": _at("err.stack"),
}

PINO = Format("pino", _NODE, metadata=_at)

BUNYAN = Format("bunyan", {**_NODE, "context.version": _at("version")}, metadata=_at)


def _any_value(value: Any) -> Any:
    """Return the plain value of an OTLP/JSON AnyValue (opentelemetry-proto, common.proto)."""
    if not isinstance(value, dict) or len(value) != 1:
        return value
    kind, inner = next(iter(value.items()))
    if kind == "intValue":
        return int(inner) if isinstance(inner, str) and inner.lstrip("-").isdigit() else inner
    if kind == "arrayValue":
        values = inner.get("values", []) if isinstance(inner, dict) else []
        return [_any_value(each) for each in values] if isinstance(values, list) else inner
    if kind == "kvlistValue":
        return _attributes(inner.get("values")) if isinstance(inner, dict) else inner
    return inner


def _attributes(value: Any) -> dict[str, Any]:
    pairs = value if isinstance(value, list) else []
    return {
        str(pair["key"]): _any_value(pair.get("value")) for pair in pairs if isinstance(pair, dict) and "key" in pair
    }


def _attribute(*names: str) -> tuple[Alternative, ...]:
    def pick(name: str) -> Callable[[Any], Any]:
        return lambda value: _attributes(value).get(name)

    return tuple(Alternative(("attributes",), pick(name)) for name in names)


def _set(value: Any) -> Any:
    """Return a value; None for zero, by which protobuf says that a field is not set."""
    return None if value in (0, "0", "") else value


_SEVERITIES = LevelTable(OTEL_LEVELS)
_SEVERITY_TEXT = Alternative(("severityText",))


def _severity_number(value: Any) -> Any:
    """Return a SeverityNumber, or its name; None for what is none, so that the text decides."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return value if _SEVERITIES[value] is not None else None


OTEL = Format(
    "otel",
    {
        "id": _attribute("log.record.uid"),
        "timestamp": _at("timeUnixNano", "observedTimeUnixNano", convert=_set),
        "level": (Alternative(("severityNumber",), _severity_number), _SEVERITY_TEXT),
        "category": _attribute("category", "event.name"),
        "message": _at("body", convert=_any_value),
        "context.service": _attribute("service.name"),
        "context.environment": _attribute("deployment.environment.name", "deployment.environment"),
        "context.version": _attribute("service.version"),
        "context.host": _attribute("host.name"),
        "performance.duration": _attribute("performance.duration", "duration"),
        "error.name": _attribute("exception.type"),
        "error.message": _attribute("exception.message"),
        "error.stack": _attribute("exception.stacktrace"),
        "trace.traceId": _at("traceId"),
        "trace.spanId": _at("spanId"),
        "user.id": _attribute("user.id", "enduser.id"),
    },
    metadata=_attribute,
    levels=OTEL_LEVELS,
    level_text=_SEVERITY_TEXT,
)

TEXT = Format("text", wrap=True)

FORMATS = {each.name: each for each in (LOGWEIR, ECS, OTEL, PINO, BUNYAN, TEXT)}


def configured(paths: Mapping[str, str]) -> Format:
    """Return the `json` format: each logical path lives where the flow file says; `/a/b` names keys that hold dots.

    Args:
        paths: logical path -> wire path, dotted, or with slashes where a key itself holds a dot.
    """
    places = {}
    for logical, wire in paths.items():
        places[logical] = (Alternative(keys_of(wire)),)
    return Format("json", places)
