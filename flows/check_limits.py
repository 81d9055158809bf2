"""Warnings about rules with a state: what in them can never act, or not as it is meant."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence

from flows.document import Document, Finding, Path
from operators.formats import Format
from operators.redact_models import RedactSettings
from operators.redact_paths import Paths
from operators.rule_models import BaseRule, RateRule, SampleRule

_UNIQUE = frozenset({"id", "timestamp", "trace.spanId"})
"""Fields whose values hardly ever come again."""
_SELDOM = _UNIQUE | {"trace.traceId", "context.requestId"}
"""Fields whose values come with a few records and never again: a limit may be meant so, a sample learns nothing."""
_SECONDS = {"second": 1, "minute": 60, "hour": 3600}


def limits_without_effect(
    document: Document, rules: Iterable[tuple[BaseRule, Path]], redact: RedactSettings | None, layout: Format
) -> Iterator[Finding]:
    """Return a warning for each thing.

    Args:
        document: Where they are written.
        rules: Those that are asked, and the place of each.
        redact: What rules don't get to see.
        layout: Where fields live.
    """
    hidden = _Hidden(redact, layout)
    for rule, path in rules:
        fields = getattr(rule, "by_fields", [])
        if rule.stateful:
            unique = _SELDOM if isinstance(rule, SampleRule) else _UNIQUE
            for field in sorted(unique.intersection(fields))[:1]:
                yield document.find((*path, "by"), _alone(rule, field), warning=True)
        for field in filter(hidden, fields):
            message = (
                f"`{rule.name}` finds the same {field} in every record, since redact hides what it was; "
                "hide it with mode hash, which keeps equal what was equal"
            )
            yield document.find((*path, "by"), message, warning=True)
        if isinstance(rule, RateRule):
            for name, message in _never_reached(rule.most):
                yield document.find((*path, f"max_per_{name}"), f"`{rule.name}`: {message}", warning=True)


def _alone(rule: BaseRule, field: str) -> str:
    if isinstance(rule, SampleRule):
        return (
            f"`{rule.name}` can't learn: {field} is new with nearly every record, and what is new is kept; "
            "choose fields with few values"
        )
    return (
        f"`{rule.name}` drops next to nothing: {field} is another with nearly every record, and each value has "
        f"{'a budget' if isinstance(rule, RateRule) else 'a first record'} of its own"
    )


def _never_reached(most: dict[str, int]) -> Iterator[tuple[str, str]]:
    """Give the limits that another one of the rule makes superfluous, and why."""
    names = list(most)
    for number, name in enumerate(names):
        for longer in names[number + 1 :]:
            if most[longer] <= most[name]:
                yield name, f"is never reached, since max_per_{longer} lets only {most[longer]:,} pass"
                break
        for shorter in names[:number]:
            possible = most[shorter] * (_SECONDS[name] // _SECONDS[shorter])
            if possible <= most[name]:
                yield name, f"is never reached, since max_per_{shorter} lets only {possible:,} pass in {_a(name)}"
                break


def _a(name: str) -> str:
    return "an hour" if name == "hour" else f"a {name}"


class _Hidden:
    """Tells whether `redact` puts one text in the place of all values of a field."""

    def __init__(self, redact: RedactSettings | None, layout: Format) -> None:
        fields = redact.fields if redact else []
        paths: Sequence[str] = [
            each.path for each in fields if redact is not None and (each.mode or redact.mode) != "hash"
        ]
        self._paths = Paths(paths) if paths else None
        self._layout = layout

    def __call__(self, field: str) -> bool:
        if self._paths is None:
            return False
        (place, *_) = self._layout.wire(field)
        value: object = "value"
        for name in reversed(place.path):
            value = {name: value}
        return any(True for _ in self._paths.find(json.dumps(value).encode(), lambda _path, _value: True))
