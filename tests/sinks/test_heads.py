from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinks.heads import Member

VALUES: st.SearchStrategy[Any] = (
    st.none() | st.text(max_size=4) | st.sampled_from(['"', "\\", "\x7f", "é", "\x00"]) | st.integers() | st.just([])
)


class TestMember:
    @pytest.mark.parametrize("default", [None, "", "d", 'é"'])
    @given(values=st.lists(VALUES | st.text("ab-1", min_size=1), max_size=4))
    def test_any_values(self, default: str | None, values: list[Any]) -> None:
        """Text stands in the member as it is, all else gives way to the default, and neighbours change nothing."""
        before, said, behind = Member("host", default).of(values)
        for value, each in zip(values, said, strict=True):
            text = before + each + behind
            expected = value if isinstance(value, str) and value else default
            assert text == "" or text.endswith(",")
            assert json.loads("{" + text[:-1] + "}") == ({"host": expected} if expected else {})
