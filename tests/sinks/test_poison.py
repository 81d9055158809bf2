"""One bad record costs itself and a wrong setting costs nothing: the engine tells one from the other."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logweir.events import Events
from sinks.deadletter import DirectoryDeadLetters
from sinks.decide import ONLY_THESE, TRIES, WITNESS, Policy
from sinks.delivering import Delivering
from sinks.delivery import Delivery
from sinks.destination import Blame, Delivered, Hold, Invalid, Outcome, Partial, Retry, TooLarge
from sinks.flight import Flight
from sinks.memory import WRONG_SETTING
from tests.sinks.test_delivery import Script, batch, dead

QUICK = Policy(max_retries=2, backoff=0.002, max_backoff=0.01)
BAD = b"bad"

Start = Callable[..., Delivery]


@pytest.fixture
def deliver(tmp_path: Path) -> Iterator[Start]:
    """Starts a delivery to a script; each is closed at the end."""
    opened: list[Delivery] = []

    def start(destination: Script, concurrency: int = 4, max_records: int = 5000, policy: Policy = QUICK) -> Delivery:
        delivering = Delivering("d", max_records, 1_000_000, 0.01, concurrency, policy)
        letters = DirectoryDeadLetters(tmp_path, "d", 0)
        delivery = Delivery(delivering, destination, letters, Flight(1 << 30), Events())
        opened.append(delivery)
        return delivery

    yield start
    for delivery in opened:
        delivery.close()


def numbered(count: int, *bad: int) -> list[bytes]:
    """Return records, of which those at these places are bad."""
    return [b"%s%d" % (BAD if number in bad else b"good", number) for number in range(count)]


def soon(true: Callable[[], object]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def refusal(outcome: Outcome) -> Callable[[list[bytes]], Outcome]:
    """Return a server that answers like this to each request with a bad record in it, and takes every other."""
    return lambda values: outcome if any(BAD in value for value in values) else Delivered()


ANSWERS: list[Outcome] = [
    Invalid("refused", "400"),
    TooLarge("413"),
    Hold("422: in words of its own: check url", "request"),
    Hold("403: a firewall: check token", "unclear"),
    Retry("500: internal error", None, "unclear"),
]


class TestOneBadRecord:
    @pytest.mark.parametrize("concurrency", [1, 4])
    @pytest.mark.parametrize("place", [0, 617, 999])
    @pytest.mark.parametrize("answer", ANSWERS, ids=str)
    def test_it_alone_is_set_aside(
        self, deliver: Start, tmp_path: Path, answer: Outcome, place: int, concurrency: int
    ) -> None:
        """Whatever a server says of a request with one bad record in it: 999 others are delivered, each once."""
        script = Script(refusal(answer))
        delivery = deliver(script, concurrency)
        delivery.write([batch(*numbered(1000, place))])
        delivery.barrier()
        assert [letter["offset"] for letter in dead(tmp_path)] == [place]
        assert delivery.ledger.delivered == 999
        assert set(script.taken.values()) == {1}

    @pytest.mark.parametrize("answer", ANSWERS, ids=str)
    def test_what_was_taken_before_it_is_not_taken_for_ever(self, deliver: Start, answer: Outcome) -> None:
        """A server that takes what stands before the bad one is sent those few times more, not with every try."""
        sent: list[bytes] = []

        def take(values: list[bytes]) -> Outcome:
            for value in values:
                if BAD in value:
                    return answer
                sent.append(value)
            return Delivered()

        delivery = deliver(Script(take))
        delivery.write([batch(*numbered(1000, 500))])
        delivery.barrier()
        assert max(map(sent.count, sent[:3])) <= 2 + 10  # two tries, and one for each time that it is halved
        assert delivery.ledger.delivered == 999

    @pytest.mark.parametrize("answer", ANSWERS, ids=str)
    def test_it_comes_first(self, deliver: Start, tmp_path: Path, answer: Outcome) -> None:
        """A bad record that is the first of all holds nothing up: others are tried, and then it is known."""
        delivery = deliver(Script(refusal(answer)), 1, max_records=1)
        delivery.write([batch(*numbered(30, 0))])
        delivery.barrier()
        assert [letter["offset"] for letter in dead(tmp_path)] == [0]
        assert delivery.ledger.delivered == 29

    @pytest.mark.parametrize("answer", ANSWERS, ids=str)
    def test_alone_in_its_epoch(self, deliver: Start, tmp_path: Path, answer: Outcome) -> None:
        """A barrier lets no other in: then what was taken last is sent once more, and tells whose fault it is."""
        script = Script(refusal(answer))
        delivery = deliver(script)
        delivery.write([batch(*numbered(3))])
        delivery.barrier()
        delivery.write([batch(BAD)])
        delivery.barrier()
        assert len(dead(tmp_path)) == 1
        assert delivery.ledger.delivered == 3
        asked = getattr(answer, "blame", "") == "unclear"
        assert delivery.status()["notices"] == ({WITNESS: 1} if asked else {})
        assert sum(script.taken.values()) == 3 + asked

    def test_the_same_said_of_all(self, deliver: Start, tmp_path: Path) -> None:
        """A server that refuses each record of a request in the same words is asked again, in halves."""

        def judge(values: list[bytes]) -> Outcome:
            if not any(BAD in value for value in values):
                return Delivered()
            return Partial(dict.fromkeys(range(len(values)), ("rejected", "400: one of them")))

        delivery = deliver(Script(judge))
        delivery.write([batch(*numbered(1000, 617))])
        delivery.barrier()
        assert [(letter["offset"], letter["cause"]) for letter in dead(tmp_path)] == [(617, "rejected")]

    def test_what_is_said_of_each(self, deliver: Start, tmp_path: Path) -> None:
        """Verdicts that differ are each record's own, and cost one request."""
        script = Script(
            lambda values: Partial({at: ("no", value.decode()) for at, value in enumerate(values) if BAD in value})
        )
        delivery = deliver(script)
        delivery.write([batch(b"good")])
        delivery.barrier()
        delivery.write([batch(*numbered(100, *range(100)))])
        delivery.barrier()
        assert len(dead(tmp_path)) == 100
        assert len(script.requests) == 2

    @pytest.mark.parametrize("answer", ANSWERS, ids=str)
    @given(bad=st.sets(st.integers(0, 59), max_size=15), size=st.integers(1, 60), concurrency=st.integers(1, 3))
    def test_any_of_them(
        self,
        tmp_path_factory: pytest.TempPathFactory,
        answer: Outcome,
        bad: set[int],
        size: int,
        concurrency: int,
    ) -> None:
        """Whichever are bad, and however requests are cut: the good ones are delivered, and the bad are set aside."""
        folder = tmp_path_factory.mktemp("any")
        policy = Policy(max_retries=1, backoff=0.0005, max_backoff=0.001)
        delivering = Delivering("d", size, 1_000_000, 0.01, concurrency, policy)
        script = Script(refusal(answer))
        delivery = Delivery(delivering, script, DirectoryDeadLetters(folder, "d", 0), Flight(1 << 30), Events())
        delivery.write([batch(*numbered(60, *bad))])
        deadline = time.monotonic() + 60
        delivery.barrier(lambda: deadline)
        delivery.close()
        assert {letter["offset"] for letter in dead(folder)} == bad
        assert delivery.ledger.delivered == 60 - len(bad)
        assert delivery.ledger.in_flight == 0


class TestAWrongSetting:
    @pytest.mark.parametrize(
        "answer",
        [Invalid("refused", "400: can't read it"), TooLarge("413"), Hold("400: what is this: check url", "request")],
        ids=str,
    )
    @pytest.mark.parametrize("size", [1, 7, 200])
    def test_nothing_is_given_up(self, deliver: Start, tmp_path: Path, answer: Outcome, size: int) -> None:
        """Where nothing was ever taken and twenty were refused alone, all is held, and delivered later."""
        mended = threading.Event()
        delivery = deliver(Script(lambda values: Delivered() if mended.is_set() else answer), max_records=size)
        delivery.write([batch(*numbered(200))])
        soon(lambda: "none was ever taken: check the settings" in delivery.status()["issue"])
        assert f"{WRONG_SETTING} records and more were refused one by one" in delivery.status()["issue"]
        assert dead(tmp_path) == []
        mended.set()
        delivery.barrier()
        assert (delivery.ledger.delivered, dead(tmp_path)) == (200, [])
        assert delivery.status()["issue"] == ""

    def test_items_that_are_all_refused(self, deliver: Start, tmp_path: Path) -> None:
        """Also where the server refuses each item in words that differ."""
        mended = threading.Event()
        script = Script(
            lambda values: (
                Delivered()
                if mended.is_set()
                else Partial({at: ("rejected", f"400: {value!r}") for at, value in enumerate(values)})
            )
        )
        delivery = deliver(script)
        delivery.write([batch(*numbered(200))])
        soon(lambda: "none was ever taken" in delivery.status()["issue"])
        mended.set()
        delivery.barrier()
        assert (delivery.ledger.delivered, dead(tmp_path)) == (200, [])

    def test_what_is_known_for_certain_is_no_setting(self, deliver: Start, tmp_path: Path) -> None:
        """Records that are each too old are set aside, also where they are the first that come."""
        script = Script(lambda values: Partial(dict.fromkeys(range(len(values)), ("too old", "old")), certain=True))
        delivery = deliver(script)
        delivery.write([batch(*numbered(200))])
        delivery.barrier()
        assert len(dead(tmp_path)) == 200
        assert len(script.requests) == 1

    def test_good_ones_behind_many_bad(self, deliver: Start, tmp_path: Path) -> None:
        """A hundred bad records before the first good one are no wrong setting for ever: the good one is found."""
        delivery = deliver(Script(refusal(Invalid("refused", "400"))), 1, max_records=10)
        delivery.write([batch(*numbered(110, *range(105)))])
        delivery.barrier()
        assert len(dead(tmp_path)) == 105
        assert delivery.ledger.delivered == 5


class TestAnOutage:
    @pytest.mark.parametrize("blame", ["service", "unclear"])
    @pytest.mark.parametrize("held", [False, True])
    def test_nothing_is_given_up(self, deliver: Start, tmp_path: Path, blame: Blame, *, held: bool) -> None:
        """While nothing is taken a refusal says nothing of a record, however long it lasts."""
        up = threading.Event()
        down: Outcome = Hold("403: check token", blame) if held else Retry("500", None, blame)
        script = Script(lambda values: Delivered() if up.is_set() else down)
        delivery = deliver(script, max_records=10)
        delivery.write([batch(b"before")])
        up.set()
        delivery.barrier()
        up.clear()
        delivery.write([batch(*numbered(200))])
        requests = len(script.requests)
        soon(lambda: len(script.requests) > requests + 20 * TRIES)
        assert dead(tmp_path) == []
        up.set()
        delivery.barrier()
        assert (delivery.ledger.delivered, dead(tmp_path)) == (201, [])

    def test_busy_for_long(self, deliver: Start, tmp_path: Path) -> None:
        """A record that a busy service refuses again and again, while others get through, is not at fault."""
        tries: list[bytes] = []

        def busy(values: list[bytes]) -> Outcome:
            tries.extend(values)
            late = any(BAD in value for value in values) and tries.count(values[0]) < 5 * TRIES
            return Retry("429") if late else Delivered()

        delivery = deliver(Script(busy), max_records=1)
        delivery.write([batch(*numbered(100, 7))])
        delivery.barrier()
        assert (delivery.ledger.delivered, dead(tmp_path)) == (100, [])

    @pytest.mark.parametrize("blame", ["service", "unclear"])
    def test_one_record_alone(self, deliver: Start, tmp_path: Path, blame: Blame) -> None:
        """Where the witness is refused too, nothing is given up."""
        up = threading.Event()
        up.set()
        script = Script(lambda values: Delivered() if up.is_set() else Retry("500", None, blame))
        delivery = deliver(script)
        delivery.write([batch(b"before")])
        delivery.barrier()
        up.clear()
        delivery.write([batch(b"alone")])
        requests = len(script.requests)
        soon(lambda: len(script.requests) > requests + 5 * TRIES)
        assert dead(tmp_path) == []
        up.set()
        delivery.barrier()
        assert (delivery.ledger.delivered, dead(tmp_path)) == (2, [])


class TestOneTarget:
    def test_it_holds_no_others(self, deliver: Start, tmp_path: Path) -> None:
        """Records of an index that takes nothing hold no others, and are set aside once that is clear."""
        issue = "400: maximum shards open: check index"

        def items(values: list[bytes]) -> Outcome:
            bad = [at for at, value in enumerate(values) if BAD in value]
            return Partial({}, bad, issue=issue, blame="each") if bad else Delivered()

        delivery = deliver(Script(items), max_records=50)
        delivery.write([batch(*numbered(1020, *range(0, 1000, 50)))])
        soon(lambda: delivery.ledger.delivered == 1000)
        delivery.barrier()
        assert {(letter["cause"], letter["reason"]) for letter in dead(tmp_path)} == {(ONLY_THESE, issue)}
        assert len(dead(tmp_path)) == 20

    def test_most_records_are_of_it(self, deliver: Start, tmp_path: Path) -> None:
        """Where more wait for it than are taken, it is the destination's own trouble: all of them are held."""
        mended = threading.Event()

        def items(values: list[bytes]) -> Outcome:
            bad = [at for at, value in enumerate(values) if BAD in value and not mended.is_set()]
            return Partial({}, bad, issue="403: check index", blame="each") if bad else Delivered()

        script = Script(items)
        delivery = deliver(script)
        delivery.write([batch(*numbered(100, *range(90)))])
        soon(lambda: len(script.requests) > 3 * TRIES)
        assert (delivery.ledger.delivered, dead(tmp_path)) == (10, [])
        mended.set()
        delivery.barrier()
        assert (delivery.ledger.delivered, dead(tmp_path)) == (100, [])


def test_those_that_were_refused_before(deliver: Start, tmp_path: Path) -> None:
    """In a redrive it shows no wrong setting that none is taken: each is tried once more, and set aside again."""
    script = Script(lambda values: Partial({at: ("no", value.decode()) for at, value in enumerate(values)}))
    delivering = Delivering("d", 50, 1_000_000, 0.01, 2, QUICK, again=True)
    delivery = Delivery(delivering, script, DirectoryDeadLetters(tmp_path, "d", 0), Flight(1 << 30), Events())
    delivery.write([batch(*numbered(100))])
    delivery.barrier()
    delivery.close()
    assert len(dead(tmp_path)) == 100
    assert len(script.requests) == 2
