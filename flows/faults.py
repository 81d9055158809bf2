"""From pydantic's errors to findings: each at its place in the file, in plain words, without values from variables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import ValidationError

from flows.document import Document, Finding, Path, scalar
from logweir.settings import Substituted, plain

_WINDOW = 8
"""A message that holds this many characters in a row of a value from a variable echoes it."""

_WANTS_NUMBER = re.compile(r"must be a (?:duration|size) such as")


def translate(document: Document, error: ValidationError) -> list[Finding]:
    """Return a finding for each error, except about values whose variables could not be replaced."""
    findings: list[Finding] = []
    branches: dict[Path, list[str]] = {}
    for each in error.errors(include_url=False):
        path, rest = locate(document, each["loc"])
        if any(path[:length] in document.unresolved for length in range(len(path) + 1)):
            continue
        message = _discreet(document, each)
        if each["type"] == "missing" or not rest:
            at_key = each["type"] in ("missing", "extra_forbidden")
            findings.append(document.find(path, message, key=at_key))
        elif rest == ["[key]"]:
            findings.append(document.find(path, f"the name {message}", key=True))
        elif isinstance(each["input"], Substituted) and document.get(path) is not each["input"]:
            findings.append(document.find(path, f"`{rest[-1]}` from {each['input'].origin}: {message}", key=True))
        else:
            # A union tells what each of its branches wants.
            branches.setdefault(path, []).append(message)
    for path, messages in branches.items():
        first, *others = dict.fromkeys(messages)
        joined = ", or ".join([first, *(other.removeprefix("must be ") for other in others)])
        findings.append(document.find(path, joined))
    return findings


def locate(document: Document, loc: Sequence[str | int]) -> tuple[Path, list[str | int]]:
    """Return the path in the document that an error speaks of, and what of `loc` isn't found there.

    Pydantic puts a union's tag and branch into `loc`; a missing setting isn't in the document either.
    """
    path: list[str | int] = []
    rest: list[str | int] = []
    value = document.data
    for part in loc:
        if isinstance(value, dict):
            tagged = len(path) > 1 and path[-2] == "rules" and isinstance(path[-1], int)
            if tagged and part == value.get("type") and not rest:
                # The tag, not the setting of the same name that the rule may have (`field`): that one comes after it.
                value = _Tagged(value)
                continue
            found = isinstance(part, str) and part in value
        else:
            found = isinstance(value, list) and isinstance(part, int) and part < len(value)
        if found:
            path.append(part)
            value = value[part]
        else:
            rest.append(part)
    return tuple(path), rest


class _Tagged(dict[str, Any]):
    """A rule whose tag has been passed."""

    def get(self, key: str, default: Any = None) -> Any:
        return default if key == "type" else super().get(key, default)


def convert(document: Document, error: ValidationError) -> bool:
    """Replace text from variables by the number or boolean that the field wants; false when there was none."""
    converted = False
    for each in error.errors(include_url=False):
        path, _ = locate(document, each["loc"])
        text = document.get(path)
        if not path or not isinstance(text, Substituted) or each["input"] is not text:
            continue
        value = scalar(str(text))
        if _fits(value, each):
            document.replace(path, value)
            converted = True
    return converted


def _fits(value: Any, error: Any) -> bool:
    """Tell whether a value is of the kind that the error misses."""
    kind = error["type"]
    if isinstance(value, bool) or kind == "bool_type":
        return isinstance(value, bool) and kind == "bool_type"
    if kind == "int_type":
        return isinstance(value, int)
    return isinstance(value, int | float) and (kind == "float_type" or bool(_WANTS_NUMBER.match(plain(error))))


def _discreet(document: Document, error: Any) -> str:
    """Return an error's message, without any value that came from a variable."""
    message = plain(error)
    secrets = [*_substituted(error["input"]), *(text for text in _substituted(document.data) if len(text) >= _WINDOW)]
    for secret in secrets:
        if _echoes(message, secret):
            message = message.replace(repr(str(secret)), secret.origin)
        if _echoes(message, secret):
            message = f"the value from {secret.origin} is not allowed here"
    return message


def _substituted(value: Any) -> Iterator[Substituted]:
    if isinstance(value, Substituted):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _substituted(each)
    elif isinstance(value, list):
        for each in value:
            yield from _substituted(each)


def _echoes(message: str, secret: str) -> bool:
    if len(secret) >= _WINDOW:
        return any(secret[start : start + _WINDOW] in message for start in range(len(secret) - _WINDOW + 1))
    return bool(secret) and bool(re.search(rf"(?<!\w){re.escape(secret)}(?!\w)", message))
