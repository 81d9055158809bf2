"""Redaction at the source: the values of keys that name a secret never leave the application."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

REDACTED = "[redacted]"

SECRET_KEYS = (
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "authorization",
    "cookie",
    "api_key",
    "access_key",
    "secret_key",
    "private_key",
    "credential",
    "credentials",
    "bearer",
    "jwt",
    "cvv",
    "cvc",
    "card_number",
    "access_key_id",
    "connection_string",
)
"""What is redacted without being asked for, in any spelling."""

_ENDINGS = (
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "authorization",
    "cookie",
    "apikey",
    "accesskey",
    "secretkey",
    "privatekey",
)
"""A key that ends so names a secret too: dbPassword, X-Auth-Token, Set-Cookie."""

_REMEMBERED = 10_000
"""Keys known to be harmless; beyond that many they are found out again."""


def _plain(key: str) -> str:
    return "".join(letter for letter in key.lower() if letter.isalnum())


class Redactor:
    """Replaces what stands under secret keys, wherever in nested objects and lists.

    Keys are compared without case and punctuation: `apiKey`, `API-KEY` and `api_key` are one.

    Args:
        extra: Keys of your own beside the well-known ones.
        enabled: False redacts nothing at all.
    """

    __slots__ = ("_enabled", "_secret", "safe")

    def __init__(self, extra: Iterable[str] = (), *, enabled: bool = True) -> None:
        if isinstance(extra, str):
            msg = f"redact_keys must be a list of keys, not the text {extra!r}"
            raise TypeError(msg)
        self._enabled = enabled
        self._secret = frozenset(_plain(key) for key in (*SECRET_KEYS, *extra))
        self.safe: set[str] = set()
        """Keys that were looked at and name no secret."""

    def is_secret(self, key: object) -> bool:
        """Whether this key names a secret."""
        if not isinstance(key, str):
            return False
        if key in self.safe:
            return False
        plain = _plain(key)
        if self._enabled and (plain in self._secret or plain.endswith(_ENDINGS)):
            return True
        if len(self.safe) >= _REMEMBERED:
            self.safe.clear()
        self.safe.add(key)
        return False

    def clean(self, value: Any, depth: int = 100) -> Any:
        """Return the value with its secrets replaced: itself where it has none, else a copy.

        What lies deeper than `depth` is left to the encoder, which refuses to go that deep.
        """
        if depth <= 0:
            return value
        if isinstance(value, dict):
            return self._clean_mapping(value, depth)
        if isinstance(value, (list, tuple)):
            cleaned = [self.clean(each, depth - 1) for each in value]
            return value if all(map(_same, cleaned, value)) else cleaned
        return value

    def _clean_mapping(self, value: Mapping[Any, Any], depth: int) -> Any:
        changed: dict[Any, Any] = {}
        for key, each in list(value.items()):
            if self.is_secret(key):
                if each is not None:
                    changed[key] = REDACTED
            elif isinstance(each, (dict, list, tuple)):
                cleaned = self.clean(each, depth - 1)
                if cleaned is not each:
                    changed[key] = cleaned
        return {**value, **changed} if changed else value


def _same(one: object, other: object) -> bool:
    return one is other
