"""A strict stand-in for an OTLP/HTTP server: it reads requests by the classes generated from OpenTelemetry's own files.

It checks the path, the key, the content type, the encoding, the size, and what the data model asks of a log record. Its
errors are google.rpc.Status in the encoding of the request, and other answers those of the Collector.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import zstandard
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from tests.servers.cloud import Answer, CloudServer, Refused, unique

PROTOBUF, JSON = "application/x-protobuf", "application/json"
MAX_BYTES = 20 * 1024 * 1024


def status(code: int, text: str, number: int = 0, kind: str = PROTOBUF) -> Answer:
    """Return a failure with a google.rpc.Status.

    Args:
        code: Of HTTP.
        text: The message.
        number: Of google.rpc.Code.
        kind: The content type.
    """
    if kind == JSON:
        return Answer(code, json.dumps({"code": number, "message": text}).encode(), {"Content-Type": JSON})
    said = text.encode()
    size = bytes([len(said)]) if len(said) < 128 else bytes([len(said) & 127 | 128, len(said) >> 7])
    body = (b"\x08%c" % number if number else b"") + b"\x12" + size + said
    return Answer(code, body, {"Content-Type": kind})


def success(rejected: int = 0, text: str = "", kind: str = PROTOBUF) -> Answer:
    """Return a success, which may be a partial one."""
    answer = ExportLogsServiceResponse()
    if rejected or text:
        answer.partial_success.rejected_log_records = rejected
        answer.partial_success.error_message = text
    body = json_format.MessageToJson(answer).encode() if kind == JSON else answer.SerializeToString()
    return Answer(200, body, {"Content-Type": kind})


def plain(value: AnyValue) -> Any:
    """Return a value as JSON has it."""
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [plain(each) for each in value.array_value.values]
    if kind == "kvlist_value":
        return members(value.kvlist_value.values)
    return getattr(value, kind) if kind else None


def members(pairs: Any) -> dict[str, Any]:
    """Return KeyValues as an object; none may be there twice."""
    return unique([(pair.key, plain(pair.value)) for pair in pairs])


def read(body: bytes, kind: str = PROTOBUF) -> ExportLogsServiceRequest:
    """Return a request.

    Raises:
        ValueError: It isn't one, or not one of the shortest form and without unknown fields.
    """
    request = ExportLogsServiceRequest()
    if kind == JSON:
        parsed = json.loads(body, object_pairs_hook=unique, parse_constant=_refuse)
        json_format.Parse(json.dumps(_with_base64(parsed)), request)
        return request
    try:
        request.ParseFromString(body)
    except DecodeError as error:
        raise ValueError(str(error)) from None
    request.DiscardUnknownFields()
    if request.ByteSize() != len(body):
        msg = f"{len(body)} bytes, of which {request.ByteSize()} say all that is known"
        raise ValueError(msg)
    return request


def _refuse(text: str) -> None:
    msg = f"{text} is no JSON"
    raise ValueError(msg)


def _with_base64(value: Any) -> Any:
    """Return OTLP/JSON as protobuf's own JSON: ids are hexadecimal in the one, base64 in the other."""
    if isinstance(value, list):
        return [_with_base64(each) for each in value]
    if not isinstance(value, dict):
        return value
    made = {name: _with_base64(each) for name, each in value.items()}
    for name in ("traceId", "spanId"):
        if name in made:
            made[name] = base64.b64encode(bytes.fromhex(made[name])).decode()
    for name in ("timeUnixNano", "observedTimeUnixNano", "intValue"):
        if not isinstance(made.get(name, ""), str):
            msg = f"{name} is no text"
            raise TypeError(msg)
    return made


class FakeOtlp(CloudServer):
    """The server.

    Args:
        headers: What each request must have, names in lower case.
    """

    def __init__(self, headers: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self.required = dict(headers or {})
        self.records: list[tuple[dict[str, Any], LogRecord]] = []
        """Each record that was taken, with the attributes of its resource."""
        self.resources: list[int] = []
        """Of each request: how many resources it tells."""
        self.sizes: list[int] = []
        """Of each request: the bytes before compression."""
        self.max_bytes = MAX_BYTES
        self.encodings = {"gzip", "zstd"}
        self.reject: Callable[[dict[str, Any]], str] = lambda attributes: ""
        """Says why a record of these attributes is not taken."""

    def answer(self, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Answer one request."""
        if path != "/v1/logs":
            raise Refused(Answer(404, b"404 page not found\n", {"Content-Type": "text/plain; charset=utf-8"}))
        kind = headers.get("content-type", "")
        if kind not in {PROTOBUF, JSON}:
            text = b"415 unsupported media type, supported: [application/json, application/x-protobuf]"
            raise Refused(Answer(415, text, {"Content-Type": "text/plain"}))
        if any(headers.get(name) != value for name, value in self.required.items()):
            raise Refused(status(401, "authentication didn't succeed", 16, kind))
        raw = self._decompressed(headers.get("content-encoding"), body, kind)
        if len(raw) > self.max_bytes:
            raise Refused(status(413, "request body too large", 3, kind))
        try:
            request = read(raw, kind)
            taken = list(self._records(request))
        except (ValueError, TypeError, json_format.ParseError) as error:
            self.violated(f"{type(error).__name__}: {error}")
            raise Refused(status(400, f"proto: {error}"[:100], 3, kind)) from None
        problems = [problem for _, record in taken if (problem := self.reject(members(record.attributes)))]
        with self.lock:
            self.sizes.append(len(raw))
            self.resources.append(len(request.resource_logs))
            self.records += [each for each in taken if not self.reject(members(each[1].attributes))]
        return success(len(problems), problems[0] if problems else "", kind)

    def uids(self) -> list[str]:
        """Return the identities of the records that were taken."""
        return [members(record.attributes)["log.record.uid"] for _, record in self.records]

    def _decompressed(self, encoding: str | None, body: bytes, kind: str) -> bytes:
        if encoding is not None and encoding not in self.encodings:
            raise Refused(status(400, f"unsupported Content-Encoding: {encoding}", 3, kind))
        if encoding == "zstd":
            return zstandard.ZstdDecompressor().decompressobj().decompress(body)
        return gzip.decompress(body) if encoding else body

    def _records(self, request: ExportLogsServiceRequest) -> Iterator[tuple[dict[str, Any], LogRecord]]:
        told: list[dict[str, Any]] = []
        for group in request.resource_logs:
            resource = members(group.resource.attributes)
            if resource in told:
                msg = f"{resource} is told twice"
                raise ValueError(msg)
            told.append(resource)
            for scope in group.scope_logs:
                for record in scope.log_records:
                    _judge(record)
                    yield resource, record


def _judge(record: LogRecord) -> None:
    """Raise ValueError for what the data model doesn't allow."""
    members(record.attributes)
    ids = (record.trace_id, 16), (record.span_id, 8)
    if any(each and (len(each) != size or not any(each)) for each, size in ids):
        msg = f"ids {record.trace_id.hex()} {record.span_id.hex()}"
        raise ValueError(msg)
    if record.span_id and not record.trace_id:
        msg = "a span without a trace"
        raise ValueError(msg)
    if not record.observed_time_unix_nano or not 0 <= record.severity_number <= 24:
        msg = f"observed at {record.observed_time_unix_nano}, severity {record.severity_number}"
        raise ValueError(msg)
