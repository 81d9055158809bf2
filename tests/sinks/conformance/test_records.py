"""Every valid record arrives as it was sent, at every destination; what is too large costs only itself."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.identity import digests_of
from sinks.destination import UNLIMITED, Delivered
from tests.sinks.cloud_support import ODD, Engine, engine
from tests.sinks.conformance.site import Sent, Site, stamp
from tests.sinks.conformance.sites import REAL, SITES, each_of, each_site, marks

EVERY = SITES | REAL
HARSH = [
    b'{"timestamp":1e999,"level":-1e999,"message":1e999,"context":{"service":1e999},"trace":{"traceId":1e999}}',
    b'{"x":1e999,"y":-1e999,"z":5e-324}',
    b'{"x":%b}' % (b"9" * 4000),
    b'{"x":' * 100 + b"1" + b"}" * 100,
    b'{"":"","a.b":{"c.d":[]},"$x":0}',
]
"""Records that parsers disagree on."""
MANY = 999
WITH_IDENTITY = {name: site for name, site in EVERY.items() if site.identity is not Site.identity}

Open = Callable[..., AbstractContextManager[tuple[Any, Engine]]]


@pytest.fixture
def opened(name: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Open:
    """Opens a destination with its server, which at the end has seen nothing that may not be sent."""
    monkeypatch.setattr("sinks.splunk.FIRST_POLL_SECONDS", 0.01)
    kind = EVERY[name]

    @contextmanager
    def start(variant: dict[str, Any] | None = None, **changes: Any) -> Iterator[tuple[Site, Engine]]:
        real = request.getfixturevalue(kind.needs) if kind.needs else None
        with kind(tmp_path, None, real) as site, engine(site.settings(**(variant or {})), tmp_path, **changes) as run:
            site.opened(run)
            yield site, run
            assert site.violations() == []

    return start


def missing(site: Site, run: Engine, values: Sequence[bytes]) -> list[Any]:
    """Return what was sent and has not arrived, or arrived and was not sent; dead letters have to have their cause."""
    assert site.violations() == []
    letters = run.letters()
    assert {letter["cause"] for letter in letters} <= site.causes
    dead = {letter["offset"] for letter in letters}
    left, lost = defaultdict(list), []
    for got in site.taken():
        left[_number(site.number, got)].append(got)
    for offset, value in enumerate(values):
        sent = Sent(json.loads(value), offset, value)
        places = left[_number(itemgetter("n"), sent.record)]
        found = next((at for at, got in enumerate(places) if site.same(sent, got)), None)
        if (found is None) != (offset in dead) and not site.forgets(sent):
            lost.append(sent)
        elif found is not None:
            del places[found]
    return [*lost, *(got for some in left.values() for got in some)]


def _number(read: Callable[[Any], Any], record: Any) -> int | None:
    """Return a record's number; None where it has none."""
    try:
        return int(read(record))
    except (KeyError, TypeError, ValueError):
        return None


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        pytest.param(name, variant, marks=marks(site), id=" ".join([name, *map(str, variant.values())]))
        for name, site in EVERY.items()
        for variant in site.variants
    ],
)
def test_odd_records(opened: Open, variant: dict[str, Any]) -> None:
    """Alone in a request and all in one, compressed or not: other scripts, control characters, nulls, any numbers."""
    some = [*ODD, *HARSH, b"{}"]
    with opened(variant) as (site, run):
        for value in some:
            run.deliver(value)
        run.deliver(*some)
        assert missing(site, run, some * 2) == []


TEXT = st.text(max_size=8) | st.sampled_from(['"\\\n\r\t\x00\x7f', "\u2028\ufeff\U0001f600", "|", "'"])
NUMBERS = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
TIMES = st.builds(stamp) | st.sampled_from(["2026-01-02T03:04:05+01:00", "2999-01-01T00:00:00Z", "soon", 17, -1, None])
FIELDS = ("id", "timestamp", "level", "message", "category", "context", "metadata", "error", "trace", "user")
RESERVED = (
    "@timestamp",
    "_id",
    "dd",
    "ddsource",
    "ddtags",
    "dd.trace_id",
    "host",
    "hostname",
    "service",
    "status",
    "time",
)
RECORDS = st.builds(
    lambda usual, others: {**others, **usual},
    st.fixed_dictionaries(
        {},
        optional={
            "timestamp": TIMES,
            "level": st.sampled_from(["info", "WARNING", "fatal", 30, 17.5, True, None, "odd", ["error"]]),
            "context": st.dictionaries(st.sampled_from(["service", "host", "environment", "version"]), VALUES),
            "trace": st.dictionaries(
                st.sampled_from(["traceId", "spanId"]), st.text("0123456789abcdef", min_size=16, max_size=32) | VALUES
            ),
        },
    ),
    st.dictionaries(st.sampled_from([*FIELDS, *RESERVED]) | TEXT, VALUES, max_size=4),
)


def written(record: dict[str, Any], number: int, indent: int | None, ascii_only: bool) -> bytes:
    """Return a record as some program writes it, of which there is no other: with a number, and an id of its own."""
    if isinstance(record.get("id"), str | int) and not isinstance(record["id"], bool):
        record = {**record, "id": f"{record['id']}-{number}"}
    record = {**record, "n": number}
    return json.dumps(record, indent=indent, ensure_ascii=ascii_only).encode()


@pytest.mark.hypothesis
@each_of(EVERY)
def test_any_record(opened: Open) -> None:
    """Whatever a JSON object holds, it is encoded, and what arrives is equal."""
    with opened() as (site, run):
        sent: list[bytes] = []

        @given(
            st.lists(st.tuples(RECORDS, st.tuples(st.sampled_from([None, 2]), st.booleans())), min_size=1, max_size=8)
        )
        def check(some: list[tuple[dict[str, Any], tuple[int | None, bool]]]) -> None:
            values = [written(each, len(sent) + at, *how) for at, (each, how) in enumerate(some)]
            sent.extend(values)
            run.encoded(*values)

        check()
        run.deliver(*sent)
        assert missing(site, run, sent) == []


@each_of(WITH_IDENTITY)
def test_identities(opened: Open) -> None:
    """A record is told by its own id joined with a digest of its bytes, and without an id by its place in the topic."""
    values = [b"{}", b'{"id":""}', b'{"id":null}', b'{"id":[1]}', b'{"id":5}', b'{"id":"a\\"b"}', '{"id":"é"}'.encode()]
    with opened() as (site, run):
        run.deliver(*values)
        found = {site.identity(got) for got in site.taken()}
        own = ["5", 'a"b', "é"]
        if run.identified:
            own = list(map("-".join, zip(own, digests_of(values[4:]), strict=True)))
        assert found == {*(f"logs-0-{offset}" for offset in range(4)), *own}


@each_of(WITH_IDENTITY)
def test_one_id_of_several_records(opened: Open) -> None:
    """Where repetitions are told, records of one id that differ are told apart; the same bytes again are one record."""
    values = [b'{"id":"42","message":"order %b"}' % each for each in (b"created", b"paid", b"shipped")]
    with opened() as (site, run):
        run.deliver(*values)
        run.deliver(*values)
        assert len({site.identity(got) for got in site.taken()}) == (len(values) if run.identified else 1)


def padded(site: Site, number: int, measure: Callable[[bytes], int], size: int) -> bytes:
    """Return a record of this size, as `measure` gives it."""
    room = size - measure(site.record(number, pad=""))
    # Where lengths are told, a longer record tells longer ones.
    room -= measure(site.record(number, pad="x" * room)) - size
    value = site.record(number, pad="x" * room)
    assert measure(value) == size
    return value


@each_of(EVERY)
def test_the_longest_record(name: str, opened: Open) -> None:
    """The longest record that is taken arrives; one byte more costs that record alone among 999 others."""
    with opened(EVERY[name].sizing) as (site, run):
        longest = site.longest(run)
        others = [site.record(number) for number in range(1, MANY + 1)]
        if longest is None:
            run.deliver(*others, site.record(0, pad="x" * 2_000_000))
            assert not run.letters()
            assert sorted(map(site.number, site.taken())) == list(range(MANY + 1))
            return
        run.deliver(padded(site, 0, longest.measure, longest.limit - longest.slack))
        assert not run.letters()
        large = padded(site, MANY + 1, longest.measure, longest.limit + 1)
        run.deliver(*others[:500], large, *others[500:])
        assert [(each["cause"], each["record"].encode()) for each in run.letters()] == [(longest.cause, large)]
        assert sorted(map(site.number, site.taken())) == list(range(MANY + 1))


@each_site
@pytest.mark.parametrize("over", [0, 1])
def test_the_largest_request(name: str, opened: Open, over: int) -> None:
    """A request of exactly the most bytes is sent whole; one byte more makes two of it."""
    with opened(SITES[name].sizing) as (site, run):
        largest, longest = site.largest(run), run.destination.limits.record_bytes
        if largest is None:
            return
        count = 3 + largest // min(longest, largest)
        size = largest // count - 100
        values = [site.record(number, pad="x" * (size - 300)) for number in range(count)]
        rest = largest - run.request_size(*values) + over
        values[-1] = site.record(count - 1, pad="x" * (size - 300 + rest))
        assert run.request_size(*values) == largest + over
        run.deliver(*values)
        assert len([each for each in run.told if each["event"] == "stream.flushed"]) == 1 + over
        assert sorted(map(site.number, site.taken())) == list(range(count))


@each_site
@pytest.mark.parametrize("over", [0, 1])
def test_the_most_records(opened: Open, over: int) -> None:
    """A request of exactly the most records is sent whole; one more makes two of it."""
    with opened(max_records=20_000) as (site, run):
        most = run.destination.limits.request_records
        if most == UNLIMITED:
            return
        run.deliver(*[b'{"n":%d}' % number for number in range(most + over)])
        assert (
            sorted(each["records"] for each in run.told if each["event"] == "stream.flushed") == [1, most][1 - over :]
        )
        assert sorted(map(site.number, site.taken())) == list(range(most + over))


@each_of(EVERY)
def test_a_health_check_sends_nothing(opened: Open) -> None:
    """A destination that is well says so; no record is sent for that, and nothing made, before the first record."""
    with opened() as (site, run):
        before = site.made()
        assert run.destination.probe() == Delivered()
        assert site.made() == before
        assert site.taken() == []
        run.deliver(site.record(0))
        assert run.destination.probe() == Delivered()
        assert len(site.taken()) == 1
