"""Times, however other programs write them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logweir.times import (
    all_utc,
    epoch_seconds,
    is_missing,
    is_utc,
    moment_of,
    rfc3339,
    settled,
    whole_seconds,
    written_seconds,
)

NOON = "2026-11-30T12:00:00.000Z"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("2026-11-30T12:00:00Z", NOON),
        ("2026-11-30T12:00:00.123456789Z", "2026-11-30T12:00:00.123456789Z"),
        ("2026-11-30T14:00:00.5+02:00", "2026-11-30T12:00:00.500Z"),
        ("2026-11-30T07:00:00-0500", NOON),
        ("2026-11-30t12:00:00z", NOON),
        (" 2026-11-30T12:00:00Z ", NOON),
        ("2026-11-30 12:00:00,123", "2026-11-30T12:00:00.123Z"),
        ("2026-11-30 12:00:00", NOON),
        ("2026-11-30 12:00:00 UTC", NOON),
        ("2026-11-30 12:00:00 +0000", NOON),
        ("2026-11-30T12:00Z", NOON),
        ("2026-11-30", "2026-11-30T00:00:00.000Z"),
        ("2026-12-31T23:59:60Z", "2027-01-01T00:00:00.000Z"),
        ("2026-12-31T23:59:60.5Z", "2027-01-01T00:00:00.000Z"),
        ("20261130T120000Z", NOON),
        ("30/Nov/2026:12:00:00 +0000", NOON),
        ("30/Nov/2026:13:00:00 +0100", NOON),
        ("2026/11/30 12:00:00", NOON),
        ("2026/11/30 12:00:00.000123", "2026-11-30T12:00:00.000123Z"),
        ("Mon, 30 Nov 2026 12:00:00 GMT", NOON),
        ("Mon, 30 Nov 2026 13:00:00 +0100", NOON),
        ("Mon Nov 30 12:00:00 2026", NOON),
        (1796040000, NOON),
        (1796040000.123456, "2026-11-30T12:00:00.123456Z"),
        (1796040000123, "2026-11-30T12:00:00.123Z"),
        (1796040000123456, "2026-11-30T12:00:00.123456Z"),
        (1796040000123456789, "2026-11-30T12:00:00.123456789Z"),
        ("1796040000.123", "2026-11-30T12:00:00.123Z"),
        ("1796040000123456789", "2026-11-30T12:00:00.123456789Z"),
        ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59.000Z"),
    ],
)
def test_forms(value: Any, text: str) -> None:
    """Each usual form is read, to the digit, and written as RFC 3339 in UTC."""
    assert str(moment_of(value)) == text
    assert is_utc(text)
    assert epoch_seconds(value) == pytest.approx(datetime.fromisoformat(text).timestamp(), abs=1e-6)


@pytest.mark.parametrize("value", [None, "", " ", "-", "null", 0, 0.0, "0", "0001-01-01T00:00:00Z"])
def test_missing(value: Any) -> None:
    """What says that there is no time is missing, and nothing is wrong with it."""
    assert moment_of(value) is None
    assert is_missing(value)


@pytest.mark.parametrize(
    "value",
    [
        "9999-12-31T23:59:60Z",
        "9999-12-31T23:59:60-01:00",
        "soon",
        "2026-02-30T00:00:00Z",
        "2026-11-30T25:00:00Z",
        "1969-12-31T23:59:59Z",
        "9999-12-31T23:59:59-01:00",
        "\u0662026-11-30T12:00:00Z",
        "1" * 30,
        "x" * 1000,
        "\ud800",
        -5,
        1e300,
        float("inf"),
        10**25,
        True,
        [],
        {"at": 1},
    ],
)
def test_unreadable(value: Any) -> None:
    """What is no time is none, never an error; and it is no missing one."""
    assert moment_of(value) is None
    assert not is_missing(value)


def test_settled() -> None:
    """Times that are RFC 3339 in UTC stay as they are; others are read; the rest are when the record was written."""
    plain = [NOON, "2026-11-30T12:00:00.5Z"]
    assert settled(plain, [0.0, 0.0]) == (plain, 0)
    values: list[Any] = [NOON, "30/Nov/2026:12:00:00 +0000", None, "soon", {}, ""]
    written = [1796040000.0 + each for each in range(6)]
    texts, unread = settled(values, written)
    assert texts == [NOON, NOON, *(rfc3339(each) for each in written[2:])]
    assert unread == 2


_seconds = st.integers(1, 253_402_300_799)
_texts = st.builds(
    lambda second, digits: (
        datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")
        + (f".{digits}Z" if digits else "Z")
    ),
    _seconds,
    st.text("0123456789", max_size=9),
)
_any = st.one_of(_texts, st.text(max_size=40), st.integers(), st.floats(), st.none(), st.booleans(), st.just([]))


@given(st.lists(_any, min_size=1, max_size=20))
def test_settled_of_anything(values: list[Any]) -> None:
    """Whatever stands there, each record's time is RFC 3339 in UTC, and that of the record alone."""
    written = [1_790_000_000.25 + each for each in range(len(values))]
    texts, unread = settled(values, written)
    assert all_utc(texts)
    assert 0 <= unread <= len(values)
    assert texts == [settled([value], [at])[0][0] for value, at in zip(values, written, strict=True)]
    assert whole_seconds(texts) == [round(datetime.fromisoformat(f"{each[:19]}Z").timestamp()) for each in texts]


@given(st.lists(_texts, min_size=1, max_size=20))
def test_plain_times_are_not_touched(times: list[str]) -> None:
    """A time in the usual form goes out as it came, whatever its neighbours are."""
    assert settled(times, [0.0] * len(times)) == (times, 0)
    assert settled([*times, None], [0.0] * (len(times) + 1))[0][:-1] == times


def test_times_of_a_topic() -> None:
    """A message's timestamp is milliseconds; one that is missing, or that no calendar knows, is the time of reading."""
    assert written_seconds([1500, 2000], 9.0) == [1.5, 2.0]
    assert written_seconds([1500, -1, 0, 2**62], 9.0) == [1.5, 9.0, 9.0, 9.0]
    assert written_seconds([], 9.0) == []
