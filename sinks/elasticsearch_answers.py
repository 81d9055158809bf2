"""What the answers of Elasticsearch and OpenSearch mean: "Bulk API", "Has privileges" and "Cluster settings"."""

from __future__ import annotations

import re
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from sinks.destination import Blame, Delivered, Hold, Invalid, Outcome, Partial, Retry, TooLarge, blame_of
from sinks.http import Response

_CONFLICT = 409
_BUSY = {408, 429, 502, 503, 504}
_POISON = {
    "fail_processor_exception",
    "ingest_processor_exception",
    "script_exception",
    "null_pointer_exception",
    "class_cast_exception",
    "arithmetic_exception",
    "number_format_exception",
    "index_out_of_bounds_exception",
    "string_index_out_of_bounds_exception",
    "array_index_out_of_bounds_exception",
    "stack_overflow_error",
}
"""Errors with status 500 by which a pipeline says that it can't take this document, however often it is sent.

Any other 5xx, such as a full disk's `i_o_exception`, is the cluster's trouble and holds the stream.
"""
_OF_A_SHARD = {"rejected: mapper_parsing_exception", "rejected: document_parsing_exception"}
"""What a shard says of the one document that it looks at. Other errors may be said of all for one of them."""
_MISDIRECTED = {
    re.compile(r"index_closed_exception"): "open the index, or check index",
    re.compile(r"invalid_index_name_exception"): "check index",
    re.compile(r"\w+: pipeline with id \[[^]]*\] does not exist"): "check pipeline: create it, or leave it out",
    re.compile(r"\w+: no write index is defined for alias"): "check index: give the alias a write index",
    re.compile(r"validation_exception: .*maximum (\w+ )?shards open"): (
        "the cluster has its cluster.max_shards_per_node: remove indices, add nodes, or check index"
    ),
    re.compile(r"illegal_argument_exception: request \[.*contains unrecognized parameter"): "check url",
}
"""Of a 400 that is about where a document was sent, and not about the document: what to do."""
_MENDING = {
    re.compile(r"missing authentication", re.IGNORECASE): "set api_key, or username and password",
    re.compile(r"api key.*expired|expired.*api key", re.IGNORECASE): "api_key is past its expiration: make another",
    re.compile(r"api key.*invalidated", re.IGNORECASE): "api_key was revoked: make another",
    re.compile(r"api key.*(unable to find|invalid credentials)|unable to find apikey", re.IGNORECASE): (
        "check api_key, and that url is the cluster that it was made in"
    ),
    re.compile(r"unable to authenticate user", re.IGNORECASE): "check username and password",
    re.compile(r"indices:admin/(auto_)?create"): (
        "create the index or data stream, let api_key or username do it (the privilege auto_configure), or check index"
    ),
    re.compile(r"is unauthorized for|no permissions for", re.IGNORECASE): (
        "let api_key or username create documents there (the privilege create_doc), or check index"
    ),
    re.compile(r"cluster_block_exception"): (
        "writing to the index is blocked: lift the block, which a disk that is nearly full may have set, or check index"
    ),
    re.compile(r"index_not_found_exception"): (
        "create the index or data stream, let the cluster do it (action.auto_create_index), or check index"
    ),
}
"""Of a 401, 403 or 404: what to do, by what the error says."""
PRIVILEGE = "create_doc"
"""The least by which documents can be created, since Elasticsearch 7.5; the greater ones contain it."""


def read_answer(answer: Response, count: int, sent: Callable[[], Sequence[str]] = tuple) -> Outcome:
    """Return what an answer to a `_bulk` request means.

    Args:
        answer: The answer.
        count: The request's records.
        sent: Returns the `_id` of each record, in the order of the request. It is called only where some weren't taken.
    """
    status, reason = answer.status, f"{answer.status}: {_reason(answer)}"
    if status == 200:  # noqa: PLR2004
        outcome = _read_items(answer, count, sent)
    elif status == 413:  # noqa: PLR2004
        outcome = TooLarge(reason)
    elif status in {401, 403}:
        default = "check api_key, or username and password, and that they may write to the index"
        outcome = Hold(f"{reason}: {_mend(reason, default)}", blame_of(status))
    elif status in _BUSY or status >= 500:  # noqa: PLR2004
        outcome = Retry(reason, answer.retry_after(), blame_of(status))
    elif status == 400 and _is_about_documents(answer):  # noqa: PLR2004
        outcome = Invalid("bulk request refused", reason)
    else:
        mend = _misdirected(reason)
        blame: Blame = "unclear" if mend else blame_of(status)
        outcome = Hold(f"{reason}: {mend or _mend(reason, 'check url, index and pipeline')}", blame)
    return outcome


def lacks_privilege(answer: Response, index: str) -> bool:
    """Tell whether an answer to "Has privileges" says that documents can't be created; other answers say nothing."""
    try:
        return answer.status == 200 and orjson.loads(answer.body)["index"][index][PRIVILEGE] is False  # noqa: PLR2004
    except (ValueError, LookupError, TypeError):
        return False


def forbids_new_indices(answer: Response) -> bool:
    """Tell whether the cluster's settings say that no index is made by its first document."""
    try:
        kinds = orjson.loads(answer.body)
        found = [kinds[kind]["action"]["auto_create_index"] for kind in _BY_PRECEDENCE if kinds.get(kind)]
        return answer.status == 200 and found[:1] == ["false"]  # noqa: PLR2004
    except (ValueError, LookupError, TypeError, AttributeError):
        return False


_BY_PRECEDENCE = ("transient", "persistent", "defaults")


def _read_items(answer: Response, count: int, sent: Callable[[], Sequence[str]]) -> Outcome:
    # A quote within a string is escaped, so that this counts members. Some servers give no items where all went well.
    if b'"errors":false' in answer.body[:200] and answer.body.count(_STATUS) in {0, count}:
        return Delivered()
    try:
        results = [dict(next(iter(item.values()))) for item in orjson.loads(answer.body)["items"]]
        statuses = [int(result["status"]) for result in results]
    except (ValueError, LookupError, TypeError, AttributeError, StopIteration):
        return Retry(f"not an answer of the Bulk API, check url: {answer.excerpt()}")
    if len(results) != count:
        return Retry(f"{len(results)} items in the answer to {count} documents")
    places = _places([result.get("_id") for result in results], sent(), statuses)
    if places is None:
        # Halves are sent until each is alone: of one item it is clear which document it is about.
        return Retry(_STRANGE, blame="unclear")
    return _outcome(answer, dict(zip(places, results, strict=True)))


def _outcome(answer: Response, results: Mapping[int, dict[str, Any]]) -> Outcome:
    """Return what the results of some documents, by index, mean."""
    rejected: dict[int, tuple[str, str]] = {}
    retry: list[int] = []
    reasons: Counter[str] = Counter()
    issue = ""
    duplicates = 0
    for index, result in results.items():
        status = int(result["status"])
        if status < 300:  # noqa: PLR2004
            continue
        kind, reason = _item_error(answer, result)
        said = f"{status}: {kind}: {reason}"
        if status == _CONFLICT:
            duplicates += 1
        elif status == 429 or (status >= 500 and kind not in _POISON):  # noqa: PLR2004
            retry.append(index)
            reasons[said] += 1
        elif mend := _for_a_person(status, said):
            retry.append(index)
            issue = f"{said}: {mend}"
        else:
            rejected[index] = (f"rejected: {kind}", said)
    if not rejected and not retry:
        return Delivered(duplicates)
    reason = reasons.most_common(1)[0][0] if reasons else ""
    by_shard = all(cause in _OF_A_SHARD for cause, _ in rejected.values())
    blame: Blame = "each" if not reasons and (issue or by_shard) else "service"
    return Partial(rejected, sorted(retry), reason, answer.retry_after(), issue, duplicates, blame)


def _places(ids: Sequence[Any], sent: Sequence[str], statuses: Sequence[int]) -> Sequence[int] | None:
    """Return the index within the request of each item; None where that can't be known.

    A pipeline changes the order: OpenSearch puts the documents that it dropped or failed on behind the others. So an
    item is told by its `_id`. Where two documents have the same one, they are the same document.

    Args:
        ids: Of the items.
        sent: Of the documents.
        statuses: Of the items.
    """
    if len(ids) == 1:
        return [0]
    free: defaultdict[Any, deque[int]] = defaultdict(deque)
    for index, identity in enumerate(sent):
        free[identity].append(index)
    places = [free[identity].popleft() if isinstance(identity, str) and free[identity] else -1 for identity in ids]
    strange = [item for item, place in enumerate(places) if place < 0]
    if strange:
        # A pipeline may set `_id`. What it did so with is told apart only where all of it was taken.
        if any(statuses[item] >= 300 for item in strange):  # noqa: PLR2004
            return None
        left = sorted(index for indexes in free.values() for index in indexes)
        for item, index in zip(strange, left, strict=True):
            places[item] = index
    return places


_STATUS = b'"status":'
_STRANGE = "the items of the answer have other ids than the documents of the request"


def _for_a_person(status: int, said: str) -> str:
    """Return what a person has to do before a document is taken; nothing where it is the document's own fault."""
    if status in {401, 403, 404}:
        return _mend(said, "check index, pipeline and the permission to write to them")
    return _misdirected(said)


def _mend(said: str, default: str) -> str:
    return next((mend for pattern, mend in _MENDING.items() if pattern.search(said)), default)


def _misdirected(said: str) -> str:
    """Return what to do about a 400 that is about where a document was sent; nothing where it is about the document."""
    return next((mend for pattern, mend in _MISDIRECTED.items() if pattern.match(said.partition(": ")[2])), "")


def _is_about_documents(answer: Response) -> bool:
    """Tell whether a 400 is the Bulk API's, and about what was sent. Any other keeps everything: it drops no record."""
    error = _error(answer)
    return isinstance(error, dict) and not _misdirected(f"400: {error.get('type')}: {error.get('reason')}")


def _item_error(answer: Response, result: dict[str, Any]) -> tuple[str, str]:
    error = answer.secrets.hide_in(result.get("error"))
    if isinstance(error, dict):
        reason = str(error.get("reason", ""))[:1000]
        cause = error.get("caused_by")
        # "failed to parse" alone helps nobody: what failed stands in the cause.
        if isinstance(cause, dict) and cause.get("reason"):
            reason += f": {str(cause['reason'])[:1000]}"
        return str(error.get("type", "error")), reason
    return "error", str(error or "")[:1000]


def _error(answer: Response) -> Any:
    try:
        return answer.json()["error"]
    except (ValueError, LookupError, TypeError):
        return None


def _reason(answer: Response) -> str:
    """Return the error's own words, or the beginning of the body."""
    error = _error(answer)
    if not isinstance(error, dict):
        return str(error)[:1000] if error else answer.excerpt()
    # Why an API key isn't let in stands beside the reason.
    words = (error.get(name) for name in ("type", "reason", "additional_unsuccessful_credentials"))
    return ": ".join(str(word)[:1000] for word in words if word) or answer.excerpt()
