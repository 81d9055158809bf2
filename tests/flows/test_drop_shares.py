"""What a reload changes in the shares that rules drop."""

from __future__ import annotations

from flows.config import load
from flows.drop_shares import ENOUGH_RECORDS, ENOUGH_SECONDS, DropShares, Moved, as_fields
from flows.supervisor import rule_names
from logweir.ledger import Ledger


def ledger(read: int, **dropped: int) -> Ledger:
    """Return a ledger of so many records."""
    made = Ledger()
    made.read = read
    made.dropped.update(dropped)
    return made


class Run:
    """A flow of one destination that runs, in a time of its own."""

    def __init__(self) -> None:
        self.shares = DropShares()
        self.now = 0.0
        self.read = 0
        self.dropped: dict[str, int] = {}

    def read_on(self, records: int, **dropped: int) -> dict[str, Moved]:
        """Read on for twice as long as is enough; return the shares that have moved."""
        found: dict[str, Moved] = {}
        for _ in range(20):
            self.now += ENOUGH_SECONDS / 10
            self.read += records // 20
            for name, count in dropped.items():
                self.dropped[name] = self.dropped.get(name, 0) + count // 20
            found |= self.shares.observe(self.now, self.ledgers()).get("out", {})
        return found

    def ledgers(self) -> dict[str, Ledger]:
        """Return the destination's sums."""
        return {"out": ledger(self.read, **self.dropped)}

    def reload(self, *rules: str) -> None:
        """Bring other settings into force that have these rules of before."""
        self.shares.changed(self.ledgers(), {"out": rules})
        self.shares.arrived(self.now, self.ledgers())


def test_a_rule_that_drops_far_more_is_named() -> None:
    """A rule that drops three times its share is named once, with the shares before and after."""
    run = Run()
    assert run.read_on(10_000, noise=1_000, debug=2_000) == {}
    run.reload("noise", "debug")
    found = run.read_on(10_000, noise=6_000, debug=2_000)
    assert set(found) == {"noise"}
    assert as_fields(found) == {"percent_dropped": {"noise": [10.0, 60.0]}, "far_more": ["noise"]}
    assert run.read_on(10_000, noise=6_000) == {}


def test_a_rule_that_drops_somewhat_more_is_no_surprise() -> None:
    """Shares that moved by less than three times are told, and not as a surprise; a thousandth more is none either."""
    run = Run()
    run.read_on(20_000, noise=2_000, rare=20)
    run.reload("noise", "rare")
    found = run.read_on(20_000, noise=4_000, rare=80)
    assert as_fields(found)["far_more"] == []
    assert found["noise"] == Moved(0.1, 0.2)


def test_a_rule_of_one_flow_alone_is_not_compared() -> None:
    """What a new rule drops is what it is for, and one that is gone drops nothing any more."""
    run = Run()
    run.read_on(10_000, gone=5_000)
    run.reload()
    assert run.read_on(10_000, new=5_000) == {}


def test_few_records_say_nothing() -> None:
    """Before so many records were read, before the change or after it, no share is known."""
    run = Run()
    run.read_on(ENOUGH_RECORDS // 2, noise=0)
    run.reload("noise")
    assert run.read_on(10_000, noise=10_000) == {}
    run.reload("noise")
    assert run.read_on(ENOUGH_RECORDS // 2) == {}
    assert set(run.read_on(ENOUGH_RECORDS)) == {"noise"}


def test_workers_that_start_again_move_nothing() -> None:
    """A destination whose workers have not reported after a restart yet, and one that is gone, are left out."""
    run = Run()
    run.read_on(10_000, noise=1_000)
    run.shares.changed(run.ledgers(), {"out": ["noise"]})
    assert run.shares.observe(run.now, {"out": ledger(0)}) == {}
    run.shares.arrived(run.now, run.ledgers())
    assert run.shares.observe(run.now, {}) == {}
    assert run.read_on(10_000, noise=9_000) == {}


def test_which_rules_are_compared() -> None:
    """A destination's rules are the flow's and its own, those that are enabled."""
    flow = load(
        "name: a\nsource: {type: stdin}\ndestinations:\n"
        "  out: {type: console, rules: [{name: own, type: level, levels: [debug]}]}\n"
        "rules:\n  - {name: shared, type: level, levels: [debug], action: exclude}\n"
        "  - {name: off, type: level, levels: [error], enabled: false}\n",
        environment={},
    ).flow
    assert rule_names(flow, "out") == {"shared", "own"}
    assert rule_names(flow, "other") == set()
