"""Addresses in settings: they are shown and told, so no user and no password may stand in them."""

from __future__ import annotations

from typing import Any, TypeVar
from urllib.parse import SplitResult, unquote, urlsplit

_Address = TypeVar("_Address", str, str | None)


def without_credentials(value: _Address, instead: str) -> _Address:
    """Return an address as it is.

    Args:
        value: The address, or None.
        instead: The settings that the credentials belong into.

    Raises:
        ValueError: A user or a password stands before its host.
    """
    if value is not None and "@" in value.partition("?")[0]:
        msg = f"must not hold credentials: set {instead}"
        raise ValueError(msg)
    return value


def http_address(value: str, wanted: str, instead: str, *, base: bool = False) -> str:
    """Return a whole HTTP address as it is.

    Args:
        value: The address.
        wanted: What it has to be, with an example, for who reads the error.
        instead: The settings that the credentials belong into.
        base: Whether paths are appended to it, so that neither query nor fragment may follow.

    Raises:
        ValueError: It is another one, or a user or a password stands before its host.
    """
    try:
        parts = urlsplit(value)
        sound = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound or (base and (parts.query or parts.fragment)):
        msg = f"must be {wanted}"
        raise ValueError(msg)
    if parts.username is not None or parts.password is not None:
        msg = f"must not hold credentials: set {instead}"
        raise ValueError(msg)
    return value


def split_credentials(value: Any) -> tuple[Any, str, str]:
    """Return an address without the user and the password before its host, and these two; empty where there are none.

    Raises:
        ValueError: They can't be told from the rest.
    """
    if not isinstance(value, str) or "@" not in value.partition("?")[0]:
        return value, "", ""
    try:
        parts: SplitResult | None = urlsplit(value)
    except ValueError:
        parts = None
    if parts is None or not parts.username or not parts.password or "@" in parts.path:
        msg = "a user and a password in it must both be there, and be percent-encoded: or set username and password"
        raise ValueError(msg)
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    return bare, unquote(parts.username), unquote(parts.password)
