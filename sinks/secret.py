"""Secrets that are sent in a header."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, SecretStr

_PRINTABLE = re.compile("[!-~]+")


def _sendable(value: SecretStr) -> SecretStr:
    # What a header can't hold would be refused when it is sent, by an error that quotes it.
    text = value.get_secret_value().strip()
    if not _PRINTABLE.fullmatch(text):
        msg = "must be printable ASCII, without spaces or line breaks in it"
        raise ValueError(msg)
    return SecretStr(text)


HeaderSecret = Annotated[SecretStr, AfterValidator(_sendable)]
"""A key or a token; the line break at the end of a file is no part of it."""
