from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logweir.json_text import without_halves
from sinks.members import members, written

TEXTS = st.text(st.sampled_from('aud83\\"\ud83d\ud83e\ude00\udfff\U0001f600') | st.characters(), max_size=8).map(
    # Two halves beside each other are one character.
    lambda text: text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
RECORDS = st.dictionaries(TEXTS, VALUES, max_size=5)


@given(RECORDS)
def test_what_is_left_is_text_that_every_parser_takes(record: dict[str, Any]) -> None:
    """A strict parser reads it, nothing moves, and what had no halves is the same object."""
    value = json.dumps(record).encode()
    whole = without_halves(value)
    orjson.loads(whole)
    assert len(whole) == len(value)
    assert (whole is value) == all(not 0xD800 <= ord(each) <= 0xDFFF for each in json.dumps(record, ensure_ascii=False))


@pytest.mark.parametrize("indent", [None, 2])
@given(RECORDS)
def test_members_keep_their_bytes(indent: int | None, record: dict[str, Any]) -> None:
    """Each member is what a full parser finds, byte for byte, also with halves of surrogate pairs in it."""
    value = json.dumps(record, indent=indent).encode()
    found = members(value)
    assert {name: json.loads(raw) for name, raw in found.items()} == record
    assert all(raw in value for raw in found.values())
    assert json.loads(b"{" + written(found) + b"}") == record
