"""What `check` warns of, masks and refuses: secrets in the clear, unchecked servers, settings that run programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from flows.cli import main

SECRET = "pl4nted-s3cret"


def check(folder: Path, *arguments: str, **changes: Any) -> Result:
    """Check a flow."""
    path = folder / "flow.yaml"
    flow = {"name": "a", "source": {"type": "stdin"}, "destinations": {"out": {"type": "console"}}, **changes}
    path.write_text(json.dumps(flow))
    return CliRunner().invoke(main, ["check", str(path), *arguments])


def warned(folder: Path, **changes: Any) -> list[str]:
    """Return the paths of the warnings."""
    result = check(folder, "--json", **changes)
    assert result.exit_code == 0, result.output
    return sorted(each["path"] for each in json.loads(result.stdout)["findings"])


HTTP: dict[str, dict[str, Any]] = {
    "http": {"token": SECRET},
    "elasticsearch": {"index": "i", "api_key": SECRET},
    "loki": {"labels": {"a": "b"}, "username": "u", "password": SECRET},
    "splunk": {"token": SECRET},
    "otlp": {"headers": {"x-key": SECRET}},
    "datadog": {"api_key": SECRET},
    "gcp": {"project_id": "project", "log_name": "l", "credentials_file": "/dev/null"},
}


@pytest.mark.parametrize("kind", HTTP)
def test_no_check_of_certificates(tmp_path: Path, kind: str) -> None:
    """Each destination with `validate_ssl: false` is warned of, at that setting, and none without."""
    settings = {"type": kind, "url": "https://logs.example.com", **HTTP[kind]}
    assert warned(tmp_path, destinations={"out": settings}) == []
    found = warned(tmp_path, destinations={"out": {**settings, "validate_ssl": False}})
    assert found == ["destinations.out.validate_ssl"]
    assert (
        warned(tmp_path, destinations={"out": {**settings, "validate_ssl": False, "enabled": False}, "b": CONSOLE})
        == []
    )


CONSOLE = {"type": "console"}


@pytest.mark.parametrize("kind", HTTP)
@pytest.mark.parametrize(
    ("host", "away"),
    [
        ("logs.example.com", True),
        ("10.0.0.1:9200", True),
        ("localhost:9200", False),
        ("127.0.0.9", False),
        ("[::1]:1", False),
    ],
)
def test_secrets_in_the_clear(tmp_path: Path, kind: str, host: str, away: bool) -> None:
    """A secret that is sent by plain http is warned of, unless it stays on this machine."""
    settings = {"type": kind, "url": f"http://{host}", **HTTP[kind]}
    result = check(tmp_path, destinations={"out": settings})
    assert ("warning: destinations.out.url: " in result.stderr) is away
    assert ("in the clear" in result.stderr) is away
    assert SECRET not in result.output


def test_nothing_secret_is_sent(tmp_path: Path) -> None:
    """Plain http without a secret is the operator's to choose; the keys of AWS sign, and aren't sent."""
    assert warned(tmp_path, destinations={"out": {"type": "http", "url": "http://logs.example.com"}}) == []
    keys = {"region": "r", "access_key_id": "a", "secret_access_key": SECRET, "endpoint_url": "http://s3.example.com"}
    bucket = {"type": "s3", "bucket": "bucket", **keys}
    assert warned(tmp_path, destinations={"out": bucket}) == []
    token = {"session_token": SECRET}
    assert warned(tmp_path, destinations={"out": {**bucket, **token}}) == ["destinations.out.endpoint_url"]
    archive = {"archive": {"path": "s3://bucket/a", **keys, **token}}
    assert warned(tmp_path, retention=archive) == ["retention.archive.endpoint_url"]


@pytest.mark.parametrize(
    ("settings", "warns"),
    [
        ({"security.protocol": "SASL_PLAINTEXT", "sasl.password": SECRET}, "security.protocol"),
        ({"security.protocol": "sasl_plaintext", "sasl.password": SECRET}, "security.protocol"),
        ({"security.protocol": "SASL_SSL", "sasl.password": SECRET}, None),
        ({"security.protocol": "PLAINTEXT"}, None),
        ({"enable.ssl.certificate.verification": False}, "enable.ssl.certificate.verification"),
        ({"enable.ssl.certificate.verification": "false"}, "enable.ssl.certificate.verification"),
        ({"enable.ssl.certificate.verification": True}, None),
        ({"ssl.endpoint.identification.algorithm": "none"}, "ssl.endpoint.identification.algorithm"),
        ({"ssl.endpoint.identification.algorithm": "https"}, None),
        ({"sasl.oauthbearer.token.endpoint.url": "http://id.example.com"}, "sasl.oauthbearer.token.endpoint.url"),
        ({"sasl.oauthbearer.token.endpoint.url": "https://id.example.com"}, None),
    ],
)
def test_kafka(tmp_path: Path, settings: dict[str, Any], warns: str | None) -> None:
    """So are librdkafka's settings that send a password in the clear or check no certificate, read from and sent to."""
    if "sasl.password" in settings:
        settings = {**settings, "sasl.mechanism": "PLAIN", "sasl.username": "u"}
    common = {"brokers": ["kafka.example.com:9092"], "settings": settings}
    source = {"type": "kafka", "topics": ["t"], "group": "g", **common}
    destination = {"type": "kafka", "topic": "other", **common}
    found = warned(tmp_path, source=source, destinations={"out": destination})
    assert found == ([f"destinations.out.settings.{warns}", f"source.settings.{warns}"] if warns else [])


@pytest.mark.parametrize(
    "settings",
    [
        {"plugin.library.paths": "/tmp/evil.so"},
        {"sasl.kerberos.kinit.cmd": "touch /tmp/evil"},
        {"ssl.engine.location": "/tmp/evil.so"},
        {"sasl.kerberos.principal": "a; touch /tmp/evil"},
        {"sasl.kerberos.keytab": "$(touch /tmp/evil)"},
        {"sasl.kerberos.service.name": "a\ntouch /tmp/evil"},
    ],
)
@pytest.mark.parametrize("side", ["source", "destination"])
def test_what_would_run(tmp_path: Path, settings: dict[str, str], side: str) -> None:
    """Settings that would have librdkafka load a library or run a command are refused, with why."""
    kafka: dict[str, Any] = {"type": "kafka", "brokers": ["localhost:9092"], "settings": settings}
    changes: dict[str, Any] = {"destinations": {"out": {**kafka, "topic": "t"}}}
    if side == "source":
        changes = {"source": {**kafka, "topics": ["t"], "group": "g"}}
    result = check(tmp_path, **changes)
    assert result.exit_code == 2
    assert f"`{next(iter(settings))}`" in result.stderr
    assert "librdkafka" in result.stderr


def test_kerberos(tmp_path: Path) -> None:
    """Names and files of Kerberos as they are usual are taken."""
    names = {
        "sasl.kerberos.principal": "logweir/host.example.com@EXAMPLE.COM",
        "sasl.kerberos.keytab": "/etc/krb5.keytab",
    }
    kafka = {
        "type": "kafka",
        "brokers": ["b:9092"],
        "topic": "t",
        "settings": {**names, "security.protocol": "SASL_SSL"},
    }
    result = check(tmp_path, destinations={"out": kafka})
    assert "may hold letters" not in result.stderr


@pytest.mark.parametrize("token", ["with space", "line\nbreak", "caf\u00e9", "\x1b[2J", "nul\x00"])
def test_a_token_that_no_header_holds(tmp_path: Path, token: str) -> None:
    """A status.token that no client could send is refused, and not shown."""
    result = check(tmp_path, status={"token": token})
    assert result.exit_code == 2
    assert "status.token: must be printable ASCII" in result.stderr
    assert token not in result.output


def test_a_token_of_a_file(tmp_path: Path) -> None:
    """The line break at the end of a mounted secret is no part of it; the token isn't shown."""
    (tmp_path / "token").write_text(f"{SECRET}\n\n")
    result = check(tmp_path, "--json", status={"token": f"${{file:{tmp_path}/token}}"})
    assert result.exit_code == 0, result.output
    assert SECRET not in result.output


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://hooks.example.com/services/${S}", "https://hooks.example.com/services/**********"),
        ("https://hooks.example.com/${S}/x?y=${S}", "https://hooks.example.com/**********/x?y=**********"),
        ("https://${S}.example.com/logs", "https://**********.example.com/logs"),
        ("https://logs.example.com/a?b=${file:FILE}#c", "https://logs.example.com/a?b=**********#c"),
        ("${WHOLE}", "https://logs.example.com:8443/**********"),
        ("${WHOLE}/more", "https://logs.example.com:8443/**********/more"),
        ("${SCHEME}://logs.example.com/x", "https://logs.example.com/x"),
        ("https://logs.example.com/plain", "https://logs.example.com/plain"),
    ],
)
def test_variables_in_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, shown: str) -> None:
    """What came from a variable or a file is masked wherever it stands in an address, and the rest is shown."""
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    monkeypatch.setenv("S", SECRET)
    monkeypatch.setenv("SCHEME", "https")
    monkeypatch.setenv("WHOLE", f"https://logs.example.com:8443/{SECRET}/in")
    destination = {"type": "http", "url": url.replace("FILE", str(tmp_path / "secret"))}
    result = check(tmp_path, "--json", destinations={"out": destination})
    assert result.exit_code == 0, result.output
    assert SECRET not in result.output
    assert json.loads(result.stdout)["flow"]["destinations"]["out"]["url"] == shown


def test_usual_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So is an address that is left out and comes from its usual variable; only what is behind the host is masked."""
    monkeypatch.setenv("ELASTIC_URL", f"https://search.example.com/{SECRET}")
    result = check(tmp_path, "--json", destinations={"out": {"type": "elasticsearch", "index": "i"}})
    assert result.exit_code == 0, result.output
    assert SECRET not in result.output
    assert json.loads(result.stdout)["flow"]["destinations"]["out"]["url"].startswith("https://search.example.com/*")
