from __future__ import annotations

import json
from typing import Any

from logweir.record import Level
from sinks.loki_streams import FORGET_SECONDS, OTHER, TOO_LONG, TOO_MANY, Streams


class Clock:
    """A clock that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        """Return the time that was set."""
        return self.now


def made(limit: int = 2) -> tuple[Streams, Clock]:
    """Return streams of two fields, and their clock."""
    clock = Clock()
    return Streams({"job": "j"}, ["service", "level"], limit, clock), clock


def of(streams: Streams, *services: Any) -> list[str]:
    """Return the service label of each."""
    found = streams.of([list(services), ["info"] * len(services)])
    return [json.loads(each).get("service", "") for each in found]


def test_no_more_than_the_limit() -> None:
    """What is over the limit shares one stream, and is counted each time; what was there before stays."""
    streams, _ = made()
    assert of(streams, "a", "b", "c", "d", "a") == ["a", "b", OTHER, OTHER, "a"]
    columns = [["a", "c", "b", "d"], ["info"] * 4]
    assert streams.altered(streams.of(columns)) == {TOO_MANY: 2}


def test_the_same_labels_by_other_values_are_one() -> None:
    """Values that lead to the same labels are one stream."""
    streams, _ = made()
    found = streams.of([["a", "a", "a", "b"], ["warn", Level("warn", 13, "WARNING"), Level("warn", 13, "40"), None]])
    assert len(set(found)) == 2
    assert streams.altered(found) == {}


def test_what_is_gone_makes_room() -> None:
    """A stream that is in use stays, one that is not seen for a while is forgotten."""
    streams, clock = made()
    of(streams, "a", "b")
    clock.now += FORGET_SECONDS
    assert of(streams, "a", "c") == ["a", OTHER]
    clock.now += FORGET_SECONDS
    assert of(streams, "c", "a", "b") == ["c", "a", OTHER]


def test_known_streams_are_forgotten_too() -> None:
    """Loki is known to have a stream only as long as it is in use."""
    streams, clock = made()
    (stream,) = streams.of([["a"], ["info"]])
    assert not streams.is_known(stream)
    streams.known(stream)
    clock.now += FORGET_SECONDS
    of(streams, "a")
    assert streams.is_known(stream)
    clock.now += FORGET_SECONDS
    of(streams, "b")
    clock.now += FORGET_SECONDS
    of(streams, "b")
    assert not streams.is_known(stream)


def test_what_is_kept_is_bounded() -> None:
    """However many values there are, and however long, only some are kept."""
    streams, _ = made()
    of(streams, *map(str, range(30_000)))
    assert len(streams) <= 10_000
    size = len(streams)
    long = ["x" * 10_000 + str(number) for number in range(5)]
    of(streams, *long)
    assert len(streams) == size


def test_long_values_are_counted() -> None:
    """A stream with a value that is too long is told of, unless it is one too many."""
    streams, _ = made()
    found = streams.of([["x" * 3000, "a", "x" * 4000], ["info"] * 3])
    assert [json.loads(each)["service"] for each in found] == [OTHER, "a", OTHER]
    assert streams.altered(found) == {TOO_LONG: 2}


def test_true_is_not_one() -> None:
    """Values that are equal in Python alone make labels of their own."""
    streams, _ = made(9)
    assert of(streams, 1, True, 1.0, [1], {}) == ["1", "true", "1.0", "", ""]
