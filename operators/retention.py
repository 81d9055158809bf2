"""Retention: from records to their classes, a column at a time.

Of the policies that take a record the one with the highest priority decides, of those the one with the longest period,
of those the first. So all of them are ranked once, and the first in rank that takes a record decides. What level and
category say of it is looked up, once for each combination; only where a policy with conditions comes before the
first one without is a record looked at.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from logweir.record import USUAL_LEVELS, LevelTable
from logweir.retention import days_of
from operators.branches import tests_of
from operators.projection import Getter
from operators.retention_models import Policies, Policy

_CACHE_LIMIT = 10_000
"""Combinations of level and category that are remembered; it bounds the memory, whatever stands in the records."""

_Decided = int | Callable[[Any], int]
"""What decides the records of one combination: the policy of this number, or a look at the record."""


def fields_of_policies(policies: Iterable[Policy]) -> set[str]:
    """Return the logical fields that policies look at."""
    return {"level", "category", *(each.field for policy in policies for each in policy.conditions)}


def ranked(policies: Iterable[Policy]) -> list[Policy]:
    """Return policies in the order in which they decide: the first that takes a record does."""
    return sorted(policies, key=lambda policy: (-policy.priority, -_length(policy.period)))


def _length(period: str) -> float:
    days = days_of(period)
    return math.inf if days is None else days


class Retention:
    """The policies of a flow, compiled.

    Args:
        settings: Which policies there are.
        getter: Gives the reader of each of `fields_of_policies`.
        levels: What a numeric level means in the source's format.

    Raises:
        LogweirError: A pattern is too large.
    """

    def __init__(
        self, settings: Policies, getter: Callable[[str], Getter], levels: Mapping[int, str] = USUAL_LEVELS
    ) -> None:
        self.policies: Final = ranked(settings.asked)
        """By number. One number more stands for none of them."""
        self.classes: Final = [*(policy.period for policy in self.policies), settings.default_period]
        """The retention class of each number."""
        self.names: Final = [*(policy.name for policy in self.policies), None]
        """The name of each number's policy."""
        tests = [tests_of(policy.conditions, getter) for policy in self.policies]
        self._decided = _Table(self.policies, tests, LevelTable(levels))
        self._conditional = any(tests)
        self._level = getter("level")
        self._category = getter("category")

    def of_kind(self, level: str | None, category: str | None) -> int | Callable[[Any], int]:
        """Return the number of what decides all records of this level and category, or what asks each of them."""
        return self._decided[level, category]

    def decide(self, records: Sequence[Any]) -> list[int]:
        """Return for each projected record the number of what decides how long it is kept."""
        levels, categories = map(self._level, records), list(map(self._category, records))
        try:
            found: list[Any] = list(map(self._decided.__getitem__, zip(levels, categories, strict=True)))
        except TypeError:  # a list or an object, which is no level and no category
            found = [self._decided[_text(self._level(each)), _text(self._category(each))] for each in records]
        if self._conditional:
            return [each if type(each) is int else each(record) for each, record in zip(found, records, strict=True)]
        return found


class _Table(dict[tuple[Any, Any], _Decided]):
    """(level as it stands, category) -> what decides."""

    def __init__(self, policies: Sequence[Policy], tests: Sequence[Sequence[Any]], levels: LevelTable) -> None:
        super().__init__()
        self._policies = policies
        self._tests = tests
        self._levels = levels

    def __missing__(self, key: tuple[Any, Any]) -> _Decided:
        level, category = self._levels[key[0]], key[1]
        asked: list[tuple[int, Sequence[Any]]] = []
        last = len(self._policies)
        for number, policy in enumerate(self._policies):
            if takes(policy, level, category):
                if not self._tests[number]:
                    last = number
                    break
                asked.append((number, self._tests[number]))
        decided = _looking(asked, last) if asked else last
        if len(self) >= _CACHE_LIMIT:
            self.clear()
        self[key] = decided
        return decided


def takes(policy: Policy, level: str | None, category: Any) -> bool:
    """Tell whether a policy takes records of this level and category, as far as these decide."""
    return (policy.levels is None or level in policy.levels) and (
        policy.categories is None or (isinstance(category, str) and category in policy.categories)
    )


def _looking(asked: Sequence[tuple[int, Sequence[Any]]], last: int) -> Callable[[Any], int]:
    def decide(record: Any) -> int:
        for number, tests in asked:
            if all(test(record) for test in tests):
                return number
        return last

    return decide


def _text(value: Any) -> Any:
    return value if isinstance(value, str | int) else None
