"""librdkafka's own settings in a flow file, for the source and the destination: security.protocol, sasl.*, ssl.*."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import SecretStr

LibrdkafkaSettings = dict[str, SecretStr | bool | int | float]
"""By librdkafka's names. All text is masked, since which of it is a secret is librdkafka's to know."""

_SENSITIVE = re.compile(r"password|secret|\.pem$|jaas|token|oauthbearer\.config$")


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


def without_secrets(message: str, settings: LibrdkafkaSettings) -> str:
    """Return a message of librdkafka's in which no secret of these settings stands."""
    for name, value in settings.items():
        if isinstance(value, SecretStr) and value.get_secret_value() and _SENSITIVE.search(name):
            message = message.replace(value.get_secret_value(), "***")
    return message
