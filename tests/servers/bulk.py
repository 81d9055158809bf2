"""What `_bulk` asks of a request, in the words of a real node.

It is stricter than one: what a real node accepts but logweir must never send, such as a document without an id or any
action but `create`, is refused.
"""

from __future__ import annotations

import json
import re
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import unquote, urlsplit

MAX_ID_BYTES = 512


_DIGEST = re.compile(r"-[0-9a-f]{16}\Z")


class Refused(Exception):  # noqa: N818  # an answer, not a defect
    """The whole request is answered with an error."""

    def __init__(self, status: int, kind: str, reason: str, **more: object) -> None:
        super().__init__(f"{status} {kind}: {reason}")
        self.status = status
        cause = {"type": kind, "reason": reason, **more}
        self.body = json.dumps({"error": {"root_cause": [cause], **cause}, "status": status}).encode()


@dataclass(frozen=True, slots=True)
class Create:
    """One document to create."""

    index: str
    id: str
    doc: bytes
    fault: str = ""
    """Why the document can't be stored; empty when it can."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        msg = f"Duplicate field '{twice}'"
        raise ValueError(msg)
    return found


def _no_constant(name: str) -> None:
    msg = f"Non-standard token '{name}'"
    raise ValueError(msg)


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)


def document_fault(doc: bytes) -> str:
    """Return what is wrong with a document, or nothing: valid UTF-8, one JSON object, no field twice."""
    try:
        parsed = _DECODER.decode(doc.decode("utf-8"))
    except UnicodeDecodeError as error:
        return f"Invalid UTF-8 start byte 0x{doc[error.start]:x}"
    except (ValueError, RecursionError) as error:
        return str(error) or "nested too deep"
    return "" if isinstance(parsed, dict) else "not an object"


def parse(body: bytes, index: str) -> list[Create]:
    """Return a request's documents in order.

    Args:
        body: The body, unpacked.
        index: From the path; empty when each action has to name its own.

    Raises:
        Refused: Nothing of it is taken.
    """
    if not body.endswith(b"\n"):
        raise Refused(400, "illegal_argument_exception", "The bulk request must be terminated by a newline [\\n]")
    lines = body[:-1].split(b"\n")
    if lines == [b""]:
        raise Refused(400, "action_request_validation_exception", "Validation Failed: 1: no requests added;")
    creates = []
    for number in range(0, len(lines), 2):
        head = _action(lines[number], number + 1)
        if number + 1 == len(lines):
            break
        name = head.get("_index", index)
        identity = head.get("_id")
        if not isinstance(identity, str):
            raise Refused(400, "illegal_argument_exception", f"line {number + 1} has no `_id` that is text")
        if not name:
            raise Refused(400, "action_request_validation_exception", "Validation Failed: 1: index is missing;")
        if (size := len(identity.encode())) > MAX_ID_BYTES:
            reason = f"id [{identity}] is too long, must be no longer than {MAX_ID_BYTES} bytes but was: {size}"
            raise Refused(400, "action_request_validation_exception", f"Validation Failed: 1: {reason};")
        doc = lines[number + 1]
        creates.append(Create(name, identity, doc, document_fault(doc)))
    if not creates or len(lines) % 2:
        raise Refused(400, "action_request_validation_exception", "Validation Failed: 1: no requests added;")
    return creates


def _action(line: bytes, number: int) -> dict[str, Any]:
    try:
        action = _DECODER.decode(line.decode("utf-8"))
    except ValueError as error:
        raise Refused(400, "json_parse_exception", str(error)) from None
    if not isinstance(action, dict) or list(action) != ["create"] or not isinstance(action["create"], dict):
        found = next(iter(action), "nothing") if isinstance(action, dict) else line.decode()[:80]
        reason = f"Malformed action/metadata line [{number}], expected one of [create] but found [{found}]"
        raise Refused(400, "illegal_argument_exception", reason)
    head: dict[str, Any] = action["create"]
    if unknown := set(head) - {"_index", "_id"}:
        reason = f"Action/metadata line [{number}] contains an unknown parameter [{min(unknown)}]"
        raise Refused(400, "illegal_argument_exception", reason)
    return head


class Request:
    """One `_bulk` request as a fault sees it; the body is read and parsed when it is first asked for."""

    def __init__(self, path: str, headers: dict[str, str], read: Callable[[int], bytes], limit: int) -> None:
        self.at = time.monotonic()
        parts = urlsplit(path)
        self.path = path
        self.index = unquote(parts.path.removesuffix("/_bulk").strip("/"))
        self.headers = headers
        self._read = read
        self._limit = limit

    @cached_property
    def wire(self) -> bytes:
        """The body as it came."""
        length = int(self.headers["content-length"])
        body = self._read(length)
        if len(body) < length:
            # A sender that was killed has done nothing wrong.
            msg = f"the sender has gone after {len(body)} of {length} bytes"
            raise ConnectionAbortedError(msg)
        return body

    @cached_property
    def body(self) -> bytes:
        """The body, unpacked."""
        encoding = self.headers.get("content-encoding", "identity")
        if encoding not in {"gzip", "identity"}:
            raise Refused(415, "illegal_argument_exception", f"unsupported content encoding [{encoding}]")
        try:
            body = zlib.decompress(self.wire, wbits=31) if encoding == "gzip" else self.wire
        except zlib.error as error:
            raise Refused(400, "parse_exception", f"the body is no gzip: {error}") from None
        if len(body) > self._limit:
            raise Refused(413, "content_too_long_exception", f"{len(body)} bytes are over {self._limit}")
        return body

    @cached_property
    def creates(self) -> list[Create]:
        """Its documents, in order."""
        kind = self.headers.get("content-type", "").split(";")[0].strip()
        if kind != "application/x-ndjson":
            raise Refused(406, "media_type_header_exception", f"Content-Type header [{kind}] is not supported")
        return parse(self.body, self.index)

    @property
    def ids(self) -> list[str]:
        """The documents' ids, in order."""
        return [create.id for create in self.creates]


def own_id(identity: str) -> str:
    """Return the part of an `_id` that is the record's own id: the digest of its bytes stands behind it."""
    return _DIGEST.sub("", identity)


def stored(create: Create) -> dict[str, Any]:
    """Return the item of a document that is new."""
    return {
        "_index": create.index,
        "_id": create.id,
        "_version": 1,
        "result": "created",
        "_shards": {"total": 2, "successful": 1, "failed": 0},
        "_seq_no": 0,
        "_primary_term": 1,
        "status": 201,
    }


def failed(create: Create, status: int, error: dict[str, Any]) -> dict[str, Any]:
    """Return the item of a document that was not stored."""
    return {"_index": create.index, "_id": create.id, "status": status, "error": error}


def conflict(create: Create) -> dict[str, Any]:
    """Return the item of a document whose id is there already."""
    reason = f"[{create.id}]: version conflict, document already exists (current version [1])"
    error = {"type": "version_conflict_engine_exception", "reason": reason, "index": create.index, "shard": "0"}
    return failed(create, 409, error)


def unreadable(create: Create) -> dict[str, Any]:
    """Return the item of a document that can't be stored."""
    if not create.id:
        reason = "if _id is specified it must not be empty"
        return failed(create, 400, {"type": "illegal_argument_exception", "reason": reason})
    cause = {"type": "x_content_parse_exception", "reason": create.fault}
    return failed(create, 400, {"type": "document_parsing_exception", "reason": "failed to parse", "caused_by": cause})
