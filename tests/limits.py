"""What rate limits have to let through: the specification, and topics of records whose times come in any order."""

from __future__ import annotations

import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import orjson
from confluent_kafka import Producer

from logweir.record import epoch_seconds, rfc3339
from operators.rate_limit import Limit
from tests.scenarios import new_name
from tests.servers.kafka import Kafka

PARTITIONS = 8


class Place(NamedTuple):
    """A key and a second."""

    key: str
    second: int


def reference(asks: Iterable[tuple[str, int]], limits: Sequence[Limit]) -> list[bool]:
    """Return which records pass: the specification, written as plainly as it can be."""
    taken: dict[tuple[str, int, int], int] = defaultdict(int)
    passed = []
    for key, second in asks:
        places = [(key, limit.length, second // limit.length) for limit in limits]
        room = all(taken[place] < limit.most for place, limit in zip(places, limits, strict=True))
        for place in places if room else ():
            taken[place] += 1
        passed.append(room)
    return passed


def in_windows(places: Counter[Place], length: int) -> Counter[tuple[str, int]]:
    """Return how many records there are of each key in each window of this length."""
    found: Counter[tuple[str, int]] = Counter()
    for place, count in places.items():
        found[place.key, place.second // length] += count
    return found


def assert_as_specified(asked: Counter[Place], kept: Counter[Place], limits: Sequence[Limit]) -> int:
    """Assert that of what was asked for exactly as much was kept as the reference model says, in each key's windows.

    In whatever order records come, a window gets as many: as many as fit into the shorter windows in it, and at most
    its limit. Only where a longer window has become full it depends on the order which of the shorter ones in it have
    got how much; there it is asserted that none has too much, and that nothing was dropped that there was room for.

    Returns:
        How many windows had dropped something.
    """
    assert not kept - asked
    ordered = sorted(asked.elements())
    model = Counter(place for place, passes in zip(ordered, reference(ordered, limits), strict=True) if passes)
    by_length = sorted(limits, reverse=True)
    full: list[tuple[Limit, set[tuple[str, int]]]] = []
    dropped = 0
    for limit in by_length:
        found, wanted = in_windows(kept, limit.length), in_windows(model, limit.length)
        assert max(found.values(), default=0) <= limit.most
        for window, count in in_windows(asked, limit.length).items():
            start = window[1] * limit.length
            if not any((window[0], start // longer.length) in some for longer, some in full):
                assert found[window] == wanted[window], (limit, window, count)
            dropped += found[window] < count
        full.append((limit, {window for window, count in found.items() if count == limit.most}))
    for place, count in (asked - kept).items():
        assert any((place.key, place.second // limit.length) in some for limit, some in full), (place, count)
    return dropped


class Shuffled:
    """A topic of records whose keys and seconds come in any order, over all partitions.

    Args:
        kafka: The broker.
        keys: How many.
        seconds: Over how many the records are spread; they end now.
        records: How many.
        skew: With 1 all keys are alike, with more some are frequent and most are rare.
    """

    def __init__(self, kafka: Kafka, *, keys: int, seconds: int, records: int, skew: float = 3) -> None:
        self.topic = new_name("rate")
        self.asked: Counter[Place] = Counter()
        self.places: list[tuple[int, int]] = []
        """Of each record, by number, its partition and offset."""
        kafka.create_topic(self.topic, PARTITIONS)
        self._dice = random.Random(self.topic)
        self._begin = int(time.time()) - seconds
        self._keys, self._seconds, self._skew = keys, seconds, skew
        self._offsets = [0] * PARTITIONS
        self._producer = Producer({"bootstrap.servers": kafka.brokers, "linger.ms": 5, "log_level": 0})
        self.send(records)

    @property
    def sent(self) -> int:
        """Return how many records there are."""
        return len(self.places)

    def send(self, records: int) -> None:
        """Produce some more."""
        for _ in range(records):
            key = f"service-{int(self._keys * self._dice.random() ** self._skew)}"
            place = Place(key, self._begin + self._dice.randrange(self._seconds))
            self.asked[place] += 1
            record = {
                "id": f"r{self.sent}",
                "timestamp": rfc3339(place.second + 0.5),
                "level": "info",
                "context": {"service": key},
            }
            partition = self._dice.randrange(PARTITIONS)
            self._producer.produce(self.topic, orjson.dumps(record), partition=partition)
            self.places.append((partition, self._offsets[partition]))
            self._offsets[partition] += 1
            if not self.sent % 1000:
                self._producer.poll(0)
        assert self._producer.flush(60) == 0


def kept(lines: Iterable[bytes]) -> Counter[Place]:
    """Return how many of these records there are of each key and second."""
    found: Counter[Place] = Counter()
    for line in lines:
        record = orjson.loads(line)
        second = epoch_seconds(record["timestamp"])
        assert second is not None
        found[Place(record["context"]["service"], int(second))] += 1
    return found
