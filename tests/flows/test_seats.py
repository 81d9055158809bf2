"""Limiters keep their slots, and with them their states, while others come and go around them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from flows.seats import Seating, identity, remember, remembered
from operators.rule_models import DedupeRule, LimiterRule, RateRule


def rate(name: str, **more: Any) -> RateRule:
    """Return a limiter of this name."""
    return RateRule.model_validate({"name": name, "type": "rate", "max_per_second": 5, **more})


def rates(names: str) -> list[LimiterRule]:
    """Return a limiter for each letter."""
    return [rate(name) for name in names]


def order(seating: Seating, rules: list[LimiterRule]) -> list[int]:
    """Return the places of the rules in the order of the slots."""
    return [seating.slots.index(seating.seats[identity(rule)].slot) for rule in rules]


def test_what_a_limiter_is() -> None:
    """Its name, kind, clock and fields make it; its budgets and whom it concerns may change."""
    one = rate("a", by=["x", "y"])
    same = [rate("a", by=["x", "y"], max_per_hour=7, levels=["info"], lateness="5s", summarise=True, priority=3)]
    other = [rate("b", by=["x", "y"]), rate("a", by="x"), rate("a"), rate("a", by=["x", "y"], clock="system")]
    kind: LimiterRule = DedupeRule.model_validate({"name": "a", "type": "dedupe", "by": ["x", "y"], "window": 5})
    assert {identity(rule) for rule in same} == {identity(one)}
    assert identity(one) not in {identity(rule) for rule in [*other, kind]}


def test_each_change_of_one_limiter_finds_room() -> None:
    """In a running dataflow one can be added anywhere, taken out or made another, and the others keep their slots."""
    seating = Seating().started(rates("abc"))
    for names in ("xabc", "axbc", "abxc", "abcx", "bc", "ac", "ab", "xbc", "axc", "abx"):
        changed = seating.changed(rates(names))
        assert changed is not None
        assert order(changed, rates(names)) == sorted(order(changed, rates(names)))
        for rule in rates("abc"):
            if rule.name in names:
                assert changed.seats[identity(rule)] == seating.seats[identity(rule)]
        assert len({seat.slot for seat in changed.seats.values()}) == len(names)


def test_a_slot_that_becomes_free_is_not_taken_at_once() -> None:
    """Questions to the one before may still be on their way; with the next change it can be taken, under a new tag."""
    before = Seating().started(rates("a"))
    gone = before.changed(rates("xyzvw"))
    assert gone is None
    gone = before.changed(rates("xyzv"))
    assert gone is not None
    assert before.seats[identity(rate("a"))].slot not in {seat.slot for seat in gone.seats.values()}
    again = gone.changed(rates("xyzva"))
    assert again is None
    again = gone.changed(rates("xayzv"))
    assert again is not None
    old, new = before.seats[identity(rate("a"))], again.seats[identity(rate("a"))]
    assert (old.slot, old.tag != new.tag) == (new.slot, True)


def test_changed_places_need_a_start() -> None:
    """Steps can't be reordered while they run; with the next start they are, and everyone keeps slot and tag."""
    seating = Seating().started(rates("ab"))
    assert seating.changed(rates("ba")) is None
    anew = seating.started(rates("ba"))
    assert anew.seats == seating.seats
    assert order(anew, rates("ba")) == sorted(order(anew, rates("ba")))


NAMES = st.lists(st.sampled_from("abcdefgh"), unique=True, max_size=6).map("".join)


@given(NAMES, st.lists(NAMES, max_size=12))
def test_any_changes(first: str, changes: list[str]) -> None:
    """Whatever comes and goes: order is the file's, no slot has two, who stays keeps the seat, no tag comes twice."""
    seating = Seating().started(rates(first))
    tags = {seat.tag: name for name, seat in seating.seats.items()}
    for names in changes:
        rules = rates(names)
        changed = seating.changed(rules)
        if changed is None:
            changed = seating.started(rules)
        places = order(changed, rules)
        assert places == sorted(set(places))
        assert len(set(changed.slots)) == len(changed.slots) >= len(rules)
        for name, seat in changed.seats.items():
            if name in seating.seats:
                assert seat == seating.seats[name]
            else:
                assert seat.tag not in tags
                tags[seat.tag] = name
        seating = changed


def test_remembered_from_run_to_run(tmp_path: Path) -> None:
    """A store remembers who had which slot, of the destinations too that a run leaves out."""
    one, other = Seating().started(rates("ab")), Seating().started(rates("c"))
    remember(tmp_path, {"one": one, "other": other})
    remember(tmp_path, {"one": one.started(rates("b"))})
    known = remembered(tmp_path)
    assert known["other"].seats == other.seats
    assert known["one"].started(rates("b")).seats[identity(rate("b"))] == one.seats[identity(rate("b"))]
    back = known["one"].started(rates("ab")).seats[identity(rate("a"))]
    assert back.tag != one.seats[identity(rate("a"))].tag
