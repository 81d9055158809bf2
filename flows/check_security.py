"""Warnings about a valid flow whose secrets or records others on the way could read or change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, SecretStr

from flows.archiving import ARCHIVE
from flows.config import LoadedFlow
from flows.document import Finding, Path

_ADDRESSES = ("url", "endpoint_url")
_UNSENT = {"secret_access_key", "private_key"}
"""Secrets that sign what is sent, and don't leave the process."""
_FOR_TOKENS = {"credentials", "credentials_file"}
"""What tokens are got by, which are sent."""
_OFF = {"false", "0", "f", "none"}
_VERIFICATION = "enable.ssl.certificate.verification"
_NAMES = "ssl.endpoint.identification.algorithm"
_TOKENS = "sasl.oauthbearer.token.endpoint.url"
_SENT = ("sasl.password", "sasl.oauthbearer.client.secret", "sasl.oauthbearer.config")
_UNCHECKED = "whoever is on the way can pass for the server, and read and change what is sent"


def unguarded(loaded: LoadedFlow) -> Iterator[Finding]:
    """Return a warning for each check of certificates that is off, and each secret that travels in the clear."""
    document, flow = loaded.document, loaded.flow
    places: dict[Path, Any] = {("destinations", name): each for name, each in flow.destinations.items() if each.enabled}
    if flow.archive is not None:
        places["retention", ARCHIVE] = flow.archive.retention.archive
    for path, settings in places.items():
        for setting, message in _of_http(settings):
            yield document.find((*path, setting), message, warning=True, key=document.get((*path, setting)) is None)
    for path, settings in {("source",): flow.source, **places}.items():
        given = getattr(settings, "settings", None)
        if isinstance(given, dict):
            for setting, message in _of_kafka(_plain(given)):
                yield document.find((*path, "settings", setting), message, warning=True)


def _of_http(settings: BaseModel) -> Iterator[tuple[str, str]]:
    addresses = {name: found for name in _ADDRESSES if isinstance(found := getattr(settings, name, None), str)}
    # What an address from a variable holds isn't said.
    clear = {name: _host(each) for name, each in addresses.items() if each.lower().startswith("http://")}
    if getattr(settings, "validate_ssl", True) is False and not clear:
        yield "validate_ssl", f"the server's certificate isn't checked: {_UNCHECKED}; trust its CA instead"
    for name, host in clear.items():
        sent = sorted(_secrets(settings))
        if sent and not _is_loopback(host):
            message = (
                f"{', '.join(sent)} would travel to another host in the clear, for all on the way to read: use https://"
            )
            yield name, message


def _secrets(settings: BaseModel) -> Iterator[str]:
    """Give the names of settings that are secrets and are sent."""
    for name, value in settings:
        parts = value.values() if isinstance(value, dict) else (value,)
        held = name not in _UNSENT and name != "settings" and any(isinstance(each, SecretStr) for each in parts)
        if held or (name in _FOR_TOKENS and value):
            yield name


def _of_kafka(given: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    sent = next((name for name in _SENT if given.get(name)), None)
    if given.get("security.protocol", "").lower() == "sasl_plaintext" and sent:
        message = f"nothing is encrypted, {sent} and the records can be read on the way: use SASL_SSL"
        yield "security.protocol", message
    if given.get(_VERIFICATION, "").lower() in _OFF:
        yield _VERIFICATION, f"the brokers' certificates aren't checked: {_UNCHECKED}; set ssl.ca.location instead"
    if given.get(_NAMES, "").lower() in _OFF:
        message = f"a certificate of any other host is taken for a broker's: {_UNCHECKED}; leave it out"
        yield _NAMES, message
    tokens = given.get(_TOKENS, "")
    if tokens.lower().startswith("http://") and not _is_loopback(_host(tokens)):
        yield _TOKENS, "the client's secret would travel to another host in the clear: use https://"


def _plain(given: Mapping[str, Any]) -> dict[str, str]:
    return {
        name: value.get_secret_value() if isinstance(value, SecretStr) else str(value) for name, value in given.items()
    }


def _host(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
