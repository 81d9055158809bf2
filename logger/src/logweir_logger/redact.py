"""Redaction at the source: the values of keys that name a secret never leave the application."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any
from unicodedata import normalize

REDACTED = "[redacted]"
TOO_DEEP = "…[too deep]"
ITSELF = "…[itself again]"

SECRET_KEYS = (
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "auth",
    "authorization",
    "cookie",
    "api_key",
    "access_key",
    "secret_key",
    "private_key",
    "credential",
    "bearer",
    "jwt",
    "cvv",
    "cvc",
    "card_number",
    "access_key_id",
    "connection_string",
)
"""What is redacted without being asked for, in any spelling, and in the plural."""

_ENDINGS = (
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "basicauth",
    "httpauth",
    "proxyauth",
    "authorization",
    "cookie",
    "apikey",
    "accesskey",
    "secretkey",
    "privatekey",
    "credential",
)
"""A key that ends so names a secret too: dbPassword, X-Auth-Token, Set-Cookie."""

_FORMS = (
    "value",
    "header",
    "string",
    "str",
    "text",
    "plain",
    "raw",
    "hash",
    "data",
    "field",
    "input",
    "confirmation",
    "confirm",
    "repeat",
    "again",
    "new",
    "old",
    "current",
    "encoded",
    "base64",
    "b64",
    r"\d",
)
"""What may stand behind it, and it is the secret still: token_value, passwordConfirmation, password2."""

_COUNTED = re.compile("tokens[a-z0-9]*")
"""Numbers under these are no secrets: language models count their tokens."""

_REMEMBERED = 10_000
"""Keys that are known of each kind; beyond that many they are found out again."""
_LONGEST = 256
"""Characters of a key that is remembered, and of the name in a pair."""


_DEEP = 88
"""Of a hundred levels: what goes further down is looked at with care."""


_SCALARS = frozenset({str, int, float, bool, type(None)})


def _parts(value: Any) -> Any:
    """Return what orjson takes a value apart into by itself: the value, or an Enum's; None where it has no parts."""
    found = value.value if isinstance(value, Enum) else value
    return found if isinstance(found, (dict, list, tuple)) else None


class _DeepError(Exception):
    """Something goes further down than most."""


def _plain(key: str) -> str:
    if not key.isascii():
        key = normalize("NFKC", key)
    return "".join(letter for letter in key.lower() if letter.isalnum())


def _pattern() -> re.Pattern[str]:
    whole = "|".join(_plain(key) for key in SECRET_KEYS)
    return re.compile(rf"(?:^(?:{whole})|(?:{'|'.join(_ENDINGS)}))s?(?:{'|'.join(_FORMS)})*s?$")


_SECRET = _pattern()


def _text(key: object) -> str | None:
    """Return a key as it is encoded; None for one that is no text then."""
    if isinstance(key, Enum):
        key = key.value
    if isinstance(key, (bytes, bytearray)):
        return bytes(key).decode(errors="replace")
    return key if isinstance(key, str) else None


class Redactor:
    """Replaces what stands under secret keys, wherever in nested objects and lists.

    Keys are compared without case and punctuation: `apiKey`, `API-KEY` and `api_key` are one. A list of pairs is taken
    for an object, since HTTP headers come so: `[("Cookie", "…")]`, `[{"name": "Cookie", "value": "…"}]`.

    Args:
        extra: Keys of your own beside the well-known ones.
        enabled: False redacts nothing at all.
    """

    __slots__ = ("_enabled", "_found", "_own", "safe")

    def __init__(self, extra: Iterable[str] = (), *, enabled: bool = True) -> None:
        if isinstance(extra, str):
            msg = f"redact_keys must be a list of keys, not the text {extra!r}"
            raise TypeError(msg)
        self._enabled = enabled
        self._own = frozenset(_plain(key) for key in extra)
        self.safe: set[str] = set()
        """Keys that were looked at and name no secret."""
        self._found: set[str] = set()
        """Keys that were looked at and name one."""

    def is_secret(self, key: object) -> bool:
        """Whether this key names a secret, as it is encoded."""
        name = key if key.__class__ is str else _text(key)
        if name is None or name in self.safe:
            return False
        if name in self._found:
            return True
        plain = _plain(name)
        secret = self._enabled and (plain in self._own or _SECRET.search(plain) is not None)
        if len(name) <= _LONGEST:
            known = self._found if secret else self.safe
            if len(known) >= _REMEMBERED:
                known.clear()
            known.add(str.__str__(name))
        return secret

    def hides(self, key: object, value: object) -> bool:
        """Whether a value is to be replaced that stands under this key."""
        if value is None or not self.is_secret(key):
            return False
        if not isinstance(value, (int, float)):
            return True
        name = _plain(_text(key) or "")
        return name in self._own or _COUNTED.search(name) is None

    def element(self, value: Any) -> Any:
        """Return the element of a list: with its secret replaced where it is a pair of a name and a value."""
        if isinstance(value, (list, tuple)):
            if len(value) == 2 and self._names(value[0], value[1]):  # noqa: PLR2004  a pair
                return [value[0], REDACTED]
        elif isinstance(value, dict) and "value" in value:
            name = value.get("name")
            if self._names(value.get("key") if name is None else name, value["value"]):
                return {**value, "value": REDACTED}
        return value

    def _names(self, name: object, value: object) -> bool:
        text = _text(name)
        return text is not None and len(text) <= _LONGEST and self.hides(text, value)

    def clean(self, value: Any, depth: int = 100) -> Any:
        """Return the value with its secrets replaced: itself where it has none, else a copy.

        What lies deeper than `depth`, or is a part of itself, is cut off.
        """
        if not isinstance(value, (dict, list, tuple)):
            return value
        try:
            return self._clean(value, depth, None)
        except _DeepError:
            # Only what is a part of itself has no end, and it would be found too late where it branches.
            return self._clean(value, depth, set())

    def _clean(self, value: Any, depth: int, above: set[int] | None) -> Any:
        if depth <= _DEEP:
            if above is None:
                raise _DeepError
            if depth <= 0:
                return TOO_DEEP
        if above is not None:
            if id(value) in above:
                return ITSELF
            above.add(id(value))
        found = self._clean_mapping(value, depth, above) if isinstance(value, dict) else self._list(value, depth, above)
        if above is not None:
            above.discard(id(value))
        return found

    def _list(self, value: Any, depth: int, above: set[int] | None) -> Any:
        changed: list[Any] | None = None
        for place, each in enumerate(value):
            if each.__class__ not in _SCALARS and (parts := _parts(each)) is not None:
                cleaned = self._clean(self.element(parts), depth - 1, above)
                if cleaned is not parts:
                    if changed is None:
                        changed = list(value)
                    changed[place] = cleaned
        return value if changed is None else changed

    def _clean_mapping(self, value: Mapping[Any, Any], depth: int, above: set[int] | None) -> Any:
        changed: dict[Any, Any] | None = None
        safe = self.safe
        for key, each in list(value.items()):
            if (key.__class__ is not str or key not in safe) and self.hides(key, each):
                cleaned = REDACTED
            elif each.__class__ in _SCALARS or (parts := _parts(each)) is None:
                continue
            else:
                cleaned = self._clean(parts, depth - 1, above)
                if cleaned is parts:
                    continue
            if changed is None:
                changed = dict(value)
            changed[key] = cleaned
        return value if changed is None else changed
