"""Regular expressions of rules: RE2 alone, so that no pattern, whoever wrote it, takes more than linear time.

All patterns on one field are one RE2 set, matched once a record: the price of many patterns is that of one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import re2

from logweir.errors import LogweirError
from logweir.settings import Substituted

_OPTIONS = re2.Options()
_OPTIONS.log_errors = False
# A set shares one budget. RE2's own 8 MB is for one pattern, and what does not fit would silently not match.
_OPTIONS.max_mem = 64 << 20

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
        re2.compile(with_flags(pattern, flags), _OPTIONS)
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


class FieldPatterns:
    """The patterns on one field.

    Args:
        get: Reads the field from a record.
    """

    def __init__(self, get: Callable[[Any], Any]) -> None:
        self._get = get
        self._patterns: list[str] = []

    def add(self, pattern: str) -> int:
        """Return the number under which `matcher` reports this pattern."""
        if pattern in self._patterns:
            return self._patterns.index(pattern)
        self._patterns.append(pattern)
        return len(self._patterns) - 1

    def matcher(self) -> Callable[[Any], tuple[int, ...] | list[int]]:
        """Return the function that tells which patterns match a record. Call it once all are added.

        Raises:
            LogweirError: Together they are too large.
        """
        patterns = re2.Set.SearchSet(_OPTIONS)
        try:
            for pattern in self._patterns:
                patterns.Add(pattern)
            patterns.Compile()
        except re2.error as error:
            msg = "the patterns on one field are too large together; use fewer or shorter repetitions such as {900}"
            raise LogweirError(msg) from error
        get, match = self._get, patterns.Match
        # Record and answer in one tuple, replaced as one, so that threads that share the rules can't mix them up.
        last: tuple[Any, tuple[int, ...] | list[int]] = (None, ())

        def matches(record: Any) -> tuple[int, ...] | list[int]:
            nonlocal last
            cached = last
            if cached[0] is record:
                return cached[1]
            value = get(record)
            found: tuple[int, ...] | list[int] = ()
            if type(value) is str:
                try:
                    found = match(value) or ()
                except UnicodeEncodeError:
                    # Half a surrogate pair is valid in JSON's escapes, and no character.
                    found = match(value.encode(errors="replace")) or ()
            last = (record, found)
            return found

        return matches
