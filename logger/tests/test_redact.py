from __future__ import annotations

import dataclasses
import enum
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
    "passwords",
    "secrets",
    "tokens",
    "refresh_tokens",
    "api_keys",
    "cookies",
    "Credentials",
    "password2",
    "newPassword1",
    "passwordConfirmation",
    "password_confirm",
    "token_value",
    "tokenValues",
    "secretString",
    "authorizationHeader",
    "auth",
    "basic_auth",
    "AuthHeader",
    "pass\u200bword",
    "\uff50\uff41\uff53\uff53\uff57\uff4f\uff52\uff44",
    "x" * 300 + "_password",
]
HARMLESS = [
    "passenger",
    "tokenCount",
    "secretary",
    "author",
    "sessionId",
    "key",
    "cookies_accepted",
    "monkey",
    "auth_method",
    "authenticated",
    "oauth_flow",
    "unauthorized",
    "password_reset_at",
    "passwordLength",
    "token_type",
    "secretariat",
    "keys",
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


class Field(enum.Enum):
    PASSWORD = "password"
    RAW = b"api_key"


class Text(str, enum.Enum):
    TOKEN = "token"


@pytest.mark.parametrize("key", [b"password", Field.PASSWORD, Field.RAW, Text.TOKEN])
def test_keys_that_are_no_text(make: Make, records: Records, key: Any) -> None:
    """A key is judged as it is encoded, whatever it is before."""
    logger: Any = make()
    logger.info("x", metadata={key: "hunter2", "a": 1})
    logger.info("x", metadata={"deep": [{key: "hunter2"}]})
    logger.info({key: "hunter2"})
    logger.child(deep={key: "hunter2"}).info("x", performance={"deep": {key: "hunter2"}})
    assert "hunter2" not in json.dumps(records)
    assert json.dumps(records).count("[redacted]") == 5


class Path:
    """A path of a library's own, whose text is its key."""

    def __fspath__(self) -> str:
        return "password"


def test_keys_of_other_kinds(make: Make, records: Records) -> None:
    """So is one that a library has made."""
    logger: Any = make()
    logger.info("x", metadata={Path(): "hunter2"})
    assert records[0]["metadata"] == {"password": "[redacted]"}


@dataclasses.dataclass
class Header:
    name: str
    value: str


@pytest.mark.parametrize(
    "pairs",
    [
        [("Host", "a"), ("Authorization", "hunter2")],
        [["Cookie", "hunter2"]],
        (("set-cookie", "hunter2"), ("x-api-key", "hunter2")),
        [(b"authorization", b"hunter2")],
        [5, [("password", "hunter2")]],
        [{"name": "Authorization", "value": "hunter2"}],
        [{"key": "DB_PASSWORD", "value": "hunter2"}],
        [Header("Cookie", "hunter2")],
        {("token", "hunter2")},
        {"Cookie": "hunter2"}.items(),
    ],
    ids=str,
)
def test_lists_of_pairs(make: Make, records: Records, pairs: Any) -> None:
    """A list of pairs is taken for an object, as HTTP headers come: at the top, within, and where the walk mends."""
    logger: Any = make()
    for _ in range(2):
        logger.info("x", metadata={"headers": pairs, "a": 1})
        logger.info("x", metadata={"request": {"headers": pairs}})
        logger.info("x", metadata={"headers": pairs, "broken": "\ud800"})
        logger.info("x", performance={"headers": pairs})
        logger.info({"headers": pairs})
        logger.child(headers=pairs).info("x")
    assert len(records) == 12
    assert "hunter2" not in json.dumps(records)
    assert "[redacted]" in json.dumps(records[0])


def test_lists_that_are_no_pairs(make: Make, records: Records) -> None:
    """A list of texts stays as it is, and so do pairs whose names are harmless."""
    metadata = {"missing": ["password", "email"], "points": [[1, 2], ["a", "b"], ["token", None]], "n": ["token"]}
    make().info("x", metadata=metadata)
    assert records[0]["metadata"] == metadata


def test_numbers_of_tokens(make: Make, records: Records) -> None:
    """What a language model counts is no secret, unless the application says so; a list of tokens is one."""
    make().info("x", metadata={"prompt_tokens": 512, "tokens": 3.5, "max_tokens": ["hunter2"], "password": 5})
    make(redact_keys=["prompt_tokens"]).info("x", metadata={"prompt_tokens": 512})
    hidden = "[redacted]"
    assert records[0]["metadata"] == {"prompt_tokens": 512, "tokens": 3.5, "max_tokens": hidden, "password": hidden}
    assert records[1]["metadata"] == {"prompt_tokens": hidden}


@pytest.mark.parametrize("depth", [50, 99, 101, 150, 240, 400, 5000])
def test_depth(make: Make, records: Records, depth: int) -> None:
    """No secret is written because it lies deep; what lies too deep is cut off, and the record is written."""
    for value in ({"password": "hunter2"}, [("password", "hunter2")]):
        nested: Any = value
        for level in range(depth):
            nested = {"a": nested} if level % 2 else [nested]
        make().info("x", metadata={"deep": nested, "after": 1})
        make().child(deep=nested).info("x")
    assert len(records) == 4
    assert "hunter2" not in json.dumps(records)
    assert records[0]["metadata"]["after"] == 1


class Settings(enum.Enum):
    NESTED = {"password": "hunter2"}  # noqa: RUF012  # the value of a member
    PAIRS = [("token", "hunter2")]  # noqa: RUF012


@pytest.mark.parametrize("value", [*Settings, ({"password": "hunter2"},), [({"a": ({"token": "hunter2"},)},)]])
def test_what_orjson_takes_apart_by_itself(make: Make, records: Records, value: Any) -> None:
    """Members of enumerations and tuples may hold objects: nothing in these is written, nor where the walk mends."""
    logger: Any = make()
    logger.info("x", metadata={"a": value})
    logger.info("x", metadata={"a": [value], "broken": "\ud800"})
    logger.info({"a": value})
    logger.child(a=value).info("x", performance={"a": value})
    assert len(records) == 4
    assert "hunter2" not in json.dumps(records)


def test_what_is_a_part_of_itself(make: Make, records: Records) -> None:
    """A value that holds itself twice at each level ends, wherever it is logged, and its secrets are hidden."""
    value: dict[str, Any] = {"token": "hunter2"}
    value["list"] = [value, value, value]
    make().info("x", metadata=value, performance=value)
    make().child(value=value).info("x")
    assert "hunter2" not in json.dumps(records)
    assert "itself again" in json.dumps(records[1])


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
