from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sinks.decide import RETRY_AFTER_LIMIT, Circuit, Done, Policy, Reject, Split, Wait, backoff, decide
from sinks.destination import Delivered, Hold, Invalid, Outcome, Partial, Retry, TooLarge

POLICY = Policy(max_retries=3, backoff=1.0, max_backoff=30.0)
SETS_ASIDE = Policy(max_retries=3, backoff=1.0, max_backoff=30.0, on_failure="dead_letter")

reasons = st.text(min_size=1, max_size=5)
outcomes: st.SearchStrategy[Outcome] = st.one_of(
    st.builds(Delivered),
    st.builds(Retry, reasons, st.none() | st.floats(0, 1000)),
    st.builds(TooLarge, reasons),
    st.builds(Invalid, reasons, reasons),
    st.builds(Hold, reasons),
    st.builds(Partial, st.just({0: ("a", "b")}), st.lists(st.integers(0, 5)), reasons, st.none() | st.floats(0, 1000)),
)


class TestDecide:
    def test_a_delivered_request_is_done(self) -> None:
        """What was taken is settled."""
        assert decide(Delivered(), 1, 0.0, POLICY, 10, 0.5) == Done()

    def test_a_retryable_failure_backs_off_exponentially(self) -> None:
        """Waits double from retry to retry, up to the cap, half of each being random."""
        waits = [decide(Retry("503"), attempt, 100.0, POLICY, 10, 0.0) for attempt in (1, 2, 3)]
        assert waits == [Wait(100.5), Wait(101.0), Wait(102.0)]
        assert backoff(50, POLICY, 0.999) < 30.0

    def test_retry_after_is_honoured(self) -> None:
        """The wait that a destination asks for replaces the backoff, up to a limit."""
        assert decide(Retry("429", 7.0), 1, 0.0, POLICY, 10, 0.9) == Wait(7.0)
        assert decide(Retry("429", 1e9), 1, 0.0, POLICY, 10, 0.9) == Wait(RETRY_AFTER_LIMIT)

    def test_spent_retries_hold_or_set_aside(self) -> None:
        """After max_retries, on_failure decides: hold goes on slowly, dead_letter gives up with the reason."""
        held = decide(Retry("503"), 4, 0.0, POLICY, 10, 0.0)
        assert isinstance(held, Wait)
        assert held.holding
        assert decide(Retry("503"), 4, 0.0, SETS_ASIDE, 10, 0.0) == Reject("retries exhausted", "503")

    def test_a_credential_failure_holds_whatever_on_failure_says(self) -> None:
        """A 401 is never a reason to give a record up."""
        for attempt in (1, 4, 1000):
            action = decide(Hold("401"), attempt, 0.0, SETS_ASIDE, 10, 0.0)
            assert isinstance(action, Wait)
            assert action.holding

    def test_a_large_or_invalid_request_is_halved_until_one_record_is_left(self) -> None:
        """A 413 or 400 costs only the record that causes it."""
        assert decide(TooLarge("413"), 1, 0.0, POLICY, 2, 0.0) == Split()
        assert decide(TooLarge("413"), 1, 0.0, POLICY, 1, 0.0) == Reject("too large", "413")
        assert decide(Invalid("bad", "400"), 1, 0.0, POLICY, 2, 0.0) == Split()
        assert decide(Invalid("bad", "400"), 1, 0.0, POLICY, 1, 0.0) == Reject("bad", "400")

    @given(outcomes, st.integers(1, 100), st.integers(1, 1000), st.floats(0, 0.999))
    def test_nothing_is_given_up_by_default_but_what_the_destination_refuses(
        self, outcome: Outcome, attempt: int, count: int, jitter: float
    ) -> None:
        """With on_failure hold, only a single refused record is ever rejected, and no wait lies in the past."""
        action = decide(outcome, attempt, 50.0, POLICY, count, jitter)
        if isinstance(action, Reject):
            assert count == 1
            assert isinstance(outcome, TooLarge | Invalid)
        if isinstance(action, Wait):
            assert 50.0 <= action.until <= 50.0 + RETRY_AFTER_LIMIT


class TestCircuit:
    def test_it_opens_after_the_threshold_and_lets_one_probe_through(self) -> None:
        """While a destination fails only one sender tries it at a time."""
        circuit = Circuit(threshold=3)
        for _ in range(3):
            assert circuit.admit(0.0) is None
            circuit.failed(until=10.0)
        assert circuit.state == "open"
        assert circuit.admit(4.0) == 6.0
        assert circuit.admit(10.0) is None
        assert str(circuit.state) == "half-open"
        assert circuit.admit(10.0) is not None

    def test_a_successful_probe_closes_it(self) -> None:
        """One answer is enough to let all senders go on."""
        circuit = Circuit(threshold=1)
        circuit.failed(until=1.0)
        assert circuit.admit(1.0) is None
        circuit.succeeded()
        assert circuit.state == "closed"
        assert circuit.admit(1.0) is None

    def test_a_failed_probe_opens_it_again(self) -> None:
        """The next probe waits for the new time."""
        circuit = Circuit(threshold=1)
        circuit.failed(until=1.0)
        assert circuit.admit(1.0) is None
        circuit.failed(until=5.0)
        assert circuit.state == "open"
        assert circuit.admit(1.0) == 4.0

    def test_its_rounds_are_counted(self) -> None:
        """What fails while it is open was under way before, and is no round of its own."""
        circuit = Circuit(threshold=2)
        for _ in range(4):
            circuit.failed(until=1.0)
        assert circuit.rounds == 1
        assert circuit.admit(1.0) is None
        circuit.failed(until=2.0)
        assert circuit.rounds == 2
        circuit.succeeded()
        assert circuit.rounds == 0

    def test_a_hold_opens_it_at_once(self) -> None:
        """A wrong credential is not tried by every sender."""
        circuit = Circuit(threshold=5)
        circuit.failed(until=1.0, at_once=True)
        assert circuit.state == "open"
