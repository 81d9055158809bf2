"""What the answers of CloudWatch Logs mean: "Common errors" and "PutLogEvents" in its API Reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import orjson

from sinks.aws import EXPIRED_TOKEN, KEYS
from sinks.destination import Delivered, Hold, Invalid, Outcome, Partial, Retry, TooLarge, blame_of
from sinks.window import TOO_NEW, TOO_OLD

EXPIRED = "expired at the destination"

MISSING = "ResourceNotFoundException"
_THROTTLED = {
    "LimitExceededException",
    "OperationAbortedException",
    "RequestLimitExceeded",
    "ServiceUnavailable",
    "ServiceUnavailableException",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "TooManyRequestsException",
}
_MENDING = {
    MISSING: "check log_group, log_stream and region, or set `create: true`",
    "ExpiredToken": EXPIRED_TOKEN,
    "ExpiredTokenException": EXPIRED_TOKEN,
    "IncompleteSignature": f"check {KEYS}",
    "InvalidClientTokenId": "check access_key_id",
    "InvalidSignatureException": "check secret_access_key, and this machine's clock",
    "MissingAuthenticationToken": f"check {KEYS}",
    "MissingAuthenticationTokenException": f"check {KEYS}",
    "RequestExpired": "check this machine's clock",
    "SignatureDoesNotMatch": "check secret_access_key",
    "UnrecognizedClientException": "check access_key_id, session_token and region",
}
_REFUSED = {"InvalidParameterException", "SerializationException", "ValidationException"}


def read_error(status: int, code: str, message: str) -> Outcome:
    """Return what an error of the service means.

    Args:
        status: Of the HTTP answer.
        code: The error's type, such as ThrottlingException.
        message: Its words, without any secret.
    """
    reason = f"{status} {code}: {message}"
    if code in _THROTTLED or status in {408, 429} or status >= 500:  # noqa: PLR2004
        return Retry(reason, blame="service" if code in _THROTTLED else blame_of(status))
    if code in _REFUSED:
        return Invalid(f"rejected: {code}", reason)
    if status == 413:  # noqa: PLR2004
        return TooLarge(reason)
    if code in _MENDING:
        mend = _MENDING[code]
    elif status in {401, 403} or code.startswith("AccessDenied"):
        mend = "allow these credentials logs:PutLogEvents on log_group (and with `create: true` to create)"
    else:
        return Hold(f"{reason}: check log_group, region and endpoint_url", blame_of(status))
    return Hold(f"{reason}: {mend}")


def read_answer(body: bytes, order: Sequence[int], hide: Callable[[str], str] = str) -> Outcome:
    """Return what an answer with status 200 means.

    Args:
        body: Of the answer.
        hide: Takes secrets out of what is told of it.
        order: The index, within the engine's request, of each event that was sent.
    """
    try:
        info = orjson.loads(body).get("rejectedLogEventsInfo") or {}
        old, expired, new = (
            len(order) if info.get(name) is None and name.startswith("tooNew") else int(info.get(name) or 0)
            for name in ("tooOldLogEventEndIndex", "expiredLogEventEndIndex", "tooNewLogEventStartIndex")
        )
    except (ValueError, TypeError, AttributeError):
        return Retry(f"not an answer of PutLogEvents: {hide(body.decode(errors='replace'))}")
    if not all(0 <= bound <= len(order) for bound in (old, expired, new)) or max(old, expired) > new:
        return Retry(f"not an answer to these {len(order)} events: {hide(body.decode(errors='replace'))}")
    rejected: dict[int, tuple[str, str]] = {}
    for position, index in enumerate(order):
        if position < old:
            rejected[index] = (TOO_OLD, "older than 14 days: CloudWatch Logs refuses it")
        elif position < expired:
            rejected[index] = (EXPIRED, "older than the retention of the log group: CloudWatch Logs refuses it")
        elif position >= new:
            rejected[index] = (TOO_NEW, "more than 2 hours ahead: CloudWatch Logs refuses it")
    return Partial(rejected, certain=True) if rejected else Delivered()
