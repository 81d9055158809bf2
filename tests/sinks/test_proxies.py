"""What the environment says of proxies and authorities: it is honoured, and what is wrong with it is told in words."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from sinks.destination import Delivered, Hold, Retry
from sinks.gcp_auth import _Transport
from sinks.http import HttpClient, Response
from sinks.proxies import UnusableVariable, proxy_for
from sinks.settings import CommonDestination
from tests.servers.http_endpoint import FakeEndpoint
from tests.sinks import (
    elasticsearch_support,
    otlp_support,
    test_cloudwatch,
    test_datadog,
    test_gcp,
    test_http_endpoint,
    test_loki,
    test_s3,
    test_splunk,
)
from tests.sinks.troubles import WAYS, Way, ask, held

VARIABLES = [form for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy") for form in (name, name.upper())]
FILES = ["SSL_CERT_FILE", "SSL_CERT_DIR", "AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"]
HTTP: dict[str, Callable[[str], CommonDestination]] = {
    "datadog": test_datadog.configured,
    "elasticsearch": lambda url: elasticsearch_support.configured(url=url),
    "gcp": test_gcp.configured,
    "http": test_http_endpoint.configured,
    "loki": test_loki.configured,
    "otlp": otlp_support.configured,
    "splunk": test_splunk.configured,
}
AWS: dict[str, Callable[[str], CommonDestination]] = {
    "cloudwatch": test_cloudwatch.configured,
    "s3": test_s3.configured,
}
every = pytest.mark.parametrize("name", [*HTTP, *AWS])
both = pytest.mark.parametrize("way", WAYS)


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away what this machine's environment says."""
    for variable in [*VARIABLES, *FILES]:
        monkeypatch.delenv(variable, raising=False)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the base class names it
        """Say nothing."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        server: Any = self.server
        if self.headers.get("proxy-authorization") != server.wanted:
            self._answer(407, b"who are you")
            return
        server.passed.append(self.path)
        if self.command == "CONNECT":
            self._answer(502, b"")
            return
        away = {"host", "proxy-authorization", "proxy-connection", "connection", "content-length"}
        headers = {name: value for name, value in self.headers.items() if name.lower() not in away}
        with httpx.Client(trust_env=False) as client:
            answer = client.request(self.command, self.path, content=body, headers=headers)
        self._answer(answer.status_code, answer.content)

    do_GET = do_HEAD = do_PUT = do_CONNECT = do_POST  # noqa: N815  the base class looks for these names

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def running(credentials: str = "") -> Iterator[tuple[str, list[str]]]:
    """Run a proxy that asks for these credentials; its host with its port, and what went through it."""
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.passed = []
    server.wanted = f"Basic {base64.b64encode(credentials.encode()).decode()}" if credentials else None
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}", server.passed
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("exceptions", "direct"),
    [
        ("", False),
        ("*", True),
        ("other.example, .example.com", True),
        ("example.com", True),
        ("*.example.com", True),
        ("logs.example.com", True),
        ("LOGS.EXAMPLE.COM.", True),
        ("logs.example.com:9200", True),
        ("logs.example.com:9201", False),
        ("ample.com", False),
        ("10.0.0.0/8 logs.example.com", True),
        ("fd00::/8,[::1],[fe80::]/10,10.0.0.0/8", False),
        ("[", False),
        ("///,10.0.0.0/99,::/999,[::1", False),
    ],
)
def test_names(monkeypatch: pytest.MonkeyPatch, exceptions: str, direct: bool) -> None:
    """A name in NO_PROXY is that host and what is under it; what can't be read there is about no host."""
    monkeypatch.setenv("HTTPS_PROXY", "proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", exceptions)
    found = proxy_for("https://logs.example.com:9200")
    assert found is None if direct else found is not None and found.url == "http://proxy.example:3128"


@pytest.mark.parametrize(
    ("host", "exceptions", "direct"),
    [
        ("10.96.0.7", "10.96.0.0/12", True),
        ("10.112.0.7", "10.96.0.0/12", False),
        ("10.96.0.7", "10.96.0.7", True),
        ("10.96.0.7", "10.96.0.7:9200", True),
        ("10.96.0.7", "10.96.0.7:80", False),
        ("10.96.0.7", "6.0.7", False),
        ("[fd00::7]", "fd00::/8", True),
        ("[fd00::7]", "[fd00::]/8", True),
        ("[fd00::7]", "[fd00::/8]", True),
        ("[fd00::7]", "fd00:0:0::0007", True),
        ("[fd00::7]", "[fd00::7]", True),
        ("[fd00::7]", "[fd00::7]:9200", True),
        ("[fd00::7]", "[fd00::7]:80", False),
        ("[fd00::7]", "fe80::/10,10.0.0.0/8", False),
        ("[fe80::1%25eth0]", "fe80::/10", True),
        ("[::ffff:10.96.0.7]", "10.96.0.0/12", True),
        ("10.96.0.7", "::/0", False),
        ("10.96.0.7", "0.0.0.0/0", True),
    ],
)
def test_addresses(monkeypatch: pytest.MonkeyPatch, host: str, exceptions: str, direct: bool) -> None:
    """Addresses and ranges of them, of both kinds, in brackets or not: as Kubernetes has them."""
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", f"localhost,{exceptions}")
    assert (proxy_for(f"https://{host}:9200") is None) == direct


def test_which_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each scheme has its own, and ALL_PROXY is for both; small letters go first; a CGI program heeds no header."""
    monkeypatch.setenv("ALL_PROXY", "http://all.example")
    monkeypatch.setenv("HTTP_PROXY", "http://plain.example")
    assert proxy_for("https://a") == ("http://all.example", "ALL_PROXY")
    assert proxy_for("http://a") == ("http://plain.example", "HTTP_PROXY")
    monkeypatch.setenv("http_proxy", "http://small.example")
    assert proxy_for("http://a") == ("http://small.example", "http_proxy")
    monkeypatch.delenv("http_proxy")
    monkeypatch.setenv("REQUEST_METHOD", "GET")
    assert proxy_for("http://a") == ("http://all.example", "ALL_PROXY")


@both
@every
@pytest.mark.parametrize(
    ("proxy", "words"),
    [
        ("socks5://pl4nted:s3cret@127.0.0.1:1080", "names a SOCKS proxy"),
        ("http://pl4nted:s3cret@[::1", "must name a proxy"),
        ("http://", "must name a proxy"),
        ("http://pl4nted:s3cret@host:port", "must name a proxy"),
        ("http://pl4nted:s3cret@two words", "must name a proxy"),
        ("ftp://pl4nted:s3cret@127.0.0.1", "of a kind that isn't known"),
    ],
)
def test_a_proxy_that_is_none(monkeypatch: pytest.MonkeyPatch, name: str, way: Way, proxy: str, words: str) -> None:
    """A variable that names no usable proxy is an issue that names the variable, and not what is secret in it."""
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    url = "https://127.0.0.1:9"
    held(ask((HTTP | AWS)[name](url), way), "HTTPS_PROXY", words, "check HTTPS_PROXY", secret="s3cret")
    monkeypatch.setenv("NO_PROXY", "fd00::/8,[::1],127.0.0.0/8")
    assert isinstance(ask((HTTP | AWS)[name](url), way), Retry)


@both
@every
@pytest.mark.parametrize("variable", ["file", "folder"])
def test_authorities_that_are_not_there(monkeypatch: pytest.MonkeyPatch, name: str, way: Way, variable: str) -> None:
    """A missing file of authorities is an issue that names the variable and the file; it may come later."""
    names = {"file": "AWS_CA_BUNDLE", "folder": "REQUESTS_CA_BUNDLE"} if name in AWS else {"file": "SSL_CERT_FILE"}
    if variable not in names:
        return
    monkeypatch.setenv(names[variable], "/nowhere/ca.pem")
    held(ask((HTTP | AWS)[name]("https://127.0.0.1:9"), way), names[variable], "'/nowhere/ca.pem'", "No such file")


def test_authorities_that_come_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing has to be started anew once the variable, or what it names, is mended."""
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/ca.pem")
    with FakeEndpoint({}) as server:
        client = HttpClient(server.url, {})
        assert isinstance(client.request("POST", "/", b""), Hold)
        monkeypatch.delenv("SSL_CERT_FILE")
        assert isinstance(client.request("POST", "/", b""), Response)
        client.close()


@both
@every
def test_a_proxy_that_wants_credentials(monkeypatch: pytest.MonkeyPatch, name: str, way: Way) -> None:
    """A 407 is held, of plain HTTP and of a tunnel, and the issue says which variables to look at."""
    with running("me:s3cret-word") as (proxy, passed):
        for scheme in ("http", "https"):
            monkeypatch.setenv(f"{scheme}_proxy", f"http://me:wr0ng-word@{proxy}")
            said = held(ask((HTTP | AWS)[name](f"{scheme}://logs.invalid"), way), "407", "HTTPS_PROXY or HTTP_PROXY")
            assert "wr0ng-word" not in said
    assert passed == []


@pytest.mark.parametrize("name", ["http"])
def test_a_proxy_that_is_used(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Records go through the proxy that a variable names, with its credentials; NO_PROXY leads past it."""
    with FakeEndpoint(test_http_endpoint.BEARER) as server, running("me:s3cret word") as (proxy, passed):
        monkeypatch.setenv("HTTP_PROXY", f"me:s3cret%20word@{proxy}")
        assert ask(HTTP[name](server.url), "send") == Delivered()
        assert [url.rpartition("/")[0] for url in passed] == [server.url]
        monkeypatch.setenv("NO_PROXY", "127.0.0.0/8,fd00::/8")
        assert ask(HTTP[name](server.url), "send") == Delivered()
        assert len(passed) == 1


def test_tokens_go_through_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token of Google's is fetched as everything else is, but from the machine itself; what is wrong is told."""
    with FakeEndpoint({}) as server, running() as (proxy, passed):
        monkeypatch.setenv("HTTP_PROXY", proxy)
        _Transport()(f"{server.url}/token", method="POST", body=b"{}")
        assert passed == [f"{server.url}/token"]
        monkeypatch.setenv("HTTP_PROXY", "socks5://127.0.0.1")
        with pytest.raises(Exception, match="HTTP_PROXY names a SOCKS proxy") as raised:
            _Transport()(f"{server.url}/token")
        assert isinstance(raised.value.__cause__, UnusableVariable)
