"""Exceptions as a record has them: name, message and stack, with causes and the parts of groups."""

from __future__ import annotations

from typing import Any, Callable

MAX_STACK = 32_768
"""Characters of a stack; what is longer (a deep recursion) keeps its beginning and its end."""
_MAX_MESSAGE = 8_192
_MAX_CAUSES = 10
_MAX_PARTS = 20


def text_of(value: Any, limit: int = _MAX_MESSAGE) -> str:
    """Return `str(value)`, bounded, also when that fails."""
    try:
        found = str(value)
    except Exception as error:  # noqa: BLE001  # whatever a broken object does, its record is written
        return f"<{type(value).__name__} whose text fails with {type(error).__name__}>"
    return found if len(found) <= limit else f"{found[:limit]}…[+{len(found) - limit} characters]"


def describe(error: Any, text: Callable[[Any], str] = text_of) -> dict[str, Any]:
    """Return the error of a record: an exception, a text, or an object with a name and a message.

    `stack` is the traceback as Python prints it, causes included; `cause` and `errors` (of a group) tell the names and
    messages of the others once more, for rules and searches.
    """
    if isinstance(error, BaseException):
        return {**_outline(error, set()), "stack": _stack(error)}
    if isinstance(error, dict):
        return error
    return {"name": "Error", "message": text(error)}


def _outline(error: BaseException, seen: set[int]) -> dict[str, Any]:
    seen.add(id(error))
    outline: dict[str, Any] = {"name": type(error).__name__, "message": text_of(error)}
    notes = getattr(error, "__notes__", None)
    if isinstance(notes, list) and notes:
        outline["notes"] = [text_of(note) for note in notes[:_MAX_PARTS]]
    cause = error.__cause__ if error.__cause__ is not None or error.__suppress_context__ else error.__context__
    if cause is not None and id(cause) not in seen and len(seen) <= _MAX_CAUSES:
        outline["cause"] = _outline(cause, seen)
    # By its shape, since before Python 3.11 groups are those of a backport.
    parts = getattr(error, "exceptions", None)
    if isinstance(parts, (tuple, list)) and parts and all(isinstance(each, BaseException) for each in parts):
        outline["errors"] = [_outline(each, set(seen)) for each in parts[:_MAX_PARTS] if id(each) not in seen]
        if len(parts) > _MAX_PARTS:
            outline["errors"].append({"name": "…", "message": f"+{len(parts) - _MAX_PARTS} errors"})
    return outline


def _stack(error: BaseException) -> str:
    import traceback

    try:
        stack = "".join(traceback.format_exception(type(error), error, error.__traceback__)).rstrip("\n")
    except Exception as failure:  # noqa: BLE001  # a source file that can't be read, a broken __cause__
        stack = f"{type(error).__name__} (its stack can't be told: {type(failure).__name__})"
    if len(stack) > MAX_STACK:
        half = MAX_STACK // 2
        stack = f"{stack[:half]}\n…[+{len(stack) - 2 * half} characters]\n{stack[-half:]}"
    return stack
