"""Warnings about a valid flow: what in it can never act, and why.

The rules are followed for every combination of level and category that they can tell apart. Level and category rules
then have a known answer; a field or regex rule may answer either way. What acts for no combination can never act.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, product

from flows.check_limits import limits_without_effect
from flows.check_retention import never_deciding
from flows.check_security import unguarded
from flows.check_text import misread
from flows.config import LoadedFlow
from flows.document import Document, Finding, Path
from logweir.paths import segments_of
from logweir.record import LEVELS
from logweir.units import format_bytes
from operators.formats import BUNYAN, PINO
from operators.rule_models import CategoryRule, LevelRule, LimiterRule, Rule, SampleRule
from operators.rules import LOWEST

Kind = tuple[str | None, str | None]
"""A level and a category; None is a record without one."""

_OTHER = "\0another category"
_CLOSED = "lets nothing through"


@dataclass(frozen=True, slots=True)
class Placed:
    """A rule, and where it is written."""

    rule: Rule
    path: Path


@dataclass(slots=True)
class _Seen:
    """What can happen to the records that come to a rule."""

    asked: bool = False
    matched: bool = False
    """A record that is still in the running may match."""
    missed: bool = False
    """A record that is still in the running may not match."""
    open: bool = False
    """After the rule some record may still pass the tier."""


def warnings(loaded: LoadedFlow) -> list[Finding]:
    """Return a warning for each thing that can never act, in the file's order."""
    document, flow = loaded.document, loaded.flow
    shared = _place(flow.rules, ("rules",))
    own = {name: _place(flow.declared_rules(name), ("destinations", name, "rules")) for name in flow.enabled}
    archive = flow.archive
    kept_by = {each for policy in archive.retention.asked for each in policy.categories or ()} if archive else set()
    kinds = _kinds([*shared, *(placed for some in own.values() for placed in some)], kept_by)
    found, passing = _judge(document, shared, kinds)
    found += _never_full(loaded)
    found += _never_hidden(loaded)
    found += _not_unique(loaded)
    found += misread(document)
    found += unguarded(loaded)
    if archive is not None:
        found += never_deciding(document, archive.retention, kinds if archive.takes_all else passing)
    every = [(placed.rule, placed.path) for some in (shared, *own.values()) for placed in some]
    found += limits_without_effect(document, every, flow.redact, flow.source.layout())
    if not passing:
        found.append(document.find(("rules",), "nothing can pass these rules", warning=True, key=True))
    else:
        # What the flow's rules let through comes to the destination's own.
        for name, rules in own.items():
            more, delivered = _judge(document, rules, passing)
            found += more
            if not delivered:
                path = ("destinations", name, "rules")
                found.append(document.find(path, "nothing can pass these rules", warning=True, key=True))
    if flow.rules and not shared:
        found.append(document.find(("rules",), "every rule is disabled, so all records pass", warning=True, key=True))
    return sorted(set(found), key=lambda finding: (finding.mark, finding.message))


def _place(rules: Sequence[Rule], path: Path) -> list[Placed]:
    return [Placed(rule, (*path, index)) for index, rule in enumerate(rules) if rule.enabled]


def _never_full(loaded: LoadedFlow) -> Iterator[Finding]:
    """The source waits at max_in_flight: there must be room for what is sent and for what is gathered meanwhile."""
    limit = loaded.flow.max_in_flight
    for name, destination in loaded.flow.enabled.items():
        needed = destination.batch.max_bytes * (destination.partitions + 1)
        if needed > limit:
            path: Path = ("destinations", name, "batch", "max_bytes")
            path = path if loaded.document.get(path) is not None else path[:2]
            message = (
                f"max_in_flight, {format_bytes(limit)}, has no room for a request of up to "
                f"{format_bytes(destination.batch.max_bytes)} and the next; set it to {format_bytes(needed)} at least"
            )
            yield loaded.document.find(path, message, warning=True, key=len(path) == 2)  # noqa: PLR2004


def _never_hidden(loaded: LoadedFlow) -> Iterator[Finding]:
    redact = loaded.flow.redact
    at = [place.path for place in loaded.flow.source.layout().wire("id") if place.convert is None]
    ids = {segments_of(".".join(path)) for path in at}
    for index, field in enumerate(redact.fields if redact else ()):
        if segments_of(field.path) in ids:
            message = "is the record's id, which stays as it is: destinations tell repetitions by it"
            yield loaded.document.find(("redact", "fields", index), message, warning=True)


def _not_unique(loaded: LoadedFlow) -> Iterator[Finding]:
    layout = loaded.flow.source.layout()
    for name, destination in loaded.flow.enabled.items():
        if getattr(destination, "document_id", "") == "own" and layout.name in {PINO.name, BUNYAN.name}:
            message = (
                f"in {layout.name}'s records `id` is whatever was logged: of those that share one the first is stored, "
                "and the others are dead-lettered; leave document_id out"
            )
            yield loaded.document.find(("destinations", name, "document_id"), message, warning=True)


def _kinds(rules: Sequence[Placed], further: set[str]) -> list[Kind]:
    """Return every combination of level and category that these rules can tell apart, and with further categories."""
    named = {each for placed in rules if isinstance(placed.rule, CategoryRule) for each in placed.rule.categories}
    named |= further
    return list(product((*LEVELS, None), (*sorted(named), _OTHER, None)))


def _judge(document: Document, rules: Sequence[Placed], kinds: Sequence[Kind]) -> tuple[list[Finding], list[Kind]]:
    """Return what can never act among these rules, and which kinds of records can pass them."""
    ordered = sorted(rules, key=lambda placed: -placed.rule.priority)
    tiers = [list(tier) for _, tier in groupby(ordered, key=lambda placed: placed.rule.priority)]
    seen = {placed.path: _Seen() for placed in rules}
    passing = [kind for kind in kinds if _follow(tiers, kind, seen)]
    found: list[Finding] = []
    for number, tier in enumerate(tiers):
        closed = False
        below = [placed.rule for lower in tiers[number + 1 :] for placed in lower]
        for placed in tier:
            reason = _idle(placed.rule, seen[placed.path], lowest=_is_lowest(tiers, number), closed=closed)
            if not reason and not closed and _keeps_in_vain(placed.rule, [each.rule for each in tier], below):
                reason = (
                    "keeps what it matches, and nothing else is dropped after it, so it has no effect: "
                    "leave out its priority if the rest is to be dropped"
                )
            # One reason why a tier lets nothing through is enough; what comes after it is not told again.
            closed = closed or reason.startswith(_CLOSED)
            if reason:
                found.append(document.find(placed.path, f"`{placed.rule.name}` {reason}", warning=True))
    return found, passing


def _is_lowest(tiers: Sequence[Sequence[Placed]], number: int) -> bool:
    """Tell whether a failed gate of this tier drops: below the last one there may be the tier of priority 0, empty."""
    return number == len(tiers) - 1 and tiers[number][0].rule.priority <= LOWEST


def _keeps_in_vain(rule: Rule, tier: Sequence[Rule], below: Sequence[Rule]) -> bool:
    """Tell whether a gate above the lowest tier saves its records from nothing: all that fail it pass as well.

    Args:
        rule: The rule.
        tier: The rules of its tier.
        below: The rules of all lower tiers.
    """
    if rule.priority <= LOWEST or isinstance(rule, SampleRule | LimiterRule) or _excludes(rule):
        return False
    limited = any(isinstance(each, SampleRule | LimiterRule) for each in (*tier, *below))
    return not limited and not any(each.priority <= LOWEST or _excludes(each) for each in below)


def _excludes(rule: Rule) -> bool:
    return not isinstance(rule, SampleRule | LimiterRule) and rule.action == "exclude"


def _idle(rule: Rule, seen: _Seen, *, lowest: bool, closed: bool) -> str:
    """Return why a rule can never act, or nothing.

    Args:
        rule: The rule.
        seen: What can come to it.
        lowest: No tier comes after its own.
        closed: A gate before it, of the same tier, has been told of already, since it lets nothing through.
    """
    if closed:
        return ""
    if isinstance(rule, SampleRule) and rule.sample_rate == 1:
        return "has no effect: a sample_rate of 1 keeps everything"
    if not seen.asked:
        return "is never asked: the rules before it decide every record"
    if isinstance(rule, SampleRule | LimiterRule):
        return "" if seen.matched else "has no effect: no record of its levels comes to it"
    if rule.action == "exclude":
        return "" if seen.matched else "never drops anything: no record that it matches comes to it"
    return _idle_gate(seen, lowest=lowest)


def _idle_gate(seen: _Seen, *, lowest: bool) -> str:
    if not seen.open:
        outcome = "so it drops everything" if lowest else "so the rules of this priority keep nothing"
        return f"{_CLOSED}: no record that it matches comes through the rules before it, {outcome}"
    if lowest and not seen.missed:
        return "has no effect: every record that comes to it matches"
    return ""


def _follow(tiers: Sequence[Sequence[Placed]], kind: Kind, seen: dict[Path, _Seen]) -> bool:
    """Follow one kind of record through the tiers, noting what each rule sees, and tell whether some of it may pass."""
    passes = not tiers
    for number, tier in enumerate(tiers):
        # What may be true of the record: (some gate of the tier has passed it, some has failed it).
        states = {(False, False)}
        lowest = _is_lowest(tiers, number)
        for placed in tier:
            states = _step(placed.rule, kind, states, seen[placed.path])
            if lowest:
                # Here a failed gate has dropped the record already.
                states = {state for state in states if not state[1]}
        last = number == len(tiers) - 1
        passes |= any((passed or last) if not failed else last and not lowest for passed, failed in states)
        if not any(failed or not passed for passed, failed in states):
            break
    return passes


def _step(rule: Rule, kind: Kind, states: set[tuple[bool, bool]], seen: _Seen) -> set[tuple[bool, bool]]:
    """Return what may be true after the rule, and note what it saw."""
    if not states:
        return states
    seen.asked = True
    running = {state for state in states if not state[1]}
    matches = _matches(rule, kind)
    if isinstance(rule, SampleRule):
        seen.matched |= bool(running) and True in matches and rule.sample_rate != 1
        after = states - running if rule.sample_rate == 0 and matches == {True} else states
    elif isinstance(rule, LimiterRule):
        seen.matched |= bool(running) and True in matches
        after = states
    elif rule.action == "exclude":
        seen.matched |= True in matches
        after = states if False in matches else set()
    else:
        seen.matched |= bool(running) and True in matches
        seen.missed |= bool(running) and False in matches
        after = {(True, failed) for _, failed in states if True in matches}
        after |= {(passed, True) for passed, _ in states if False in matches}
    seen.open |= any(not failed for _, failed in after)
    return after


def _matches(rule: Rule, kind: Kind) -> set[bool]:
    """Return the answers that a rule may give for a kind of record."""
    level, category = kind
    if isinstance(rule, LevelRule):
        return {level in rule.matching}
    if isinstance(rule, CategoryRule):
        return {category in rule.categories}
    if isinstance(rule, SampleRule):
        return {rule.sample_levels is None or level in rule.sample_levels}
    if isinstance(rule, LimiterRule):
        concerned = rule.levels is None or level in rule.levels
        return {concerned, False} if rule.when else {concerned}
    return {True, False}
