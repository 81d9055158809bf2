"""Where each limiter of a destination keeps its state while a flow's settings change.

Bytewax fixes a dataflow's steps at its start, and keeps state by step. So a dataflow has some more steps for limiters
than it needs, its slots, and a limiter takes one: the same for as long as it exists, whatever else comes and goes. A
limiter is what has the same name, type, clock and `by`; its budgets and all else may change while its state stays.

Limiters are asked in the order of the slots. So a new one needs a free slot between those of its neighbours, and
limiters that change places need another order of the slots: then the dataflow has to start again, which keeps the slots
and puts them in the order of the file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from flows.recovery_store import read_state, write_anew
from operators.rule_models import LimiterRule

SPARE_SLOTS = 3
"""Free ones after the last limiter; one more is before each."""


class Seat(NamedTuple):
    """A limiter's slot."""

    slot: int
    tag: str
    """Goes with the state, so that no limiter takes over that of one which had the slot before."""


def identity(rule: LimiterRule) -> str:
    """Return what a limiter has to keep so as to keep its state."""
    return json.dumps([rule.name, getattr(rule, "type", ""), rule.clock, rule.by_fields])


@dataclass(frozen=True, slots=True)
class Seating:
    """The slots of one destination, and who has them."""

    slots: tuple[int, ...] = ()
    """All of them, in the order in which they are asked."""
    seats: Mapping[str, Seat] = field(default_factory=dict)
    """By identity."""
    given: int = 0
    """How many tags have ever been given."""

    def started(self, rules: Sequence[LimiterRule]) -> Seating:
        """Return the seating with which a dataflow starts: everyone in the order of the rules, with slots to spare."""
        seats, given = self._seated(list(map(identity, rules)), [])
        used = {seat.slot for seat in seats.values() if seat.slot >= 0}
        count = 2 * len(rules) + SPARE_SLOTS
        free = [slot for slot in range(count + len(used)) if slot not in used]
        seats = {name: seat if seat.slot >= 0 else seat._replace(slot=free.pop(0)) for name, seat in seats.items()}
        slots: list[int] = []
        for seat in seats.values():
            slots += [free.pop(0), seat.slot]
        return Seating((*slots, *free[:SPARE_SLOTS]), seats, given)

    def changed(self, rules: Sequence[LimiterRule]) -> Seating | None:
        """Return the seating for these rules in a dataflow that runs; None where they don't find room in their order.

        A slot that becomes free is not taken at once: its last questions may be on their way.
        """
        taken = {seat.slot for seat in self.seats.values()}
        free = [place for place, slot in enumerate(self.slots) if slot not in taken]
        wanted = list(map(identity, rules))
        places: list[int] = []
        waiting = 0
        last = -1
        for name in [*wanted, None]:
            if name is not None and name not in self.seats:
                waiting += 1
                continue
            place = len(self.slots) if name is None else self.slots.index(self.seats[name].slot)
            between = [each for each in free if last < each < place]
            if place < last or len(between) < waiting:
                return None
            # Spread over the free ones, so that others find room before and behind them later.
            places += [between[(2 * each + 1) * len(between) // (2 * waiting)] for each in range(waiting)]
            places += [] if name is None else [place]
            waiting, last = 0, place
        seats, given = self._seated(wanted, [self.slots[place] for place in places])
        return Seating(self.slots, seats, given)

    def _seated(self, wanted: Sequence[str], slots: Sequence[int]) -> tuple[dict[str, Seat], int]:
        """Return the seats of these limiters: new ones with new tags, in these slots, or in -1 where there are none."""
        seats, given = {}, self.given
        for number, name in enumerate(wanted):
            seat = self.seats.get(name)
            if seat is None:
                seat = Seat(slots[number] if slots else -1, f"{given} {name}")
                given += 1
            seats[name] = seat
        return seats, given

    def to_dict(self) -> dict[str, Any]:
        """Return what has to be remembered from start to start, as plain JSON."""
        return {"seats": {name: list(seat) for name, seat in self.seats.items()}, "given": self.given}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Seating:
        """Return the seating that `to_dict` described, without an order of its slots."""
        return cls((), {name: Seat(*seat) for name, seat in state["seats"].items()}, state["given"])


def remembered(store: Path) -> dict[str, Seating]:
    """Return the seatings that a recovery store remembers, by destination."""
    path = store / "limiters.json"
    # Where a power cut has emptied the file, limits that have kept their order find their states all the same.
    known = read_state(path) or {}
    return {name: Seating.from_dict(each) for name, each in known.items()}


def remember(store: Path, seatings: Mapping[str, Seating]) -> None:
    """Make a recovery store remember these seatings, beside those of other destinations."""
    known = {**remembered(store), **seatings}
    write_anew(store / "limiters.json", {name: each.to_dict() for name, each in known.items()})
