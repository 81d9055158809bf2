"""Paths to the fields of a record, as people write them: `context.service`, or `/host.name` where a key has dots."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from pydantic import AfterValidator

_MEMBERS = "\0"
"""No path that a person may write begins so."""


def keys_of(path: str) -> tuple[str, ...]:
    """Return the keys that a path names, from the top of the record down: `/a.b/c` gives `a.b` and `c`."""
    return tuple(path[1:].split("/")) if path.startswith("/") else tuple(path.split("."))


def is_path(text: str) -> bool:
    """Tell whether a text is a path: keys with dots between them, or each with a slash before it."""
    return _MEMBERS not in text and all(keys_of(text))


def _checked(value: str) -> str:
    if not is_path(value):
        msg = "must be a dotted path such as context.service, or /host.name where a key has dots"
        raise ValueError(msg)
    return value


FieldPath = Annotated[str, AfterValidator(_checked)]
"""A path in a flow file."""


def members(*names: str) -> str:
    """Return the name under which a projection lists these members of the record, by their own names on the wire."""
    return _MEMBERS + _MEMBERS.join(names)


def listed(path: str) -> Iterable[str] | None:
    """Return the names that `members` lists; None of a path."""
    return path[1:].split(_MEMBERS) if path.startswith(_MEMBERS) else None


def segments_of(path: str) -> tuple[str, ...]:
    """Return the levels of a path where a key with dots counts as many levels as it has parts: redaction's view."""
    return tuple(part for key in keys_of(path) for part in key.split("."))
