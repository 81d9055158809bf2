"""A strict stand-in for an endpoint that takes records: it checks framing, types, encodings and credentials."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tests.servers.cloud import Answer, CloudServer, Refused, unique
from tests.servers.datadog import unpacked

TYPES = {"ndjson": "application/x-ndjson", "array": "application/json"}
UNAUTHORIZED = Answer(401, b"who are you?", {"WWW-Authenticate": 'Basic realm="logs"'})
BAD_REQUEST = Answer(400, b'{"error":"field n must not be 13"}')


class FakeEndpoint(CloudServer):
    """The endpoint; it takes a request whole or not at all.

    Args:
        required: The headers that each request must have, names in lower case.
        body: ndjson or array.
    """

    def __init__(self, required: Mapping[str, str], body: str = "ndjson") -> None:
        super().__init__()
        self.required = dict(required)
        self.body = body
        self.method = "POST"
        self.path = "/ingest?source=a%20b"
        self.health = Answer(200, b"well")
        self.head: Answer | None = Answer(405)
        self.records: list[dict[str, Any]] = []
        self.sizes: list[int] = []
        """The number of records of each request that was read."""
        self.largest = 1 << 30
        """Bytes of a body that are taken at most, before compression."""
        self.poison = b""
        """A request that holds this is refused as a whole."""
        self.looks: list[str] = []

    def answer(self, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Judge one request."""
        if path != self.path:
            raise Refused(Answer(404, b"not here"))
        if headers[":method"] != self.method:
            raise Refused(Answer(405, b"not so", {"Allow": self.method}))
        self._authenticate(headers)
        if headers.get("content-type") != self.required.get("content-type", TYPES[self.body]):
            raise Refused(Answer(415, b"unsupported media type"))
        raw = unpacked(headers.get("content-encoding", "identity"), body)
        if len(raw) > self.largest:
            raise Refused(Answer(413, b"too much"))
        try:
            records = self._read(raw)
        except (ValueError, AssertionError) as error:
            self.violated(str(error))
            raise Refused(BAD_REQUEST) from None
        with self.lock:
            self.sizes.append(len(records))
            if self.poison and self.poison in raw:
                raise Refused(BAD_REQUEST)
            self.records += records
        return Answer(202, b"")

    def look(self, method: str, path: str, headers: Mapping[str, str]) -> Answer:
        """Answer a health check."""
        with self.lock:
            self.looks.append(f"{method} {path}")
        try:
            self._authenticate(headers)
        except Refused as refused:
            return refused.answer
        if method == "GET":
            return self.health if path == "/healthz" else Answer(404, b"not here")
        return self.head or Answer(close=True)

    def _authenticate(self, headers: Mapping[str, str]) -> None:
        given = {name: headers.get(name) for name in self.required if name != "content-type"}
        if any(given[name] != self.required[name] for name in given):
            raise Refused(UNAUTHORIZED)

    def _read(self, raw: bytes) -> list[dict[str, Any]]:
        if self.body == "array":
            found = json.loads(raw, object_pairs_hook=unique)
            assert isinstance(found, list), "no array"
        else:
            assert raw.endswith(b"\n"), "the last line has no end"
            found = [json.loads(line, object_pairs_hook=unique) for line in raw[:-1].split(b"\n")]
        assert found, "an empty request"
        assert all(isinstance(each, dict) for each in found), "no object"
        return found
