"""Mutated records: realistic ones of every format, changed where their structure is, and where their bytes are.

All follows from a seed and the time that the records are about.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from copy import deepcopy
from datetime import UTC, datetime
from random import Random
from typing import Any

from flows.sources.generate import Generator
from logweir.record import OTEL_LEVELS
from tests.json_values import REFUSED, TAKEN

Json = Any
FORMATS = ("logweir", "ecs", "otel", "pino", "bunyan", "json", "text")
PATHS = {
    "id": "event_id",
    "timestamp": "when",
    "level": "severity",
    "message": "text",
    "context.service": "/app.name",
    "trace.traceId": "span.trace",
    "error.message": "/err/detail",
    "performance.duration": "took",
}
"""Of the format `json`."""
_NODE_LEVELS = {"trace": 10, "debug": 20, "info": 30, "warn": 40, "error": 50, "fatal": 60}
_OTEL_NUMBERS = {level: number for number, level in OTEL_LEVELS.items()}
_LONG = 30_000
_VALUES: tuple[Json, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1.5,
    -0.0,
    1e300,
    5e-324,
    2**53 + 1,
    2**63,
    -(2**63) - 1,
    2**64,
    10**400,
    1793527200,
    1793527200123,
    1793527200123456789,
    -62135596801,
    253402300800,
    "",
    " ",
    "null",
    "0",
    "0" * 32,
    "f" * 32,
    "INFO",
    "Warning",
    "level",
    "30",
    "17",
    "9999-12-31T23:59:60Z",
    "0000-00-00T00:00:00Z",
    "2026-02-30T25:61:61+99:99",
    "2026-11-01 10:00:00,123",
    "1793527200.5",
    "+292278994-08-17T07:12:55.807Z",
    "NaN",
    "Infinity",
    "jane.doe@example.com",
    "4111 1111 1111 1111",
    "Bearer abc.def.ghi",
    "AKIAIOSFODNN7EXAMPLE",
    "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----",
    "10.0.0.1, 2001:db8::1",
    "\ud83d",
    "\ude00\ud83d",
    "\x00\x1b[31m\x7f\x85",
    "\u2028\u202e\ufeff\uffff",
    "e" + "\u0301" * 50,
    "😀" * 20,
    "${x} {{y}} %s %d \\ / ' \" `",
    "a.b.c",
    "x" * _LONG,
    "jane@" * 2000,
    "1" * 5000,
    [],
    {},
    [[]],
    [None, True, 1, "x", {}],
    [{}] * 300,
    {"": 0},
    {"key": "a", "value": {"stringValue": "b"}},
    {"values": [{"intValue": "9" * 50}]},
    {"kvlistValue": {"values": [{"key": 1}]}},
)
_KEYS = (
    "",
    "id",
    "level",
    "timestamp",
    "@timestamp",
    "time",
    "message",
    "context",
    "context.service",
    "service",
    "trace",
    "traceId",
    "error",
    "metadata",
    "user",
    "performance",
    "duration",
    "attributes",
    "body",
    "log.level",
    "log",
    "a/b",
    "~0~1",
    "password",
    "__proto__",
    "_id",
    "0",
    "\ud83d",
    "ü\n\t",
    "k" * 2000,
    "*",
    "jane@example.com",
)
_BYTES = (
    b"\x00",
    b"\xff",
    b"\xc3",
    b"\xed\xa0\xbd",
    b'"',
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\n",
    b"\r",
    b"\\u",
)
_ODD = [value for value in [*TAKEN.values(), *REFUSED.values()] if len(value) < _LONG]


class Mutations:
    """Gives records of one format, each mutated in one to four ways.

    Args:
        layout: The format's name.
        seed: Other seeds give other records.
        moment: What the records are about, in epoch seconds.
    """

    def __init__(self, layout: str, seed: int, moment: float) -> None:
        self._write = _WRITERS[layout]
        self._text = layout == "text"
        self._dice = Random(f"{layout}-{seed}")
        self._generator = Generator(seed, moment)
        self._given = 0

    def good(self, count: int) -> list[bytes]:
        """Return records that nothing is wrong with."""
        records = self._generator.batch(self._given, count)
        self._given += count
        return [_dump(self._write(json.loads(each)), self._text) for each in records]

    def mutated(self, count: int) -> list[bytes]:
        """Return mutated records; about one of ten is no record any more, or was none."""
        return [self._mutated(value) for value in self.good(count)]

    def _mutated(self, value: bytes) -> bytes:
        dice = self._dice
        if self._text:
            return self._bytes(value) if dice.random() < 0.8 else dice.choice(_ODD)
        if dice.random() < 0.01:
            return dice.choice(_ODD)
        tree = json.loads(value)
        for _ in range(dice.randint(1, 4)):
            self._change(tree)
        value = self._spelt(tree)
        return self._bytes(value) if dice.random() < 0.1 else value

    def _change(self, tree: Json) -> None:
        """Change one member or item, wherever it is."""
        dice = self._dice
        places = list(_places(tree))
        if not places:
            tree[dice.choice(_KEYS)] = _copy(dice.choice(_VALUES))
            return
        holder, key = dice.choice(places)
        kind = dice.randrange(7)
        if kind == 0:
            del holder[key]
        elif kind == 1:
            other, name = dice.choice(places)
            if name in other if isinstance(other, dict) else name < len(other):
                holder[key] = _copy(other[name])
        elif kind == 2:
            holder[key] = _nested(holder[key], dice)
        elif kind == 3 and isinstance(holder, dict):
            holder[dice.choice(_KEYS)] = holder.pop(key)
        elif kind == 4 and isinstance(holder, dict):
            holder[dice.choice(_KEYS)] = _copy(dice.choice(_VALUES))
        else:
            holder[key] = _copy(dice.choice(_VALUES))

    def _spelt(self, tree: Json) -> bytes:
        """Return JSON as one of many programs would write it."""
        dice = self._dice
        indent = 1 if dice.random() < 0.05 else None
        text = json.dumps(tree, ensure_ascii=dice.random() < 0.5, indent=indent)
        if dice.random() < 0.05:
            # A name twice, of which the second counts.
            text = f'{{"{dice.choice(("level", "id", "message", "x"))}":{json.dumps(dice.choice(_VALUES))},{text[1:]}'
        # Halves of surrogate pairs can only be escapes in what is valid; as bytes they are none.
        return text.encode("utf-8", "surrogatepass" if dice.random() < 0.05 else "replace")

    def _bytes(self, value: bytes) -> bytes:
        """Return the bytes with a part cut, doubled, put in or turned round."""
        dice = self._dice
        at, end = sorted((dice.randint(0, len(value)), dice.randint(0, len(value))))
        kind = dice.randrange(6)
        if kind == 0:
            return value[:at]
        if kind == 1:
            return value[:at] + value[end:]
        if kind == 2:
            return value[:end] + value[at:]
        if kind == 3:
            return b"\xef\xbb\xbf" + value
        if kind == 4 and value:
            at = min(at, len(value) - 1)
            return value[:at] + bytes([value[at] ^ (1 << dice.randrange(8))]) + value[at + 1 :]
        return value[:at] + dice.choice(_BYTES) + value[at:]


def _places(tree: Json) -> Iterator[tuple[Json, Json]]:
    """Give each object or list with each of its keys or indexes; of what was nested deep the upper part."""
    waiting = [(tree, 0)]
    while waiting:
        holder, depth = waiting.pop()
        keys = list(holder) if isinstance(holder, dict) else range(min(len(holder), 5))
        for key in keys:
            yield holder, key
            if isinstance(holder[key], dict | list) and depth < 5:
                waiting.append((holder[key], depth + 1))


def _copy(value: Json) -> Json:
    """Return a copy, for what is put into a record is changed there; null for one that is nested too deep."""
    try:
        return deepcopy(value)
    except RecursionError:
        return None


def _nested(value: Json, dice: Random) -> Json:
    for _ in range(dice.choice((1, 2, 10, 60, 120))):
        value = [value] if dice.random() < 0.5 else {dice.choice(("a", "context", "key", "")): value}
    return value


def _dump(record: Json, text: bool) -> bytes:
    return str(record).encode() if text else json.dumps(record, separators=(",", ":")).encode()


def _logweir(record: dict[str, Json]) -> Json:
    return record


def _ecs(record: dict[str, Json]) -> Json:
    context, trace = record.get("context", {}), record.get("trace", {})
    made = {
        "@timestamp": record["timestamp"],
        "log.level": record["level"],
        "message": record["message"],
        "ecs.version": "8.11.0",
        "event": {"id": record["id"], "category": [record.get("category", "api")]},
        "service": {"name": context.get("service"), "environment": context.get("environment")},
        "trace.id": trace.get("traceId"),
        "span": {"id": trace.get("spanId")},
        "labels": record.get("metadata", {}),
    }
    if "error" in record:
        error = record["error"]
        made["error"] = {"type": error.get("name"), "message": error.get("message"), "stack_trace": error.get("stack")}
    return made


def _otel(record: dict[str, Json]) -> Json:
    context, trace = record.get("context", {}), record.get("trace", {})
    attributes: dict[str, Json] = {"service.name": context.get("service"), "log.record.uid": record["id"]}
    attributes |= {f"app.{name}": value for name, value in record.get("metadata", {}).items()}
    return {
        "timeUnixNano": str(round(_seconds(record) * 1_000_000) * 1000),
        "severityNumber": _OTEL_NUMBERS[record["level"]],
        "severityText": record["level"].upper(),
        "body": {"stringValue": record["message"]},
        "attributes": [{"key": name, "value": {"stringValue": str(value)}} for name, value in attributes.items()],
        "traceId": trace.get("traceId", ""),
        "spanId": trace.get("spanId", ""),
        "flags": 1,
    }


def _node(record: dict[str, Json]) -> Json:
    context = record.get("context", {})
    made = {
        "level": _NODE_LEVELS[record["level"]],
        "time": math.floor(_seconds(record) * 1000),
        "pid": 7,
        "hostname": context.get("host", "h"),
        "name": context.get("service"),
        "reqId": context.get("requestId"),
        "msg": record["message"],
        "responseTime": record.get("performance", {}).get("duration"),
    }
    if "error" in record:
        error = record["error"]
        made["err"] = {"type": error.get("name"), "message": error.get("message"), "stack": error.get("stack")}
    return made


def _bunyan(record: dict[str, Json]) -> Json:
    return {**_node(record), "time": record["timestamp"], "v": 0}


def _json(record: dict[str, Json]) -> Json:
    return {
        "event_id": record["id"],
        "when": record["timestamp"],
        "severity": record["level"],
        "text": record["message"],
        "app.name": record.get("context", {}).get("service"),
        "span": {"trace": record.get("trace", {}).get("traceId")},
        "err": {"detail": record.get("error", {}).get("message")},
        "took": record.get("performance", {}).get("duration"),
        "more": record.get("metadata", {}),
    }


def _text(record: dict[str, Json]) -> Json:
    return f"{record['timestamp']} {record['level'].upper()} {record['message']}"


def _seconds(record: dict[str, Json]) -> float:
    return datetime.strptime(record["timestamp"], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC).timestamp()


_WRITERS: dict[str, Callable[[dict[str, Json]], Json]] = {
    "logweir": _logweir,
    "ecs": _ecs,
    "otel": _otel,
    "pino": _node,
    "bunyan": _bunyan,
    "json": _json,
    "text": _text,
}
