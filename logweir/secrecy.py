"""Secrets, and words in which none of them may stand: what a server, a library or an exception says."""

from __future__ import annotations

import base64
import binascii
import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

from pydantic import BaseModel, SecretStr

HIDDEN = "***"
_SHORTEST = 4
"""Characters: to hide what is shorter would leave no word whole."""
_TELLING = 8
"""Characters: what is shorter may be an ordinary word, where nothing is known of what is said."""
_LINE = 16
"""Characters from which on a line of a longer secret, such as a key in PEM, is one by itself."""
_SENSITIVE = re.compile(r"password|secret|\.pem$|jaas|token|oauthbearer\.config$")
_LONGEST_WORD = 15
"""Characters: no value that librdkafka has a word for is longer, such as SCRAM-SHA-512 and sasl_plaintext."""
_LINES = re.compile(r"\\n|\r?\n")
_AUTHORIZATION = {"authorization", "proxy-authorization"}
_PAIRS = {"apikey", "basic"}
"""Schemes whose credential is two texts with a colon between, encoded."""


class Secrets:
    """Some secrets, in every form in which words may repeat them: quoted, escaped, encoded, or a line alone.

    A secret of less than four characters can't be hidden.

    Args:
        values: The secrets.
    """

    __slots__ = ("_forms",)

    def __init__(self, values: Iterable[str] = ()) -> None:
        forms = {form for value in values for form in _forms(value) if len(form) >= _SHORTEST}
        # One may be a part of another.
        self._forms = sorted(forms, key=len, reverse=True)

    @classmethod
    def of_headers(cls, headers: Mapping[str, str]) -> Secrets:
        """Return those in the headers of a request: each whole value, and what an authorization is made of."""
        return cls(part for name, value in headers.items() for part in _of_header(name, value))

    @classmethod
    def of_settings(cls, settings: BaseModel) -> Secrets:
        """Return those of settings and of all that is within, without what looks like an ordinary word."""
        return cls(value for value in _within(settings) if len(value) >= _TELLING)

    def hide(self, words: str) -> str:
        """Return the words without any secret. Cut them afterwards: a half of one is none that is known."""
        for form in self._forms:
            words = words.replace(form, HIDDEN)
        return words

    def hide_in(self, value: Any) -> Any:
        """Return plain JSON whose texts are without any secret."""
        if isinstance(value, str):
            return self.hide(value)
        if isinstance(value, list):
            return [self.hide_in(each) for each in value]
        if isinstance(value, dict):
            return {name: self.hide_in(each) for name, each in value.items()}
        return value


def is_secret(name: str, value: str) -> bool:
    """Tell whether the text of a librdkafka setting must not be shown: it may also be a secret under a wrong name."""
    return bool(_SENSITIVE.search(name)) or (len(value) > _LONGEST_WORD and not value.startswith(("/", "./", "../")))


def _of_header(name: str, value: str) -> Iterator[str]:
    yield value
    scheme, _, credential = value.partition(" ")
    if name.lower() not in _AUTHORIZATION or not credential:
        return
    yield credential
    if scheme.lower() in _PAIRS:
        try:
            pair = base64.b64decode(credential, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return
        yield pair
        yield pair.partition(":")[2]


def _within(value: Any) -> Iterator[str]:
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, BaseModel):
        for _, each in value:
            yield from _within(each)
    elif isinstance(value, dict):
        for name, each in value.items():
            # librdkafka's have dots in their names, and not every text among them is a secret.
            if not (isinstance(each, SecretStr) and "." in str(name)) or is_secret(name, each.get_secret_value()):
                yield from _within(each)
    elif isinstance(value, list):
        for each in value:
            yield from _within(each)


def _forms(value: str) -> Iterator[str]:
    yield from _spelt(value)
    yield base64.b64encode(value.encode(errors="replace")).decode()
    lines = _LINES.split(value)
    if len(lines) > 1:
        for line in map(str.strip, lines):
            if len(line) >= _LINE and not line.startswith("-----"):
                yield from _spelt(line)


def _spelt(value: str) -> Iterator[str]:
    yield value
    yield quote(value, safe="", errors="replace")
    yield quote(value, errors="replace")
    yield quote_plus(value, errors="replace")
    yield html.escape(value)
    yield json.dumps(value)[1:-1]
    yield json.dumps(value, ensure_ascii=False)[1:-1]
    yield repr(value)[1:-1]
