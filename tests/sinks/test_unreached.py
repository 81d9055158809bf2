from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sinks.destination import Delivered, Hold, Probed, Retry
from sinks.http import HttpClient, Response
from sinks.settings import CommonDestination
from tests.servers.cloudwatch import FakeCloudWatch
from tests.servers.datadog import FakeDatadog
from tests.servers.elastic import FakeElastic
from tests.servers.gcp import FakeLogging, key_pair
from tests.servers.s3 import FakeS3
from tests.servers.splunk import FakeSplunk
from tests.servers.tls import ELSEWHERE, Authority
from tests.sinks import elasticsearch_support, test_cloudwatch, test_datadog, test_gcp, test_s3, test_splunk
from tests.sinks.troubles import WAYS, Way, ask, held

Configured = Callable[..., CommonDestination]
Server = FakeCloudWatch | FakeDatadog | FakeElastic | FakeLogging | FakeS3 | FakeSplunk


def _elasticsearch(url: str = "http://127.0.0.1:9", **changes: Any) -> CommonDestination:
    return elasticsearch_support.configured(url=url, **changes)


DESTINATIONS: dict[str, tuple[Configured, Callable[[], Server]]] = {
    "cloudwatch": (test_cloudwatch.configured, lambda: FakeCloudWatch(test_cloudwatch.SECRET)),
    "datadog": (test_datadog.configured, lambda: FakeDatadog(test_datadog.KEY)),
    "elasticsearch": (_elasticsearch, FakeElastic),
    "gcp": (test_gcp.configured, lambda: FakeLogging(key_pair()[1])),
    "s3": (test_s3.configured, lambda: FakeS3(test_s3.SECRET)),
    "splunk": (test_splunk.configured, lambda: FakeSplunk(test_splunk.TOKEN)),
}
AWS = ("cloudwatch", "s3")
SETTINGS = dict.fromkeys(DESTINATIONS, "`url`") | dict.fromkeys(AWS, "endpoint_url")
every = pytest.mark.parametrize("name", DESTINATIONS)
both = pytest.mark.parametrize("way", WAYS)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """An authority that nobody trusts yet."""
    return Authority(tmp_path)


@pytest.fixture
def secured(name: str) -> Iterator[tuple[Server, str]]:
    """A server that is to speak TLS, and its address."""
    with DESTINATIONS[name][1]() as server:
        yield server, server.url.replace("http://", "https://")


@pytest.fixture
def plain(name: str) -> Iterator[str]:
    """The address of a server without TLS."""
    with DESTINATIONS[name][1]() as server:
        yield server.url


def retried(found: Probed, *words: str) -> None:
    """Check that something is tried again, and that these words tell what to look at if it doesn't pass."""
    assert isinstance(found, Retry), found
    assert all(word in found.reason for word in words), (words, found.reason)


@both
@every
def test_a_refused_connection(name: str, way: Way) -> None:
    """A service that is down is tried again; the reason names the setting and the host, in case it is another one."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    found = ask(DESTINATIONS[name][0](f"http://127.0.0.1:{port}"), way)
    retried(found, f"127.0.0.1:{port}", SETTINGS[name])


@both
@every
def test_a_name_that_nobody_knows(name: str, way: Way) -> None:
    """A host without an address is tried again, since name servers fail too; the reason names the setting."""
    retried(ask(DESTINATIONS[name][0]("http://nowhere.invalid"), way), "nowhere.invalid", SETTINGS[name])


@both
def test_a_site_that_nobody_knows(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the address comes from `site`, that is what is named."""
    monkeypatch.setattr(socket, "getaddrinfo", _unknown)
    retried(ask(test_datadog.configured("", site="us5.datadoghq.com"), way), "us5.datadoghq.com", "`site`")


def _unknown(*_: Any, **__: Any) -> Any:
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


@both
@every
def test_a_certificate_for_another_name(
    name: str,
    way: Way,
    secured: tuple[Server, str],
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A certificate of another host is held: the issue names the host and the settings."""
    server, url = secured
    authority.secure(server._http, ELSEWHERE)
    _trust(authority, monkeypatch)
    found = ask(DESTINATIONS[name][0](url), way)
    wrong = "hostname '127.0.0.1' doesn't match" if name in AWS else "not valid for '127.0.0.1'"
    held(found, wrong, *_mending(name))


@both
@every
def test_a_certificate_of_an_unknown_authority(
    name: str, way: Way, secured: tuple[Server, str], authority: Authority
) -> None:
    """A certificate that nobody here trusts is held: the issue says how to trust it."""
    server, url = secured
    authority.secure(server._http)
    variable = "AWS_CA_BUNDLE" if name in AWS else "SSL_CERT_FILE"
    held(ask(DESTINATIONS[name][0](url), way), "127.0.0.1", variable, *_mending(name))


@both
@every
def test_a_certificate_that_has_expired(
    name: str,
    way: Way,
    secured: tuple[Server, str],
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A certificate that is past its time is held until it is renewed."""
    server, url = secured
    authority.secure(server._http, days=-1)
    _trust(authority, monkeypatch)
    held(ask(DESTINATIONS[name][0](url), way), "127.0.0.1", "certificate has expired")


@both
@every
def test_a_certificate_that_is_right(
    name: str,
    way: Way,
    secured: tuple[Server, str],
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With an authority that is trusted everything is as without TLS."""
    server, url = secured
    authority.secure(server._http)
    _trust(authority, monkeypatch)
    server.url = url
    assert ask(DESTINATIONS[name][0](url), way) == Delivered()


@both
@pytest.mark.parametrize("name", [name for name in DESTINATIONS if name not in AWS])
def test_a_certificate_that_is_not_checked(
    name: str, way: Way, secured: tuple[Server, str], authority: Authority
) -> None:
    """`validate_ssl: false` does what the issue says."""
    server, url = secured
    authority.secure(server._http, ELSEWHERE)
    assert ask(DESTINATIONS[name][0](url, validate_ssl=False), way) == Delivered()


@both
@every
def test_https_where_http_is_spoken(name: str, way: Way, plain: str) -> None:
    """An address with https:// whose server speaks plain HTTP: what is told names the setting."""
    found = ask(DESTINATIONS[name][0](plain.replace("http://", "https://")), way)
    said = found.issue if isinstance(found, Hold) else found.reason if isinstance(found, Retry) else ""
    assert SETTINGS[name] in said
    assert name in AWS or "doesn't speak TLS" in said


@both
@every
def test_http_where_https_is_spoken(name: str, way: Way, secured: tuple[Server, str], authority: Authority) -> None:
    """An address with http:// whose server speaks TLS: what is told names the setting."""
    server, url = secured
    authority.secure(server._http)
    retried(ask(DESTINATIONS[name][0](url.replace("https://", "http://")), way), SETTINGS[name])


@pytest.mark.parametrize("url", ["127.0.0.1:9200", "ftp://host", "http://", "", "http://[::1", "https://u:pw@"])
def test_an_address_that_is_none(url: str) -> None:
    """What can't be an address is held, without a password that stands in it."""
    client = HttpClient(url, {}, setting="address")
    found = client.request("POST", "/x", b"{}")
    assert not isinstance(found, Response)
    held(found, "`address` must be an address such as https://", secret="pw")
    client.close()


def test_a_proxy_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of the environment that isn't there is not mistaken for the service."""
    for variable in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    for variable in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(variable, raising=False)
    client = HttpClient("https://service.example", {})
    found = client.request("GET", "/")
    client.close()
    assert isinstance(found, Retry)
    assert "service.example or the proxy that HTTPS_PROXY" in found.reason


def _mending(name: str) -> tuple[str, ...]:
    return ("check endpoint_url",) if name in AWS else ("`url`", "`validate_ssl: false`")


def _trust(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("SSL_CERT_FILE", "AWS_CA_BUNDLE"):
        monkeypatch.setenv(variable, os.fspath(authority.path))
