"""What the tests of search share: an archive with records in it, and what a search finds there."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from flows.archiving import FlowArchive
from flows.search.answer import Search
from flows.search.command import Asked, search
from tests.sinks.archive_support import configured, writer

NOW = 1_767_268_800.0
"""2026-01-01T12:00:00Z."""
DAY = 86_400.0
LEVELS = ("debug", "info", "warn", "error")
SERVICES = ("shop", "pay", "ship")


def record(number: int, seconds: float, **fields: Any) -> bytes:
    """Return a record of this number and time."""
    from logweir.times import rfc3339

    return json.dumps({"id": f"r{number}", "timestamp": rfc3339(seconds), **fields}).encode()


def made(count: int, seed: int = 1) -> list[bytes]:
    """Return records of three days in no order, some of them of one moment."""
    dice = random.Random(seed)
    return [
        record(
            number,
            NOW - dice.randrange(300) * DAY / 100,
            level=dice.choice(LEVELS),
            context={"service": dice.choice(SERVICES)},
            trace={"traceId": f"{dice.randrange(40):032x}"},
            performance={"duration": dice.randrange(2000)},
            message=dice.choice(("timeout", "Time out", "done", "caf\u00e9")),
        )
        for number in range(count)
    ]


def archive(place: Path | str, values: Iterable[Sequence[bytes]], folder: Path, **changes: Any) -> FlowArchive:
    """Return an archive to which each of these was committed by itself."""
    settings = configured(place, **changes)
    with writer(settings, folder) as opened:
        offset = 0
        for some in values:
            opened.deliver(some, offset)
            offset += len(some)
    return settings


def find(settings: FlowArchive, limit: int = 1 << 30, **asked: Any) -> list[bytes]:
    """Return what a search finds, in its order."""
    query = Asked(**asked).query(settings, NOW)
    return [row.raw for row in Search(settings.retention.archive.store(), query).newest(limit)]


def printed(settings: FlowArchive, limit: int = 100, *, as_json: bool = False, kept: bool = False, **asked: Any) -> str:
    """Return what a search writes."""
    out = io.BytesIO()
    search(settings, Asked(**asked), limit=limit, follow=False, kept=kept, as_json=as_json, out=out)
    return out.getvalue().decode()


def number(value: bytes) -> int:
    """Return the number of a record."""
    return int(json.loads(value)["id"][1:])
