"""A bucket of a limiter while the flow's settings change: what it remembers, and by which settings it answers."""

from __future__ import annotations

from typing import Any

from bytewax.operators import StatefulBatchLogic
from pydantic import TypeAdapter

from flows.limiting import LimiterStep, Place
from operators.limiter_state import Group
from operators.limiters import Progress, Question
from operators.rule_models import LimiterRule, Rule
from operators.summaries import Summary
from operators.watermark import Standing

RULE: TypeAdapter[Any] = TypeAdapter(Rule)
NOW = 1_790_000_000 - 1_790_000_000 % 3600
RATE = {"name": "limit", "type": "rate", "max_per_second": 10, "by": "key"}


class Slot:
    """One slot, by revision of the settings."""

    def __init__(self, *places: Place | None) -> None:
        self.places = dict(enumerate(places))
        self.present = 0

    def __call__(self, revision: int | None) -> Place | None:
        """Return who has the slot."""
        return self.places[self.present if revision is None else revision]

    def step(self, resume: dict[str, Any] | None = None) -> LimiterStep:
        """Return a bucket that begins, or goes on."""
        return LimiterStep(self, resume, clock=lambda: float(NOW))


def rule(**more: Any) -> LimiterRule:
    """Return a limiter."""
    found: LimiterRule = RULE.validate_python({**RATE, **more})
    return found


def ask(step: LimiterStep, records: int, revision: int = 0, number: int = 0, key: str = "a") -> int:
    """Return how many of so many records of a key pass."""
    keys = tuple(key if each == number else "" for each in range(number + 1))
    group = Group(0, 1 << number, keys, NOW, records)
    (answer,) = [
        each
        for each in step.on_batch([Question("0000", 1, "logs-0", [group], revision=revision, bucket="03")])[0]
        if isinstance(each, Question)
    ]
    return answer.groups[0].records


def test_a_changed_budget_holds_at_once() -> None:
    """What has passed in the open window counts against the new budget, a higher one and a lower one."""
    slot = Slot(*(Place(0, rule(max_per_second=most), "tag") for most in (10, 15, 3)))
    step = slot.step()
    assert ask(step, 12) == 10
    assert ask(step, 12, 1) == 5
    assert ask(step, 12, 2) == 0
    assert ask(step, 12, 2, key="b") == 3


def test_the_newest_settings_hold_for_all() -> None:
    """Questions by older settings that are still on their way are answered by the newer ones."""
    slot = Slot(Place(0, rule(max_per_second=10), "tag"), Place(1, rule(max_per_second=5), "tag"))
    step = slot.step()
    assert ask(step, 3, 1, number=1) == 3
    assert ask(step, 9, 0, number=0) == 2


def test_a_new_length_begins_empty_and_one_that_goes_is_told() -> None:
    """A window that the rule gets begins now; what one that it loses has dropped is summarised."""
    slot = Slot(Place(0, rule(summarise=True), "tag"), Place(0, rule(max_per_second=None, max_per_hour=7), "tag"))
    step = slot.step()
    assert ask(step, 12) == 10
    group = Group(0, 1, ("a",), NOW, 9)
    slot.places[1] = Place(0, rule(max_per_second=None, max_per_hour=7, summarise=True), "tag")
    told, answer, *_ = step.on_batch([Question("0000", 1, "logs-0", [group], revision=1)])[0]
    assert isinstance(told, Summary)
    assert [(each.key, each.length, each.records) for each in told.suppressed] == [("a", 1, 2)]
    assert isinstance(answer, Question)
    assert answer.groups[0].records == 7


def test_another_limiter_in_the_slot_begins_empty() -> None:
    """It takes over nothing, and what the one before has dropped is still told."""
    slot = Slot(Place(0, rule(summarise=True), "first"), Place(0, rule(name="other"), "second"))
    step = slot.step()
    assert ask(step, 12) == 10
    group = Group(0, 1, ("a",), NOW, 9)
    told, answer = step.on_batch([Question("0000", 1, "logs-0", [group], revision=1)])[0]
    assert isinstance(told, Summary)
    assert (told.rule, told.suppressed[0].records) == ("limit", 2)
    assert isinstance(answer, Question)
    assert answer.groups[0].records == 9


def test_a_recorded_state_is_its_own_limiters() -> None:
    """After a start the same limiter goes on, and another one, or none, begins with nothing."""
    slot = Slot(Place(0, rule(), "tag"))
    step = slot.step()
    assert ask(step, 8) == 8
    recorded = step.snapshot()
    assert ask(slot.step(recorded), 8) == 2
    assert ask(Slot(Place(0, rule(), "other tag")).step(recorded), 8) == 8
    nobody = Slot(None, Place(0, rule(), "tag")).step(recorded)
    assert nobody.snapshot() == {"tag": "", "state": None}
    assert ask(nobody, 8, 1) == 8


def test_the_state_of_a_limiter_that_is_gone_is_thrown_away(monkeypatch: Any) -> None:
    """Once it has been silent for a while its bucket ends; that of one that is there stays."""
    slot = Slot(Place(0, rule(), "tag"), None)
    step = slot.step()
    assert ask(step, 1) == 1
    assert step.notify_at() is not None
    assert step.on_notify() == ([], StatefulBatchLogic.RETAIN)
    assert step.notify_at() is None
    slot.present = 1
    assert ask(step, 1, 0) == 1
    assert step.on_notify() == ([], StatefulBatchLogic.RETAIN)
    assert step.notify_at() is not None
    monkeypatch.setattr("flows.limiting._GONE_SECONDS", 0.0)
    assert step.on_notify() == ([], StatefulBatchLogic.DISCARD)


def test_a_summary_that_a_crash_has_left() -> None:
    """A bucket that goes on after a crash tells what its windows have dropped though nothing comes any more."""
    slot = Slot(Place(0, rule(summarise=True), "tag"))
    step = slot.step()
    assert ask(step, 12) == 10
    recovered = slot.step(step.snapshot())
    assert recovered.notify_at() is not None
    ((told,), _) = recovered.on_notify()
    assert isinstance(told, Summary)
    assert (told.origin, told.bucket, told.number) == ("0000", "03", 0)
    assert [each.records for each in told.suppressed] == [2]
    again = slot.step(recovered.snapshot())
    assert ask(again, 1) == 0
    ((told,), _) = again.on_eof()
    assert isinstance(told, Summary)
    assert (told.number, [(each.records, each.part) for each in told.suppressed]) == (1, [(1, 1)])


def test_a_summary_waits_for_who_can_tell_it() -> None:
    """A bucket that was recorded before it noted who tells its summaries keeps them until somebody asks."""
    slot = Slot(Place(0, rule(summarise=True), "tag"))
    step = slot.step()
    assert ask(step, 12) == 10
    older = {name: each for name, each in step.snapshot().items() if name in ("tag", "state")}
    recovered = slot.step(older)
    assert recovered.notify_at() is None
    assert recovered.on_eof() == ([], StatefulBatchLogic.RETAIN)
    assert ask(recovered, 1) == 0
    ((told,), _) = recovered.on_eof()
    assert isinstance(told, Summary)
    assert [each.records for each in told.suppressed] == [3]


def test_progress_by_settings_that_are_forgotten() -> None:
    """Progress waits for nobody's answer, so it may come when its settings are gone; then it changes nothing."""
    slot = Slot(Place(0, rule(), "tag"), None, Place(0, rule(max_per_second=3), "tag"))
    slot.present = 2
    step = slot.step()
    late = Progress("0000", Standing(0, NOW, NOW, 1, 1), 1, "03")
    assert step.on_batch([late]) == ([], StatefulBatchLogic.RETAIN)
    assert ask(step, 12, 2) == 3
    slot.present = 1
    assert slot.step().on_batch([late]) == ([], StatefulBatchLogic.RETAIN)
