"""librdkafka's own settings in a flow file, for the source and the destination: security.protocol, sasl.*, ssl.*."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import SecretStr

from logweir.secrecy import Secrets, is_secret

LibrdkafkaSettings = dict[str, SecretStr | bool | int | float]
"""By librdkafka's names. All text is masked, since which of it is a secret is librdkafka's to know."""


def refuse_reserved(settings: Mapping[str, Any], reserved: Mapping[str, str]) -> None:
    """Refuse settings that are not the user's.

    Args:
        settings: As they are given.
        reserved: Those names, and what to do instead.

    Raises:
        ValueError: One of them is given.
    """
    for name in settings:
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
