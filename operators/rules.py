"""Rules: which records pass, and why.

Rules of one priority are a tier. Tiers are asked from the highest down, the rules of a tier in file order. There always
is a tier of priority 0, also when no rule has it, so that a rule's meaning never depends on which others exist:

- an `exclude` rule that matches drops the record;
- an `include` rule is a gate, and all gates of a tier must be passed. Passing them in a tier above the lowest keeps the
  record, and lower tiers are not asked. Failing one there hands the record to the next tier, after the excludes that
  are left in this one; a limiter limits only what its tier lets through, so it is skipped then. Failing one in the
  lowest tier, which is 0 or below, drops the record by that rule. So a gate above 0 never drops anything;
- a sample rule drops what is outside its sample, says nothing of the rest, and never keeps.

Rules that need a state (`rate`, `dedupe`, a `sample` with a target) are asked in a later step, about what all the
others let pass. Here they let everything pass, but they are part of their tier: they are asked about those records
alone that come to them.

All this is settled once, when the rules are compiled: each becomes a function that tests and calls the next one, in
a chain for each level, so that a record only ever meets the rules that concern it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import groupby
from operator import or_
from typing import Any, Final

from logweir.batch import Account, Batch
from logweir.record import LEVELS, UNKNOWN_LEVEL, LevelTable, says_no_level
from operators.branches import LIMITERS_SHIFT, Step, always, compile_branches, settled
from operators.decode import Identities
from operators.explain import Verdict, verdict
from operators.formats import Format
from operators.projection import Getter, Projection
from operators.rule_models import (
    SAMPLING_MEMBER,
    BaseRule,
    CategoryRule,
    FieldRule,
    LevelRule,
    LimiterRule,
    RegexRule,
    Rule,
    SampleRule,
    WhenRule,
)

__all__ = [
    "PASSES",
    "BaseRule",
    "CategoryRule",
    "FieldRule",
    "LevelRule",
    "LimiterRule",
    "RegexRule",
    "Rule",
    "RuleSet",
    "SampleRule",
    "Verdict",
    "compile_rules",
    "fields_of",
    "projected_at_once",
]

PASSES: Final = -1
LOWEST: Final = 0
"""The priority of the tier that always is there: no tier above it is the lowest."""

_PAUSE: Final = -(1 << 60)
_RESUMES = (1 << LIMITERS_SHIFT) - 1
_STEPS_AT_ONCE = 100
"""Steps call each other. This bounds how deep, so that a thousand rules don't exhaust Python's recursion limit."""


def fields_of(rules: Iterable[BaseRule]) -> set[str]:
    """Return the logical fields that the enabled ones of these rules look at."""
    fields: set[str] = set()
    for rule in rules:
        if not rule.enabled:
            continue
        match rule:
            case LevelRule():
                fields.add("level")
            case CategoryRule():
                fields.add("category")
            case FieldRule() | RegexRule():
                fields.add(rule.field)
            case SampleRule():
                fields.update(["trace.traceId", *rule.by_fields], ["level"] if rule.sample_levels else [])
                # Whether a record has a `sampling` of its own, which is to tell the rate as well.
                fields.update(["timestamp", SAMPLING_MEMBER] if rule.stateful else [])
            case WhenRule():
                fields.update(each.field for each in rule.conditions)
            case LimiterRule():
                fields.update(["level"] if rule.levels else [], rule.by_fields, [each.field for each in rule.when])
                fields.update(["timestamp"] if rule.clock == "event" else [])
    return fields


def projected_at_once(
    rules: Sequence[BaseRule], destinations: Sequence[Collection[str]], layout: Format
) -> Projection | None:
    """Return a projection of what rules and their destination read, where one decode for both is worth it.

    It is where nothing is dropped before limiters are asked. Where rules drop most, the fields of the destination are
    better decoded for the few that are left.

    Args:
        rules: All enabled rules.
        destinations: The fields that each reads.
        layout: Where fields live.
    """
    if len(destinations) != 1 or not rules or not all(isinstance(rule, LimiterRule) for rule in rules):
        return None
    whole = Projection({*fields_of(rules), *destinations[0]}, layout)
    return whole if whole.covers(Projection(destinations[0], layout)) else None


class RuleSet:
    """Compiled rules.

    Args:
        rules: The enabled rules, in file order.
        decide: What becomes of a record: n >= 0 is dropped by rule n; -1 passes; n <= -2 is kept, whatever lower tiers
            say, by rule -2 - n; below that lie the limiters that are to be asked about what passes.
        identities: Tells who a record is, when a rule asks for it before the final decode.
        projection: Reads the records' fields.
        first_limiter: The bit of the first limiter.
        levels: The steps by level, which count records of unknown levels; None where no rule looks at levels.
    """

    __slots__ = ("_first_limiter", "_identities", "_levels", "_projection", "decide", "limiters", "rules")

    def __init__(
        self,
        rules: Sequence[BaseRule],
        decide: Step,
        identities: Identities,
        projection: Projection,
        first_limiter: int,
        levels: _Steps | None,
    ) -> None:
        self.rules = rules
        self._levels = levels
        self._first_limiter = first_limiter
        self.limiters = [rule for rule in rules if rule.stateful]
        """The rules that a later step asks; each has its bit in `Batch.limiters`."""
        self.decide = decide
        self._identities = identities
        self._projection = projection

    def filter(self, batch: Batch) -> Batch:
        """Return the batch of the records that pass, the same one if all do, and note the dropped on its account."""
        if not self.rules:
            return batch
        self._identities.batch = batch
        code = settled(self.decide)
        if code is None:
            codes = list(map(self.decide, batch.records, range(len(batch))))
            if self._levels is not None:
                self._levels.note(batch.account)
        elif code < 0 and not batch.limiters:
            batch.limiters = [limiters_of(code)] * len(batch) if self.limiters else []
            return batch
        else:
            codes = [code] * len(batch)
        if self.limiters:
            known = {code: limiters_of(code) for code in set(codes)}
            asked = list(map(known.__getitem__, codes))
            # Those of the flow's rules stay, where these are a destination's own.
            batch.limiters = list(map(or_, batch.limiters, asked)) if batch.limiters else asked
        if max(codes, default=PASSES) < 0:
            return batch
        for index, rule in enumerate(self.rules):
            batch.account.drop(rule.name, codes.count(index))
        return batch.picked([code < 0 for code in codes])

    def explain(self, record: Any, identity: str) -> Verdict:
        """Return what `decide` decides of this record, by which rule and why."""
        code = self.decide(record, identity)
        bits = limiters_of(code) >> self._first_limiter
        limiters = [rule for number, rule in enumerate(self.limiters) if bits >> number & 1]
        return verdict(plain(code), self.rules, limiters, self._projection, record, identity)


def limiters_of(code: int) -> int:
    """Return the limiters that a code asks for, as bits; none of what is dropped."""
    return -code >> LIMITERS_SHIFT if code < 0 else 0


def plain(code: int) -> int:
    """Return a code without the limiters that it asks for."""
    return code + (limiters_of(code) << LIMITERS_SHIFT)


def compile_rules(rules: Iterable[BaseRule], projection: Projection, first_limiter: int = 0) -> RuleSet:
    """Return the rules as one function over records of this projection, which must have their `fields_of`.

    Args:
        rules: In file order; those that aren't enabled are left out.
        projection: Reads the records' fields.
        first_limiter: The bit of the first rule with a state: those before belong to rules that were asked earlier.

    Raises:
        LogweirError: The patterns on one field are too large together.
    """
    enabled = [rule for rule in rules if rule.enabled]
    identities = Identities(projection.layout)
    chain = _Chain(enabled, projection, identities, first_limiter)
    return RuleSet(enabled, chain.decide(), identities, projection, first_limiter, chain.levels)


class _Chain:
    """Links the steps, from the last rule of the lowest tier to the first of the highest."""

    def __init__(
        self, rules: Sequence[BaseRule], projection: Projection, identities: Identities, first_limiter: int
    ) -> None:
        self._rules = rules
        self._projection = projection
        self._branches = compile_branches(rules, projection, identities, first_limiter)
        self._count = 0
        self._resume: list[Step] = []
        self.levels: _Steps | None = None

    def decide(self) -> Step:
        if "level" not in fields_of(self._rules):
            first = self._link(None)
        else:
            levels = LevelTable(self._projection.layout.levels)
            steps = {level: self._link(level) for level in (*LEVELS, None)}
            self.levels = _Steps(levels, steps)
            first = _dispatch(self._projection.getter("level"), self.levels)
        return _trampoline(first, self._resume) if self._resume else first

    def _link(self, level: str | None) -> Step:
        """Return the first step for records of this level."""
        # Python's sort is stable: file order remains within a tier.
        order = sorted(range(len(self._rules)), key=self._priority)
        first = always(PASSES)
        lowest = min(map(self._priority, order), default=LOWEST)
        for priority, tier in groupby(order, key=self._priority):
            first = self._tier(level, list(tier), first, lowest=priority == lowest <= LOWEST)
        return first

    def _priority(self, index: int) -> int:
        return self._rules[index].priority

    def _tier(self, level: str | None, tier: list[int], following: Step, *, lowest: bool) -> Step:
        """Return the first step of a tier, which hands undecided records to `following`."""
        gates = [index for index in tier if _role(self._rules[index]) == "include"]
        passed = always(-2 - gates[-1]) if gates and not lowest else following
        failed = following
        for index in reversed(tier):
            branch, drop = self._branches[index], always(index)
            match _role(self._rules[index]):
                case "include":
                    passed = branch(level, passed, drop if lowest else failed)
                case "exclude":
                    passed, failed = branch(level, drop, passed), branch(level, drop, failed)
                case _:
                    passed = branch(level, passed, drop)
            self._count += 1
            if self._count % _STEPS_AT_ONCE == 0:
                passed, failed = self._pause(passed), self._pause(failed)
        return passed

    def _pause(self, step: Step) -> Step:
        self._resume.append(step)
        return always(_PAUSE - len(self._resume) + 1)


class _Steps(dict[Any, Step]):
    """Maps a level as it stands in a record to the first step for records of that level: one lookup a record.

    Args:
        levels: What the spellings mean.
        steps: The first step for each level, and for None.
    """

    _CACHE_LIMIT = 1000

    def __init__(self, levels: LevelTable, steps: Mapping[str | None, Step]) -> None:
        super().__init__({spelling: steps[level] for spelling, level in levels.items()})
        self._levels = levels
        self._steps = steps
        self._unknown = 0

    def __missing__(self, value: Any) -> Step:
        level = self._levels[value]
        step = self._steps[level] if level is not None or says_no_level(value) else self._count
        if len(self) < self._CACHE_LIMIT:
            self[value] = step
        return step

    def note(self, account: Account) -> None:
        """Note how many records since the last call had a level that is none, unless another step has."""
        unknown, self._unknown = self._unknown, 0
        if not account.levels_noted:
            account.notice(UNKNOWN_LEVEL, unknown)
            account.levels_noted = True

    def _count(self, record: Any, identity: str | int) -> int:
        self._unknown += 1
        return self._steps[None](record, identity)


def _dispatch(get: Getter, steps: _Steps) -> Step:
    unknown = steps[None]

    def decide(record: Any, identity: str | int) -> int:
        try:
            step = steps[get(record)]
        except TypeError:  # a list or an object
            step = unknown
        return step(record, identity)

    return decide


def _role(rule: BaseRule) -> str:
    return str(getattr(rule, "action", "limit"))


def _trampoline(first: Step, resume: list[Step]) -> Step:
    def decide(record: Any, identity: str | int) -> int:
        code, limiters = first(record, identity), 0
        while code <= _PAUSE:
            limiters |= (_PAUSE - code) >> LIMITERS_SHIFT
            code = resume[(_PAUSE - code) & _RESUMES](record, identity)
        return code - (limiters << LIMITERS_SHIFT) if code < 0 else code

    return decide
