"""The levels, from the least severe to the most, and the names that other libraries give them."""

from __future__ import annotations

LEVELS = ("trace", "debug", "info", "warn", "error", "fatal")
"""A level's place here is its severity."""

TRACE, DEBUG, INFO, WARN, ERROR, FATAL = range(len(LEVELS))
OFF = len(LEVELS)
"""The severity that nothing reaches."""

_SEVERITY = {level: severity for severity, level in enumerate(LEVELS)}
_SEVERITY.update(
    {"warning": WARN, "critical": FATAL, "exception": ERROR, "err": ERROR, "notset": TRACE, "notice": INFO, "off": OFF}
)


def severity(level: str) -> int:
    """Return the severity of a level, whose case doesn't matter.

    Raises:
        ValueError: It is none of them.
    """
    found = _SEVERITY.get(level.lower()) if isinstance(level, str) else None
    if found is None:
        msg = f"unknown level {level!r}; levels are {', '.join(LEVELS)} and off"
        raise ValueError(msg)
    return found
