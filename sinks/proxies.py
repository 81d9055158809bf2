"""The proxy of the environment that leads to an address, as curl and most programs read the variables.

HTTPS_PROXY, HTTP_PROXY and ALL_PROXY name it, also in small letters, which go first; a scheme may be left out
NO_PROXY names what is reached without it: names, which their subdomains go with, IPv4 and IPv6 addresses and ranges
of them, in brackets or not, each perhaps with a port; * is everything
"""

from __future__ import annotations

import os
import re
from base64 import b64encode
from importlib.util import find_spec
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

_SOCKS = {"socks5", "socks5h"}
_PORTS = {"http": 80, "https": 443}
_RANGE = re.compile(r"\[([^\]]*)\](/\d+)?(?::(\d+))?")
_NAME = re.compile(r"(?:\*?\.)?([^:/\s]+)(?::(\d+))?")

WANTS_CREDENTIALS = "a proxy wants credentials: check the ones in HTTPS_PROXY or HTTP_PROXY"


class UnusableVariable(Exception):  # noqa: N818  a finding, not a defect
    """A variable of the environment that can't be used; its words name it, and tell no address of a proxy."""


class ProxyAddress(NamedTuple):
    """A proxy."""

    url: str
    """With the credentials that it may have."""
    variable: str
    """Where it comes from."""

    def credentials(self) -> dict[str, str]:
        """Return the header that authenticates at it; nothing where its address has no credentials."""
        parts = urlsplit(self.url)
        if not parts.password:
            return {}
        pair = f"{unquote(parts.username or '')}:{unquote(parts.password)}"
        return {"proxy-authorization": f"Basic {b64encode(pair.encode()).decode()}"}


def check_file(*variables: str) -> None:
    """Check that the file or folder that the first of these variables names can be read, if one is set.

    Raises:
        UnusableVariable: It can't.
    """
    variable = next((each for each in variables if os.environ.get(each)), "")
    if variable:
        try:
            Path(os.environ[variable]).stat()
        except OSError as error:
            raise UnusableVariable(unreadable(variable, error)) from None


def unreadable(variable: str, error: OSError) -> str:
    """Return what to do where the file or folder of the authorities to trust can't be read."""
    said = error.strerror or str(error)
    return f"{variable} names {os.environ.get(variable, '')!r}, which can't be read: {said}: check {variable}"


def proxy_for(url: str, *, socks: bool = True) -> ProxyAddress | None:
    """Return the proxy that leads to an address, None where it is reached without one.

    Args:
        url: The address.
        socks: Whether the client can speak SOCKS.

    Raises:
        UnusableVariable: The variable names none that can be used.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:
        return None
    variable = _variable(f"{parts.scheme}_proxy") or _variable("all_proxy")
    if not variable or not host or _is_direct(host, port, _value("no_proxy")):
        return None
    value = os.environ[variable].strip()
    return ProxyAddress(_checked(value if "://" in value else f"http://{value}", variable, socks=socks), variable)


def _variable(name: str) -> str:
    """Return which form of a variable is set; nothing if none is."""
    # In a CGI program HTTP_PROXY is a header that a client sent.
    forms = [name] if name == "http_proxy" and "REQUEST_METHOD" in os.environ else [name, name.upper()]
    found = [form for form in forms if os.environ.get(form, "").strip()]
    # Of two that say the same, the usual form is the one to tell of.
    return found[-1] if len({os.environ[form] for form in found}) == 1 else "".join(found[:1])


def _value(name: str) -> str:
    return os.environ.get(_variable(name), "")


def _checked(url: str, variable: str, *, socks: bool) -> str:
    wanted = f"{variable} must name a proxy such as http://proxy.example.com:3128: check {variable}"
    try:
        parts: SplitResult | None = urlsplit(url)
        sound = parts is not None and bool(parts.hostname) and parts.port != 0 and not re.search(r"\s", url)
    except ValueError:
        parts, sound = None, False
    if parts is None or not sound:
        raise UnusableVariable(wanted)
    if parts.scheme in _SOCKS and not (socks and find_spec("socksio")):
        mend = "install the package socksio" if socks else "this destination's client speaks no SOCKS"
        msg = f"{variable} names a SOCKS proxy: {mend}, or check {variable}: a proxy with http:// will do"
        raise UnusableVariable(msg)
    if parts.scheme not in {*_PORTS, *_SOCKS}:
        msg = f"{variable} names a proxy of a kind that isn't known, {parts.scheme[:20]}: {wanted}"
        raise UnusableVariable(msg)
    return url


def _is_direct(host: str, port: int, exceptions: str) -> bool:
    """Tell whether a host is reached without a proxy. What can't be read among the exceptions is about no host."""
    address = _address(host)
    return any(_covers(each, host, address, port) for each in re.split(r"[,\s]+", exceptions) if each)


def _covers(exception: str, host: str, address: IPv4Address | IPv6Address | None, port: int) -> bool:
    if exception == "*":
        return True
    exception = exception.rpartition("://")[2]
    only = ""
    if match := _RANGE.fullmatch(exception):
        exception, only = match[1] + (match[2] or ""), match[3] or ""
    network = _network(exception)
    if network is None and (match := _NAME.fullmatch(exception)):
        exception, only = match[1], match[2] or ""
        network = _network(exception)
    if only and int(only) != port:
        return False
    if network is not None:
        return address is not None and address.version == network.version and address in network
    name, host = exception.lower().rstrip("."), host.lower().rstrip(".")
    return address is None and (host == name or host.endswith(f".{name}"))


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return found.ipv4_mapped or found if isinstance(found, IPv6Address) else found


def _network(text: str) -> IPv4Network | IPv6Network | None:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None
