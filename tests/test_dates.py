"""The dates by which records are filed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from logweir.dates import Dates
from logweir.times import epoch_seconds, rfc3339

NOW = 1_767_225_600.0
"""2026-01-01."""
DAY = 86_400.0

moments = st.floats(0, 253_402_300_799).map(lambda seconds: round(seconds, 3))


def test_whose_time() -> None:
    """A record's own time counts, unless a clock must have been wrong: then the time of its writing does."""
    day = rfc3339(NOW)
    for past, future, own, filed in (
        (366 * DAY, DAY, "2025-12-31T22:00:00Z", "2025-12-31T22:00:00Z"),
        (366 * DAY, DAY, "2025-01-01T00:00:00.123456789Z", "2025-01-01T00:00:00.123456789Z"),
        (366 * DAY, DAY, "2024-12-30T00:00:00Z", day),
        (366 * DAY, DAY, "2026-01-01T23:00:00.5Z", "2026-01-01T23:00:00.5Z"),
        (366 * DAY, DAY, "2026-01-02T00:00:01Z", day),
        (366 * DAY, DAY, "9999-12-31T23:59:59Z", day),
        (100 * 366 * DAY, 0, "1999-12-31T23:59:59Z", day),
        (100 * 366 * DAY, 1e12, "9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
    ):
        assert Dates(past=past, future=future).of([own], [NOW]) == ([filed], filed != own)
    assert Dates().of([], []) == ([], 0)


def test_a_poll_that_spans_days() -> None:
    """Right times of a backlog stay, though one poll spans many days; a wrong one is by its own writing."""
    written = [NOW + DAY * each for each in range(10)]
    times = [rfc3339(each) for each in written]
    assert Dates().of(times, written) == (times, 0)
    assert Dates().of([*times[:3], times[9], *times[4:]], written) == (times, 1)


@given(st.lists(st.tuples(moments, moments.filter(lambda seconds: seconds > 1)), max_size=8))
def test_each_by_itself(records: list[tuple[float, float]]) -> None:
    """What stands beside a record says nothing of its date, and no date lies outside the bounds."""
    times, written = [rfc3339(own) for own, _ in records], [moment for _, moment in records]
    dates = Dates()
    filed, told = dates.of(times, written)
    alone = [dates.of([time], [moment]) for time, moment in zip(times, written, strict=True)]
    assert (filed, told) == ([each[0] for each, _ in alone], sum(count for _, count in alone))
    for time, moment in zip(filed, written, strict=True):
        assert -dates.past - 1 <= (epoch_seconds(time) or 0) - moment <= dates.future + 1
