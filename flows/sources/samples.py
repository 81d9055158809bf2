"""What the generated records say: a shop's services, as templates that take only a few values a record.

Each template is the bytes of one record with a `%b` for each value that differs from record to record, in the order of
`SLOTS`. A value that a template doesn't use is taken by `%.0b`, which writes nothing, so that all take the same values.

A record has 500 bytes on average.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import orjson

SLOTS = ("id_time", "id_fraction", "id_tail", "time", "number", "request", "number", "duration", "trace", "span")

LEVEL_SHARES = {"trace": 0.03, "debug": 0.38, "info": 0.525, "warn": 0.036, "error": 0.027, "fatal": 0.002}
ENVIRONMENT_SHARES = {"production": 0.6, "staging": 0.25, "development": 0.15}

TEMPLATES = 5000
"""So many that neighbours differ and a compressor finds no more than in real logs; built in about 0.1 s."""

_SERVICES = {
    "checkout": "orders",
    "payments": "payments",
    "catalog": "products",
    "search": "search",
    "accounts": "users",
    "shipping": "shipments",
    "notifications": "messages",
    "workflow-engine": "executions",
}
_NUMBER = "@number@"
"""Stands in a message or a metadata value for a number that differs from record to record."""

_ERRORS = (
    ("TimeoutError", "no answer from {peer} within 5000 ms"),
    ("ConnectionRefusedError", "connect ECONNREFUSED 10.4.{octet}.17:5432"),
    ("ValidationError", "field `amount` must be greater than 0"),
    ("DeadlockDetected", "deadlock detected while updating {table}"),
    ("PaymentDeclinedError", "the card issuer declined: insufficient funds"),
    ("NullPointerException", 'Cannot invoke "Order.total()" because "order" is null'),
)
_FRAMES = ("handle", "process", "execute", "charge", "reserve", "render", "query", "retry", "dispatch", "validate")
_METHODS = ("GET", "GET", "GET", "POST", "PUT", "DELETE")
_STEPS = ("fetch-cart", "reserve-stock", "authorise-payment", "render-invoice", "send-mail", "book-courier")

_Scene = tuple[str, str, dict[str, Any]]
"""A category, a message and metadata."""


def templates(seed: int) -> list[bytes]:
    """Return the templates of this seed; the levels and environments have their shares exactly."""
    dice = random.Random(f"templates-{seed}")
    levels = _spread(LEVEL_SHARES, dice)
    environments = _spread(ENVIRONMENT_SHARES, dice)
    return [_template(dice, level, environment) for level, environment in zip(levels, environments, strict=True)]


def _spread(shares: dict[str, float], dice: random.Random) -> list[str]:
    spread = [name for name, share in shares.items() for _ in range(round(share * TEMPLATES))]
    dice.shuffle(spread)
    return spread


def _http(dice: random.Random, service: str, level: str) -> _Scene:
    method = dice.choice(_METHODS)
    path = f"/api/v{dice.randint(1, 3)}/{_SERVICES[service]}/{_NUMBER}"
    failed = {"error": (500, 502, 504), "fatal": (503,), "warn": (404, 409, 429)}
    status = dice.choice(failed.get(level, (200, 200, 200, 201, 204, 304)))
    metadata = {"method": method, "path": path, "status": status, "bytes": dice.randint(120, 48_000)}
    return "http", f"{method} {path} {status}", metadata


def _database(dice: random.Random, service: str, level: str) -> _Scene:
    table = _SERVICES[service]
    verb, statement = dice.choice(
        (
            ("Query on", "SELECT * FROM {} WHERE id = $1"),
            ("Update of", "UPDATE {} SET state = $2, updated_at = now() WHERE id = $1"),
            ("Insert into", "INSERT INTO {} (id, state, payload) VALUES ($1, $2, $3)"),
        )
    )
    metadata = {"statement": statement.format(table), "rows": dice.randint(0, 500)}
    said = {"warn": " took longer than usual", "error": " failed", "fatal": " failed"}.get(level, "")
    return "database", f"{verb} {table}{said}", metadata


def _workflow(dice: random.Random, _service: str, level: str) -> _Scene:
    step = dice.choice(_STEPS)
    said = {"error": "failed", "fatal": "aborted", "warn": "is being retried", "debug": "started", "trace": "polled"}
    metadata = {"workflowId": f"wf-{dice.randint(1, 40)}", "executionId": _NUMBER, "step": step, "attempt": 1}
    metadata["attempt"] = dice.randint(2, 4) if level in {"warn", "error", "fatal"} else 1
    return "workflow", f"Step {step} of execution {_NUMBER} {said.get(level, 'completed')}", metadata


def _security(dice: random.Random, _service: str, level: str) -> _Scene:
    said = "Sign-in refused" if level in {"warn", "error", "fatal"} else "Sign-in"
    metadata = {
        "method": dice.choice(("password", "oidc", "api-key")),
        "country": dice.choice(("DE", "FR", "US", "IN")),
    }
    return "security", f"{said} for account {_NUMBER}", {**metadata, "account": _NUMBER}


def _audit(dice: random.Random, service: str, _level: str) -> _Scene:
    action = dice.choice(("changed the price of", "refunded", "exported", "approved", "archived"))
    entity = _SERVICES[service]
    return "audit", f"Operator {action} {entity} {_NUMBER}", {"action": action, "entity": entity, "entityId": _NUMBER}


def _cache(dice: random.Random, service: str, _level: str) -> _Scene:
    hit = dice.random() < 0.8  # noqa: PLR2004  a usual hit rate
    key = f"{_SERVICES[service]}:{_NUMBER}"
    metadata = {"cache": f"{service}-redis", "key": key, "hit": hit, "ttl": dice.choice((60, 300, 3600))}
    return "api", f"Cache {'hit' if hit else 'miss'} for {key}", metadata


_SCENES: tuple[Callable[[random.Random, str, str], _Scene], ...] = (
    *(_http,) * 4,
    *(_database,) * 3,
    *(_workflow,) * 3,
    *(_cache,) * 2,
    _security,
    _audit,
)


def _template(dice: random.Random, level: str, environment: str) -> bytes:
    """Return one record as a template, its parts in the order of the slots."""
    service = dice.choice(tuple(_SERVICES))
    category, message, metadata = dice.choice(_SCENES)(dice, service, level)
    context = {
        "service": service,
        "environment": environment,
        "host": f"{service}-{dice.getrandbits(20):05x}-{dice.randint(0, 9)}",
    }
    if dice.random() < 0.3:  # noqa: PLR2004  the share of requests of somebody who is signed in
        context["userId"] = f"usr_{dice.getrandbits(40):010x}"
    parts = [
        b'{"id":"%b%b%b","timestamp":"%b"',
        _json({"level": level, "category": category}),
        _json({"message": message}, once=True),
        _json({"context": context})[:-1] + b',"requestId":"%b"}',
        _json({"metadata": metadata}, once=True),
        _performance(dice),
    ]
    if level in {"error", "fatal"}:
        parts.append(_json({"error": _error(dice, service)}))
    traced = category in {"http", "database", "workflow", "api"}
    parts.append(b',"trace":{"traceId":"%b","spanId":"%b"}}' if traced else b"%.0b%.0b}")
    return b"".join(parts)


def _performance(dice: random.Random) -> bytes:
    if dice.random() < 0.3:  # noqa: PLR2004  some services measure more than the time
        usage = (dice.randint(40_000_000, 900_000_000), dice.uniform(0.5, 95))
        return b',"performance":{"duration":%%b,"memory":%d,"cpu":%.1f}' % usage
    return b',"performance":{"duration":%b}'


def _json(members: dict[str, Any], once: bool = False) -> bytes:
    """Return members as `,"name":value`, escaped for `%`.

    Args:
        members: What to write.
        once: Make a slot of the first number, and write the others as it is known for the whole template.
    """
    text = b"," + orjson.dumps(members)[1:-1].replace(b"%", b"%%")
    if not once:
        return text
    first, found, rest = text.partition(_NUMBER.encode())
    # A second mention of a number in one part would need a slot of its own.
    return first + b"%b" + rest.replace(_NUMBER.encode(), b"0") if found else text + b"%.0b"


def _error(dice: random.Random, service: str) -> dict[str, str]:
    name, message = dice.choice(_ERRORS)
    message = message.format(peer=dice.choice(tuple(_SERVICES)), octet=dice.randint(0, 9), table=_SERVICES[service])
    stack = "".join(f"\n    at {frame}" for frame in _frames(dice, service))
    return {"name": name, "message": message, "stack": f"{name}: {message}{stack}"}


def _frames(dice: random.Random, service: str) -> Iterator[str]:
    for _ in range(dice.randint(4, 9)):
        function = dice.choice(_FRAMES)
        yield f"{function} (/srv/{service}/dist/{function}.js:{dice.randint(1, 400)}:{dice.randint(1, 80)})"
