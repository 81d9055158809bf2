"""Warnings about retention policies that can never act.

Each combination of level and category that the policies can tell apart is followed through their ranks. A policy
without conditions decides all of its records; one with conditions may leave any of them to those that come after it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from flows.config import LoadedFlow
from flows.document import Finding
from logweir.record import LEVELS
from operators.retention import ranked, takes
from operators.retention_models import Policy

_OTHER = "\0another category"


def never_deciding(loaded: LoadedFlow) -> Iterator[Finding]:
    """Return a warning for each policy whose records others decide, every one, and where none is asked at all."""
    settings = loaded.flow.retention
    if settings is None:
        return
    asked = ranked(settings.asked)
    if settings.policies and not asked:
        message = f"every policy is disabled, so all records are kept {settings.default_period}"
        yield loaded.document.find(("retention", "policies"), message, warning=True, key=True)
    before = _deciding_before(asked)
    for index, policy in enumerate(settings.policies):
        if policy.enabled and (others := before[policy.name]) is not None:
            names = ", ".join(f"`{name}`" for name in others)
            message = f"`{policy.name}` never decides: {names} {_why(policy, others, asked)}"
            yield loaded.document.find(("retention", "policies", index), message, warning=True)


def _deciding_before(asked: list[Policy]) -> dict[str, list[str] | None]:
    """Return by policy those that decide all of its records before it; None where it decides some."""
    categories = {each for policy in asked for each in policy.categories or ()}
    decides: set[str] = set()
    before: dict[str, dict[str, None]] = {policy.name: {} for policy in asked}
    for level, category in product((*LEVELS, None), (*sorted(categories), _OTHER, None)):
        first: str | None = None
        for policy in asked:
            if not takes(policy, level, category):
                continue
            if first is None:
                decides.add(policy.name)
            else:
                before[policy.name][first] = None
            if first is None and not policy.conditions:
                first = policy.name
    return {name: None if name in decides else list(others) for name, others in before.items()}


def _why(policy: Policy, others: list[str], asked: list[Policy]) -> str:
    """Return why others decide, and what would help."""
    theirs = [each for each in asked if each.name in others]
    verb = "takes" if len(theirs) == 1 else "take"
    if any(each.priority > policy.priority for each in theirs):
        return f"{verb} all of its records by priority; raise its priority above {max(t.priority for t in theirs)}"
    return f"{verb} all of its records, and of one priority the longest period decides; raise its priority"
