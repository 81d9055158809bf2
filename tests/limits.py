"""What rate limits have to let through: the specification, and topics of records whose times come in any order."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import orjson
from confluent_kafka import Producer

from benchmarks.processes import cpu_seconds
from logweir.times import epoch_seconds, rfc3339
from operators.rate_limit import Limit
from tests.flowing import Positions, Running, write_flow
from tests.scenarios import new_name
from tests.servers.elastic import FakeElastic
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
        begin: When the records' times begin; so that they end now when left out.
    """

    def __init__(self, kafka: Kafka, *, keys: int, seconds: int, records: int, begin: int | None = None) -> None:
        self.topic = new_name("rate")
        self.asked: Counter[Place] = Counter()
        self.places: list[tuple[int, int]] = []
        """Of each record, by number, its partition and offset."""
        kafka.create_topic(self.topic, PARTITIONS)
        self._dice = random.Random(self.topic)
        self._begin = int(time.time()) - seconds if begin is None else begin
        self._keys, self._seconds = keys, seconds
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
            # Some are frequent, most are rare.
            key = f"service-{int(self._keys * self._dice.random() ** 3)}"
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


class Crashes(NamedTuple):
    """The figures of a limited flow that was killed again and again."""

    read: int
    delivered: int
    """What the ledger says."""
    interrupted: list[int]
    """At each kill, how many records the destination had got since the one before that no epoch had recorded."""
    extra: int
    """Records at the destination that are over the limits."""


def crash(kafka: Kafka, elastic: FakeElastic, directory: Path, *, kills: int, records: int, limit: int) -> Crashes:
    """Kill a limited flow at random moments while it delivers, and see what of the limits is left.

    Args:
        kafka: The broker.
        elastic: Is delivered to; it keeps a record that it gets again once.
        directory: For the flow.
        kills: How often.
        records: How many come before each kill.
        limit: Of each key and second.
    """
    shuffled = Shuffled(kafka, keys=50, seconds=5, records=records)
    rule = {"name": "Rate limit", "type": "rate", "max_per_second": limit, "by": "context.service", "lateness": "1h"}
    search = {"search": {"url": elastic.url, "batch": {"max_records": 100, "flush_interval": "50ms"}}}
    flow = write_flow(directory, kafka, shuffled.topic, search, rules=[rule])
    dice = random.Random(shuffled.topic)
    interrupted = []
    before: set[int] = set()
    group = f"{shuffled.topic}.search"
    with ExitStack() as ended, Positions(kafka, shuffled.topic, group) as positions:
        for number in range(kills):
            running = ended.enter_context(Running(flow, "--workers", "2"))
            had = len(elastic.docs) + dice.randrange(3000)
            running.until(lambda had=had: len(elastic.docs) > had or positions.drained(), "it delivers")  # type: ignore[misc]
            if number % 2:
                os.kill(dice.choice(running.workers()), signal.SIGKILL)
            running.kill()
            recorded, places = positions.committed(), shuffled.places
            ids = {int(identity[1:]) for _, identity in list(elastic.docs)}
            interrupted.append(sum(places[each][1] >= recorded[places[each][0]] for each in ids - before))
            before = ids
            shuffled.send(records)
        running = ended.enter_context(Running(flow, "--workers", "2"))
        running.drain(kafka, shuffled.topic, group, timeout=300)
        assert running.stop() == 0
    assert elastic.violations == [], elastic.violations[:3]
    expected = Counter({place: min(count, limit) for place, count in shuffled.asked.items()})
    found = kept(list(elastic.docs.values()))
    assert not expected - found
    ledger = running.ledgers()["search"]
    assert (ledger.read, ledger.delivered) == (shuffled.sent, expected.total())
    assert ledger.dropped == {"Rate limit": shuffled.sent - expected.total()}
    return Crashes(ledger.read, ledger.delivered, interrupted, (found - expected).total())


class ManyKeys(NamedTuple):
    """The figures of a flow that meets very many keys."""

    few: float
    """Microseconds of CPU a record with 12 keys."""
    many: float
    """The same, with as many keys as records."""
    bytes_a_key: float
    """Of the worker's memory, while they are remembered."""
    bytes_left: float
    """The same, once they have expired."""


def many_keys(directory: Path, limit: Mapping[str, object], *, keys: int) -> ManyKeys:
    """Run a flow over records of 12 keys, over as many of a key each, and over some that come long after them."""
    lines, out = directory / "in.ndjson", directory / "out.ndjson"
    flow = {
        "name": "keys",
        "source": {"type": "file", "path": str(lines), "follow": True},
        "rules": [{"name": "R", "by": "context.service", "max_keys": 2 * keys, **limit}],
        "destinations": {"out": {"type": "file", "path": str(out), "batch": {"flush_interval": "500ms"}}},
        "recovery": {"directory": str(directory / "recovery")},
        "dead_letter": {"directory": str(directory / "dead")},
    }
    (directory / "flow.yaml").write_text(json.dumps(flow))
    lines.touch()
    began = int(time.time()) - 7200
    with Running(directory / "flow.yaml") as running:
        feeding = _Feeding(running, lines, out)
        feeding.feed(1000, began, 12)
        few = feeding.feed(keys, began, 12)
        base = feeding.memory()
        many = feeding.feed(keys, began + 60, keys)
        full = feeding.memory()
        feeding.feed(keys // 10, began + 6000, 12)
        running.until(lambda: feeding.memory() - base < 60 * keys, "its memory is back", 150)
        left = feeding.memory()
        assert running.stop() == 0
    return ManyKeys(few / keys * 1e6, many / keys * 1e6, (full - base) / keys, (left - base) / keys)


class _Feeding:
    """Appends records to a file that a flow follows, and sees what its worker takes for it."""

    def __init__(self, running: Running, lines: Path, out: Path) -> None:
        self._running, self._lines, self._out = running, lines, out
        running.until(running.workers, "it has started")
        (self._worker,) = running.workers()

    def feed(self, records: int, second: int, keys: int) -> float:
        """Append records of ten seconds, and one more; return the seconds of CPU until that is delivered."""
        before = cpu_seconds(self._worker)
        filler = "x" * 300
        with self._lines.open("a") as file:
            for number in range(records):
                moment = rfc3339(second + number * 10 // records)
                key = f"{number % keys:032x}"
                head = f'{{"id":"{second}-{number}","timestamp":"{moment}","level":"info","message":"{filler}"'
                file.write(f'{head},"context":{{"service":"{key}"}}}}\n')
            last = f"last of {second} {records}"
            moment = rfc3339(second + 10)
            file.write(f'{{"id":"{last}","timestamp":"{moment}","context":{{"service":"{last}"}}}}\n')
        self._running.until(lambda: last.encode() in self._tail(), "it has delivered all", 300)
        return cpu_seconds(self._worker) - before

    def memory(self) -> int:
        """Return the resident bytes of the worker."""
        return int(Path(f"/proc/{self._worker}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def _tail(self) -> bytes:
        if not self._out.exists():
            return b""
        with self._out.open("rb") as file:
            file.seek(max(0, self._out.stat().st_size - 1000))
            return file.read()


def kept(lines: Iterable[bytes]) -> Counter[Place]:
    """Return how many of these records there are of each key and second."""
    found: Counter[Place] = Counter()
    for line in lines:
        record = orjson.loads(line)
        second = epoch_seconds(record["timestamp"])
        assert second is not None
        found[Place(record["context"]["service"], int(second))] += 1
    return found
