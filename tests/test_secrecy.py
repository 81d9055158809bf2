"""Secrets in other words: every form in which they may come back is hidden, and nothing else."""

from __future__ import annotations

import base64
import html
import json
from typing import Any
from urllib.parse import quote, quote_plus

import orjson
import pytest
from pydantic import SecretStr, ValidationError

from logweir.events import Events
from logweir.librdkafka import teller
from logweir.secrecy import Secrets
from logweir.settings import StrictModel
from sinks.datadog import Datadog
from sinks.destination import Delivered, Partial
from sinks.elasticsearch import Elasticsearch
from sinks.elasticsearch_answers import read_answer
from sinks.gcp import Gcp
from sinks.http import Response
from sinks.s3 import S3
from sinks.splunk import Splunk
from tests.servers.gcp import key_pair

ODD = "p\"l&n't +/%é\\\n"


@pytest.mark.parametrize(
    "said",
    [
        ODD,
        quote(ODD),
        quote(ODD, safe=""),
        quote_plus(ODD),
        html.escape(ODD),
        json.dumps(ODD)[1:-1],
        json.dumps(ODD, ensure_ascii=False)[1:-1],
        repr(ODD)[1:-1],
        base64.b64encode(ODD.encode()).decode(),
    ],
)
def test_forms(said: str) -> None:
    """A secret is hidden as it is, escaped and encoded; what stands beside it stays."""
    assert Secrets([ODD]).hide(f"a {said}, b {said}") == "a ***, b ***"


def test_a_secret_within_another() -> None:
    """Where one secret is a part of another, no rest of the longer one stays."""
    assert Secrets(["abcd", "abcdef"]).hide("abcdef abcd") == "*** ***"


def test_a_short_secret() -> None:
    """A secret that is as short as a syllable leaves the words whole."""
    assert Secrets(["x", "exc"]).hide("security_exception") == "security_exception"


def test_a_key_in_lines() -> None:
    """Each line of a key in PEM is a secret, however its lines are broken; what every key begins with is none."""
    private, _ = key_pair()
    for given in (private, private.replace("\n", "\\n")):
        lines = private.splitlines()
        said = Secrets([given]).hide(" ".join(lines))
        assert not any(line in said for line in lines[1:-1])
        assert said.startswith("-----BEGIN PRIVATE KEY-----")


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({"authorization": "Bearer pl4nted"}, ["Bearer pl4nted", "pl4nted"]),
        ({"authorization": f"Basic {base64.b64encode(b'me:pl4nted').decode()}"}, ["me:pl4nted", "pl4nted"]),
        ({"Authorization": f"ApiKey {base64.b64encode(b'id:pl4nted').decode()}"}, ["pl4nted"]),
        ({"authorization": "Basic pl4nted"}, ["pl4nted"]),
        ({"dd-api-key": "pl4nted"}, ["pl4nted"]),
    ],
)
def test_headers(header: dict[str, str], words: list[str]) -> None:
    """What a header holds is hidden, whole, without its scheme, and decoded."""
    for said in (*words, *header.values()):
        assert "pl4nted" not in Secrets.of_headers(header).hide(f"got {said}")


def test_words_of_a_header_stay() -> None:
    """A header that authorizes nothing is a secret as a whole, and not each word of it."""
    assert Secrets.of_headers({"x-team": "shop logs"}).hide("no logs") == "no logs"


class _Inner(StrictModel):
    token: SecretStr
    settings: dict[str, SecretStr | bool]


class _Outer(StrictModel):
    inner: list[_Inner]
    name: str = "outer-name"


def test_settings() -> None:
    """The secrets of all settings are found, but no short words, and no librdkafka setting that is none."""
    kafka: dict[str, SecretStr | bool] = {
        "sasl.password": SecretStr("pl4nted-1"),
        "sasl.mechanism": SecretStr("SCRAM-SHA-512"),
        "security.protocol": SecretStr("pl4nted-2-under-a-wrong-name"),
        "ssl.ca.location": SecretStr("/etc/ssl/a-long-path.pem"),
        "x-team": SecretStr("pl4nted-3"),
        "flag": True,
    }
    found = Secrets.of_settings(_Outer(inner=[_Inner(token=SecretStr("word"), settings=kafka)]))
    said = "word outer-name SCRAM-SHA-512 /etc/ssl/a-long-path.pem pl4nted-1 pl4nted-2-under-a-wrong-name pl4nted-3"
    assert found.hide(said) == "word outer-name SCRAM-SHA-512 /etc/ssl/a-long-path.pem *** *** ***"


def test_events() -> None:
    """An event has no secret in it, wherever in it that stands."""
    told: list[dict[str, Any]] = []
    events = Events(secrets=Secrets(["pl4nted"]))
    events.listen(told.append)
    events.tell("flow.crashed", "error", reason="with pl4nted", more=[{"stack": "of pl4nted"}], count=5)
    assert {**told[0], "timestamp": ""} == {
        "timestamp": "",
        "event": "flow.crashed",
        "severity": "error",
        "reason": "with ***",
        "more": [{"stack": "of ***"}],
        "count": 5,
    }


def test_librdkafka() -> None:
    """Librdkafka's words for a mistake stay, without the secret that may be the mistake."""

    class _Error:
        def str(self) -> str:
            return 'Invalid value "pl4nted-and-rather-long" for configuration property "sasl.mechanism"'

    said = teller({"sasl.mechanism": SecretStr("pl4nted-and-rather-long"), "linger.ms": 5})(_Error())
    assert said == 'Invalid value "***" for configuration property "sasl.mechanism"'


class TestResponse:
    def test_what_is_told(self) -> None:
        """Text, JSON, an excerpt and a redirection are without what was sent in secret, and are cut after that."""
        secrets = Secrets(["pl4nted"])
        body = orjson.dumps({"errors": ["pl4nted", {"pl4nted": 1, "b": "a pl4nted"}]})
        answer = Response(400, {}, body, secrets)
        assert answer.json() == {"errors": ["***", {"pl4nted": 1, "b": "a ***"}]}
        assert "pl4nted" not in answer.text() + repr(answer.secrets)
        assert "pl4" not in Response(400, {}, b"-" * 497 + b"pl4nted", secrets).excerpt()
        assert Response(302, {"location": "/a/pl4nted"}, b"", secrets).excerpt() == "redirected to /a/***"

    @pytest.mark.parametrize("word", ["items", "errors", "status", "create", "error", "e", "1", "{"])
    def test_a_word_for_a_secret(self, word: str) -> None:
        """A password that is a word of the protocol is no reason to misread an answer."""
        secrets = Secrets([word])
        body = orjson.dumps({"errors": False, "items": [{"create": {"status": 201}}]})
        assert read_answer(Response(200, {}, body, secrets), 1) == Delivered()
        error = {"type": "mapper_parsing_exception", "reason": "r"}
        body = orjson.dumps({"errors": True, "items": [{"create": {"status": 400, "error": error}}]})
        outcome = read_answer(Response(200, {}, body, secrets), 1)
        assert isinstance(outcome, Partial)
        assert list(outcome.rejected) == [0]


class TestAddresses:
    def test_credentials_become_settings(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A user and a password in Elasticsearch's address are taken out of it, also where it comes from a variable."""
        monkeypatch.setenv("ELASTIC_URL", "https://me:pl%2F4nted@host:9243/path?x=1")
        found = Elasticsearch.model_validate({"type": "elasticsearch"})
        assert (found.url, found.username) == ("https://host:9243/path?x=1", "me")
        assert found.authorization() == {"authorization": f"Basic {base64.b64encode(b'me:pl/4nted').decode()}"}
        assert "4nted" not in repr(found)

    @pytest.mark.parametrize(
        ("settings", "words"),
        [
            ({"url": "https://me:pl/4nted@host"}, "percent-encoded"),
            ({"url": "https://me@host"}, "percent-encoded"),
            ({"url": "https://me:pl4nted@host", "api_key": "a:b"}, "beside api_key"),
            ({"url": "https://me:pl4nted@host", "username": "me", "password": "other"}, "beside api_key"),
        ],
    )
    def test_unclear_credentials(self, settings: dict[str, Any], words: str) -> None:
        """Credentials in an address that can't be told, or are not alone, are refused without a word of them."""
        with pytest.raises(ValidationError, match=words) as raised:
            Elasticsearch.model_validate({"type": "elasticsearch", **settings})
        assert "4nted" not in str(raised.value)

    @pytest.mark.parametrize(
        ("model", "settings"),
        [
            (Datadog, {"type": "datadog", "api_key": "k", "url": "https://me:pl4nted@host"}),
            (Splunk, {"type": "splunk", "token": "t", "url": "https://me:pl/4nted@host"}),
            (Gcp, {"type": "gcp", "project_id": "p", "url": "https://pl4nted@host"}),
            (S3, {"type": "s3", "bucket": "bucket", "endpoint_url": "https://me:pl4nted@host"}),
        ],
    )
    def test_credentials_without_use(self, model: type[StrictModel], settings: dict[str, Any]) -> None:
        """Where a service has no use for them, credentials in an address are refused, with the setting to use."""
        with pytest.raises(ValidationError, match="must not hold credentials: set ") as raised:
            model.model_validate(settings)
        assert "4nted" not in str(raised.value)
