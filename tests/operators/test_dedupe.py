from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from operators.dedupe import OVER_KEYS, DedupeState
from operators.limiter_state import Suppressed

START = 1_790_000_000
WINDOW = 10


def state(lateness: float = 5.0, max_keys: int = 100) -> DedupeState:
    """Return an empty bucket."""
    return DedupeState(WINDOW, lateness, max_keys)


def reference(asks: list[tuple[str, int]]) -> list[bool]:
    """Return which records pass: the specification, written as plainly as it can be."""
    first: dict[str, list[int]] = {"a": [], "b": [], "c": []}
    passed = []
    for key, second in asks:
        new = all(abs(second - each) >= WINDOW for each in first[key])
        if new:
            first[key].append(second)
        passed.append(new)
    return passed


ASKS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(START, START + 60)), max_size=100)


@given(ASKS)
def test_exactly_as_specified(asks: list[tuple[str, int]]) -> None:
    """Record by record the verdict is that of the reference model, in whatever order times and keys come."""
    seen = state()
    assert [bool(seen.take(key, second, 1)) for key, second in asks] == reference(asks)


@given(ASKS, st.integers(0, 100))
def test_goes_on_from_a_snapshot(asks: list[tuple[str, int]], cut: int) -> None:
    """A crash after any record changes nothing."""
    before = state()
    passed = [bool(before.take(key, second, 1)) for key, second in asks[:cut]]
    after = state()
    after.restore(before.to_dict())
    passed += [bool(after.take(key, second, 1)) for key, second in asks[cut:]]
    assert passed == reference(asks)


@given(ASKS, st.booleans())
def test_every_drop_is_told_once(asks: list[tuple[str, int]], silence: bool) -> None:
    """What the windows tell when they end, and before, is exactly what was dropped."""
    seen = state()
    told: list[Suppressed] = []
    dropped = 0
    for key, second in asks:
        dropped += 3 - seen.take(key, second, 3)
        if silence:
            told += seen.told()
    told += seen.read_until(START + 1000)
    assert sum(each.records for each in told) == dropped
    assert seen.told() == []


def test_partitions_that_are_apart() -> None:
    """Partitions that are read a window apart and more don't end each other's windows: of each one record passes."""
    seen = state()
    moments = [second + back for second in (START, START + 1, START + 2) for back in (300, 0, 100, 200)]
    assert sum(seen.take("a", moment, 1) for moment in moments) == 4
    assert {each.start: each.records for each in seen.told()} == dict.fromkeys(range(START, START + 301, 100), 2)


def test_a_key_that_never_ends_has_some_windows() -> None:
    """Of a key that comes without end, the windows that can still get something are remembered."""
    seen = state()
    for number in range(200):
        assert seen.take("a", START + WINDOW * number, 1) == 1
    assert len(seen.to_dict()["seen"][1]) == 200 * 3 * 8
    assert seen.take("a", START + WINDOW * 199 - 1, 1) == 0
    seen.read_until(START + WINDOW * 199)
    assert seen.take("a", START + WINDOW * 200, 1) == 1
    assert len(seen.to_dict()["seen"][1]) == 3 * 3 * 8


def test_a_group_passes_one() -> None:
    """Of records that are alike, one passes."""
    assert state().take("a", START, 5) == 1


def test_keys_are_forgotten_behind_the_slowest_partition() -> None:
    """A key is remembered until no partition can bring a repetition of it."""
    seen = state(lateness=5)
    seen.take("a", START, 2)
    assert seen.read_until(START) == []
    assert seen.take("a", START + 9, 1) == 0
    assert seen.read_until(START + 15) == [Suppressed("a", START, WINDOW, 2)]
    assert seen.take("a", START + 16, 1) == 1


@given(ASKS, st.integers(1, 5), st.integers(0, 100))
def test_many_asks_at_once(asks: list[tuple[str, int]], max_keys: int, cut: int) -> None:
    """To ask about some groups at once is the same as to ask about one after another."""
    many, single = state(max_keys=max_keys), state(max_keys=max_keys)
    groups = [(key, second, 1 + second % 3) for key, second in asks]
    for some in (groups[:cut], groups[cut:]):
        assert many.take_all(some) == [single.take(*group) for group in some]
    assert (many.to_dict(), many.notices) == (single.to_dict(), single.notices)


def test_the_oldest_are_forgotten_in_steps() -> None:
    """Where there is room for many, a hundredth is forgotten at once."""
    seen = state(max_keys=1000)
    assert seen.take_all([(f"k{number}", START, 1) for number in range(1001)]) == [1] * 1001
    assert seen.notices == {OVER_KEYS: 10}
    assert [seen.take(f"k{number}", START, 1) for number in (9, 10)] == [1, 0]


def test_a_snapshot_of_an_older_version() -> None:
    """Keys as they were recorded before they were packed go on too."""
    seen = state()
    watermark = {"progress": {}, "reached": 0.0}
    seen.restore({"version": 1, "seen": [("a", START, 2, 0)], "ended": [], "watermark": watermark})
    assert seen.take("a", START + 1, 1) == 0
    assert seen.told() == [Suppressed("a", START, WINDOW, 3)]


def test_more_keys_than_there_is_room_for() -> None:
    """The oldest are forgotten, which is counted, and what they have dropped is told."""
    seen = state(max_keys=2)
    for key in "abc":
        seen.take(key, START, 2)
    assert seen.notices == {OVER_KEYS: 1}
    assert seen.take("a", START + 1, 1) == 1
    assert {each.key for each in seen.read_until(START)} == {"a", "b"}


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.integers(START, START + 30)), max_size=100),
    st.integers(1, 4),
    st.sets(st.integers(0, 99)),
    st.sets(st.integers(0, 99)),
    st.integers(0, 100),
)
def test_no_two_summaries_are_alike(
    asks: list[tuple[str, int]], max_keys: int, silences: set[int], read: set[int], cut: int
) -> None:
    """Whatever is forgotten, comes late or crashes, no two of what is told have the same key, window and part."""
    seen = state(lateness=0, max_keys=max_keys)
    told: list[Suppressed] = []
    for number, (key, second) in enumerate(asks):
        seen.take(key, second, 2)
        if number in silences:
            told += seen.told()
        if number in read:
            told += seen.read_until(second)
        if number == cut:
            seen, before = state(lateness=0, max_keys=max_keys), seen
            seen.restore(before.to_dict())
    told += seen.told()
    assert len({(each.key, each.start, each.part) for each in told}) == len(told)


def test_parts_are_stable_where_nothing_is_forgotten() -> None:
    """A window's first summary is its part 0, whatever other windows have told before, so a replay has the same ids."""
    seen = state()
    seen.take("a", START, 2)
    assert [each.part for each in seen.read_until(START + 100)] == [0]
    seen.take("a", START + 100, 2)
    seen.take("b", START + 100, 2)
    assert [each.part for each in seen.told()] == [0, 0]
    # This one comes too late for the window that has been told.
    seen.take("a", START, 2)
    assert [(each.start, each.part) for each in seen.told() if each.start == START] == [(START, 1)]
