"""`document_id: own`: the record's own id is the document's, and a 409 is checked against what is stored.

Nobody guarantees that an application's ids are unique. So where a document of the id is there, it is compared: the same
one is a repetition, another one means that the record is dead-lettered.

Protocol: "Multi get API" in the Elasticsearch and in the OpenSearch documentation; it reads what no refresh shows yet.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from sinks.destination import Delivered, Hold, Outcome, Partial, Records, Retry, blame_of
from sinks.http import HttpClient, Response

TAKEN = "another record has this id"
"""The cause of records that are dead-lettered."""
_CONFLICT = 409
_DIGEST = 17
"""Characters of a dash and of a digest, as operators/identity.py joins them with an id."""
_TIMESTAMP = "@timestamp"


def names_of(records: Records) -> list[str]:
    """Return each record's own id, else the identity by its place."""
    return [
        own if identity[:-_DIGEST] == own else identity
        for own, identity in zip(records.ids, records.identities, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class _Conflict:
    at: int
    """The record's index within the request."""
    index: str
    """Where the document is."""
    id: str
    document: bytes
    """As it was sent."""


def compared(client: HttpClient, outcome: Outcome, answer: Response, body: bytes) -> Outcome:
    """Return what a `_bulk` request comes to, where each conflict of its answer has been looked at.

    Args:
        client: Asks the same server.
        outcome: As the answer alone says it.
        answer: The answer, whose items have `_index`, in the order of the request.
        body: The request, unpacked.
    """
    if not isinstance(outcome, Delivered | Partial) or not outcome.duplicates:
        return outcome
    conflicts = _conflicts(answer, body)
    asked = orjson.dumps({"docs": [{"_index": each.index, "_id": each.id} for each in conflicts]})
    headers = {"content-type": "application/json"}
    found = client.request("POST", "/_mget?filter_path=docs.found,docs._source", asked, headers)
    if not isinstance(found, Response):
        return found
    if found.status in {401, 403}:
        mend = "document_id: own compares with what is stored: allow read on index too, or leave document_id out"
        return Hold(f"{found.status}: {mend}", blame_of(found.status))
    try:
        stored: Sequence[Mapping[str, Any]] = json.loads(found.body)["docs"] if found.status == 200 else ()  # noqa: PLR2004
        sources = [each["_source"] if each.get("found") else None for each in stored]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        sources = []
    if len(sources) != len(conflicts):
        return Retry(f"{found.status}: not an answer of the Multi get API: {found.excerpt()}")
    return _told(outcome, conflicts, sources)


def _conflicts(answer: Response, body: bytes) -> list[_Conflict]:
    """Return the documents whose id was there."""
    lines = body.split(b"\n")
    results = [next(iter(item.values())) for item in orjson.loads(answer.body)["items"]]
    return [
        _Conflict(at, result["_index"], result["_id"], lines[2 * at + 1])
        for at, result in enumerate(results)
        if result["status"] == _CONFLICT
    ]


def _told(outcome: Delivered | Partial, conflicts: Sequence[_Conflict], sources: Sequence[Any]) -> Outcome:
    """Return the outcome, with conflicts that are none and such whose document has gone since."""
    gone = [each.at for each, source in zip(conflicts, sources, strict=True) if source is None]
    others = {
        each.at: (TAKEN, f"409: {each.index} has another document whose _id is {each.id!r}")
        for each, source in zip(conflicts, sources, strict=True)
        if source is not None and not _same(each.document, source)
    }
    if not gone and not others:
        return outcome
    duplicates = outcome.duplicates - len(gone) - len(others)
    if isinstance(outcome, Delivered):
        reason = "a document was there, and is gone since" if gone else ""
        return Partial(others, gone, reason, duplicates=duplicates, certain=True)
    return replace(
        outcome,
        rejected={**outcome.rejected, **others},
        retry=sorted([*outcome.retry, *gone]),
        duplicates=duplicates,
        certain=not outcome.rejected,
    )


def _same(document: bytes, source: Any) -> bool:
    """Tell whether a document is the one that is stored, but for an `@timestamp` that a repetition may have anew."""
    try:
        sent = json.loads(document)
    except (ValueError, RecursionError):
        return False
    return bool({**sent, _TIMESTAMP: ""} == {**source, _TIMESTAMP: ""})
