"""Times, however other programs write them, settled once: every destination gets the same reading in its own form.

Text is RFC 3339 (also with a space, a comma, a leap second or no zone, which is UTC then), the forms of Apache's and
nginx's logs, of Go's `log`, of RFC 9110's `Date` and of `ctime`, or digits. A number counts seconds, milliseconds,
microseconds or nanoseconds since 1970, by its size.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import repeat
from operator import truediv
from typing import Any, NamedTuple

_TIME = r"\d{4}-\d\d-\d\dT\d\d:[0-5]\d:[0-5]\d(?:\.\d{1,9})?Z"
_ONE_TIME, _TIMES = re.compile(_TIME, re.ASCII), re.compile(f"(?:{_TIME}\n)*".encode())
_AS_ZEROS = bytes.maketrans(b"0123456789", b"0" * 10)
_TENS = (14, 17)
"""Where the tens of a time's minutes and seconds stand."""
_HOUR = len("2026-01-01T00")
_LONGEST = 64
"""Characters of a text that may be a time."""
_DIGITS = 9
_NUMBER = re.compile(r"([0-9]{1,20})(?:\.([0-9]+))?", re.ASCII)
_ISO = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[Tt ]+(\d\d:\d\d)(?::(\d\d)(?:[.,](\d+))?)?\s*(Z|z|UTC|GMT|[+-]\d\d(?::?\d\d)?)?)?", re.ASCII
)
_OTHERS = (
    "%d/%b/%Y:%H:%M:%S %z",  # Apache's and nginx's access log
    "%Y/%m/%d %H:%M:%S",  # Go's log, nginx's error log
    "%a, %d %b %Y %H:%M:%S GMT",  # RFC 9110, Date
    "%a, %d %b %Y %H:%M:%S %z",  # RFC 5322
    "%a %b %d %H:%M:%S %Y",  # ctime
    "%Y-%m-%dT%H%M%S%z",
    "%Y%m%dT%H%M%S%z",
)
_FRACTION = re.compile(r"(?<=:\d\d)[.,](\d+)", re.ASCII)
_SECONDS_LIMIT, _MILLIS_LIMIT, _MICROS_LIMIT, _LARGEST = 10**11, 10**14, 10**17, 10**20
_LAST_SECOND: int = 253_402_300_799
"""The end of the year 9999, and of what a calendar knows."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NOTHING = frozenset({"", "-", "0", "null", "NULL", "None", "nil", "0001-01-01T00:00:00Z"})
"""Text that says that there is no time; the last is Go's."""


class Moment(NamedTuple):
    """A point in time, as exact as it was written."""

    second: int
    """Whole seconds since 1970; never negative."""
    fraction: str = ""
    """The digits behind the second, nine at most; of a number without zeros at its end."""

    @property
    def seconds(self) -> float:
        """Return seconds since 1970."""
        return self.second + float(f"0.{self.fraction}") if self.fraction else float(self.second)

    def __str__(self) -> str:
        text = (_EPOCH + timedelta(seconds=self.second)).strftime("%Y-%m-%dT%H:%M:%S")
        return f"{text.rjust(19, '0')}.{self.fraction:0<3}Z"


def moment_of(value: Any) -> Moment | None:
    """Return the time that a value of a record stands for; None where it is missing, or can't be read."""
    if isinstance(value, str):
        return _of_text(value.strip()) if len(value) <= _LONGEST else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _LARGEST:
        return None
    if isinstance(value, int):
        return _of_number(value, "")
    whole, _, fraction = f"{Decimal(repr(value)):f}".partition(".")
    return _of_number(int(whole), fraction)


def is_missing(value: Any) -> bool:
    """Tell whether a value says that there is no time, so that nothing is wrong with it."""
    return value is None or value == 0 or (isinstance(value, str) and value.strip() in _NOTHING)


def epoch_seconds(value: Any) -> float | None:
    """Return seconds since 1970; None where the time is missing, or can't be read."""
    moment = moment_of(value)
    return None if moment is None else moment.seconds


def rfc3339(seconds: float) -> str:
    """Return seconds since 1970 as RFC 3339 text in UTC with milliseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def settled(values: Sequence[Any], written: Sequence[float]) -> tuple[list[str], int]:
    """Return each record's time as RFC 3339 text in UTC, and how many stand there that can't be read.

    Args:
        values: The timestamps as they stand in the records, of which there is at least one.
        written: When each record was written to the source: the time of those that have none of their own.
    """
    if all_utc(values):
        return list(values), 0
    texts, unread = [], 0
    known: dict[Any, str | None] = {}
    for value, instead in zip(values, written, strict=True):
        if is_utc(value):
            texts.append(value)
            continue
        key = (type(value), value) if isinstance(value, str | int | float) else None
        if key not in known:
            moment = moment_of(value)
            known[key] = None if moment is None else str(moment)
        text = known[key]
        if text is None:
            unread += not is_missing(value)
            text = rfc3339(instead)
        texts.append(text)
    return texts, unread


def whole_seconds(times: Sequence[str]) -> list[int]:
    """Return settled times as whole seconds since 1970."""
    texts = [time[:19] for time in times]
    # Of a few thousand records in a row only some seconds differ.
    known = {text: _second(text) for text in set(texts)}
    return list(map(known.__getitem__, texts))


def _second(text: str) -> int:
    return int((datetime.fromisoformat(text).replace(tzinfo=UTC) - _EPOCH) // timedelta(seconds=1))


def written_seconds(millis: Sequence[int], read_at: float) -> list[float]:
    """Return times of a topic, which are milliseconds since 1970, as seconds.

    Args:
        millis: Of each message; zero or less where it has none.
        read_at: Stands in for one that is missing, or that no calendar knows.
    """
    if not millis or (min(millis) > 0 and max(millis) <= _LAST_SECOND * 1000):
        return list(map(truediv, millis, repeat(1000)))
    return [each / 1000 if 0 < each <= _LAST_SECOND * 1000 else read_at for each in millis]


def is_utc(time: Any) -> bool:
    """Tell whether this is a time as RFC 3339 has it in UTC, to the nanosecond at most."""
    return isinstance(time, str) and bool(_ONE_TIME.fullmatch(time)) and _is_hour(time[:_HOUR])


def all_utc(times: Sequence[Any]) -> bool:
    """Tell whether each of these, of which there is one, `is_utc`."""
    if not is_utc(times[0]):
        return False
    try:
        lines = "\n".join([*times, ""]).encode()
    except (TypeError, ValueError):  # not text, or half of a surrogate pair
        return False
    first = lines[: len(times[0]) + 1]
    if lines.translate(_AS_ZEROS) == first.translate(_AS_ZEROS) * len(times):
        tens = b"".join([lines[at :: len(first)] for at in _TENS])
        fits = not tens.translate(None, b"012345")
    else:  # their fractions differ in length
        fits = lines.count(b"\n") == len(times) and bool(_TIMES.fullmatch(lines))
    # What is an hour stands nowhere else in a line, and most records of a request are of the same.
    return fits and (lines.count(first[:_HOUR]) == len(times) or all(map(_is_hour, {time[:_HOUR] for time in times})))


def _is_hour(text: str) -> bool:
    try:
        return datetime.fromisoformat(text) >= datetime(1970, 1, 1)  # noqa: DTZ001  both without a zone
    except ValueError:
        return False


def _of_text(text: str) -> Moment | None:
    number = _NUMBER.fullmatch(text)
    if number is not None:
        return _of_number(int(number[1]), number[2] or "")
    parts = _ISO.fullmatch(text)
    if parts is not None:
        return _of_iso(*parts.groups())
    fraction = _FRACTION.search(text)
    if fraction is not None:
        text = text[: fraction.start()] + text[fraction.end() :]
    for form in _OTHERS:
        try:
            # A name of a month is English in every locale that Python starts in.
            found = datetime.strptime(text, form)  # noqa: DTZ007  the zone is looked at below
        except ValueError:
            continue
        return _moment(found, fraction[1] if fraction else "")
    return None


def _of_iso(day: str, minute: str | None, second: str | None, fraction: str | None, zone: str | None) -> Moment | None:
    leaps = second == "60"
    offset = "+00:00" if zone is None or zone.upper() in {"Z", "UTC", "GMT"} else zone
    try:
        found = datetime.fromisoformat(f"{day}T{minute or '00:00'}:{'59' if leaps else second or '00'}{offset}")
    except ValueError:
        return None
    # A leap second is the first one after it, as POSIX counts.
    return _moment(found, "", 1) if leaps else _moment(found, fraction or "")


def _moment(found: datetime, fraction: str, later: int = 0) -> Moment | None:
    """Return a moment, or the one so many seconds later, which may be in a year that no datetime has."""
    moment = found if found.tzinfo else found.replace(tzinfo=UTC)
    second = (moment - _EPOCH) // timedelta(seconds=1) + later
    return Moment(second, fraction[:_DIGITS]) if 0 <= second <= _LAST_SECOND else None


def _of_number(whole: int, fraction: str) -> Moment | None:
    if not whole and not fraction.strip("0"):
        return None
    for limit, digits in ((_SECONDS_LIMIT, 0), (_MILLIS_LIMIT, 3), (_MICROS_LIMIT, 6), (_LARGEST, 9)):
        if whole < limit:
            if digits:
                second, rest = divmod(whole, 10**digits)
                fraction = f"{rest:0{digits}d}{fraction}".rstrip("0")
            else:
                second = whole
            return Moment(second, fraction[:_DIGITS]) if second <= _LAST_SECOND else None
    return None
