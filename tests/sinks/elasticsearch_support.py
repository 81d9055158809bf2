"""What the tests of the Elasticsearch destination share: its settings, records as decode gives them, answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import TypeAdapter

from logweir.batch import Batch, ReadAt
from operators.decode import Decoder
from operators.formats import LOGWEIR
from operators.projection import Projection
from sinks.destination import Records
from sinks.elasticsearch import Elasticsearch, ElasticsearchDestination

SETTINGS: TypeAdapter[Elasticsearch] = TypeAdapter(Elasticsearch)
PROJECTION = Projection({"timestamp"}, LOGWEIR)
ARRIVED = 1_790_000_000.0
"""2026-09-21T14:13:20Z."""


def configured(**changes: Any) -> Elasticsearch:
    """Return settings as a flow file gives them."""
    return SETTINGS.validate_python(
        {"type": "elasticsearch", "url": "http://127.0.0.1:9", "index": "logs", "compression": False, **changes}
    )


def destination(**changes: Any) -> ElasticsearchDestination:
    """Return a destination with these settings."""
    return configured(**changes).open(PROJECTION.getter, None)


def decoded(values: Sequence[bytes], start: int = 0, topic: str = "logs") -> Batch:
    """Return a batch as decode leaves it."""
    batch = Batch(topic, 0, list(values), range(start, start + len(values)), origin=ReadAt(ARRIVED))
    Decoder(PROJECTION, identified=True)(batch)
    return batch


def records(*values: bytes, ids: Sequence[str] | None = None) -> Records:
    """Return the columns of a request."""
    batch = decoded(values)
    assert not batch.account.rejected
    found = Records.of(batch, written=True)
    if ids is not None:
        found.identities = list(ids)
    return found
