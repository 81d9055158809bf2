"""Who a record is, whatever applications take for an id."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from logweir.batch import Batch
from operators.decode import Decoder
from operators.formats import LOGWEIR
from operators.identity import digests_of
from operators.projection import Projection

_decode = Decoder(Projection([], LOGWEIR), identified=True)


def identities(values: list[bytes], *, log: str = "", first: int = 0) -> list[str]:
    """Return the identities of some records of a topic."""
    batch = Batch("logs", 3, list(values), range(first, first + len(values)))
    batch.log = log
    _decode(batch)
    assert not batch.account.rejected
    return batch.identities


def test_equal_bytes_are_the_same_record() -> None:
    """A repetition has the identity of the first, wherever it stands; another record of the same id has another."""
    created, paid = b'{"id":"42","message":"order created"}', b'{"id":"42","message":"order paid"}'
    assert identities([created, paid, created])[0] == identities([created], first=99)[0]
    assert len(set(identities([created, paid, created]))) == 2
    assert identities([created])[0].startswith("42-")


def test_without_an_id() -> None:
    """A record without an id is its place in its log: a topic of the same name that was made anew is another log."""
    values = [b"{}", b'{"id":null}', b'{"id":""}', b'{"id":true}', b'{"id":[1]}']
    assert identities(values, first=7) == [f"logs-3-{offset}" for offset in range(7, 12)]
    assert identities(values, log="c/t1") == [f"c/t1-3-{offset}" for offset in range(5)]


def test_beside_others() -> None:
    """A record's identity doesn't depend on its neighbours: whether all have ids, some, or none."""
    values = [b'{"id":"a"}', b"{}", b'{"id":5}', b' {"id":"a"}\n']
    together = identities(values)
    assert together == [identities([value], first=offset)[0] for offset, value in enumerate(values)]
    assert len(set(together)) == 4


def test_digests_that_were_made_before() -> None:
    """Where a step has changed the bytes, the digest of what was read counts."""
    read = b'{"id":"a","user":{"ip":"10.0.0.1"}}'
    batch = Batch("logs", 0, [b'{"id":"a","user":{"ip":"[redacted]"}}'], [0])
    batch.digests = digests_of([read])
    _decode(batch)
    assert batch.identities == identities([read])


def test_digests_follow_their_records() -> None:
    """Digests and identities stay with their records where others are rejected or dropped."""
    values = [b'{"id":"a"}', b"no record", b'{"id":"b"}']
    batch = Batch("logs", 0, list(values), range(3))
    batch.digests = ["1", "2", "3"]
    _decode(batch)
    assert batch.identities == ["a-1", "b-3"]
    assert batch.picked([False, True]).identities == ["b-3"]
    assert batch.twin().identities == ["a-1", "b-3"]


_ids = st.one_of(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), st.integers(0, 9), st.none())
_records = st.fixed_dictionaries({}, optional={"id": _ids, "n": st.integers(0, 3)})


@given(st.lists(_records, max_size=10))
def test_two_records_are_one_exactly_if_their_bytes_are(records: list[dict[str, Any]]) -> None:
    """Of records with ids, two have one identity exactly if they are the same bytes; the others have each their own."""
    values = [orjson.dumps(record) for record in records]
    found = identities(values)
    own = [isinstance(record.get("id"), int) or bool(record.get("id")) for record in records]
    for one, value in enumerate(values):
        for other in range(one):
            same = own[one] and own[other] and value == values[other]
            assert (found[one] == found[other]) == same
