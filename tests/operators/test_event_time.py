"""Event time: each record by its own time and its own time of writing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logweir.batch import Batch, ReadAt
from logweir.times import rfc3339
from operators.decode import Decoder
from operators.event_time import believed_seconds
from operators.formats import LOGWEIR
from operators.projection import Projection

START = 1_790_000_000
PROJECTION = Projection(["timestamp"], LOGWEIR, identified=False)
_decode = Decoder(PROJECTION, final=False)


class Noted(ReadAt):
    """An origin that has noted when each record was written."""

    noted = True

    def __init__(self, written: Sequence[float]) -> None:
        super().__init__(0.0)
        self._written = written

    def written(self, offsets: Sequence[int]) -> Sequence[float]:
        """Return when those of these offsets were."""
        return [self._written[offset] for offset in offsets]


def believed(times: Sequence[Any], origin: ReadAt, lateness: float = 60) -> list[int]:
    """Return what is believed of records with these timestamps."""
    values = [orjson.dumps({"timestamp": time}) for time in times]
    batch = Batch("t", 0, values, range(len(values)), origin=origin)
    _decode(batch)
    return list(believed_seconds(batch, PROJECTION.getter("timestamp"), lateness))


def test_by_each_record_alone() -> None:
    """A time is believed near the record's own time of writing, else that counts; neighbours play no part."""
    written = [START + 0.5, START + 100.5, START + 200.5, START + 300.5, START + 400.5, START + 500.0]
    times = [rfc3339(START), rfc3339(START), None, (START + 290) * 1000, rfc3339(START + 450.25), "soon"]
    expected = [START, START + 100, START + 200, START + 290, START + 450, START + 500]
    assert believed(times, Noted(written)) == expected
    assert [believed([time], Noted([each]))[0] for time, each in zip(times, written, strict=True)] == expected


def test_a_poll_of_a_backlog() -> None:
    """Right times of a poll that spans hours are all believed, whatever stands first or last in it."""
    times = [START + each for each in (7200, 0, 3600, 60, 7199)]
    assert believed(times, Noted([float(each) for each in times])) == times


def test_of_what_nobody_noted() -> None:
    """Where nothing tells when records were written, the past is believed, and the future isn't."""
    assert believed([START - 10**6, None, START + 10**6], ReadAt(START)) == [START - 10**6, START, START]


def test_of_every_spelling() -> None:
    """RFC 3339 in any zone and epoch numbers of any unit are the same second."""
    now = START + 5.0
    zoned = datetime.fromtimestamp(now, timezone(timedelta(hours=2))).isoformat()
    assert believed([rfc3339(now), zoned, now, int(now * 1000), str(int(now))], ReadAt(now)) == [START + 5] * 5


_anything = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    st.integers(-(2**53), 2**53),
    st.floats(allow_nan=False, allow_infinity=False),
    st.none(),
    st.booleans(),
    st.lists(st.none(), max_size=1),
)


@given(st.lists(_anything, max_size=20))
def test_of_anything(times: list[Any]) -> None:
    """Whatever stands there, the second is one that can be believed, and that of the record alone."""
    origin = Noted([float(START + each) for each in range(len(times))])
    found = believed(times, origin)
    assert all(START + at - 60 <= each <= START + at + 60 for at, each in enumerate(found))
    assert found == [believed([time], Noted([float(START + at)]))[0] for at, time in enumerate(times)]


@pytest.mark.parametrize("odd", ["", "Z", "soonZ", "2026-01-01T00:00:00+01:00Z", 1e19, True, [1], "9" * 30])
def test_beside_plain_ones(odd: Any) -> None:
    """What is no time counts as when it was written, beside plain ones too."""
    assert believed([rfc3339(START), odd], Noted([float(START)] * 2)) == [START, START]
