"""The rate that a sampled record tells, in its own bytes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.annotate import UNTOLD, annotated

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc") | st.text(max_size=5), inner),
    max_leaves=8,
)
KEYS = st.sampled_from(["sampling", "rate", "sampling.rate", "message", 'samp"ling'])
RECORDS = st.dictionaries(KEYS, JSON | st.fixed_dictionaries({"rate": JSON}), max_size=4)
RATES = st.sampled_from([1.0, 0.5, 0.1234, 1.234e-07, UNTOLD])


def one(value: bytes, rate: float = 0.1) -> bytes:
    """Return this record with its rate."""
    return annotated([value], [rate])[0][0]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b'{"id":"a"}', b'{"id":"a","sampling":{"rate":0.1}}'),
        (b"{}", b'{"sampling":{"rate":0.1}}'),
        (b" { } \n", b' {"sampling":{"rate":0.1}}'),
        (b'{"a":{} }', b'{"a":{},"sampling":{"rate":0.1}}'),
        (b'{"a":1.50e3,"a":2}', b'{"a":1.50e3,"a":2,"sampling":{"rate":0.1}}'),
        (b'{"message":"sampling"}', b'{"message":"sampling","sampling":{"rate":0.1}}'),
        (b'{"x":{"sampling":1}}', b'{"x":{"sampling":1},"sampling":{"rate":0.1}}'),
        (b'{"sampling":{"rate":0.5},"n":1.0}', b'{"sampling":{"rate":0.05},"n":1.0}'),
        (b'{"sampling": {"rate" : 1 , "by":"head"}}', b'{"sampling": {"rate" : 0.1 , "by":"head"}}'),
        (b'{"sampling":{"by":"head","in":{"rate":7}}}', b'{"sampling":{"rate":0.1,"by":"head","in":{"rate":7}}}'),
        (b'{"sampling":{ }}', b'{"sampling":{"rate":0.1 }}'),
        (b'{"sampling":{"rate":null}}', b'{"sampling":{"rate":0.1}}'),
        (b'{"sampling":null,"a":1}', b'{"sampling":{"rate":0.1},"a":1}'),
    ],
)
def test_where_it_stands(value: bytes, expected: bytes) -> None:
    """The rate is spliced in; a rate that was told already is multiplied, and all else keeps its own bytes."""
    assert annotated([value], [0.1]) == ([expected], 0)
    assert annotated([value, b'{"id":1}'], [0.1, 0.5])[0][0] == expected


@pytest.mark.parametrize(
    "value",
    [
        b'{"sampling":true}',
        b'{"sampling":"off"}',
        b'{"sampling":[{"rate":0.5}]}',
        b'{"sampling":{"rate":20}}',
        b'{"sampling":{"rate":0}}',
        b'{"sampling":{"rate":true}}',
        b'{"sampling":{"rate":"0.5"}}',
        b'{"sampling":{"rate":0.5,"rate":0.5}}',
        b'{"sampling":{"rate":0.5},"sampling":{"rate":0.5}}',
        b'{"s\\u0061mpling":{"rate":0.5}}',
    ],
)
def test_what_is_left_as_it_is(value: bytes) -> None:
    """A `sampling` that means something else is never changed nor doubled, and the record is counted."""
    assert annotated([value], [0.1]) == ([value], 1)


def test_rates() -> None:
    """A rate is told as it was used: a whole one as 1, a small one with all its digits; without one nothing is told."""
    assert one(b'{"a":1}', 1.0) == b'{"a":1,"sampling":{"rate":1}}'
    assert one(b'{"a":1}', 1.234e-07) == b'{"a":1,"sampling":{"rate":1.234e-07}}'
    for own in (True, False):
        told, left = annotated([b'{"a":1}', b'{"a":2}'], [UNTOLD, 0.5], own=own)
        assert (told, left) == ([b'{"a":1}', b'{"a":2,"sampling":{"rate":0.5}}'], 0)


@given(st.lists(st.tuples(RECORDS, RATES, st.booleans(), st.booleans()), max_size=5))
def test_any_record(records: list[tuple[dict[str, Any], float, bool, bool]]) -> None:
    """Whatever a record holds, it stays valid JSON with all that it had, and tells its rate or is left alone."""
    values = [
        json.dumps(each, ensure_ascii=plain, indent=2 if wide else None).encode() for each, _, plain, wide in records
    ]
    told, left = annotated(values, [rate for _, rate, _, _ in records])
    if not any("sampling" in record for record, _, _, _ in records):
        assert annotated(values, [rate for _, rate, _, _ in records], own=False) == (told, 0)
    for (record, rate, _, _), value in zip(records, told, strict=True):
        own = record.get("sampling")
        found = json.loads(value)
        assert found == record or (rate != UNTOLD and (own is None or isinstance(own, dict)))
        if found != record:
            before = (own or {}).get("rate")
            expected = pytest.approx(rate if before is None else before * rate)
            assert found == {**record, "sampling": {**(own or {}), "rate": expected}}
    assert left <= sum("sampling" in record for record, _, _, _ in records)
