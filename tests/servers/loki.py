"""A strict stand-in for Loki's push endpoint: its checks, in its order, and the answers in its words.

Like the real one it keeps the valid entries of a request that it answers by 400, drops an entry that it has, and of
several streams in a request tells only the trouble that the last one met when it was stored.
"""

from __future__ import annotations

import gzip
import json
import re
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.servers.cloud import Answer, CloudServer, Refused, unique

PUSH = "/loki/api/v1/push"
SECOND = 1_000_000_000
NO_STREAMS = "error at least one valid stream is required for ingestion"
RATE_LIMITED = "ingestion rate limit exceeded for user fake (limit: 4194304 bytes/sec)"
_NAME = re.compile("[a-zA-Z_][a-zA-Z0-9_]*")
_NANOSECONDS = re.compile(r"\d{1,19}")

Entry = tuple[int, str, tuple[tuple[str, str], ...]]
"""Time in nanoseconds, line, structured metadata."""


def said(status: int, text: str, headers: Mapping[str, str] | None = None) -> Answer:
    """Return an error as Go's http.Error writes it."""
    return Answer(status, f"{text}\n".encode(), {"Content-Type": "text/plain; charset=utf-8", **(headers or {})})


@dataclass
class Stream:
    """What one label set has."""

    entries: list[Entry] = field(default_factory=list)
    newest: int = 0


class FakeLoki(CloudServer):
    """The endpoint of one tenant, with Loki's defaults.

    Args:
        headers: What each request must have, names in lower case.
    """

    def __init__(self, headers: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self.required = dict(headers or {})
        self.streams: dict[str, Stream] = {}
        """By label set, as Prometheus writes it."""
        self.pushes: list[dict[str, int]] = []
        """Of each request that was read: the number of entries by label set."""
        self.max_age: float | None = 7 * 86_400
        self.grace = 600.0
        self.max_chunk_age = 7200.0
        self.max_line_size = 262_144
        self.max_streams = 5000
        self.max_bytes = 1 << 30
        """Of a request, before compression."""
        self.allow_metadata = True
        self.required_label = ""
        self.empty = said(422, NO_STREAMS)
        self.returned_errors = 10
        self.duplicates = 0

    def answer(self, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Judge one request."""
        if path != PUSH:
            raise Refused(said(404, "404 page not found"))
        if any(headers.get(name) != value for name, value in self.required.items()):
            raise Refused(said(401, "no org id"))
        if headers.get("content-type") != "application/json":
            self.violated(f"content-type {headers.get('content-type')}")
        encoding = headers.get("content-encoding")
        if encoding not in {None, "gzip"}:
            raise Refused(said(400, f'Content-Encoding "{encoding}" not supported'))
        raw = gzip.decompress(body) if encoding else body
        if len(raw) > self.max_bytes:
            limits = f"{len(raw)} vs. {self.max_bytes}"
            raise Refused(
                said(500, f"rpc error: code = ResourceExhausted desc = received message larger than max ({limits})")
            )
        try:
            streams = [(labels(each["stream"]), entries(each["values"])) for each in _read(raw)]
        except (ValueError, KeyError, TypeError, AssertionError) as error:
            self.violated(f"{type(error).__name__}: {error}")
            raise Refused(said(400, f"loghttp.PushRequest.Streams: unmarshalerDecoder: {error}")) from None
        with self.lock:
            return self._push(streams) if streams else self.empty

    def lines(self) -> list[Any]:
        """Return the records that were taken, in order of their time."""
        everything = [entry for stream in self.streams.values() for entry in stream.entries]
        return [json.loads(line) for _, line, _ in sorted(everything)]

    def _push(self, streams: list[tuple[str, list[Entry]]]) -> Answer:
        self.pushes.append({name: len(found) for name, found in streams})
        now = time.time_ns()
        errors: Counter[str] = Counter()
        problem: Answer | None = None
        for name, found in streams:
            if self.required_label and self.required_label not in name:
                errors[f"missing required labels '{self.required_label}' for user 'fake' for stream '{name}'"] += 1
                continue
            valid = []
            for entry in found:
                error = self._refusal(name, entry, now)
                if error:
                    errors[error] += 1
                else:
                    valid.append(entry)
            if valid:
                # What an earlier stream met is forgotten here, as it is in the ingester.
                problem = self._store(name, valid)
        if problem:
            return problem
        many = len(errors) > 1 or sum(errors.values()) > 1
        told = "; ".join(f"{count} errors like: {error}" if many else error for error, count in errors.items())
        return said(400, told) if errors else Answer(204, b"")

    def _refusal(self, name: str, entry: Entry, now: int) -> str:
        moment, line, metadata = entry
        if self.max_age is not None and moment < now - self.max_age * SECOND:
            oldest = rfc3339(int(now - self.max_age * SECOND))
            return (
                f"entry for stream '{name}' has timestamp too old: {rfc3339(moment)}, "
                f"oldest acceptable timestamp is: {oldest}"
            )
        if moment > now + self.grace * SECOND:
            return f"entry for stream '{name}' has timestamp too new: {rfc3339(moment)}"
        if len(line.encode()) > self.max_line_size:
            return (
                f"max entry size '{self.max_line_size}' bytes exceeded for stream '{name}' "
                f"while adding an entry with length '{len(line.encode())}' bytes"
            )
        if metadata and not self.allow_metadata:
            return (
                f"stream '{name}' includes structured metadata, but this feature is disallowed. "
                "Please see `limits_config.allow_structured_metadata` or contact your Loki administrator to enable it"
            )
        return ""

    def _store(self, name: str, valid: list[Entry]) -> Answer | None:
        if name not in self.streams and len(self.streams) >= self.max_streams:
            return said(429, f"maximum active stream limit exceeded when trying to create stream {name}, user: 'fake'")
        stream = self.streams.setdefault(name, Stream())
        ignored = []
        for entry in valid:
            cutoff = int(stream.newest - self.max_chunk_age / 2 * SECOND)
            if entry in stream.entries[-len(valid) :] or entry in stream.entries[-20:]:
                self.duplicates += 1
            elif entry[0] < cutoff:
                ignored.append(
                    f"entry with timestamp {go_time(entry[0])} ignored, reason: 'entry too far behind, "
                    f"entry timestamp is: {rfc3339(entry[0])}, oldest acceptable timestamp is: {rfc3339(cutoff)}',\n"
                )
            else:
                stream.entries.append(entry)
                stream.newest = max(stream.newest, entry[0])
        if not ignored:
            return None
        told = "".join(ignored[: self.returned_errors])
        told += f"user 'fake', total ignored: {len(ignored)} out of {len(valid)} for stream: {name}"
        return said(400, told)


def _read(raw: bytes) -> list[dict[str, Any]]:
    request = json.loads(raw, object_pairs_hook=unique)
    assert request.keys() == {"streams"}, f"fields {sorted(request)}"
    streams: list[dict[str, Any]] = request["streams"]
    assert all(each.keys() == {"stream", "values"} for each in streams), "fields of a stream"
    names = [labels(each["stream"]) for each in streams]
    assert len(set(names)) == len(names), "a stream is there twice"
    return streams


def labels(given: dict[str, str]) -> str:
    """Return a label set as Prometheus writes it; what a client of ours may not send is an AssertionError."""
    assert 0 < len(given) <= 15, "number of labels"
    for name, value in given.items():
        assert _NAME.fullmatch(name), f"name {name}"
        assert isinstance(value, str), f"value {value}"
        assert 0 < len(value.encode()) <= 2048, f"length of {name}"
    return "{" + ", ".join(f"{name}={json.dumps(given[name])}" for name in sorted(given)) + "}"


def entries(given: list[list[Any]]) -> list[Entry]:
    """Return entries; what a client of ours may not send is an AssertionError."""
    assert given, "an empty stream"
    found = []
    for moment, line, *rest in given:
        assert isinstance(moment, str), "a time that is no text"
        assert _NANOSECONDS.fullmatch(moment), moment
        assert int(moment) < 1 << 63, moment
        metadata = rest[0] if rest else {}
        assert len(rest) <= 1, "more than three parts"
        assert all(isinstance(value, str) for value in metadata.values()), "metadata that is no text"
        assert sum(len(name) + len(value.encode()) for name, value in metadata.items()) <= 65_536, "metadata"
        assert isinstance(line, str), "a line that is no text"
        found.append((int(moment), line, tuple(sorted(metadata.items()))))
    moments = [moment for moment, _, _ in found]
    assert moments == sorted(moments), "entries out of order"
    return found


def rfc3339(nanoseconds: int) -> str:
    """Return a time to the second."""
    return datetime.fromtimestamp(nanoseconds // SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def go_time(nanoseconds: int) -> str:
    """Return a time as Go prints it."""
    seconds, rest = divmod(nanoseconds, SECOND)
    fraction = f".{rest:09d}".rstrip("0") if rest else ""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}{fraction} +0000 UTC"
