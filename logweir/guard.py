"""The guard of every step over records: a record on which one raises costs itself alone, and never stops the flow.

A step that raises is repeated on halves of its batch until the culprit is alone. That one is rejected with the cause
`defect` and what was raised, so it goes to the dead letter, is counted and told; the others go on. A step that raises
for every record rejects every record, one by one: none is lost, and the count says so.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from logweir.batch import Account, Batch, Rejected

DEFECT = "defect"
"""The cause of a dead letter whose record made a step raise."""

_LONGEST = 300
"""Characters of an exception's own words that are kept."""

Step = Callable[[Batch], Batch]
"""Changes a batch in place, or returns another of some of its records with the same account. Replaces whole columns."""
Hide = Callable[[bytes, Account], bytes]
"""Returns what may be kept of a record's bytes."""


def guarded(step: Step, batch: Batch, hide: Hide | None = None) -> Batch:
    """Return what a step makes of a batch; of a record on which it raises, a rejection on the batch's account.

    Args:
        step: The step.
        batch: The records.
        hide: What the bytes of a culprit pass through on their way to the account.
    """
    before = _Saved(batch)
    try:
        return step(batch)
    except MemoryError:
        raise
    except Exception as error:
        before.restore(batch)
        if not batch:
            # No record is to blame.
            raise
        return _without_culprits(step, batch, error, hide)


def without_culprits(look: Callable[[Batch], Any], batch: Batch, hide: Hide | None = None) -> Batch:
    """Return the records on which a look at them doesn't raise, where one at all of them has raised.

    Args:
        look: Changes nothing.
        batch: The records.
        hide: As above.
    """

    def step(some: Batch) -> Batch:
        look(some)
        return some

    return guarded(step, batch, hide)


class _Saved:
    """What a batch was before a step: columns are replaced, never changed, so their names are enough."""

    def __init__(self, batch: Batch) -> None:
        self._account = batch.account
        self._noted = batch.account.copy()
        self._columns = {name: getattr(batch, name) for name in Batch.__slots__ if name != "account"}

    def restore(self, batch: Batch) -> None:
        for name, column in self._columns.items():
            setattr(batch, name, column)
        for name in Account.__slots__:
            setattr(self._account, name, getattr(self._noted, name))


def _without_culprits(step: Step, batch: Batch, error: Exception, hide: Hide | None) -> Batch:
    account = batch.account
    if len(batch) == 1:
        account.rejected.append(Rejected(_shown(batch, hide), batch.offsets[0], DEFECT, _said(error, hide)))
        batch.keep([False])
        return batch
    middle = len(batch) // 2
    parts = []
    for half in (slice(0, middle), slice(middle, None)):
        wanted = [False] * len(batch)
        wanted[half] = [True] * len(wanted[half])
        part = batch.picked(wanted)
        part.account = Account()
        parts.append(guarded(step, part, hide))
    return _joined(batch, parts)


def _joined(batch: Batch, parts: Sequence[Batch]) -> Batch:
    """Return one batch of what a step has made of its parts, with its own account."""
    account = batch.account
    for part in parts:
        account.merge(part.account)
    first, second = parts
    joined = Batch(
        batch.topic,
        batch.partition,
        [*first.values, *second.values],
        [*first.offsets, *second.offsets],
        account,
        batch.origin,
    )
    joined.adopted, joined.turn, joined.lane, joined.log = batch.adopted, batch.turn, batch.lane, batch.log
    joined.join_columns(first, second)
    return joined


def _shown(batch: Batch, hide: Hide | None) -> bytes:
    """Return what the dead letter keeps of a culprit: never what redaction would hide."""
    value = batch.values[0]
    if hide is None:
        return value
    try:
        return hide(value, batch.account)
    except Exception:  # noqa: BLE001  it is the culprit of that too
        place = f"{batch.topic}-{batch.partition}-{batch.offsets[0]}"
        return f"[left out: redaction fails on it; read it at {place}, {len(value)} bytes]".encode()


def _said(error: Exception, hide: Hide | None) -> str:
    """Return what was raised, and where; its own words may quote the record, so they are left out under redaction."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" in {Path(frames[-1].filename).name}:{frames[-1].lineno} ({frames[-1].name})" if frames else ""
    words = "" if hide is not None else f": {str(error)[:_LONGEST]}"
    return f"{type(error).__name__}{words}{where}"
