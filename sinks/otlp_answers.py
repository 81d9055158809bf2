"""What the answers of an OTLP/HTTP server mean: "OTLP/HTTP Response" in the OTLP specification, and google.rpc.Status.

    a success is 200 with an ExportLogsServiceResponse, which may tell how many records were rejected, and a message
    a failure is 4xx or 5xx with a Status; 429, 502, 503 and 504 pass, perhaps after Retry-After
    either is protobuf or JSON, as its content type says; proxies answer with pages of their own

A partial success tells how many records were rejected, not which, and the request must not be sent again. So all of its
records are set aside: what was taken is then there twice once they are sent again, but none is lost.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from sinks.destination import Delivered, Hold, Invalid, Outcome, Partial, Retry, TooLarge, blame_of
from sinks.http import Response
from sinks.otlp_wire import read_fields

REJECTED = "rejected"
"""The cause where every record of a request was rejected."""
REJECTED_IN_PART = "rejected in part, unnamed"
"""The cause where some were, and nobody knows which."""

_LONGEST_REASON = 1000
_PROTOBUF = re.compile(r"application/(x-|vnd\.google\.)?protobuf\b")
_ENCODING = re.compile(r"content-encoding|unsupported encoding|^400: (gzip|zstd): ", re.IGNORECASE)
_HEADER = re.compile(r"(missing|invalid|required) [^.]{0,40}\bheader\b|\bno org id\b", re.IGNORECASE)
"""What is said with 400 of a request's headers, and is no fault of its records."""
_FIRST_SIGN_BIT = 1 << 63


def read_answer(answer: Response, count: int) -> Outcome:
    """Return what an answer to a request means.

    Args:
        answer: The answer.
        count: The request's records.
    """
    if 200 <= answer.status < 300:  # noqa: PLR2004  beside the specification's 200: Loki has 204
        return _read_success(answer, count)
    status, reason = answer.status, f"{answer.status}: {_reason(answer)}"
    outcome: Outcome
    if status in {408, 429} or status >= 500:  # noqa: PLR2004
        outcome = Retry(reason, answer.retry_after(), blame_of(status))
    elif status == 413:  # noqa: PLR2004
        outcome = TooLarge(reason)
    elif status == 415 or (status == 400 and _ENCODING.search(reason)):  # noqa: PLR2004
        outcome = Hold(f"{reason}: check `compression` and `encoding`")
    elif status in {401, 403} or (status == 400 and _HEADER.search(reason)):  # noqa: PLR2004
        outcome = Hold(f"{reason}: check `headers`, which hold the key or token", blame_of(status))
    elif status == 400:  # noqa: PLR2004
        outcome = Invalid("request refused", reason)
    elif status == 407:  # noqa: PLR2004
        outcome = Hold(f"{reason}: a proxy wants credentials: check the ones in HTTPS_PROXY or HTTP_PROXY")
    else:
        outcome = Hold(f"{reason}: check `url`, to which /v1/logs is appended", blame_of(status))
    return outcome


def _read_success(answer: Response, count: int) -> Outcome:
    try:
        rejected, message = _partial_success(answer)
    except (ValueError, TypeError, AttributeError):
        said = f"{answer.status} with what is no answer of OTLP: {answer.excerpt()}"
        return Retry(f"{said}: check `url`, if this goes on")
    if rejected <= 0:
        return Delivered()
    message = answer.hide(message)[:_LONGEST_REASON] or "no reason given"
    if count in {1, rejected}:
        return Partial(dict.fromkeys(range(count), (REJECTED, message)), blame="each")
    if rejected > count:
        return Invalid(REJECTED, f"{rejected} records were rejected of a request of {count}: {message}")
    said = f"{rejected} of the {count} records of a request were rejected, and the answer doesn't say which: {message}"
    # It may not be sent again, also not in parts: what was taken would be there again with each.
    return Partial(dict.fromkeys(range(count), (REJECTED_IN_PART, said)), certain=True)


def _partial_success(answer: Response) -> tuple[int, str]:
    """Return how many records were rejected, and the message.

    Raises:
        ValueError, TypeError, AttributeError: It is no ExportLogsServiceResponse.
    """
    if not _is_protobuf(answer):
        if not answer.body and "html" not in answer.headers.get("content-type", ""):
            return 0, ""
        found = orjson.loads(answer.body)
        if found.get("error") or found.get("errors"):
            msg = "an error"
            raise ValueError(msg)
        partial = found.get("partialSuccess") or {}
        return int(partial.get("rejectedLogRecords") or 0), str(partial.get("errorMessage") or "")
    rejected, message = 0, ""
    for number, content in read_fields(answer.body):
        if number == 1:
            for inner, value in read_fields(_bytes(content)):
                if inner == 1:
                    rejected = int(value)
                elif inner == 2:  # noqa: PLR2004  error_message
                    message = _bytes(value).decode(errors="replace")
    return (0 if rejected >= _FIRST_SIGN_BIT else rejected), message


def _reason(answer: Response) -> str:
    """Return the message of a Status, or the beginning of the body."""
    message: Any = ""
    try:
        if _is_protobuf(answer):
            found = dict(read_fields(answer.body))
            message = _bytes(found.get(2, b"")).decode(errors="replace")
        else:
            parsed = orjson.loads(answer.body)
            message = parsed.get("message") or parsed.get("error")
    except (ValueError, TypeError, AttributeError):
        pass
    return answer.hide(str(message))[:_LONGEST_REASON] if message else answer.excerpt()


def _is_protobuf(answer: Response) -> bool:
    return bool(_PROTOBUF.match(answer.headers.get("content-type", "").strip().lower()))


def _bytes(content: int | bytes) -> bytes:
    if isinstance(content, int):
        msg = "a number where text or a message should be"
        raise TypeError(msg)
    return content
