"""Secrets that are sent in a header."""

from __future__ import annotations

import base64
import re
from collections.abc import Collection
from typing import Annotated

from pydantic import AfterValidator, SecretStr

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PRINTABLE = re.compile("[!-~]+")
_PRINTABLE_WORDS = re.compile("[!-~]+([ \t]+[!-~]+)*")


def _sendable(value: SecretStr) -> SecretStr:
    # What a header can't hold would be refused when it is sent, by an error that quotes it.
    text = value.get_secret_value().strip()
    if not _PRINTABLE.fullmatch(text):
        msg = "must be printable ASCII, without spaces or line breaks in it"
        raise ValueError(msg)
    return SecretStr(text)


def _sendable_words(value: SecretStr) -> SecretStr:
    text = value.get_secret_value().strip()
    if not _PRINTABLE_WORDS.fullmatch(text):
        msg = "must be printable ASCII, without line breaks in it"
        raise ValueError(msg)
    return SecretStr(text)


HeaderSecret = Annotated[SecretStr, AfterValidator(_sendable)]
"""A key or a token; the line break at the end of a file is no part of it."""

HeaderValue = Annotated[SecretStr, AfterValidator(_sendable_words)]
"""The whole value of a header, which may be a secret; spaces may stand within it."""


def check_names(headers: Collection[str], own: Collection[str]) -> None:
    """Raise ValueError unless all are names of headers (RFC 9110), different ones, and none of `own`, which we set."""
    lower = [name.lower() for name in headers]
    for name in headers:
        msg = ""
        if not _NAME.fullmatch(name):
            msg = f"{name!r} is no name of a header"
        elif name.lower() in own:
            msg = f"{name} is set by logweir itself"
        elif lower.count(name.lower()) > 1:
            msg = f"{name} is there twice: the case of names doesn't count"
        if msg:
            raise ValueError(msg)


def check_credentials(username: str | None, password: SecretStr | None, token: SecretStr | None) -> None:
    """Raise ValueError unless there is one way to authenticate, whole, or none."""
    msg = ""
    if token and (username or password):
        msg = "set either token, or username and password"
    elif bool(username) != bool(password):
        msg = "username and password go together"
    elif username and ":" in username:
        msg = "username must not hold a colon, which ends it in basic authentication (RFC 7617)"
    if msg:
        raise ValueError(msg)


def authorization(username: str | None, password: SecretStr | None, token: SecretStr | None) -> dict[str, str]:
    """Return the header that authenticates a request, if anything does: bearer (RFC 6750) or basic (RFC 7617)."""
    if token:
        return {"authorization": f"Bearer {token.get_secret_value()}"}
    if username and password:
        pair = f"{username}:{password.get_secret_value()}".encode()
        return {"authorization": f"Basic {base64.b64encode(pair).decode()}"}
    return {}
