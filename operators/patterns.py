"""Regular expressions of rules: RE2 alone, so that no pattern, whoever wrote it, takes more than linear time.

All patterns on one field are one RE2 set, matched once a record: the price of many patterns is that of one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import re2

from logweir.errors import LogweirError
from logweir.settings import Substituted

OPTIONS = re2.Options()
OPTIONS.log_errors = False
# A set shares one budget. RE2's own 8 MB is for one pattern, and what does not fit would silently not match.
OPTIONS.max_mem = 64 << 20

_BACKREFERENCE = re.compile(r"\\[1-9]|\(\?P=")
_LOOKAROUND = re.compile(r"\(\?<?[=!]")
_ATOMIC = re.compile(r"\(\?>|[*+?}]\+")
_LINEAR = "Patterns are RE2, which matches in linear time"


def check_pattern(pattern: str, flags: str = "") -> None:
    """Refuse a pattern that RE2 can't run.

    Raises:
        ValueError: Why, in words for the person who wrote it.
    """
    try:
        re2.compile(with_flags(pattern, flags), OPTIONS)
    except re2.error as error:
        # RE2 says what it stumbled on, as bytes.
        detail = error.args[0].decode(errors="replace") if isinstance(error.args[0], bytes) else str(error)
        msg = _why(pattern) + ("" if isinstance(pattern, Substituted) else f" ({detail})")
        raise ValueError(msg) from None
    except UnicodeEncodeError:
        msg = "holds half of a surrogate pair, which is no character"
        raise ValueError(msg) from None


def _why(pattern: str) -> str:
    if _BACKREFERENCE.search(pattern):
        return f"back-references (\\1) are not possible. {_LINEAR}, and no linear matcher can have them"
    if _LOOKAROUND.search(pattern):
        return f"look-ahead and look-behind are not possible. {_LINEAR}, and does without; use a second rule instead"
    if _ATOMIC.search(pattern):
        return f"possessive and atomic groups are not possible, nor needed. {_LINEAR}"
    return f"is not a valid pattern. {_LINEAR}"


def with_flags(pattern: str, flags: str) -> str:
    """Return the pattern with its flags inside, as a set has none for its members."""
    return f"(?{flags}){pattern}" if flags else pattern


Test = Callable[[Any], bool]


class FieldPatterns:
    """The patterns on one field.

    Args:
        get: Reads the field from a record.
    """

    def __init__(self, get: Callable[[Any], Any]) -> None:
        self._get = get
        self._numbers: dict[str, int] = {}

    def add(self, pattern: str) -> None:
        """Make this pattern, with its flags inside, part of the set."""
        self._numbers.setdefault(pattern, len(self._numbers))

    def compile(self) -> Callable[[str], Test]:
        """Return the function that gives, for one of the patterns added, the test of a record.

        Raises:
            LogweirError: Together they are too large.
        """
        patterns = re2.Set.SearchSet(OPTIONS)
        try:
            for pattern in self._numbers:
                patterns.Add(pattern)
            patterns.Compile()
        except re2.error as error:
            msg = "the patterns on one field are too large together; use fewer, or shorter repetitions than {1000}"
            raise LogweirError(msg) from error
        matches = _matcher(self._get, patterns.Match)

        def test(pattern: str) -> Test:
            number = self._numbers[pattern]
            return lambda record: number in matches(record)

        return test


_Numbers = Sequence[int]


def _matcher(get: Callable[[Any], Any], match: Callable[[str | bytes], _Numbers | None]) -> Callable[[Any], _Numbers]:
    """Return the function that tells which patterns match a record; asked again of the same record it remembers."""
    # Record and answer are one tuple, replaced as one, so that threads that share the rules can't mix them up.
    last: tuple[Any, _Numbers] = (None, ())

    def matches(record: Any) -> _Numbers:
        nonlocal last
        known = last
        if known[0] is record:
            return known[1]
        value = get(record)
        found: _Numbers = ()
        if isinstance(value, str):
            try:
                found = match(value) or ()
            except UnicodeEncodeError:
                # Half of a surrogate pair is valid in JSON's escapes, and no character.
                found = match(value.encode(errors="replace")) or ()
        last = (record, found)
        return found

    return matches
