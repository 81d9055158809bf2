"""The guard: a record that makes a step raise costs itself alone."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logweir.batch import Account, Batch
from logweir.guard import DEFECT, guarded, without_culprits


def batch_of(count: int) -> Batch:
    """Return a batch of numbered records, with columns and something on its account."""
    batch = Batch("t", 1, [b"%d" % number for number in range(count)], range(10, 10 + count))
    batch.records = list(range(count))
    batch.ids = [f"r{number}" for number in range(count)]
    batch.account.notice("before", 1)
    return batch


class Step:
    """A step that notes, drops and rejects records, and raises on some after it has begun to."""

    def __init__(self, evil: set[int], error: type[Exception] = ZeroDivisionError) -> None:
        self.evil = evil
        self.error = error
        self.calls = 0

    def __call__(self, batch: Batch) -> Batch:
        """Do what such a step does."""
        self.calls += 1
        account = batch.account
        account.notice("seen", len(batch))
        batch.values = [value + b"!" for value in batch.values]
        if self.evil.intersection(batch.records):
            msg = "secret 4111111111111111"
            raise self.error(msg)
        account.drop("odd", sum(number % 2 for number in batch.records))
        return batch.picked([number % 2 == 0 for number in batch.records])


@given(st.integers(1, 40), st.sets(st.integers(0, 39), max_size=6))
def test_each_culprit_alone(count: int, evil: set[int]) -> None:
    """All records but the culprits go on as if these weren't there, and every record is counted once."""
    batch = batch_of(count)
    account = batch.account
    step = Step(evil)
    found = guarded(step, batch)
    kept = [number for number in range(count) if number % 2 == 0 and number not in evil]
    odd = [number for number in range(count) if number % 2 and number not in evil]
    bad = sorted(evil & set(range(count)))
    assert found.account is account
    assert found.records == kept
    assert found.values == [b"%d!" % number for number in kept]
    assert list(found.offsets) == [10 + number for number in kept]
    assert found.ids == [f"r{number}" for number in kept]
    assert (found.topic, found.partition, found.lane, found.turn) == (batch.topic, 1, batch.lane, batch.turn)
    assert account.dropped == ({"odd": len(odd)} if odd else {})
    assert [(each.value, each.offset, each.cause) for each in account.rejected] == [
        (b"%d" % number, 10 + number, DEFECT) for number in bad
    ]
    assert account.notices == {"before": 1, **({"seen": count - len(bad)} if count > len(bad) else {})}
    assert account.read == count == len(kept) + len(odd) + len(bad)
    assert step.calls <= 1 + 2 * len(bad) * (count.bit_length() + 1)


def test_what_is_said_of_it() -> None:
    """The dead letter says what was raised and where; where redaction is, nothing of the exception's own words."""
    found = guarded(Step({1}), batch_of(2))
    assert found.account.rejected[0].detail.startswith("ZeroDivisionError: secret 4111111111111111 in test_guard.py:")
    found = guarded(Step({1}), batch_of(2), lambda _value, _account: b"[hidden]")
    assert found.account.rejected[0].value == b"[hidden]"
    assert found.account.rejected[0].detail.startswith("ZeroDivisionError in test_guard.py:")


def test_redaction_that_fails() -> None:
    """Of a record on which redaction itself fails nothing is kept but where it can be read."""

    def hide(_value: bytes, _account: Account) -> bytes:
        raise RecursionError

    found = guarded(Step({0}, RecursionError), batch_of(1), hide)
    (rejected,) = found.account.rejected
    assert rejected.value == b"[left out: redaction fails on it; read it at t-1-10, 1 bytes]"


def test_no_record_to_blame() -> None:
    """A step that raises without a record is a defect of the flow, and memory that has run out is no record's fault."""

    def fails(_batch: Batch) -> Any:
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011  it has no words
        guarded(fails, batch_of(0))
    with pytest.raises(MemoryError):
        guarded(Step({0}, MemoryError), batch_of(2))


def test_a_look() -> None:
    """Records on which a look raises are taken out; the rest stay as they are."""

    def look(batch: Batch) -> None:
        if 2 in batch.records:
            raise TypeError

    batch = without_culprits(look, batch_of(4))
    assert batch.records == [0, 1, 3]
    assert [each.offset for each in batch.account.rejected] == [12]
