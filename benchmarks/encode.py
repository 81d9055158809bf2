"""What each destination's wire format costs a record, beside a sink that decodes and encodes each record again."""

from __future__ import annotations

import statistics
import time
from functools import cache
from typing import Any

import orjson
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from pydantic import TypeAdapter

from flows.sources.generate import batch
from logweir.batch import Batch
from operators.decode import Decoder
from operators.formats import LOGWEIR
from operators.projection import Projection
from sinks import SINKS, load_sink
from sinks.destination import Records
from sinks.settings import CommonDestination

_BATCH = 2000
_URL = "http://127.0.0.1:9"
_AWS = {"region": "eu-west-1", "access_key_id": "id", "secret_access_key": "secret"}
BARS = {"cloudwatch": 2.5, "otlp": 2.5, "console": float("inf")}
"""Microseconds; 1.0 for the others. The console's pretty style is for people, who don't read a million lines."""
SETTINGS: dict[str, dict[str, Any]] = {
    "cloudwatch": {**_AWS, "log_group": "group", "log_stream": "stream"},
    "console": {},
    "datadog": {"api_key": "key"},
    "elasticsearch": {"url": _URL},
    "file": {"path": "./unused.ndjson"},
    "gcp": {"project_id": "platform-1", "credentials": {"client_email": "a@b.c", "private_key": "made below"}},
    "http": {"url": _URL},
    "kafka": {"brokers": ["127.0.0.1:9"], "topic": "logs"},
    "loki": {"url": _URL},
    "otlp": {"url": _URL},
    "s3": {**_AWS, "bucket": "bucket"},
    "splunk": {"url": _URL, "token": "token"},
}


def costs(records: int, repeats: int) -> None:
    """Print microseconds of CPU a record of each destination's `encode` and `frame`, medians."""
    records = min(records, 100_000)
    values = [batch(1, start, _BATCH) for start in range(0, records, _BATCH)]
    repeats = max(5, repeats)
    again = statistics.median(_again(values) for _ in range(repeats)) / records * 1e6
    print(f"encoding {records:,} records; to decode and encode each of them again would take {again:.2f} us a record")
    for kind in sorted(SINKS):
        if kind not in SETTINGS:
            print(f"  {kind:>14}: not measured, it has no settings here")
            continue
        runs = [_run(kind, values) for _ in range(repeats)]
        encode, frame = (statistics.median(run[part] for run in runs) / records * 1e6 for part in (0, 1))
        bar = BARS.get(kind, 1.0)
        said = "" if encode <= bar else "  MISSED"
        print(f"  {kind:>14}: encode {encode:.2f} us (at most {bar}), frame {frame:.2f} us{said}")


def _run(kind: str, batches: list[list[bytes]]) -> tuple[float, float]:
    """Return the CPU seconds of encoding and of framing everything, by a destination without any cache yet."""
    settings = _settings(kind)
    projection = Projection(settings.fields(), LOGWEIR)
    decode = Decoder(projection, identified=settings.identified)
    destination = settings.open(projection.getter, None)
    encoding = framing = 0.0
    for values in batches:
        made = Batch("bench", 0, values, range(len(values)))
        decode(made)
        records = Records.of(made, written=destination.limits.written)
        started = time.thread_time()
        pieces = destination.encode(records)
        encoded = time.thread_time()
        destination.frame(pieces)
        framing += time.thread_time() - encoded
        encoding += encoded - started
    destination.close()
    return encoding, framing


def _again(batches: list[list[bytes]]) -> float:
    started = time.thread_time()
    for values in batches:
        for value in values:
            orjson.dumps({"source": "logweir", "event": orjson.loads(value)})
    return time.thread_time() - started


@cache
def _settings(kind: str) -> CommonDestination:
    settings = {"type": kind, **SETTINGS[kind]}
    if kind == "gcp":
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        settings["credentials"] = {**settings["credentials"], "private_key": key.decode()}
    return TypeAdapter(load_sink(kind)).validate_python(settings)
