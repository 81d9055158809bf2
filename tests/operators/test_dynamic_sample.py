"""Dynamic samples: rates by what came before in the partition, however it is cut; counts that scale up again."""

from __future__ import annotations

import math
import random
import tracemalloc
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.dynamic_sample import HASHES, OVER_KEYS, DynamicState, fair_share
from operators.limiter_keys import OTHER_KEYS

START = 1_790_000_000
WINDOW = 10
LATENESS = 60


class Seen(NamedTuple):
    """What a sampler sees of a record."""

    key: str
    second: int
    hash: int = 0


def reference(records: Sequence[Seen], target: float, lateness: float = LATENESS) -> Iterator[float]:
    """Give the rate of each record, of a stream without strays: the specification, as plainly as it can be written."""
    pace: dict[str, float] = {}
    count: Counter[str] = Counter()
    since, level = records[0].second if records else 0, math.inf
    for record in records:
        end = since - since % WINDOW + WINDOW
        if record.second >= end:
            span = max(1, record.second - since) if record.second < end + lateness else WINDOW
            for key in pace.keys() | count.keys():
                weight = 0.5 ** (span / WINDOW) if key in pace else 0
                pace[key] = count[key] / span + (pace.get(key, 0) - count[key] / span) * weight
            pace = {key: each for key, each in pace.items() if each * WINDOW >= 0.5}
            count, since = Counter(), record.second
            paces = sorted(pace.values())
            # The first of them that doesn't fit any more, were all above it cut to its own.
            shares = [(target - sum(paces[:rank])) / (len(paces) - rank) for rank in range(len(paces))]
            level = next((share for each, share in zip(paces, shares, strict=True) if each > share), math.inf)
        count[record.key] += 1
        known = record.key in pace and pace[record.key] > level
        yield level / pace[record.key] if known else 1.0


def state(target: float = 5.0, max_keys: int = 1000) -> DynamicState:
    """Return the state of one partition."""
    return DynamicState(target, WINDOW, LATENESS, max_keys)


def take(sampler: DynamicState, records: Sequence[Seen]) -> list[float]:
    """Ask about some records."""
    keys = list(dict.fromkeys(record.key for record in records))
    which = [keys.index(record.key) for record in records]
    return sampler.take(keys, which, [each.second for each in records], [each.hash for each in records])


def stream(paces: dict[str, float], seconds: int, start: int = START, seed: int = 1) -> list[Seen]:
    """Return made-up records in the order of their time: of each key so many a second on average."""
    dice = random.Random(seed)
    found = []
    for second in range(start, start + seconds):
        keys = [key for key, pace in paces.items() for _ in range(int(pace) + (dice.random() < pace % 1))]
        dice.shuffle(keys)
        found += [Seen(key, second, dice.getrandbits(64)) for key in keys]
    return found


KEYS = st.sampled_from("aaaaaaaabbbc")
STEPS = st.integers(-3, 3) | st.sampled_from([0, 0, 0, 0, 5, 40])
STREAMS = st.lists(st.tuples(KEYS, STEPS), max_size=150).map(
    lambda steps: [
        Seen(key, START + sum(max(0, step) for _, step in steps[: at + 1]) + min(0, steps[at][1]))
        for at, (key, _) in enumerate(steps)
    ]
)
ODD = st.lists(
    st.builds(Seen, KEYS, st.integers(START, START + 300) | st.integers(0, 2**40), st.integers(0, HASHES - 1)),
    max_size=300,
)
CUTS = st.lists(st.integers(0, 300), max_size=5).map(sorted)


@given(STREAMS, st.floats(0.05, 5))
def test_exactly_as_specified(records: list[Seen], target: float) -> None:
    """Record by record the rate is that of the reference model, with late records and silences."""
    found = take(state(target), records)
    assert found == pytest.approx(list(reference(records, target)), rel=1e-3)


@given(ODD, CUTS)
def test_however_it_is_cut(records: list[Seen], cuts: list[int]) -> None:
    """Where batches are cut, and where it goes on from a snapshot after a crash, changes nothing, whatever comes."""
    whole = take(state(0.5, max_keys=2), records)
    sampler = state(0.5, max_keys=2)
    parts: list[float] = []
    for start, stop in zip([0, *cuts], [*cuts, len(records)], strict=True):
        recorded = sampler.to_dict()
        take(sampler, records[start : stop + 7])
        sampler = state(0.5, max_keys=2)
        sampler.restore(recorded)
        parts += take(sampler, records[start:stop])
    assert parts == whole


@given(st.lists(st.floats(0.01, 1e6), min_size=1, max_size=50), st.floats(0.01, 1e6))
def test_the_target_is_shared_fairly(paces: list[float], target: float) -> None:
    """What is kept of all keys is the target, or everything; no key gets more than one that could use more."""
    level = fair_share(paces, target)
    kept = sum(min(pace, level) for pace in paces)
    assert kept == pytest.approx(min(target, sum(paces)), rel=1e-6)


def test_the_example_of_the_page() -> None:
    """What the rarer leave over is shared by the others."""
    assert fair_share([900, 1, 90, 9], 100) == 45
    assert fair_share([900, 1, 90, 9], 1000) == math.inf


def test_rare_keys_are_kept_and_frequent_ones_thinned() -> None:
    """All keys together stay near the target; the rare ones are there whole."""
    records = stream({"often": 400, "more": 90, "some": 5, "seldom": 0.5}, 300)
    sampler = state(target=20)
    rates = take(sampler, records)
    settled = [(each, rate) for each, rate in zip(records, rates, strict=True) if each.second >= START + 100]
    kept = Counter(each.key for each, rate in settled if rate)
    assert abs(kept.total() / 200 - 20) <= 1
    asked = Counter(each.key for each, _ in settled)
    assert (kept["some"], kept["seldom"]) == (asked["some"], asked["seldom"])
    assert abs(kept["often"] - kept["more"]) <= 4 * math.sqrt(kept["often"])


def test_counts_scale_up_again() -> None:
    """The sum of 1/rate over what was kept is the number that came, within three standard errors, for every key."""
    records = stream({"often": 200, "more": 60, "some": 3}, 400, seed=7)
    dice = random.Random(8)
    # Frequencies change, so that rates do.
    records += stream({"often": 20, "more": 150, "new": 80}, 400, start=START + 400, seed=dice.getrandbits(9))
    rates = take(state(target=25), records)
    true, estimated = Counter(each.key for each in records), Counter[str]()
    variance = Counter[str]()
    for each, rate in zip(records, rates, strict=True):
        if rate:
            estimated[each.key] += 1 / rate  # type: ignore[assignment]
            variance[each.key] += (1 - rate) / rate**2  # type: ignore[assignment]
    assert all(rates[at] == 1 for at, each in enumerate(records) if each.key == "some")
    for key, count in true.items():
        assert abs(estimated[key] - count) <= 3 * math.sqrt(variance[key])
    assert sum(map(bool, rates)) < len(records) / 4


def test_a_new_key_is_kept_until_it_is_known() -> None:
    """Everything passes in the first window, and all of a key that wasn't there before in its first one."""
    sampler = state(target=1)
    assert set(take(sampler, stream({"a": 50}, WINDOW))) == {1.0}
    assert set(take(sampler, stream({"b": 50}, WINDOW, START + WINDOW))) == {1.0}
    later = take(sampler, stream({"a": 50, "b": 50}, WINDOW, START + 2 * WINDOW))
    assert max(later) < 0.1


def test_idle_keys_are_forgotten() -> None:
    """A key that comes no more leaves memory after some windows, the later the more often it came."""
    sampler = state()
    take(sampler, stream({f"key {number}": 1 for number in range(500)}, WINDOW))
    assert sampler.keys == 500
    take(sampler, stream({"other": 1}, 6 * WINDOW, START + WINDOW))
    assert sampler.keys == 1


def test_keys_beyond_the_limit_share_a_rate() -> None:
    """Memory is bounded: further keys are thinned as one, and counted."""
    sampler = state(target=4, max_keys=2)
    take(sampler, [Seen("a", START), Seen("b", START)])
    others = stream({f"other {number}": 5 for number in range(10)}, WINDOW)
    take(sampler, others)
    assert (sampler.keys, sampler.notices[OVER_KEYS]) == (3, len(others))
    take(sampler, [Seen("a", START + WINDOW)])
    assert (sampler.rate("a"), sampler.rate("another")) == (1, 1)
    assert sampler.rate(OTHER_KEYS) == pytest.approx((4 - 2 / WINDOW) / 50, rel=0.01)


def test_a_clock_that_is_far_ahead_does_not_stop_time() -> None:
    """Once records of a clock that is a year ahead have come and gone, rates go on to follow what comes."""
    sampler = state(target=10)
    take(sampler, stream({"a": 20}, 3 * WINDOW))
    before = sampler.rate("a")
    take(sampler, [Seen("a", START + 31_536_000)] * 5)
    take(sampler, stream({"a": 100}, 20 * WINDOW, START + 3 * WINDOW))
    assert before == pytest.approx(0.5, rel=0.05)
    assert sampler.rate("a") == pytest.approx(0.1, rel=0.05)


def test_single_strays_do_not_disturb_rates() -> None:
    """Records of a wrong clock among the others leave the rates of all what they are, within a factor of two."""
    dice = random.Random(3)
    records = stream({"a": 100}, 60 * WINDOW)
    mixed = [
        each._replace(second=each.second + dice.choice([-86_400, 86_400])) if dice.random() < 0.01 else each
        for each in records
    ]
    sampler = state(target=10)
    take(sampler, mixed)
    assert 0.05 <= sampler.rate("a") <= 0.2


def test_memory_of_a_key() -> None:
    """A key of thirty characters takes less than 250 bytes, its text included."""
    size = 5000
    sampler = state(max_keys=size)
    tracemalloc.start()
    try:
        for start in range(0, size, 100):
            take(sampler, [Seen(f"service-{start + number:022d}", START) for number in range(100)])
        take(sampler, [Seen("other", START + WINDOW)])
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sampler.keys >= size
    assert used / size < 250


def test_the_same_record_at_a_higher_rate() -> None:
    """What is kept at one rate is kept at every higher one: a trace is kept whole where its keys have one rate."""
    dice = random.Random(5)
    hashes = [dice.getrandbits(64) for _ in range(2000)]
    kept = []
    for pace in (20, 40, 80):
        sampler = state(target=10)
        take(sampler, stream({"a": pace}, 20 * WINDOW))
        assert sampler.rate("a") == pytest.approx(10 / pace, rel=0.05)
        rates = take(sampler, [Seen("a", START + 20 * WINDOW - 1, each) for each in hashes])
        kept.append({each for each, rate in zip(hashes, rates, strict=True) if rate})
    assert kept[0] > kept[1] > kept[2]
