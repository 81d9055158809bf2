from __future__ import annotations

import dataclasses
import json
from typing import Any, Callable

import pytest

from logweir_logger import LogContext, StructuredLogger

Make = Callable[..., StructuredLogger]
Records = list[dict[str, Any]]

SECRETS = [
    "password",
    "Password",
    "PASSWORD",
    "db_password",
    "dbPassword",
    "passwd",
    "pwd",
    "secret",
    "client_secret",
    "token",
    "accessToken",
    "x-auth-token",
    "Authorization",
    "proxy-authorization",
    "api_key",
    "apiKey",
    "X-API-Key",
    "cookie",
    "Set-Cookie",
    "private_key",
    "aws_secret_access_key",
    "credentials",
    "cvv",
    "card_number",
]
HARMLESS = [
    "passenger",
    "tokens",
    "tokenCount",
    "secretary",
    "author",
    "sessionId",
    "key",
    "cookies_accepted",
    "monkey",
]


@pytest.mark.parametrize("key", SECRETS)
def test_secret_keys(make: Make, records: Records, key: str) -> None:
    """The value of a well-known secret key never leaves, wherever it stands and however the key is spelled."""
    logger = make()
    for _ in range(2):
        logger.info("x", metadata={key: "hunter2", "a": 1})
        logger.info("x", metadata={"deep": [{"list": ({key: {"in": "hunter2"}},)}]})
        logger.info("x", metadata={"set": {1, 2}, "keys": {5: {key: "hunter2"}}})
        logger.log("info", "x", context={key: "hunter2"}, user={key: "hunter2"})
        logger.child(**{key: "hunter2"}).info("x")
        with LogContext.use(**{key: "hunter2"}):
            logger.info("x")
    assert len(records) == 12
    assert "hunter2" not in json.dumps(records)
    assert records[0]["metadata"] == {key: "[redacted]", "a": 1}


def test_secrets_in_other_places(make: Make, records: Records) -> None:
    """Secrets are found in performance and error too, and where an object stands in place of a text."""

    @dataclasses.dataclass
    class Login:
        user: str
        password: str

    logger: Any = make()
    logger.info("x", performance={"token": "hunter2"}, error={"name": "E", "message": "m", "token": "hunter2"})
    logger.info({"user": "ann", "password": "hunter2"})
    logger.info(Login("ann", "hunter2"), category={"password": "hunter2"}, error=[Login("ann", "hunter2")])
    logger.info("\ud800", error=Login("ann", "hunter2"), metadata=Login("ann", "hunter2"))
    assert "hunter2" not in json.dumps(records)
    assert records[1]["message"] == records[2]["message"] == '{"user":"ann","password":"[redacted]"}'
    assert records[0]["error"] == {"name": "E", "message": "m", "token": "[redacted]"}


@pytest.mark.parametrize("key", HARMLESS)
def test_harmless_keys(make: Make, records: Records, key: str) -> None:
    """A key that only resembles a secret one keeps its value."""
    make().info("x", metadata={key: "value"})
    assert records[0]["metadata"] == {key: "value"}


def test_own_keys(make: Make, records: Records) -> None:
    """Further keys can be named; nothing missing is hidden."""
    make(redact_keys=["iban", "Social Security"]).info(
        "x", metadata={"IBAN": "DE1", "social_security": 5, "token": None}
    )
    assert records[0]["metadata"] == {"IBAN": "[redacted]", "social_security": "[redacted]", "token": None}


def test_own_keys_are_a_list(make: Make) -> None:
    """One text in place of a list of keys is refused, as its letters would be the keys."""
    with pytest.raises(TypeError, match="redact_keys must be a list of keys"):
        make(redact_keys="iban")


def test_switched_off(make: Make, records: Records) -> None:
    """Redaction can be switched off."""
    make(redact=False).info("x", metadata={"password": "shown", "deep": {"token": "shown"}})
    assert records[0]["metadata"] == {"password": "shown", "deep": {"token": "shown"}}


def test_the_callers_objects_stay(make: Make) -> None:
    """What is logged is left as it was."""
    metadata = {"password": "p", "deep": [{"token": "t"}]}
    make().info("x", metadata=metadata)
    assert metadata == {"password": "p", "deep": [{"token": "t"}]}


def test_many_different_keys(make: Make, records: Records) -> None:
    """Keys without number don't fill the memory, and secrets among them are still found."""
    logger = make()
    for number in range(25_000):
        logger.info("x", metadata={f"key{number}": 1})
    logger.info("x", metadata={"password": "p"})
    assert len(logger._core.safe) <= 10_000
    assert records[-1]["metadata"] == {"password": "[redacted]"}
