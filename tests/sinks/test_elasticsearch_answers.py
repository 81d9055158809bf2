from __future__ import annotations

from typing import Any

import orjson
import pytest

from sinks.destination import Delivered, Hold, Invalid, Partial, Retry
from sinks.elasticsearch_answers import read_answer
from sinks.http import Response
from tests.servers.cloud import Answer
from tests.servers.elastic import FakeElastic, Fault
from tests.sinks.elasticsearch_support import configured
from tests.sinks.troubles import WAYS, Trouble, Way, ask, held

KEY = "aWQ6cGw0bnRlZA=="


def refusal(status: int, reason: str, kind: str = "security_exception", **more: Any) -> Answer:
    """Return an error as Elasticsearch writes it."""
    error = {"type": kind, "reason": reason, **more}
    return Answer(status, orjson.dumps({"error": {"root_cause": [error], **error}, "status": status}))


def unknown_key(why: str) -> Answer:
    """Return what Elasticsearch answers to an API key that it doesn't let in."""
    reason = "unable to authenticate with provided credentials and anonymous access is not allowed for this request"
    return refusal(401, reason, additional_unsuccessful_credentials=f"API key: {why}")


TROUBLES = [
    Trouble("unknown key", unknown_key("unable to find apikey with id id"), ("check api_key, and that url",)),
    Trouble("wrong key", unknown_key("invalid credentials for API key [id]"), ("check api_key",)),
    Trouble("expired key", unknown_key("api key is expired"), ("api_key is past its expiration",)),
    Trouble("revoked key", unknown_key("api key [id] has been invalidated"), ("api_key was revoked",)),
    Trouble(
        "no credentials",
        refusal(401, "missing authentication credentials for REST request [/logs/_bulk]"),
        ("set api_key, or username and password",),
    ),
    Trouble(
        "wrong password",
        refusal(401, "unable to authenticate user [me] for REST request [/logs/_bulk]"),
        ("check username and password",),
    ),
    Trouble("OpenSearch: wrong password", Answer(401, b"Unauthorized"), ("check api_key, or username and password",)),
    Trouble(
        "no permission",
        refusal(
            403,
            "action [indices:data/write/bulk] is unauthorized for API key id [id] of user [me], this action is granted "
            "by the index privileges [create_doc,create,delete,index,write,all]",
        ),
        ("the privilege create_doc", "check index"),
    ),
    Trouble(
        "OpenSearch: no permission",
        refusal(
            403,
            "no permissions for [indices:data/write/bulk] and User [name=me, backend_roles=[], requestedTenant=null]",
        ),
        ("let api_key or username create documents",),
    ),
    Trouble(
        "license",
        refusal(403, "current license is non-compliant for [security]"),
        ("non-compliant", "may write to the index"),
    ),
    Trouble(
        "Amazon OpenSearch Service",
        Answer(403, b'{"Message":"User: anonymous is not authorized to perform: es:ESHttpPost"}'),
        ("es:ESHttpPost", "check api_key, or username and password"),
    ),
    Trouble("Elastic Cloud: no such deployment", Answer(404, b'{"ok":false,"message":"Unknown resource."}'), ("url",)),
    Trouble("Kibana", Answer(404, b'{"statusCode":404,"error":"Not Found","message":"Not Found"}'), ("check url",)),
    Trouble(
        "wrong path",
        Answer(400, b'{"error":"no handler found for uri [/base/logs/_bulk] and method [POST]"}'),
        ("no handler found", "check url"),
    ),
    Trouble(
        "http to a port of https",
        Answer(400, b"<html>The plain HTTP request was sent to HTTPS port</html>"),
        ("check url",),
    ),
    Trouble(
        "log-in page",
        Answer(302, b"", {"Location": "https://sso.example.com/login?state=s3cret"}),
        ("redirected to https://sso.example.com/login: check url",),
    ),
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("trouble", TROUBLES, ids=str)
def test_what_a_person_has_to_mend(elastic: FakeElastic, trouble: Trouble, way: Way) -> None:
    """A failure that time won't mend is held, and the issue names the setting to look at."""
    elastic.fault = Fault(trouble.answer.status, trouble.answer.headers, trouble.answer.body)
    held(ask(configured(url=elastic.url, api_key=KEY), way), *trouble.words, secret=KEY)
    assert elastic.docs == {}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("credentials", "words"),
    [
        ({"api_key": "0ther"}, "check api_key"),
        ({"username": "me", "password": "0ther"}, "username and password"),
        ({}, "set api_key"),
    ],
    ids=["wrong key", "wrong password", "none"],
)
def test_wrong_credentials(elastic: FakeElastic, credentials: dict[str, str], words: str, way: Way) -> None:
    """A health check finds wrong credentials, as a record does, before any record is sent."""
    elastic.authorization = f"ApiKey {KEY}"
    held(ask(configured(url=elastic.url, **credentials), way), words, secret="0ther")


@pytest.mark.parametrize(
    ("status", "kind", "reason", "words"),
    [
        (404, "index_not_found_exception", "no such index [logs]", "create the index or data stream"),
        (
            403,
            "security_exception",
            "action [indices:admin/auto_create] is unauthorized for API key id [id] on indices [logs]",
            "auto_configure",
        ),
        (403, "security_exception", "action [indices:data/write/bulk[s]] is unauthorized for user [me]", "create_doc"),
        (403, "cluster_block_exception", "index [logs] blocked by: [FORBIDDEN/8/index write (api)];", "lift the block"),
        (400, "index_closed_exception", "closed", "open the index"),
        (400, "illegal_argument_exception", "pipeline with id [p] does not exist", "check pipeline"),
        (400, "illegal_argument_exception", "no write index is defined for alias [al].", "a write index"),
        (400, "invalid_index_name_exception", "Invalid index name [Logs], must be lowercase", "check index"),
        (
            400,
            "validation_exception",
            "Validation Failed: 1: this action would add [2] shards, but this cluster has [9]/[9] maximum shards open;",
            "cluster.max_shards_per_node",
        ),
    ],
)
def test_documents_that_wait(elastic: FakeElastic, status: int, kind: str, reason: str, words: str) -> None:
    """A document that is refused for where it was sent waits, and the issue says what to do there."""
    elastic.item_fault = lambda identity, doc: (status, {"type": kind, "reason": reason})
    held(ask(configured(url=elastic.url), "send"), reason, words)


@pytest.mark.parametrize("authorization", [None, f"ApiKey {KEY}"], ids=["open", "key"])
@pytest.mark.parametrize("privileges", [None, True], ids=["without privileges", "privileged"])
@pytest.mark.parametrize("index", ["logs", "logs-%Y.%m.%d", "<logs-{now/d}>"])
def test_health(elastic: FakeElastic, index: str, privileges: bool | None, authorization: str | None) -> None:
    """A health check sends no document, whatever the server knows of privileges."""
    elastic.authorization, elastic.privileges = authorization, privileges
    changes = {"api_key": KEY} if authorization else {}
    assert ask(configured(url=elastic.url, index=index, **changes), "probe") == Delivered()
    assert (elastic.probes, elastic.requests, elastic.docs, elastic.violations) == (1, 0, {}, [])


def test_a_key_without_the_privilege(elastic: FakeElastic) -> None:
    """A health check finds that the key may not write, which a request without a document doesn't tell."""
    elastic.privileges = False
    held(ask(configured(url=elastic.url, api_key=KEY, index="logs"), "probe"), "write to logs", "create_doc")


@pytest.mark.parametrize("index", ["logs", "logs-%Y"])
def test_an_index_that_nobody_makes(elastic: FakeElastic, index: str) -> None:
    """A health check finds a missing index where the cluster makes none by itself."""
    elastic.indices = {"other"}
    held(ask(configured(url=elastic.url, index=index), "probe"), "no such index: logs", "action.auto_create_index")
    elastic.indices = {"logs"}
    assert ask(configured(url=elastic.url), "probe") == Delivered()


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_busy_cluster(elastic: FakeElastic, status: int) -> None:
    """A health check of a busy cluster says so, and no more."""
    elastic.fault = Fault(status)
    assert isinstance(ask(configured(url=elastic.url), "probe"), Retry)


@pytest.mark.parametrize("body", [b"", b"[]", b"<html>", b"{}", b'{"error":null}', b'{"error":[]}', b"\xff"])
def test_a_refusal_of_nobody_knows_whom(body: bytes) -> None:
    """A 400 that isn't the Bulk API's own is no verdict on records, so it drops none."""
    assert isinstance(read_answer(Response(400, {}, body), 1), Hold)
    own = orjson.dumps(
        {"error": {"type": "illegal_argument_exception", "reason": "Malformed action/metadata line [1]"}}
    )
    assert isinstance(read_answer(Response(400, {}, own), 1), Invalid)


def test_a_document_at_fault_is_not_held() -> None:
    """Words of a document in a mapping's error are not mistaken for an issue of the index."""
    error = {"type": "document_parsing_exception", "reason": "failed to parse: 'no write index is defined for alias'"}
    body = orjson.dumps({"errors": True, "items": [{"create": {"status": 400, "error": error}}]})
    outcome = read_answer(Response(200, {}, body), 1)
    assert isinstance(outcome, Partial)
    assert list(outcome.rejected) == [0]
