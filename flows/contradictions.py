"""What no single setting shows to be wrong: settings of a flow that contradict each other.

It looks at the plain data, so that these findings are told together with all others.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flows.document import Document, Finding, Path, spell
from flows.shared_files import shared_files
from flows.topic_circles import topic_circles
from logweir.settings import nearest

_ALONE = ("stdin", "generate")
"""Sources that can be read only once, so that destinations can't each have a reading of their own."""


def contradictions(document: Document) -> list[Finding]:
    """Return a finding for each contradiction."""
    if not isinstance(document.data, dict):
        return []
    return [
        *_source(document),
        *_destinations(document),
        *_archive(document),
        *topic_circles(document),
        *shared_files(document),
        *_renamed(document),
        *_duplicate_rules(document),
        *_tests(document),
    ]


def _source(document: Document) -> Iterator[Finding]:
    kind = document.get(("source", "type"))
    if kind in _ALONE and document.get(("isolation",)) == "destination":
        yield document.find(("isolation",), f"must be none with a source of type {kind}, which is read only once")
    prefix = ("dead_letter", "topic_prefix")
    if document.get(prefix) is not None and isinstance(kind, str) and kind != "kafka":
        yield document.find(prefix, "needs a source of type kafka; set dead_letter.directory instead")


def _destinations(document: Document) -> Iterator[Finding]:
    destinations = document.get(("destinations",))
    if not isinstance(destinations, dict) or not destinations:
        return
    if all(isinstance(each, dict) and each.get("enabled") is False for each in destinations.values()):
        yield document.find(("destinations",), "none is enabled; a flow needs one to deliver to", key=True)


def _archive(document: Document) -> Iterator[Finding]:
    destinations = document.get(("destinations",))
    if document.get(("retention",)) is not None and isinstance(destinations, dict) and "archive" in destinations:
        said = "is the name of the archive that `retention` brings; give this destination another"
        yield document.find(("destinations", "archive"), said, key=True)


def _renamed(document: Document) -> Iterator[Finding]:
    """What a destination takes over must not be another's, or be taken twice."""
    destinations = document.get(("destinations",))
    if not isinstance(destinations, dict):
        return
    taken: dict[str, str] = {}
    for name, each in destinations.items():
        was = each.get("was") if isinstance(each, dict) else None
        if not isinstance(was, str):
            continue
        path = ("destinations", name, "was")
        if was in destinations:
            yield document.find(path, f"{was!r} is a destination of this flow, so nothing of its can be taken over")
        elif taken.setdefault(was, name) != name:
            yield document.find(path, f"the destination {taken[was]} takes over what was {was!r}")


def _tests(document: Document) -> Iterator[Finding]:
    """A test that names what the flow doesn't have would never find it."""
    tests, destinations = document.get(("tests",)), document.get(("destinations",))
    if not isinstance(tests, list) or not isinstance(destinations, dict):
        return
    places = [("rules",), *(("destinations", name, "rules") for name in destinations)]
    rules = {name for place in places for name, _ in _names(document, place)}
    # What `when` and `sampling` drop is counted by these names.
    rules |= {
        f"{name}: {short}"
        for name, each in destinations.items()
        for short in ("when", "sampling")
        if isinstance(each, dict) and each.get(short)
    }
    known = [name for name, each in destinations.items() if isinstance(each, dict) and each.get("enabled") is not False]
    for index, test in enumerate(tests):
        if not isinstance(test, dict):
            continue
        rule = test.get("rule")
        if isinstance(rule, str) and rule not in rules:
            yield document.find(("tests", index, "rule"), f"{rule!r} is no rule of this flow{nearest(rule, rules)}")
        for part in ("destinations", "delivered"):
            named = test.get(part)
            for name in named if isinstance(named, list | dict) else ():
                if isinstance(name, str) and name not in known:
                    said = f"{name!r} is no enabled destination of this flow{nearest(name, known)}"
                    yield document.find(("tests", index, part), said)


def _duplicate_rules(document: Document) -> Iterator[Finding]:
    """Drops are counted by the rule's name, so it must be unique among the rules of a destination; so with policies."""
    shared = dict(_names(document, ("rules",)))
    yield from _repeated(document, ("rules",), {})
    yield from _repeated(document, ("retention", "policies"), {}, "policy")
    yield from _repeated(document, ("retention", "hold"), {}, "hold")
    destinations = document.get(("destinations",))
    for name in destinations if isinstance(destinations, dict) else ():
        yield from _repeated(document, ("destinations", name, "rules"), shared)


def _repeated(document: Document, path: Path, taken: dict[str, Path], what: str = "rule") -> Iterator[Finding]:
    seen = dict(taken)
    for name, place in _names(document, path):
        first = seen.setdefault(name, place)
        if first != place:
            line = document.values[first][0]
            yield document.find(place, f"another {what} has this name, {spell(first[:-1])} on line {line}")


def _names(document: Document, path: Path) -> list[tuple[str, Path]]:
    """Return each rule's name and where it stands; of one name twice, the first comes last so that a dict keeps it."""
    rules: Any = document.get(path)
    if not isinstance(rules, list):
        return []
    return [
        (rule["name"], (*path, index, "name"))
        for index, rule in enumerate(rules)
        if isinstance(rule, dict) and isinstance(rule.get("name"), str)
    ]
