"""`tls`: which authorities a destination's server is checked by, and the certificate that it is shown (mutual TLS)."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Literal, Self

from pydantic import Field, model_validator

from logweir.settings import LocalPath, StrictModel

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


class UnusableTlsError(Exception):
    """A file can't be read, or isn't what it should be; says which setting to mend."""


class TlsFiles(StrictModel):
    """What any client of TLS can be given."""

    ca: LocalPath | None = Field(
        None, description="A PEM file of the authorities that are trusted, in place of the machine's own."
    )
    certificate: LocalPath | None = Field(
        None, description="A PEM file with the certificate that is shown to the server, and its chain."
    )
    key: LocalPath | None = Field(
        None, description="A PEM file with the certificate's key; without one it stands in the same file."
    )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.key and not self.certificate:
            msg = "key goes with certificate"
            raise ValueError(msg)
        return self


class Tls(TlsFiles):
    """How a destination's connections are encrypted, beyond the usual."""

    server_name: str | None = Field(
        None,
        min_length=1,
        description="The name that the server's certificate is for, where it isn't that of the address.",
    )
    min_version: Literal["1.2", "1.3"] = Field("1.2", description="The least version of TLS.")

    def apply(self, context: ssl.SSLContext) -> None:
        """Make a context heed this.

        Raises:
            UnusableTlsError: A file is of no use.
        """
        context.minimum_version = _VERSIONS[self.min_version]
        if self.certificate:
            certificate, key = self.certificate, self.key
            _read("certificate", certificate, lambda: context.load_cert_chain(certificate, key, password=_no_password))


def authorities(tls: Tls | None, *, verify: bool) -> ssl.SSLContext | None:
    """Return a context that trusts those of `ca` alone; None where the machine's own are meant, or nobody is checked.

    Raises:
        UnusableTlsError: The file is of no use.
    """
    if tls is None or tls.ca is None or not verify:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _read("ca", tls.ca, lambda: context.load_verify_locations(tls.ca))
    return context


def _read(setting: str, path: str, load: Callable[[], None]) -> None:
    try:
        load()
    except ssl.SSLError as error:
        msg = f"tls.{setting} {path}: {error.reason or error}: it must hold PEM, and a key that fits without a password"
        raise UnusableTlsError(msg) from error
    except (OSError, ValueError) as error:
        msg = f"tls.{setting} {path}: {getattr(error, 'strerror', None) or error}"
        raise UnusableTlsError(msg) from error


def _no_password() -> str:
    # Else OpenSSL would ask for it on the terminal.
    msg = "its key is encrypted: give one without a password"
    raise ValueError(msg)
