"""Event time: when records happened, as far as that can be believed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

from logweir.batch import Batch
from logweir.times import settled, whole_seconds

_UP_TO_SECOND = itemgetter(slice(len("2026-01-01T00:00:00")))


def believed_seconds(batch: Batch, timestamp: Callable[[Any], Any], lateness: float, last: int = 0) -> Sequence[int]:
    """Return when each record happened, in whole seconds since 1970.

    It depends on the record alone, its own time and when it was written, and never on its neighbours in a poll: a batch
    may be cut elsewhere the next time. A clock that is wrong can neither use up the budget of another time nor begin a
    new one.

    Args:
        batch: Decoded records.
        timestamp: Reads a record's timestamp.
        lateness: Seconds. A timestamp that lies further from when the record was written is replaced by that. Where
            nobody has noted when it was written, the past is believed, and only the future is not.
        last: Of so many records at the end; of all when left out.
    """
    if not batch.records:
        return []
    written = batch.written[-last:]
    texts = batch.times[-last:] or settled(list(map(timestamp, batch.records[-last:])), written)[0]
    upto = list(map(_UP_TO_SECOND, texts))
    # Of a few thousand records in a row only some seconds differ.
    known = dict(zip(different := list(set(upto)), whole_seconds(different), strict=True))
    seconds = list(map(known.__getitem__, upto))
    low, high = min(known.values()), max(known.values())
    noted = batch.origin.noted
    if not noted:
        # All count as written at once, when they were read.
        if high - written[0] <= lateness:
            return seconds
        return [
            found if found - moment <= lateness else int(moment) for found, moment in zip(seconds, written, strict=True)
        ]
    if high - min(written) <= lateness and max(written) - low <= lateness:
        return seconds
    return [
        found if abs(found - moment) <= lateness else int(moment)
        for found, moment in zip(seconds, written, strict=True)
    ]
