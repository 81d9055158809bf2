"""Tokens for Google's APIs: by a service account's key signed here, without the network, else by google-auth's ways."""

from __future__ import annotations

import json
import re
import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sinks.destination import Hold, Retry
from sinks.proxies import UnusableVariable, proxy_for

if TYPE_CHECKING:
    from sinks.gcp import GcpCredentials

AUDIENCE = "https://logging.googleapis.com/"
"""Of a self-signed token: the API, wherever it is reached ("Using OAuth 2.0 for Server to Server Applications")."""
_METADATA = re.compile(r"^http://(metadata\.google\.internal|169\.254\.)")
SCOPE = "https://www.googleapis.com/auth/logging.write"
_WHERE = "check credentials, credentials_file, or the application default credentials"


class Tokens:
    """Gives the headers that authenticate a request, renewed before it expires. Safe for several threads.

    Args:
        key: Of a service account.
        file: Of credentials, when there is no key.
    """

    def __init__(self, key: GcpCredentials | None, file: str | None) -> None:
        self._key = key
        self._file = file
        self._lock = threading.Lock()
        self._credentials: Any = None

    def headers(self) -> dict[str, str] | Retry | Hold:
        """Return the headers, or why there are none."""
        from google.auth import exceptions

        with self._lock:
            headers: dict[str, str] = {}
            try:
                if self._credentials is None:
                    self._credentials = self._load()
                self._credentials.before_request(_Transport(), "POST", AUDIENCE, headers)
            except exceptions.TransportError as error:
                said = f"no token: {type(error).__name__}: {error}"[:1000]
                return Hold(said) if isinstance(error.__cause__, UnusableVariable) else Retry(said)
            except (exceptions.GoogleAuthError, ValueError, OSError) as error:
                self._credentials = None
                if self._key is not None:
                    # The error of a key may quote it.
                    return Hold("no token: credentials.private_key is no private key in PEM: check it")
                return Hold(f"no token: {type(error).__name__}: {error}: {_WHERE}"[:1000])
        return headers

    def forget(self) -> None:
        """Read the credentials anew for the next request."""
        with self._lock:
            self._credentials = None

    def _load(self) -> Any:
        from google import auth
        from google.auth import jwt
        from google.oauth2 import service_account

        if self._key is not None:
            pem = self._key.private_key.get_secret_value().replace("\\n", "\n")
            info = {"client_email": self._key.client_email, "private_key": pem, "token_uri": ""}
            return jwt.Credentials.from_service_account_info(info, audience=AUDIENCE)
        if self._file is None:
            found, _ = auth.default(scopes=[SCOPE])
        else:
            info = json.loads(Path(self._file).read_bytes())
            if not isinstance(info, dict):
                msg = "the file of credentials is no object"
                raise ValueError(msg)
            with warnings.catch_warnings():
                # It warns of files from strangers; this one is named in the flow.
                warnings.simplefilter("ignore", DeprecationWarning)
                found, _ = auth.load_credentials_from_dict(info, scopes=[SCOPE])
        if isinstance(found, service_account.Credentials):
            return jwt.Credentials.from_signing_credentials(found, audience=AUDIENCE)
        return found


class _Transport:
    """Makes google-auth's HTTP client when it needs one: a self-signed token does not."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        import urllib3
        from google.auth import exceptions
        from google.auth.transport.urllib3 import Request

        url = str(options.get("url") or (args[0] if args else ""))
        try:
            # The machine's own metadata never stands behind a proxy.
            proxy = None if _METADATA.search(url) else proxy_for(url, socks=False)
        except UnusableVariable as error:
            raise exceptions.TransportError(str(error)) from error
        if proxy is None:
            return Request(urllib3.PoolManager())(*args, **options)
        parts = urlsplit(proxy.url)
        place = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        return Request(urllib3.ProxyManager(place, proxy_headers=proxy.credentials()))(*args, **options)
