"""A strict stand-in for Datadog's Logs intake v2: it checks framing, limits, doubled names and the key."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping
from typing import Any

import zstandard

from tests.servers.cloud import Answer, CloudServer, Refused, dumped, unique

MAX_REQUEST_BYTES = 5_000_000
MAX_REQUEST_RECORDS = 1000
MAX_RECORD_BYTES = 1_000_000
TAKEN = Answer(202, b"{}")
FORBIDDEN = Answer(403, b'{"errors":[{"status":"403","title":"Forbidden","detail":"API key is invalid"}]}')
UNAUTHORIZED = Answer(401, b'{"errors":[{"status":"401","title":"Unauthorized"}]}')
BAD_REQUEST = Answer(400, b'{"errors":[{"status":"400","title":"Bad Request","detail":"Invalid log"}]}')
TOO_LARGE = Answer(413, b'{"errors":[{"status":"413","title":"Request Entity Too Large"}]}')
TOO_MANY = Answer(
    429,
    b'{"errors":[{"status":"429","title":"Too Many Requests"}]}',
    {"X-RateLimit-Reset": "0", "X-RateLimit-Limit": "1"},
)
UNAVAILABLE = Answer(503, b'{"errors":[{"status":"503","title":"Service Unavailable"}]}')

_ID = re.compile("[1-9][0-9]*")
_TEXTS = ("ddsource", "ddtags", "hostname", "service", "status", "dd.trace_id", "dd.span_id")


class FakeDatadog(CloudServer):
    """The intake; it takes a request whole or not at all.

    Args:
        api_key: The only one that is let in.
    """

    def __init__(self, api_key: str) -> None:
        super().__init__()
        self.api_key = api_key
        self.logs: list[dict[str, Any]] = []
        self.bodies: list[bytes] = []
        self.poison = b""
        """A request that holds this is refused as a whole."""
        self.texts = True
        """Whether reserved attributes have to be text, as ours are; a record's own may be anything."""

    def answer(self, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Judge one request."""
        if path != "/api/v2/logs" or headers.get("content-type") != "application/json":
            self.violated(f"POST {path} as {headers.get('content-type')}")
            raise Refused(Answer(404, b"not found"))
        if headers.get("dd-api-key") != self.api_key:
            raise Refused(FORBIDDEN)
        raw = unpacked(headers.get("content-encoding", "identity"), body)
        if len(raw) > MAX_REQUEST_BYTES:
            self.violated(f"{len(raw)} bytes")
            raise Refused(TOO_LARGE)
        if raw == b"{}":
            # What the agent checks its way with; there is no log in it.
            return TAKEN
        if self.poison and self.poison in raw:
            raise Refused(BAD_REQUEST)
        try:
            logs = json.loads(raw, object_pairs_hook=unique)
            assert isinstance(logs, list)
            assert 0 < len(logs) <= MAX_REQUEST_RECORDS
            for log in logs:
                _check(log, texts=self.texts)
            sizes = [len(dumped(log)) for log in logs] if len(raw) > MAX_RECORD_BYTES else []
            assert max(sizes, default=0) <= MAX_RECORD_BYTES, "a log would be cut"
        except (ValueError, AssertionError) as error:
            self.violated(str(error))
            raise Refused(BAD_REQUEST) from None
        with self.lock:
            self.logs += logs
            self.bodies.append(raw)
        return TAKEN


def unpacked(encoding: str, body: bytes) -> bytes:
    """Return a body before its compression."""
    if encoding == "gzip":
        return zlib.decompress(body, wbits=31)
    if encoding == "zstd":
        return zstandard.ZstdDecompressor().decompressobj().decompress(body)
    assert encoding == "identity", encoding
    return body


def _check(log: dict[str, Any], *, texts: bool) -> None:
    assert "message" in log, "no message"
    assert "timestamp" in log, "no time"
    if not texts:
        return
    wrong = [name for name in _TEXTS if not isinstance(log.get(name, ""), str)]
    assert not wrong, f"no text: {wrong}"
    for name in ("dd.trace_id", "dd.span_id"):
        assert name not in log or (_ID.fullmatch(log[name]) and int(log[name]) < 1 << 64), f"{name}: {log[name]}"
