from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from logweir.batch import Batch
from operators.decode import Decoder
from operators.formats import ECS, LOGWEIR, OTEL, PINO, Format
from operators.projection import Projection
from sinks import SINKS, load_sink
from sinks.destination import Records, Screening
from tests.json_values import TAKEN, good

LONG = 100_000
"""Bytes: longer values are set aside by some destinations."""
URL = "http://127.0.0.1:9"
_AWS = {"region": "eu-west-1", "access_key_id": "id", "secret_access_key": "secret"}
SETTINGS: dict[str, dict[str, Any]] = {
    "cloudwatch": {**_AWS, "log_group": "group", "log_stream": "stream"},
    "console": {},
    "datadog": {"api_key": "k", "url": URL},
    "datadog with numbers": {"api_key": "k", "url": URL, "timestamps": "milliseconds", "oversize": "truncate"},
    "elasticsearch": {"url": URL, "index": "logs"},
    "elasticsearch dated": {"url": URL, "index": "logs-%Y.%m.%d"},
    "gcp": {"project_id": "p", "credentials_file": "none.json", "label_fields": {"s": "context.service"}},
    "http": {"url": URL},
    "kafka": {"brokers": ["127.0.0.1:9"], "topic": "logs", "key": "context.service", "id_header": "id"},
    "loki": {"url": URL, "structured_metadata": {"t": "trace.traceId", "m": "metadata", "e": "error"}},
    "otlp": {"url": URL},
    "otlp json": {"url": URL, "encoding": "json"},
    "s3": {**_AWS, "bucket": "bucket"},
    "splunk": {"url": URL, "token": "t"},
}


def test_every_destination_is_there() -> None:
    """A new destination is asked too."""
    assert {name.partition(" ")[0] for name in SETTINGS} | {"file"} == set(SINKS)


@pytest.mark.parametrize("layout", [LOGWEIR, ECS, OTEL, PINO], ids=lambda layout: layout.name)
@pytest.mark.parametrize("kind", [*SETTINGS, "file"])
def test_every_odd_record_is_encoded(kind: str, layout: Format, tmp_path: Path) -> None:
    """Whatever a record holds, each destination encodes it, alone and in one request with others."""
    name = kind.partition(" ")[0]
    settings = {"path": str(tmp_path / "out.ndjson")} if kind == "file" else SETTINGS[kind]
    made = TypeAdapter(load_sink(name)).validate_python({"type": name, **settings})
    projection = Projection(made.fields(), layout)
    destination = made.open(projection.getter, None)

    def encoded(values: list[bytes]) -> list[bytes]:
        batch = Batch("logs", 0, list(values), range(len(values)))
        batch.written = [1_793_527_200.0] * len(values)
        Decoder(projection, identified=made.identified)(batch)
        assert not batch.account.rejected
        if isinstance(destination, Screening):
            destination.screen(batch)
        pieces = destination.encode(Records.of(batch, written=destination.limits.written))
        assert len(pieces) == len(batch)
        destination.frame(list(pieces))
        return pieces

    odd = [value for value in TAKEN.values() if len(value) < LONG]
    assert len(encoded([good(0), *odd, good(1)])) == len(odd) + 2
    for value in odd:
        assert len(encoded([value])) == 1
    destination.close()


@pytest.mark.parametrize("kind", [*SETTINGS])
def test_what_the_decoder_takes_is_not_too_deep_to_be_encoded(kind: str) -> None:
    """Python bounds how deep a call may go: what is just below that when it is decoded may be beyond it later."""
    name = kind.partition(" ")[0]
    made = TypeAdapter(load_sink(name)).validate_python({"type": name, **SETTINGS[kind]})
    projection = Projection(made.fields(), LOGWEIR)
    destination = made.open(projection.getter, None)
    for field in (b"message", b"metadata", b"context", b"error", b"trace", b"x"):
        for depth in range(850, 1050, 10):
            value = b'{"%b":%b%b}' % (field, b"[" * depth, b"]" * depth)
            batch = Batch("logs", 0, [good(0), value], range(2))
            Decoder(projection, identified=made.identified)(batch)
            pieces = destination.encode(Records.of(batch, written=destination.limits.written))
            assert len(pieces) == len(batch) == 2 - len(batch.account.rejected)
    destination.close()
