"""How long records are kept: periods as people write them, and when what is kept under one expires.

A retention class is a period in its canonical spelling: `forever`, so many years, else so many days. Records of one
class and one UTC day live and expire together, so each is kept for its whole period, and for less than a day more.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

FOREVER = "forever"
DEFAULT_PERIOD = "7d"
"""What is kept of records that no policy matches."""

_DAYS = {"d": 1, "w": 7, "y": 365}
_PERIOD = re.compile(r"forever|[1-9][0-9]{0,4}[dwy]")
_LONGEST_DAYS = 36_500
"""A calendar ends with the year 9999."""


def parse_period(value: Any) -> str:
    """Return the class of `7d`, `2w`, `1y` or `forever`: a year is 365 days, so that `52w` and `364d` are one class.

    Raises:
        ValueError: It is no period.
    """
    if isinstance(value, str) and _PERIOD.fullmatch(value):
        if value == FOREVER:
            return FOREVER
        days = int(value[:-1]) * _DAYS[value[-1]]
        if days <= _LONGEST_DAYS:
            return f"{days}d" if days % _DAYS["y"] else f"{days // _DAYS['y']}y"
    msg = "must be a period such as 7d, 12w, 1y (100y at most) or forever"
    raise ValueError(msg)


def days_of(period: str) -> int | None:
    """Return the days that a class is kept; None for ever."""
    return None if period == FOREVER else int(period[:-1]) * _DAYS[period[-1]]


def expires(day: date, period: str) -> datetime | None:
    """Return when the records of this class and UTC day expire: the midnight after the last of them may."""
    days = days_of(period)
    if days is None:
        return None
    return datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=days + 1)


Period = Annotated[
    str,
    BeforeValidator(parse_period),
    WithJsonSchema({"type": "string", "pattern": f"^(?:{_PERIOD.pattern})$", "examples": ["7d", "12w", "1y", FOREVER]}),
]
"""A retention class, read from text such as `12w`."""
