from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from operators.limiter_keys import OTHER_KEYS
from operators.limiter_state import Suppressed
from operators.rate_limit import (
    LATE,
    MAX_WINDOWS,
    OVER_KEYS,
    OVER_WINDOWS,
    PAST_KEYS,
    Limit,
    RateState,
)
from tests.limits import reference

START = 1_790_000_000 - 1_790_000_000 % 3600
"""The beginning of an hour."""


def state(*limits: Limit, lateness: float = 60.0, max_keys: int = 1000) -> RateState:
    """Return the windows of one bucket."""
    return RateState(limits or (Limit(1, 10),), lateness, max_keys)


LIMITS = st.lists(
    st.builds(Limit, st.sampled_from([1, 60, 3600]), st.integers(1, 30)),
    min_size=1,
    max_size=3,
    unique_by=lambda each: each.length,
)
ASKS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(START, START + 130)), max_size=200)


@given(ASKS, LIMITS)
def test_exactly_as_specified(asks: list[tuple[str, int]], limits: list[Limit]) -> None:
    """Record by record the verdict is that of the reference model, in whatever order times and keys come."""
    windows = state(*limits)
    assert [bool(windows.take(key, second, 1)) for key, second in asks] == reference(asks, limits)


@given(ASKS, LIMITS, st.integers(0, 200))
def test_goes_on_from_a_snapshot(asks: list[tuple[str, int]], limits: list[Limit], cut: int) -> None:
    """A crash after any record changes nothing: what was recorded goes on, and what wasn't is asked again."""
    before = state(*limits)
    passed = [bool(before.take(key, second, 1)) for key, second in asks[:cut]]
    recorded = before.to_dict()
    for key, second in asks[cut : cut + 7]:
        before.take(key, second, 1)
    after = state(*limits)
    after.restore(recorded)
    passed += [bool(after.take(key, second, 1)) for key, second in asks[cut:]]
    assert passed == reference(asks, limits)


@given(ASKS, LIMITS, st.one_of(st.integers(1, 4), st.just(1000)), st.integers(0, 250))
def test_many_asks_at_once(asks: list[tuple[str, int]], limits: list[Limit], max_keys: int, cut: int) -> None:
    """To ask about some groups at once is the same as to ask about one after another, whatever bound is met."""
    many, single = state(*limits, max_keys=max_keys), state(*limits, max_keys=max_keys)
    groups = [(key, second, 1 + second % 3) for key, second in asks]
    # So many keys of one second are looked at together.
    groups += [(f"{key}{number}", START + number // 20, 1) for number, (key, _) in enumerate(asks)]
    for some in (groups[:cut], groups[cut:]):
        assert many.take_all(some) == [single.take(*group) for group in some]
        reached = START + cut % 100
        assert many.read_until(reached) == single.read_until(reached)
    assert many.to_dict() == single.to_dict()
    assert many.notices == single.notices


def test_a_snapshot_of_an_older_version() -> None:
    """Windows as they were recorded before keys were packed go on too."""
    windows = state(Limit(1, 5))
    kept = (1, 5, START, {"a": 3}, {"b": 2}, 1)
    windows.restore({"version": 1, "windows": [kept], "watermark": {"progress": {}, "reached": 0.0}})
    assert windows.take("a", START, 5) == 2
    assert windows.told() == [Suppressed("b", START, 1, 2, part=1), Suppressed("a", START, 1, 3, part=1)]


@given(ASKS, st.integers(1, 30))
def test_a_group_passes_as_its_records_would(asks: list[tuple[str, int]], most: int) -> None:
    """Asking about many records at once passes as many as asking about each."""
    limits = [Limit(1, most), Limit(60, 2 * most)]
    grouped, single = state(*limits), state(*limits)
    for (key, second), count in Counter(asks).items():
        assert grouped.take(key, second, count) == sum(single.take(key, second, 1) for _ in range(count))


def test_windows_close_behind_the_watermark() -> None:
    """A window stays while any partition may still bring records of it, and is told once none can."""
    windows = state(Limit(1, 5), lateness=10)
    windows.take("a", START, 8)
    assert windows.read_until(START) == []
    assert windows.take("a", START, 1) == 0
    assert windows.read_until(START + 11) == [Suppressed("a", START, 1, 4)]
    assert windows.open_windows == 0


def test_a_closed_window_is_not_granted_again() -> None:
    """A record that comes after its window is closed is counted in it, and not with those of now."""
    windows = state(Limit(1, 5), lateness=10)
    windows.take("a", START, 4)
    windows.read_until(START + 50)
    assert windows.take("a", START + 50, 5) == 5
    after = state(Limit(1, 5), lateness=10)
    after.restore(windows.to_dict())
    for each in (windows, after):
        assert each.take("a", START, 1) == 1
        assert each.take("a", START, 1) == 0
        assert each.read_until(START + 50) == [Suppressed("a", START, 1, 1)]
        assert each.take("a", START, 2) == 0
        assert each.read_until(START + 50) == [Suppressed("a", START, 1, 2, part=1)]
        assert each.notices == {}


def test_nothing_that_fits_is_dropped_however_late() -> None:
    """A window that is known no longer begins anew, which is counted; it drops nothing that isn't over the limit."""
    windows = state(Limit(1, 5), lateness=10, max_keys=10**6)
    keys = [f"k{number}" for number in range(PAST_KEYS)]
    windows.take_all([(key, START, 5) for key in keys])
    windows.read_until(START + 50)
    assert windows.take("k0", START, 5) == 5
    assert windows.take("k0", START, 5) == 0
    assert windows.notices == {LATE: 1}


def test_closed_windows_are_remembered_within_bounds() -> None:
    """Those that were closed last, with as many keys as there is room for."""
    windows = state(Limit(1, 1), lateness=10)
    for second in range(START, START + 2 * PAST_KEYS):
        windows.take("a", second, 1)
        windows.read_until(second)
    assert len(windows.to_dict()["windows"]) <= PAST_KEYS // 2 + 12
    assert windows.take("a", START + 2 * PAST_KEYS - 20, 1) == 0
    assert windows.take("a", START, 1) == 1


def test_keys_beyond_the_limit_share_one_budget() -> None:
    """Memory is bounded; what doesn't get a budget of its own is counted."""
    windows = state(Limit(1, 2), max_keys=3)
    assert [windows.take(key, START, 1) for key in "abc"] == [1, 1, 1]
    assert [windows.take(key, START, 1) for key in "defa"] == [1, 1, 0, 1]
    assert windows.notices == {OVER_KEYS: 3}
    closed = windows.read_until(START + 1000)
    assert closed == [Suppressed(OTHER_KEYS, START, 1, 1)]


def test_windows_beyond_the_limit_are_forgotten() -> None:
    """However scattered the times are, there are only so many windows beside those within lateness."""
    windows = state(Limit(1, 2), lateness=100)
    for second in range(START, START + MAX_WINDOWS + 250):
        windows.take("a", second, 1)
    assert windows.open_windows == MAX_WINDOWS + 200
    assert windows.notices == {OVER_WINDOWS: 50}


def test_windows_that_are_forgotten_are_told() -> None:
    """What a forgotten window has dropped is told, once; if it comes again, that is told as another part."""
    windows = RateState([Limit(1, 1)], 0, 1000)
    windows.take("a", START, 3)
    assert [(each.records, each.part) for each in windows.told()] == [(2, 0)]
    windows.take("a", START, 1)
    for second in range(START + 1, START + MAX_WINDOWS + 1):
        windows.take("a", second, 1)
    windows, before = RateState([Limit(1, 1)], 0, 1000), windows
    windows.restore(before.to_dict())
    windows.take("a", START, 3)
    told = windows.read_until(START + 10_000)
    assert [(each.start, each.records, each.part) for each in told] == [(START, 1, 1), (START, 2, 2)]


def test_a_length_that_comes_back() -> None:
    """A window that a change of the rule has ended, and another one begins anew, is told as another part."""
    windows = RateState([Limit(60, 1)], 0, 1000)
    windows.take("a", START, 3)
    told = windows.configure([Limit(1, 1)], 0, 1000)
    assert windows.configure([Limit(60, 1)], 0, 1000) == []
    windows.take("a", START, 3)
    told += windows.told()
    assert [(each.length, each.part) for each in told] == [(60, 0), (60, 1)]


def test_what_open_windows_have_dropped_is_told_once() -> None:
    """When nothing more comes, what was dropped can be told without closing the window."""
    windows = state(Limit(1, 2))
    windows.take("a", START, 5)
    assert windows.told() == [Suppressed("a", START, 1, 3)]
    assert windows.told() == []
    assert windows.take("a", START, 1) == 0
    assert windows.told() == [Suppressed("a", START, 1, 1, part=1)]
