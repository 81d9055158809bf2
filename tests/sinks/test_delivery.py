from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logweir.batch import Account, Batch, Rejected
from logweir.errors import UndeliveredError
from logweir.events import Events
from sinks.deadletter import DirectoryDeadLetters
from sinks.decide import Policy
from sinks.delivering import Delivering
from sinks.delivery import Delivery
from sinks.destination import Delivered, Hold, Invalid, Limits, Outcome, Partial, Probed, Records, Retry, TooLarge
from sinks.flight import Flight

FAST = Policy(max_retries=2, backoff=0.01, max_backoff=0.02)


class Script:
    """A destination whose answers are scripted: it keeps what it took, by value."""

    serial = False
    compression: str | None = None

    def __init__(self, answer: Callable[[list[bytes]], Outcome], limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._answer = answer
        self.requests: list[list[bytes]] = []
        self.taken: Counter[bytes] = Counter()
        self.lock = threading.Lock()

    def encode(self, records: Records) -> list[bytes]:
        """Return the records as they are."""
        return list(records.values)

    def frame(self, pieces: list[bytes]) -> bytes:
        """Return the records as lines."""
        return b"\n".join(pieces)

    def send(self, body: bytes, count: int) -> Outcome:
        """Note the request, and answer as the script says."""
        values = body.split(b"\n")
        assert len(values) == count
        with self.lock:
            self.requests.append(values)
        outcome = self._answer(values)
        with self.lock:
            match outcome:
                case Delivered():
                    self.taken.update(values)
                case Partial():
                    skipped = {*outcome.rejected, *outcome.retry}
                    self.taken.update(value for index, value in enumerate(values) if index not in skipped)
        return outcome

    def probe(self) -> Probed:
        """Be well."""
        return Delivered()

    def checkpoint(self) -> None:
        """Keep no state."""

    def close(self) -> None:
        """Hold nothing."""


@pytest.fixture
def deliver(tmp_path: Path) -> Iterator[Callable[..., Delivery]]:
    """Return what starts a delivery to a script; each is closed at the end."""
    opened: list[Delivery] = []

    def build(destination: Script, flight: Flight | None = None, **changes: Any) -> Delivery:
        values = {"name": "d", "policy": FAST, "flush_interval": 60.0, **changes}
        letters = DirectoryDeadLetters(tmp_path, "d", 0)
        delivery = Delivery(Delivering(**values), destination, letters, flight or Flight(10_000_000), Events())
        opened.append(delivery)
        return delivery

    yield build
    for delivery in opened:
        delivery.close()


def batch(*values: bytes, start: int = 0, topic: str = "t") -> Batch:
    """Return a batch of these values, whose ids are their offsets."""
    made = Batch(topic, 0, list(values), range(start, start + len(values)))
    made.ids = [str(number) for number in made.offsets]
    made.records = [None] * len(values)
    return made


def dead(tmp_path: Path) -> list[dict[str, Any]]:
    """Return the dead letters."""
    path = tmp_path / "d.ndjson"
    return [orjson.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


class TestBatching:
    def test_a_request_is_cut_by_records(self, deliver: Callable[..., Delivery]) -> None:
        """No request holds more than max_records."""
        script = Script(lambda values: Delivered())
        delivery = deliver(script, max_records=3)
        delivery.write([batch(*[b"%d" % number for number in range(10)])])
        delivery.barrier()
        assert sorted(map(len, script.requests)) == [1, 3, 3, 3]

    def test_a_request_is_cut_by_bytes(self, deliver: Callable[..., Delivery]) -> None:
        """No request holds more than max_bytes, but a record that is larger goes alone."""
        script = Script(lambda values: Delivered())
        delivery = deliver(script, max_bytes=100)
        delivery.write([batch(b"a" * 60, b"b" * 40, b"c" * 1, b"d" * 500, b"e" * 100)])
        delivery.barrier()
        assert sorted([len(value) for value in request] for request in script.requests) == [[1], [60, 40], [100], [500]]

    def test_age_flushes_without_new_input(self, deliver: Callable[..., Delivery]) -> None:
        """A record waits no longer than flush_interval, though nothing else comes."""
        script = Script(lambda values: Delivered())
        delivery = deliver(script, flush_interval=0.05)
        delivery.write([batch(b"x")])
        deadline = time.monotonic() + 5
        while not script.taken and time.monotonic() < deadline:
            time.sleep(0.01)
        assert script.taken == {b"x": 1}

    @given(
        st.lists(st.lists(st.integers(1, 60), max_size=20), max_size=8),
        st.integers(1, 10),
        st.integers(1, 120),
    )
    def test_whatever_the_sizes_each_record_is_sent_once(
        self, sizes: list[list[int]], max_records: int, max_bytes: int
    ) -> None:
        """Batching neither loses, repeats, nor exceeds a limit, except for a single record larger than it."""
        script = Script(lambda values: Delivered())
        options = Delivering("d", max_records, max_bytes, 60.0, 2, FAST)
        flight = Flight(1 << 30)
        delivery = Delivery(options, script, DirectoryDeadLetters(Path("/nonexistent"), "d", 0), flight, Events())
        number = 0
        sent: Counter[bytes] = Counter()
        for some in sizes:
            values = []
            for size in some:
                number += 1
                values.append((b"%d-" % number).ljust(size, b"x"))
            sent.update(values)
            flight.add(sum(map(len, values)))
            delivery.write([batch(*values)])
        delivery.barrier()
        delivery.close()
        assert script.taken == sent
        assert flight.bytes == 0
        assert delivery.ledger.read == delivery.ledger.delivered == number
        for request in script.requests:
            assert len(request) <= max_records
            assert len(request) == 1 or sum(map(len, request)) <= max_bytes


class TestOutcomes:
    def test_a_retry_sends_the_same_request_again(self, deliver: Callable[..., Delivery]) -> None:
        """A 503 that goes away costs nothing."""
        answers: Iterator[Outcome] = iter([Retry("503"), Retry("503"), Delivered()])
        script = Script(lambda values: next(answers))
        delivery = deliver(script)
        delivery.write([batch(b"a", b"b")])
        delivery.barrier()
        assert script.requests == [[b"a", b"b"]] * 3
        assert delivery.ledger.delivered == 2
        assert delivery.stats.retries == 2

    def test_a_partial_answer_retries_only_what_failed(self, deliver: Callable[..., Delivery], tmp_path: Path) -> None:
        """Of one request, what was taken is never sent again and what was refused is dead-lettered alone."""
        first = Partial({1: ("bad field", "field x is no number")}, retry=[2], reason="429")
        answers: Iterator[Outcome] = iter([first, Delivered()])
        script = Script(lambda values: next(answers))
        delivery = deliver(script)
        delivery.write([batch(b"a", b"b", b"c", start=70)])
        delivery.barrier()
        assert script.requests == [[b"a", b"b", b"c"], [b"c"]]
        (letter,) = dead(tmp_path)
        assert (letter["record"], letter["offset"], letter["cause"], letter["attempts"]) == ("b", 71, "bad field", 1)
        assert delivery.ledger.to_dict() | {"read_bytes": 0} == {
            "read": 3,
            "read_bytes": 0,
            "made": 0,
            "delivered": 2,
            "duplicates": 0,
            "gaps": 0,
            "dropped": {},
            "dead_lettered": {"bad field": 1},
            "redacted": {},
            "in_flight": 0,
        }

    def test_one_bad_record_of_a_refused_request_is_found_by_halving(
        self, deliver: Callable[..., Delivery], tmp_path: Path
    ) -> None:
        """A 400 for a whole request costs only the record that causes it."""
        script = Script(lambda values: Invalid("refused", "400") if b"bad" in values else Delivered())
        delivery = deliver(script)
        delivery.write(
            [batch(*[b"%d" % number for number in range(20)], b"bad", *[b"x%d" % number for number in range(20)])]
        )
        delivery.barrier()
        assert delivery.ledger.delivered == 40
        assert max(script.taken.values()) == 1
        assert [letter["record"] for letter in dead(tmp_path)] == ["bad"]

    def test_a_413_halves_the_request(self, deliver: Callable[..., Delivery]) -> None:
        """A request that is too large is sent in parts that are not."""
        script = Script(lambda values: TooLarge("413") if len(values) > 2 else Delivered())
        delivery = deliver(script)
        delivery.write([batch(b"a", b"b", b"c", b"d", b"e")])
        delivery.barrier()
        assert script.taken == Counter([b"a", b"b", b"c", b"d", b"e"])

    def test_a_record_over_the_destinations_limit_costs_only_itself(
        self, deliver: Callable[..., Delivery], tmp_path: Path
    ) -> None:
        """It is dead-lettered unsent; its neighbours are delivered."""
        script = Script(lambda values: Delivered(), Limits(record_bytes=10))
        delivery = deliver(script)
        delivery.write([batch(b"a" * 10, b"b" * 11, b"c")])
        delivery.barrier()
        assert script.requests == [[b"a" * 10, b"c"]]
        assert [letter["cause"] for letter in dead(tmp_path)] == ["record too large"]

    def test_on_failure_dead_letter_gives_up_after_the_retries(
        self, deliver: Callable[..., Delivery], tmp_path: Path
    ) -> None:
        """After max_retries the records are set aside with the reason and the number of attempts."""
        script = Script(lambda values: Retry("503"))
        policy = Policy(max_retries=2, backoff=0.01, max_backoff=0.02, on_failure="dead_letter")
        delivery = deliver(script, policy=policy)
        delivery.write([batch(b"a", b"b")])
        delivery.barrier()
        assert [(letter["record"], letter["attempts"], letter["reason"]) for letter in dead(tmp_path)] == [
            ("a", 3, "503"),
            ("b", 3, "503"),
        ]

    def test_giving_up_on_many_requests(self, deliver: Callable[..., Delivery], tmp_path: Path) -> None:
        """A request that is given up as the probe of an open circuit doesn't leave the others waiting for its end."""
        script = Script(lambda values: Retry("503"))
        policy = Policy(max_retries=1, backoff=0.001, max_backoff=0.002, on_failure="dead_letter")
        delivery = deliver(script, policy=policy, max_records=1)
        delivery.write([batch(*[b"%d" % number for number in range(20)])])
        deadline = time.monotonic() + 10
        delivery.barrier(lambda: deadline)
        assert len(dead(tmp_path)) == 20

    def test_a_hold_keeps_everything_until_the_credential_is_mended(self, deliver: Callable[..., Delivery]) -> None:
        """A 401 holds the stream and says so; afterwards everything is delivered."""
        mended = threading.Event()
        script = Script(lambda values: Delivered() if mended.is_set() else Hold("401: check api_key"))
        delivery = deliver(script, max_records=1)
        delivery.write([batch(b"a", b"b", b"c")])
        time.sleep(0.2)
        status = delivery.status()
        assert status["issue"] == "401: check api_key"
        assert status["circuit"] in {"open", "half-open"}
        assert status["in_flight_records"] == 3
        mended.set()
        delivery.barrier()
        assert script.taken == Counter([b"a", b"b", b"c"])
        assert delivery.status()["issue"] == ""

    def test_what_decode_rejected_is_dead_lettered(self, deliver: Callable[..., Delivery], tmp_path: Path) -> None:
        """The sink writes what an earlier step could not read, with topic, partition and offset, whatever its bytes."""
        script = Script(lambda values: Delivered())
        flight = Flight(10_000_000)
        flight.add(3)
        delivery = deliver(script, flight)
        account = Account(read=2, read_bytes=3)
        account.rejected.append(Rejected(b"\xff", 9, "not UTF-8", "byte 0xff at 0"))
        made = Batch("logs", 3, [b"ok"], [10], account)
        made.ids, made.records = ["10"], [None]
        delivery.write([made])
        delivery.barrier()
        (letter,) = dead(tmp_path)
        assert (letter["topic"], letter["partition"], letter["offset"]) == ("logs", 3, 9)
        assert letter["record_base64"] == "/w=="
        assert delivery.ledger.in_flight == 0
        assert flight.bytes == 0


class Unwritable(DirectoryDeadLetters):
    """Takes letters, and can't make them durable, as a topic can't that is too small for them."""

    def flush(self) -> None:
        """Fail."""
        msg = "too small"
        raise OSError(msg)


class TestStop:
    def test_a_letter_counts_once_it_is_durable(self, tmp_path: Path) -> None:
        """One that can't be kept is in flight, and doesn't keep the flow from stopping at its deadline."""
        letters = Unwritable(tmp_path, "d", 0)
        script = Script(lambda values: Invalid("bad", "why"))
        delivering = Delivering("d", policy=FAST, flush_interval=0.01)
        delivery = Delivery(delivering, script, letters, Flight(1 << 20), Events())
        delivery.write([batch(b"a")])
        deadline = time.monotonic() + 0.3
        with pytest.raises(UndeliveredError):
            delivery.barrier(lambda: deadline)
        delivery.close()
        assert (delivery.ledger.dead_lettered.total(), delivery.ledger.in_flight) == (0, 1)

    def test_a_stop_gives_up_at_its_deadline(self, deliver: Callable[..., Delivery]) -> None:
        """A destination that never answers can't keep a flow from stopping, and the epoch is not recorded."""
        script = Script(lambda values: Retry("down"))
        delivery = deliver(script)
        delivery.write([batch(b"a")])
        deadline = time.monotonic() + 0.2
        with pytest.raises(UndeliveredError, match="1 records in flight"):
            delivery.barrier(lambda: deadline)

    def test_a_defect_of_a_sender_stops_the_flow(self, deliver: Callable[..., Delivery]) -> None:
        """An exception in a destination's code is raised to the flow, instead of leaving it waiting."""

        def broken(values: list[bytes]) -> Outcome:
            raise ZeroDivisionError

        delivery = deliver(Script(broken))
        delivery.write([batch(b"a")])
        with pytest.raises(ZeroDivisionError):
            delivery.barrier()


class TestOtherSettings:
    def test_batches_change_with_the_next_request(self, deliver: Callable[..., Delivery]) -> None:
        """What was gathered goes out as it is, and what comes then is cut by the new limits."""
        script = Script(lambda values: Delivered())
        delivery = deliver(script, max_records=100, concurrency=1)
        delivery.write([batch(*[b"%d" % number for number in range(10)])])
        delivery.configure(Delivering("d", max_records=3, flush_interval=60.0, policy=FAST))
        delivery.write([batch(*[b"%d" % number for number in range(10, 16)])])
        delivery.barrier()
        assert list(map(len, script.requests)) == [10, 3, 3]

    def test_what_is_held_can_be_let_go(self, deliver: Callable[..., Delivery], tmp_path: Path) -> None:
        """A destination that keeps failing holds the stream until the settings say to set its records aside."""
        tried = threading.Event()

        def fail(_values: list[bytes]) -> Outcome:
            if len(script.requests) > FAST.max_retries + 1:
                tried.set()
            return Retry("503")

        script = Script(fail)
        delivery = deliver(script, flush_interval=0.01)
        delivery.write([batch(b"a", b"b")])
        assert tried.wait(30)
        assert dead(tmp_path) == []
        delivery.configure(Delivering("d", policy=Policy(2, 0.01, 0.02, "dead_letter")))
        delivery.barrier()
        assert delivery.ledger.dead_lettered.total() == len(dead(tmp_path)) == 2
