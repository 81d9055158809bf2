"""The order of reading."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flows.ordering import InOrder
from logweir.batch import Batch


@given(st.permutations(range(1, 12)), st.integers(1, 4))
def test_in_whatever_order_they_come(turns: list[int], together: int) -> None:
    """Batches leave in the order of their turns, as soon as all before them are there; what has none leaves at once."""
    order = InOrder()
    left: list[int] = []
    for start in range(0, len(turns), together):
        batches = []
        for turn in [*turns[start : start + together], 0]:
            batch = Batch("logs", 0, [], [])
            batch.turn = turn
            batches.append(batch)
        found = [each.turn for each in order.leave(batches)]
        assert found.count(0) == 1
        left += [turn for turn in found if turn]
        come = set(turns[: start + together])
        assert left == [turn for turn in range(1, 12) if set(range(1, turn + 1)) <= come]
        assert order.waiting == len(come) - len(left)
