from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sinks.destination import Delivered, Retry
from tests.servers.cloud import Answer
from tests.servers.gcp import FakeLogging, error, key_pair
from tests.sinks.test_gcp import configured
from tests.sinks.troubles import WAYS, Trouble, Way, ask, held

INVALID = "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid "
INVALID += "authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project."


def told(code: int, message: str, reason: str) -> Answer:
    """Return an error that says its reason."""
    info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "googleapis.com"}
    return error(code, message, info)


TROUBLES = [
    Trouble("wrong key", error(16, INVALID), ("check credentials, or credentials_file", "clock")),
    Trouble("expired token", told(16, INVALID, "ACCESS_TOKEN_EXPIRED"), ("past its time", "clock")),
    Trouble("disabled account", told(16, INVALID, "ACCOUNT_STATE_INVALID"), ("service account is disabled",)),
    Trouble(
        "no permission",
        told(
            7,
            "Permission 'logging.logEntries.create' denied on resource (or it may not exist).",
            "IAM_PERMISSION_DENIED",
        ),
        ("check project_id", "roles/logging.logWriter"),
    ),
    Trouble(
        "no scope",
        told(7, "Request had insufficient authentication scopes.", "ACCESS_TOKEN_SCOPE_INSUFFICIENT"),
        ("logging.write", "set credentials or credentials_file"),
    ),
    Trouble(
        "disabled API",
        told(
            7,
            "Cloud Logging API has not been used in project 1 before or it is disabled. Enable it by visiting "
            "https://console.developers.google.com/apis/api/logging.googleapis.com/overview?project=1 then retry.",
            "SERVICE_DISABLED",
        ),
        ("enable the Cloud Logging API in project_id",),
    ),
    Trouble("no project", told(7, "Project 'x' not found or deleted.", "CONSUMER_INVALID"), ("check project_id",)),
    Trouble("no billing", told(7, "This API method requires billing", "BILLING_DISABLED"), ("enable billing",)),
    Trouble(
        "wrong resource",
        error(3, 'Unsupported resource type "k8s".'),
        ("check resource, log_name and project_id",),
    ),
    Trouble("wrong address", Answer(404, b"<html>Error 404 (Not Found)!!1</html>"), ("check url",)),
    Trouble("firewall", Answer(403, b"<html>Blocked</html>"), ("check url",)),
    Trouble(
        "http to a port of https",
        Answer(400, b"<html>The plain HTTP request was sent to HTTPS port</html>"),
        ("check url",),
    ),
    Trouble(
        "redirection",
        Answer(302, b"", {"Location": "https://accounts.google.com/login?c=s3cret"}),
        ("redirected to https://accounts.google.com/login", "check url"),
    ),
]


@pytest.fixture
def server() -> Iterator[FakeLogging]:
    """A new stand-in for Cloud Logging, which at the end has seen nothing that may not be sent."""
    with FakeLogging(key_pair()[1]) as fake:
        yield fake
    assert fake.violations == []


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("trouble", TROUBLES, ids=str)
def test_what_a_person_has_to_mend(server: FakeLogging, trouble: Trouble, way: Way) -> None:
    """A failure that time won't mend is held, and the issue names the setting to look at."""
    server.fault = trouble.answer
    issue = held(ask(configured(server.url), way), *trouble.words)
    assert "PRIVATE KEY" not in issue


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"credentials": {"client_email": FakeLogging.email, "private_key": "s3cret"}}, "credentials.private_key"),
        ({"credentials": None, "credentials_file": "/nowhere/key.json"}, "credentials_file"),
        ({"resource": {"type": "k8s"}}, "check resource"),
    ],
    ids=["no key", "no file", "no resource"],
)
def test_wrong_settings(server: FakeLogging, changes: dict[str, Any], words: str, way: Way) -> None:
    """A health check finds what a record would, before any record is sent."""
    held(ask(configured(server.url, **changes), way), words, secret="s3cret")


@pytest.mark.parametrize("way", WAYS)
def test_the_key_of_another_account(server: FakeLogging, way: Way) -> None:
    """A key that belongs to no account, or to another one, is held with the setting to mend."""
    server.public_key = OTHER_KEY
    held(ask(configured(server.url), way), "check credentials, or credentials_file")


OTHER_KEY = key_pair.__wrapped__()[1]


@pytest.mark.parametrize("way", WAYS)
def test_credentials_of_nobody(server: FakeLogging, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: Way) -> None:
    """Where there are no credentials at all, the issue says where they may come from."""
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    held(ask(configured(server.url, credentials=None), way), "application default credentials")
    (tmp_path / "none.json").write_text(json.dumps({"type": "service_account"}))
    held(ask(configured(server.url, credentials=None), way), "application default credentials")


def test_health(server: FakeLogging) -> None:
    """A health check has one entry checked, and none written."""
    assert ask(configured(server.url), "probe") == Delivered()
    assert (server.entries, server.writes, server.requests) == ({}, [], 1)


@pytest.mark.parametrize("answer", [error(8, "Quota exceeded"), Answer(503), Answer(close=True)])
def test_what_passes(server: FakeLogging, answer: Answer) -> None:
    """A health check of a busy service says so, and no more."""
    server.fault = answer
    assert isinstance(ask(configured(server.url), "probe"), Retry)
