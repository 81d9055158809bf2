"""Periods, when what is kept under them expires, and whose time counts."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from logweir.retention import days_of, expires, parse_period

NOW = 1_767_225_600.0


@pytest.mark.parametrize(
    ("text", "period"),
    [("7d", "7d"), ("2w", "14d"), ("90d", "90d"), ("1y", "1y"), ("365d", "1y"), ("730d", "2y"), ("forever", "forever")],
)
def test_periods(text: str, period: str) -> None:
    """Periods of the same length are one class, however they are written."""
    assert parse_period(text) == period
    assert parse_period(period) == period


@pytest.mark.parametrize(
    "value", ["0d", "7", 7, "7 d", "-1d", "1.5y", "1m", "101y", "99999y", "", None, True, "Forever"]
)
def test_what_is_no_period(value: Any) -> None:
    """What is no period is refused with what would be one."""
    with pytest.raises(ValueError, match="such as 7d, 12w, 1y"):
        parse_period(value)


def test_expiry() -> None:
    """The last record of a day is kept for its whole period; what is kept for ever never expires."""
    assert expires(date(2026, 1, 1), "7d") == datetime(2026, 1, 9, tzinfo=UTC)
    assert expires(date(2026, 1, 1), "forever") is None
    assert days_of("2y") == 730
