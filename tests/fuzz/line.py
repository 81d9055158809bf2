"""All of a flow that looks at records, without its engine and its destinations' services: each record is accounted for.

Batches go through decode, redaction, rules, the asking of limiters, the final decode, and the screen and the encoder of
every destination and of the archive.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pyarrow as pa

from flows.config import load
from flows.plan import Plan, limiters_of
from flows.seats import Seating
from logweir.batch import Batch
from logweir.guard import DEFECT
from operators.limiters import Question, spread
from operators.projection import Projection
from sinks.archive import ArchiveDestination
from sinks.archive_files import files
from sinks.destination import Destination, Records, Screening
from sinks.prepare import prepared
from tests.fuzz.mutations import PATHS
from tests.sinks.test_json_values import SETTINGS

RULES: list[dict[str, Any]] = [
    {"name": "No trace", "type": "level", "levels": ["trace"], "action": "exclude"},
    {
        "name": "Slow",
        "type": "field",
        "field": "performance.duration",
        "operator": "gt",
        "value": 1e9,
        "action": "exclude",
    },
    {"name": "Slashes", "type": "field", "field": "/a.b/c", "operator": "exists", "value": True, "action": "exclude"},
    {
        "name": "Tagged",
        "type": "field",
        "field": "metadata",
        "operator": "contains",
        "value": "zz",
        "action": "exclude",
    },
    {"name": "One of", "type": "field", "field": "level", "operator": "in", "value": [1, "x"], "action": "exclude"},
    {"name": "Words", "type": "regex", "field": "message", "pattern": "never (ever)+", "action": "exclude"},
    {"name": "Errors", "type": "regex", "field": "error.message", "pattern": "^nobody$", "action": "exclude"},
    {"name": "Kinds", "type": "category", "categories": ["none"], "action": "exclude"},
    {"name": "Share", "type": "sample", "sample_rate": 0.9, "by": "user.id"},
    {"name": "Rate", "type": "rate", "max_per_second": 1_000_000, "by": ["context.service", "metadata"]},
    {"name": "Waits", "type": "rate", "max_per_minute": 1_000_000, "clock": "system", "by": "error"},
    {"name": "Again", "type": "dedupe", "by": ["message", "id"], "window": "10s"},
    {"name": "Keep errors", "type": "level", "levels": ["error", "fatal"], "priority": 100},
]
REDACT: dict[str, Any] = {
    "fields": ["*.password", {"path": "user.id", "mode": "hash"}, {"path": "**.token", "mode": "remove"}],
    "patterns": ["credit_card", "email", "ipv4", "ipv6", "jwt", "aws_key", "bearer_token", "private_key"],
    "hash_key": "0123456789abcdef",
}
_OTHER = {"cloudwatch", "console", "kafka", "otlp", "s3"}
"""Destinations whose requests are no JSON before they are sent."""


class Line:
    """What a flow with every destination and the archive does with records.

    Args:
        layout: The format of the source.
        directory: Where files would be.
        redacts: Whether something is hidden.
    """

    def __init__(self, layout: str, directory: Path, *, redacts: bool = True) -> None:
        source: dict[str, Any] = {"type": "stdin", "format": layout}
        if layout == "json":
            source["paths"] = PATHS
        destinations = {
            kind.replace(" ", "-"): {"type": kind.partition(" ")[0], **settings} for kind, settings in SETTINGS.items()
        }
        destinations["file"] = {"type": "file", "path": str(directory / "out.ndjson")}
        destinations["file"]["rules"] = [{"name": "Own", "type": "field", "field": "x", "operator": "ne", "value": 0}]
        settings = {
            "name": "fuzz",
            "source": source,
            "rules": RULES,
            "destinations": destinations,
            "retention": {"archive": {"path": str(directory / "archive")}},
            "dead_letter": {"directory": str(directory / "dead")},
            "recovery": {"directory": str(directory / "recovery")},
            **({"redact": REDACT} if redacts else {}),
        }
        flow = load(json.dumps(settings)).flow
        outlets = flow.outlets
        projections = {name: Projection(each.fields(), flow.source.layout()) for name, each in outlets.items()}
        seatings = {name: Seating().started(limiters_of(flow, name)) for name in outlets}
        self._plan = Plan(flow, projections, seatings)
        self._kinds = {name: each["type"] for name, each in destinations.items()}
        self.destinations = {name: each.open(projections[name].getter, None) for name, each in outlets.items()}
        self.outcomes: Counter[str] = Counter()
        """Records by what became of them, over all destinations."""

    def take(self, values: Sequence[bytes], *, offset: int = 0, good: frozenset[int] = frozenset()) -> None:
        """Let a batch go through all, and assert that each record is accounted for at each destination.

        Args:
            values: The records.
            offset: Of the first.
            good: Offsets of those that nothing is wrong with, which are delivered unless a rule drops them.
        """
        offsets = range(offset, offset + len(values))
        decided = self._plan.begin().decode(Batch("fuzz", 0, list(values), offsets))
        for name, destination in self.destinations.items():
            batch = self._routed(name, decided.twin())
            account = batch.account
            if isinstance(destination, ArchiveDestination):
                (batch,), (part,) = prepared([batch], None, destination.columns)
                written = list(files(pa.Table.from_batches([part.rows]))) if part else []
                assert sum(each.statistics is not None for each in written) == len(written)
                delivered = part.rows.num_rows if part else 0
            else:
                delivered = self._encoded(name, cast("Destination", destination), batch)
            rejected = {each.offset for each in account.rejected}
            kept = set(batch.offsets)
            assert len(kept) == len(batch) == delivered
            assert len(rejected) == len(account.rejected)
            assert not kept & rejected
            assert kept | rejected <= set(offsets)
            assert account.read == len(values) == delivered + len(rejected) + sum(account.dropped.values())
            defects = [each for each in account.rejected if each.cause == DEFECT]
            assert not defects, (name, defects[0])
            assert not good & rejected, (name, next(each for each in account.rejected if each.offset in good))
            self.outcomes["delivered"] += delivered
            self.outcomes.update(f"dead-lettered: {each.cause}" for each in account.rejected)
            self.outcomes["dropped by a rule"] += sum(account.dropped.values())

    def close(self) -> None:
        """Release the destinations."""
        for destination in self.destinations.values():
            destination.close()

    def _routed(self, name: str, batch: Batch) -> Batch:
        """Return what goes to a destination; limiters let pass all that they are asked about."""
        item = self._plan.route(name, batch, "0000")
        if not isinstance(item, Question):
            return item
        assert item.samples is None
        for limiter in sorted(self._plan._limiters[name].limiters):
            assert sum(len(part.groups) for _, part in spread(item, limiter)) == len(item.groups)
        settled = self._plan.settle(name, item)
        assert settled is not None
        return settled

    def _encoded(self, name: str, destination: Destination, batch: Batch) -> int:
        """Return how many records of a batch are in a request, which is of the form that it should have."""
        written = destination.limits.written

        def encode(some: Batch) -> list[bytes]:
            return destination.encode(Records.of(some, written=written)) if some else []

        screen = destination.screen if isinstance(destination, Screening) else None
        (left,), (pieces,) = prepared([batch], screen, encode)
        assert left is batch or len(left) == len(batch)
        if pieces:
            body = destination.frame(list(pieces))
            if self._kinds[name] not in _OTHER:
                _assert_json(name, bytes(body))
        return len(pieces)


def _assert_json(name: str, body: bytes) -> None:
    """Assert that a request is UTF-8, and JSON values one after another."""
    text, at = body.decode(), 0
    try:
        while at < len(text):
            _, at = _JSON.raw_decode(text, at)
            space = _SPACE.match(text, at)
            assert space is not None
            at = space.end()
    except RecursionError:
        return
    except ValueError as error:
        msg = f"{name}: {error}: {text[max(0, at - 200) : at + 200]!r}"
        raise AssertionError(msg) from None


def _refuse(constant: str) -> float:
    msg = f"{constant} is not JSON"
    raise AssertionError(msg)


_JSON = json.JSONDecoder(parse_int=float, parse_constant=_refuse)
_SPACE = re.compile(r"[ \t\r\n]*")
