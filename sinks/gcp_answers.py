"""What the answers of entries:write mean: "Method: entries.write" and google.rpc's codes."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from sinks.destination import Blame, Delivered, Hold, Invalid, Outcome, Partial, Retry, TooLarge, blame_of
from sinks.http import Response

_PARTIAL = "google.logging.v2.WriteLogEntriesPartialErrors"
_PASSING = {1: "CANCELLED", 2: "UNKNOWN", 4: "DEADLINE_EXCEEDED", 8: "RESOURCE_EXHAUSTED", 10: "ABORTED"}
_PASSING |= {13: "INTERNAL", 14: "UNAVAILABLE"}
_MENDED = {5: "NOT_FOUND", 7: "PERMISSION_DENIED", 16: "UNAUTHENTICATED"}
_POISON = {3: "INVALID_ARGUMENT", 6: "ALREADY_EXISTS", 9: "FAILED_PRECONDITION", 11: "OUT_OF_RANGE"}
_NAMES = _PASSING | _MENDED | _POISON
"""google.rpc.Code: what passes, what a person has to mend, and what is the entry's own fault."""
_MISDIRECTED = re.compile(r"resource\.type|resource type|monitored resource|log_?name|log name", re.IGNORECASE)
_PERMISSION = "check project_id, and that the credentials have the role Logs Writer (roles/logging.logWriter) there"

_MENDING = {
    "ACCESS_TOKEN_EXPIRED": "the token is past its time: check this machine's clock, and credentials_file",
    "ACCESS_TOKEN_SCOPE_INSUFFICIENT": "the machine's own credentials lack the scope logging.write: give it "
    "that, or set credentials or credentials_file",
    "ACCOUNT_STATE_INVALID": "the service account is disabled or deleted: enable it, or set other credentials",
    "BILLING_DISABLED": "enable billing for project_id",
    "CONSUMER_INVALID": "check project_id: there is no such project",
    "CONSUMER_SUSPENDED": "the project is suspended: check project_id",
    "SERVICE_DISABLED": "enable the Cloud Logging API in project_id",
}
"""Reasons of Google's ErrorInfo that have more to say than the status."""


def read_answer(answer: Response, count: int) -> Outcome:
    """Return what an answer to a request of `count` entries means."""
    status = answer.status
    try:
        parsed = answer.json()
    except ValueError:
        parsed = None
    if status == 200:  # noqa: PLR2004
        return Delivered() if isinstance(parsed, dict) else Retry(f"not an answer of entries:write: {answer.excerpt()}")
    found = parsed.get("error") if isinstance(parsed, dict) else None
    error: dict[str, Any] = found if isinstance(found, dict) else {}
    failed = _entry_errors(error)
    if failed:
        if not all(0 <= index < count for index in failed):
            return Retry(f"{status}: errors of entries that a request of {count} doesn't have", blame="unclear")
        return _read_entries(failed, answer.retry_after())
    message = str(error.get("message") or answer.excerpt())[:1000]
    reason = (
        f"{status} {error['status']}: {message}" if isinstance(error.get("status"), str) else f"{status}: {message}"
    )
    if not error and 400 <= status < 500 and status not in {408, 413, 429}:  # noqa: PLR2004
        return Hold(f"{reason}: check url: that is no error of Cloud Logging's", blame_of(status))
    return _read_whole(status, reason, answer.retry_after(), _mend(error))


def _read_whole(status: int, reason: str, after: float | None, mend: str) -> Outcome:
    outcome: Outcome
    if status in {408, 429} or status >= 500:  # noqa: PLR2004
        outcome = Retry(reason, after, blame_of(status))
    elif status == 413:  # noqa: PLR2004
        outcome = TooLarge(reason)
    elif mend:
        outcome = Hold(f"{reason}: {mend}")
    elif status == 401:  # noqa: PLR2004
        outcome = Hold(f"{reason}: check credentials, or credentials_file, and this machine's clock")
    elif status == 403:  # noqa: PLR2004
        outcome = Hold(f"{reason}: {_PERMISSION}")
    elif status != 400:  # noqa: PLR2004
        outcome = Hold(f"{reason}: check url and project_id")
    elif _misdirected(reason):
        outcome = Hold(f"{reason}: check resource, log_name and project_id")
    else:
        outcome = Invalid("request refused", reason)
    return outcome


def _mend(error: dict[str, Any]) -> str:
    """Return what to do about an error that says its reason: google.rpc.ErrorInfo."""
    details = error.get("details")
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict) and str(detail.get("@type", "")).endswith("google.rpc.ErrorInfo"):
            return _MENDING.get(str(detail.get("reason")), "")
    return ""


def _entry_errors(error: dict[str, Any]) -> dict[int, tuple[int, str]]:
    """Return the code and the message of each entry that was not written, if the error tells them one by one."""
    details = error.get("details")
    found: dict[int, tuple[int, str]] = {}
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict) and str(detail.get("@type", "")).endswith(_PARTIAL):
            try:
                for index, each in detail["logEntryErrors"].items():
                    found[int(index)] = int(each.get("code", 2)), str(each.get("message", ""))[:1000]
            except (LookupError, ValueError, TypeError, AttributeError):
                return {}
    return found


def _read_entries(failed: dict[int, tuple[int, str]], after: float | None) -> Partial:
    rejected: dict[int, tuple[str, str]] = {}
    retry: list[int] = []
    reasons: Counter[str] = Counter()
    issue = ""
    for index, (code, message) in sorted(failed.items()):
        name = _NAMES.get(code, str(code))
        said = f"{name}: {message}"
        if code in _MENDED or (code in _POISON and _misdirected(message)):
            retry.append(index)
            issue = f"{said}: check resource, log_name and label_fields; {_PERMISSION}"
        elif code in _PASSING:
            retry.append(index)
            reasons[said] += 1
        else:
            rejected[index] = (f"rejected: {name}", said)
    blame: Blame = "each" if issue and not reasons else "service"
    return Partial(rejected, retry, reasons.most_common(1)[0][0] if reasons else "", after, issue, blame=blame)


def _misdirected(message: str) -> bool:
    """Tell whether an error is about where entries were sent, and not about one of them."""
    return "entries[" not in message and bool(_MISDIRECTED.search(message))
