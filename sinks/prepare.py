"""What becomes of a batch before its records wait to be sent: it is screened and encoded, under the guard."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from logweir.batch import Batch
from logweir.guard import guarded, without_culprits

Screen = Callable[[Batch], dict[str, int]]


def prepared(
    batches: Sequence[Batch], screen: Screen | None, encode: Callable[[Batch], Any]
) -> tuple[list[Batch], list[Any]]:
    """Return the batches that are left, and what is encoded of each; what makes a step raise is rejected.

    Args:
        batches: The batches.
        screen: Looks at each once, where the destination does.
        encode: Returns what the backlog takes of one; changes nothing.
    """
    left, encoded = [], []
    for batch in batches:
        if screen is not None and batch:
            batch = guarded(lambda some: _screened(some, screen), batch)  # noqa: PLW2901  called at once
        try:
            pieces = encode(batch)
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001  the guard finds the record that it is about
            batch = without_culprits(encode, batch)  # noqa: PLW2901
            pieces = encode(batch)
        left.append(batch)
        encoded.append(pieces)
    return left, encoded


def _screened(batch: Batch, screen: Screen) -> Batch:
    for cause, count in screen(batch).items():
        batch.account.notice(cause, count)
    return batch
