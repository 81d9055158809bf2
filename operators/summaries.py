"""Summaries: records of the flow's own that tell what a limiter's windows have dropped.

Keys are remembered as they were when their records came. If `redact` has begun to hide something since, it is hidden
here, before anybody sees it: in the values that a record tells, and in what its id is made of.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import orjson
import xxhash

from logweir.archive_table import MADE
from logweir.batch import Account, Batch
from logweir.paths import keys_of
from logweir.times import epoch_seconds, rfc3339
from operators.formats import LOGWEIR, OTEL, Format, Path
from operators.limiter_keys import OTHER_KEYS, values_of
from operators.limiter_state import Suppressed

Redact = Callable[[Batch], None]
"""Hides in a batch what a flow's `redact` names."""


class Summary(NamedTuple):
    """What windows of one limiter have dropped, to be told in records of their own."""

    origin: str
    """The sink partition that delivers them."""
    rule: str
    """The limiter's name."""
    by: tuple[str, ...]
    """The fields that its keys are made of."""
    suppressed: list[Suppressed]
    bucket: str = ""
    """Whose keys these are."""
    number: int = 0
    """Of the first of them, among all that this bucket has ever told of."""


class _Key(NamedTuple):
    """What a record tells of a key."""

    values: list[Any]
    """Of the limiter's fields, as far as they are known."""
    identity: str
    """Tells the key from others, and nothing of what is hidden."""


def told_records(summary: Summary, layout: Format = LOGWEIR, redact: Redact | None = None) -> Batch:
    """Return a batch of records that say what was dropped, one for each key and window, with their ids.

    Args:
        summary: What was dropped.
        layout: Of the source's records, beside which these are found by the same names.
        redact: Hides what is hidden now.
    """
    keys = _keys(summary, layout, redact)
    records = [_told(summary, each, key) for each, key in zip(summary.suppressed, keys, strict=True)]
    ids = [record["id"] for record in records]
    for record in records:
        _lay_out(record, summary.by, layout)
    batch = _batch(list(map(_encoded, records)))
    batch.account.made = len(batch)
    if redact is not None:
        redact(batch)
    batch.ids = ids
    return batch


def _batch(values: list[bytes]) -> Batch:
    batch = Batch("logweir", MADE, values, range(len(values)), Account())
    # Where a source's lines become records, these are some already.
    batch.records = [None] * len(values)
    return batch


def _encoded(record: dict[str, Any]) -> bytes:
    """Return a record as JSON, also with numbers beyond 64 bits, which orjson refuses."""
    try:
        return orjson.dumps(record)
    except TypeError:
        return json.dumps(record, separators=(",", ":")).encode()


def _keys(summary: Summary, layout: Format, redact: Redact | None) -> list[_Key]:
    """Return what each record tells of its key."""
    names, suppressed = summary.by, summary.suppressed
    values = [values_of(each.key, len(names)) for each in suppressed]
    # Every bucket may have keys beyond `max_keys`.
    known = [f"{each.key}{summary.bucket}" if each.key == OTHER_KEYS else each.key for each in suppressed]
    hidden = _hide(values, names, layout, redact) if redact is not None else set()
    for row in hidden:
        # Keys that look alike now are still told apart, by a number that goes on after a crash.
        known[row] = f"{json.dumps(values[row])}\0{summary.bucket}\0{summary.number + row}"
    return list(map(_Key, values, known))


def _hide(values: list[list[Any]], names: Sequence[str], layout: Format, redact: Redact) -> set[int]:
    """Hide in keys' values what is hidden now, each where it stood in a record; return which of the keys had some."""
    places = [(row, column) for row, some in enumerate(values) for column, each in enumerate(some) if each is not None]
    before = [_encoded(_placed(names[column], values[row][column], layout)) for row, column in places]
    batch = _batch(before)
    redact(batch)
    hidden = set()
    for (row, column), old, new in zip(places, before, batch.values, strict=True):
        if new != old:
            hidden.add(row)
            values[row][column] = _left(json.loads(old), json.loads(new), names[column], layout)
    return hidden


def _placed(name: str, value: Any, layout: Format) -> dict[str, Any]:
    """Return a record that has this value of a field wherever its format may have it."""
    record: dict[str, Any] = {}
    for place in layout.wire(name):
        own: Any = value
        if layout.name == OTEL.name and place.convert is not None:
            own = {"stringValue": value}
            own = [{"key": name, "value": own}] if place.path == ("attributes",) else own
        _plant(record, list(place.path), own)
    return record


def _left(old: Any, new: Any, name: str, layout: Format) -> Any:
    """Return what stands in the place of a value of which something is hidden; None where nothing does."""
    for place in layout.wire(name):
        now = _at(new, place.path)
        if now != _at(old, place.path):
            return _bare(now) if layout.name == OTEL.name else now
    return None


def _bare(value: Any) -> Any:
    """Return what `_placed` has wrapped as OpenTelemetry does."""
    if isinstance(value, list):
        value = value[0].get("value")
    return value.get("stringValue") if isinstance(value, dict) else value


def _at(record: Any, path: Path) -> Any:
    for key in path:
        record = record.get(key) if isinstance(record, dict) else None
    return record


def _told(summary: Summary, suppressed: Suppressed, key: _Key) -> dict[str, Any]:
    """Return the record that tells of one key's dropped records, in logweir's own format."""
    rule, start, length = summary.rule, suppressed.start, suppressed.length
    identity = f"{rule}\0{key.identity}\0{start}\0{length}\0{suppressed.part}"
    known = [str(value) for value in key.values if value is not None]
    of = f" of {', '.join(known)}" if known else ""
    record: dict[str, Any] = {
        "id": f"dropped-{xxhash.xxh3_128_hexdigest(identity.encode(errors='surrogatepass'))}",
        "timestamp": rfc3339(start + length),
        "level": "warn",
        "category": "logweir",
        "message": f"'{rule}' dropped {suppressed.records} records{of} within {length} s",
    }
    for name, value in zip(summary.by, key.values, strict=False):
        _plant(record, list(keys_of(name)), value)
    dropped = {"rule": rule, "records": suppressed.records, "from": rfc3339(start), "seconds": length}
    metadata = record.get("metadata")
    # Where the limiter goes by all of `metadata`, and that was no object, its text has told it.
    record["metadata"] = {**(metadata if isinstance(metadata, dict) else {}), "dropped": dropped}
    return record


def _lay_out(record: dict[str, Any], names: Sequence[str], layout: Format) -> None:
    """Tell what the record tells also where a format has it; OpenTelemetry's wraps values, so it has its own words."""
    if layout.name == OTEL.name:
        moment = round((epoch_seconds(record["timestamp"]) or 0.0) * 1000) * 1_000_000
        body, uid = {"stringValue": record["message"]}, {"stringValue": record["id"]}
        of_otel = {"timeUnixNano": str(moment), "severityNumber": 13, "severityText": "WARN", "body": body}
        record |= {**of_otel, "attributes": [{"key": "log.record.uid", "value": uid}]}
        return
    for name in ("id", "timestamp", "level", "category", "message", *names):
        place = layout.wire(name)[0]
        value: Any = record
        for key in keys_of(name):
            value = value.get(key) if isinstance(value, dict) else None
        if value is not None:
            _plant(record, list(place.path), value)


def _plant(record: dict[str, Any], path: list[str], value: Any) -> None:
    """Put the value of a limiter's field where it stood in the dropped records, unless the summary says that itself."""
    *parents, leaf = path
    for parent in parents:
        record = record.setdefault(parent, {})
        if not isinstance(record, dict):
            return
    record.setdefault(leaf, value)
