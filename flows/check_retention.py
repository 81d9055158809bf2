"""Warnings about retention policies that can never act.

Each combination of level and category that the policies can tell apart is followed through their ranks. A policy
without conditions decides all of its records; one with conditions may leave any of them to those that come after it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from flows.archiving import RetentionSettings
from flows.document import Document, Finding
from operators.retention import ranked, takes
from operators.retention_models import Policy


def never_deciding(
    document: Document, settings: RetentionSettings, kinds: Sequence[tuple[str | None, str | None]]
) -> Iterator[Finding]:
    """Return a warning for each policy whose records others decide, every one, and where none is asked at all.

    Args:
        document: The flow file.
        settings: Its `retention`.
        kinds: The combinations of level and category that come to the archive, as far as anything tells them apart.
    """
    asked = ranked(settings.asked)
    if settings.policies and not asked:
        message = f"every policy is disabled, so all records are kept {settings.default_period}"
        yield document.find(("retention", "policies"), message, warning=True, key=True)
    if document.get(("retention", "policies")) in (None, "default"):
        return
    before = _deciding_before(asked, kinds)
    for index, policy in enumerate(settings.policies):
        if policy.enabled and (others := before[policy.name]) is not None:
            message = f"`{policy.name}` never decides: {_why(policy, others, asked)}"
            yield document.find(("retention", "policies", index), message, warning=True)


def _deciding_before(
    asked: list[Policy], kinds: Sequence[tuple[str | None, str | None]]
) -> dict[str, list[str] | None]:
    """Return by policy those that decide all of its records before it; None where it decides some."""
    decides: set[str] = set()
    before: dict[str, dict[str, None]] = {policy.name: {} for policy in asked}
    for level, category in kinds:
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
    if not others:
        return "the rules let none of its records through; set retention.archive.from to source to keep them"
    theirs = [each for each in asked if each.name in others]
    names, verb = ", ".join(f"`{name}`" for name in others), "takes" if len(theirs) == 1 else "take"
    if any(each.priority > policy.priority for each in theirs):
        above = max(each.priority for each in theirs)
        return f"{names} {verb} all of its records by priority; raise its priority above {above}"
    return f"{names} {verb} all of its records, and of one priority the longest period decides; raise its priority"
