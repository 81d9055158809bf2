"""Fields that a format settles, once and as columns, so that nobody behind it reads them by a table of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from logweir.batch import Account
from logweir.record import LEVELS, UNKNOWN_LEVEL, Level, LevelTable, says_no_level
from operators.projection import Getter, Projection

_NAMES = dict(zip(LEVELS, LEVELS, strict=True))
"""The name of a level as a text of its own, which knows no record."""


def key_getter(projection: Projection, path: str) -> Getter:
    """Return the function that reads a field as a key: of a level that is known its name, however it is spelt.

    Args:
        projection: Reads the field.
        path: The field.
    """
    get = projection.getter(path)
    if path != "level":
        return get
    table = LevelTable(projection.layout.levels)

    def read(record: Any) -> Any:
        value = get(record)
        level = table[value]
        return value if level is None else _NAMES[level]

    return read


class Levels:
    """Reads the levels of projected records.

    Args:
        projection: Reads their fields, of which `level` is one.
    """

    def __init__(self, projection: Projection) -> None:
        self._get = projection.getter("level")
        self._words = projection.reader(projection.layout.level_text) if projection.layout.level_text else None
        self._table = LevelTable(projection.layout.levels)

    def __call__(self, records: Sequence[Any]) -> list[Level | None]:
        """Return the level of each; None where it has none, or one that nobody knows."""
        keys: list[Any] = list(map(self._get, records))
        if self._words is not None:
            words = [each if isinstance(each, str) else None for each in map(self._words, records)]
            keys = list(zip(keys, words, strict=True))
        return list(map(self._table.__getitem__, keys))

    def note(self, levels: Sequence[Level | None], records: Sequence[Any], account: Account) -> None:
        """Note on the account how many records have a level that nobody knows, unless a step before has.

        Args:
            levels: What was returned for them.
            records: The records.
            account: The account of their batch.
        """
        if not account.levels_noted and None in set(levels):
            values = map(self._get, records)
            unknown = [value for value, level in zip(values, levels, strict=True) if level is None]
            account.notice(UNKNOWN_LEVEL, len(unknown) - sum(map(says_no_level, unknown)))
        account.levels_noted = True
