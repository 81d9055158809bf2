"""librdkafka's own settings in a flow file, for the source and the destination: security.protocol, sasl.*, ssl.*."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from pydantic import SecretStr

from logweir.secrecy import Secrets, is_secret

LibrdkafkaSettings = dict[str, SecretStr | bool | int | float]
"""By librdkafka's names. All text is masked, since which of it is a secret is librdkafka's to know."""


_RUNNING: Final = {
    "plugin.library.paths": "load the libraries of these paths and run them",
    "sasl.kerberos.kinit.cmd": "run this command in a shell; it has one of its own for sasl.kerberos.keytab, run",
    "ssl.engine.location": "load the library of this path and run it",
}
_IN_COMMAND: Final = {"sasl.kerberos.principal", "sasl.kerberos.keytab", "sasl.kerberos.service.name"}
_HARMLESS: Final = re.compile(r"[\w.@/:-]*", re.ASCII)


def refuse_reserved(settings: Mapping[str, Any], reserved: Mapping[str, str]) -> None:
    """Refuse settings that are not the user's.

    Args:
        settings: As they are given.
        reserved: Those names, and what to do instead.

    Raises:
        ValueError: One of them is given, or one that would have other programs or libraries run.
    """
    for name, value in settings.items():
        if name in _RUNNING:
            msg = f"`{name}` is refused: librdkafka would {_RUNNING[name]} with the rights of the flow"
            raise ValueError(msg)
        if name in _IN_COMMAND and isinstance(value, SecretStr) and not _HARMLESS.fullmatch(value.get_secret_value()):
            msg = f"`{name}` may hold letters, digits and . _ - @ / : alone: librdkafka puts it into a shell command"
            raise ValueError(msg)
        if name in reserved:
            msg = f"`{name}` can't be set here: {reserved[name]}"
            raise ValueError(msg)


def client_settings(settings: LibrdkafkaSettings, brokers: Sequence[str]) -> dict[str, Any]:
    """Return what any client of this cluster needs, secrets in the clear."""
    plain = {
        name: value.get_secret_value() if isinstance(value, SecretStr) else value for name, value in settings.items()
    }
    return {**plain, "bootstrap.servers": ",".join(brokers)}


def teller(settings: Mapping[str, Any]) -> Callable[[Any], str]:
    """Return what gives the words of an error of librdkafka's, without any secret of these settings, masked or not."""
    plain = {
        name: value.get_secret_value() if isinstance(value, SecretStr) else value for name, value in settings.items()
    }
    secrets = Secrets(text for name, text in plain.items() if isinstance(text, str) and is_secret(name, text))
    return lambda error: secrets.hide(error.str())
