"""Event time: when records happened, as far as that can be believed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from logweir.batch import Batch
from logweir.times import settled, whole_seconds


def believed_seconds(batch: Batch, timestamp: Callable[[Any], Any], lateness: float) -> Sequence[int]:
    """Return when each record happened, in whole seconds since 1970.

    It depends on the record alone, its own time and when it was written, and never on its neighbours in a poll: a batch
    may be cut elsewhere the next time. A clock that is wrong can neither use up the budget of another time nor begin a
    new one.

    Args:
        batch: Decoded records.
        timestamp: Reads a record's timestamp.
        lateness: Seconds. A timestamp that lies further from when the record was written is replaced by that. Where
            nobody has noted when it was written, the past is believed, and only the future is not.
    """
    if not batch.records:
        return []
    written = batch.written
    texts = batch.times or settled(list(map(timestamp, batch.records)), written)[0]
    seconds = whole_seconds(texts)
    noted = batch.origin.noted
    low, high = min(seconds), max(seconds)
    if high - min(written) <= lateness and (not noted or max(written) - low <= lateness):
        return seconds
    return [
        found if found - moment <= lateness and (not noted or moment - found <= lateness) else int(moment)
        for found, moment in zip(seconds, written, strict=True)
    ]
