"""Why there is no answer, in words a person can act on: what the network, a name server, TLS or a proxy says."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from sinks.destination import Hold, Retry
from sinks.proxies import WANTS_CREDENTIALS

if TYPE_CHECKING:
    import httpx

_ANOTHER_NAME = {62, 64}
"""X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH of OpenSSL."""
_OUT_OF_DATE = {9, 10}
"""X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED."""
_NO_TLS = {"HTTP_REQUEST", "RECORD_LAYER_FAILURE", "UNEXPECTED_MESSAGE", "WRONG_VERSION_NUMBER"}
"""What OpenSSL says of an answer that is no TLS."""
_Cause = TypeVar("_Cause", bound=BaseException)

UNCHECKED = "or set `validate_ssl: false` to do without the check"


def explain(error: httpx.TransportError | httpx.InvalidURL, url: str, setting: str, proxied: str = "") -> Retry | Hold:
    """Return what an exception of a request means.

    Args:
        error: Of httpx.
        url: Where the request went.
        setting: The setting that it comes from.
        proxied: The variable that names the proxy on the way; nothing where there is none.
    """
    import httpx

    place, causes = _place(url), list(_causes(error))
    broken = _first(causes, ssl.SSLError)
    if isinstance(error, httpx.UnsupportedProtocol | httpx.InvalidURL) or not place:
        return Hold(f"{error}: `{setting}` must be an address such as https://host:port")
    if isinstance(broken, ssl.SSLCertVerificationError):
        return Hold(of_certificate(broken.verify_code, broken.verify_message, place, setting))
    if broken and broken.reason in _NO_TLS:
        return Hold(f"{place} doesn't speak TLS: check the port in `{setting}`, and whether it begins with http://")
    if isinstance(error, httpx.ProxyError) and "407" in str(error):
        return Hold(f"{error}: {WANTS_CREDENTIALS}")
    if proxied:
        place += f" or the proxy that {proxied} names"
    return Retry(_passing(error, causes, place, setting, proxied, secure=url.startswith("https://")))


def _passing(
    error: httpx.TransportError | httpx.InvalidURL,
    causes: list[BaseException],
    place: str,
    setting: str,
    proxied: str,
    *,
    secure: bool,
) -> str:
    import httpx

    said = f"{type(error).__name__}: {error}"
    if isinstance(error, httpx.ProxyError):
        said += f": check the proxy that {proxied or 'HTTPS_PROXY, HTTP_PROXY or ALL_PROXY'} names"
    elif _first(causes, socket.gaierror):
        said = f"the name of {place} isn't known: check `{setting}`, and this machine's name server"
    elif _first(causes, ConnectionRefusedError):
        said = f"connection refused by {place}: check the host and the port in `{setting}`, and that the service runs"
    elif isinstance(error, httpx.ConnectTimeout | httpx.ConnectError):
        said = f"no connection to {place}: {said}: check `{setting}`, and the network and firewalls on the way"
    elif isinstance(error, httpx.TimeoutException):
        said = f"no answer in time: {type(error).__name__}"
    elif isinstance(error, httpx.RemoteProtocolError | httpx.ReadError) and not secure:
        said += f": if it doesn't pass, check whether `{setting}` should begin with https://"
    return said


def of_certificate(code: int, message: str, place: str, setting: str) -> str:
    """Return what to do about a certificate that doesn't verify.

    Args:
        code: OpenSSL's, 0 where it isn't known.
        message: OpenSSL's words.
        place: The host, with its port.
        setting: The setting that it comes from.
    """
    message = message.rstrip(".")
    if code in _ANOTHER_NAME:
        mend = f"check the host in `{setting}`, which must be a name in the certificate"
    elif code in _OUT_OF_DATE:
        mend = "have it renewed there, and check this machine's clock"
    else:
        mend = f"check `{setting}`; SSL_CERT_FILE names a file of the authorities to trust"
    return f"the certificate of {place} doesn't verify: {message}: {mend}, {UNCHECKED}"


def _place(url: str) -> str:
    """Return the host with its port, without a user and a password before them; nothing where there is no host."""
    try:
        return urlsplit(url).netloc.rpartition("@")[2]
    except ValueError:
        return ""


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _first(causes: list[BaseException], kind: type[_Cause]) -> _Cause | None:
    return next((cause for cause in causes if isinstance(cause, kind)), None)
