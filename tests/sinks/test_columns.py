from __future__ import annotations

import json
import re
from datetime import date
from operator import attrgetter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logweir.times import all_utc, is_utc
from operators.formats import ECS, LOGWEIR, Format
from operators.projection import Projection
from sinks.columns import Columns, are_plain, enclosed, joined, within
from sinks.trace import packed

FIELDS = ("level", "trace.traceId", "message", "trace.spanId", "context.service", "context.host")
SECONDS = st.datetimes().map(lambda moment: moment.isoformat(timespec="milliseconds") + "Z")
ODD_TIMES: tuple[Any, ...] = (
    "2026-02-30T10:00:00.000Z",
    "2026-01-01T24:00:00.000Z",
    "2026-01-01T10:60:00.000Z",
    "2026-01-01T10:00:60.000Z",
    "2026-01-01 10:00:00.000Z",
    "2026-01-01T10:00:00.000z",
    "2026-01-01T10:00:00.0\n0Z",
    "2026-01-01T10:00:00,000Z",
    "2026-01-01T10:00:00.0000000000Z",
    "2026-01-01T10:00:00Z",
    "2026-01-01T10:00:00.5Z",
    "2026-01-01T10:00:00.123456789Z",
    "٢026-01-01T10:00:00.000Z",
    "\ud800026-01-01T10:00:00.000Z",
    "0000-01-01T10:00:00.000Z",
    "",
    None,
    5,
    [],
)
TIMES: st.SearchStrategy[Any] = SECONDS | st.sampled_from(ODD_TIMES)


class TestColumns:
    @pytest.mark.parametrize("layout", [LOGWEIR, ECS])
    def test_columns_are_what_the_getters_read(self, layout: Format) -> None:
        """Each column holds what its getter reads from each record, in any format and whatever is missing."""
        projection = Projection(FIELDS, layout)
        getters = [projection.getter(name) for name in FIELDS]
        values = [{}, {"level": "info", "trace": {"spanId": 1}}, {"context": None}, {"service.name": "a", "trace": []}]
        rows = [projection.build(value) for value in values]
        assert Columns(getters).of(rows) == [[get(row) for row in rows] for get in getters]

    def test_getters_of_any_kind(self) -> None:
        """What is no attribute of a record is read all the same."""
        getters: list[Any] = [len, attrgetter("real", "imag"), attrgetter("__class__.__name__")]
        assert Columns(getters[1:]).of([True]) == [[(1, 0)], ["bool"]]
        assert Columns(getters[:1]).of(["ab", ""]) == [[2, 0]]


class TestTimes:
    @given(st.lists(TIMES, min_size=1, max_size=5))
    def test_all_are_utc_if_each_is(self, times: list[Any]) -> None:
        """A column is of times in UTC from 1970 on exactly if each of its values is, whatever stands beside it."""
        assert all_utc(times) == all(map(_utc, times)) == all(map(is_utc, times))


class TestPlain:
    @given(st.lists(st.text(max_size=3) | st.sampled_from(['"', "\\", "\x00", "\ud800", None, 1]), max_size=4))
    def test_plain_text_needs_no_escape(self, texts: list[Any]) -> None:
        """Only text that JSON writes as it is counts as plain."""
        if are_plain(texts):
            assert [json.loads(f'"{text}"') for text in texts] == texts


class TestPacked:
    @given(
        st.lists(st.text("0aF ", max_size=5) | st.sampled_from(["00a0", "0000", "0٢00", "0\n00", None, 7]), max_size=4)
    )
    def test_ids_of_one_length(self, ids: list[Any]) -> None:
        """The bytes are given exactly if each id is hexadecimal and has the right length."""
        plain = all(isinstance(each, str) and re.fullmatch("[0-9a-fA-F]{4}", each) for each in ids)
        assert packed(ids, 4) == (bytes.fromhex("".join(ids)) if plain else None)


class TestPieces:
    def test_what_is_put_together(self) -> None:
        """Starts and ends stand where they belong, of one piece and of several."""
        assert joined(['{"é":', "<"], [b'{"a":{}}', b"2"], b"}") == ['{"é":{"a":{}}}'.encode(), b"<2}"]
        assert within(['{"é":1,', "{"], [b'{"a":{}}', b"{}"]) == ['{"é":1,"a":{}}'.encode(), b"{}"]
        assert enclosed(b"[", [b"1"], b"]") == b"[1]"
        pieces = [b"1", b"2", b"3"]
        assert enclosed(b"[", pieces, b"]") == b"[1,2,3]"
        assert pieces == [b"1", b"2", b"3"]


def _utc(time: Any) -> bool:
    match = isinstance(time, str) and re.fullmatch(
        r"(\d{4}-\d\d-\d\d)T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,9})?Z", time, re.ASCII
    )
    try:
        return bool(match and date.fromisoformat(match[1]) >= date(1970, 1, 1))
    except ValueError:
        return False
