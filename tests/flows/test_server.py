from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from io import StringIO
from typing import Any

import pytest

from flows.ask import ask, ask_flow, status_text
from flows.config import StatusSettings
from flows.document import read
from flows.metrics import registry_of
from flows.server import HEADERS, StatusServer, serve
from flows.server_connections import CONNECTIONS, HEADER_BYTES
from flows.status import whole
from logweir.errors import ConfigError, LogweirError
from logweir.events import Events
from tests.flows.report import config, report

ISSUE = "401: check api_key"


@contextmanager
def serving(
    token: str = "", issue: str = "", listen: str = "127.0.0.1:0", findings: Sequence[str] = ()
) -> Iterator[int]:
    """Serve the report of one destination; give the port."""

    def status() -> dict[str, Any]:
        return whole("shop", report(issue), 1_790_000_000.0, config(*findings))

    server = StatusServer(listen, token, status, registry_of(report, config))
    yield server.port
    server.close()


def get(port: int, path: str, token: str = "", method: str = "GET", host: str = "") -> tuple[int, str]:
    """Ask; return the status and the body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    headers = {"authorization": f"Bearer {token}"} if token else {}
    connection.request(method, path, headers=headers | ({"host": host} if host else {}))
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, body


def test_a_healthy_flow_is_live_and_ready() -> None:
    """Both checks answer 200."""
    with serving() as port:
        assert get(port, "/healthz") == (200, "ok\n")
        assert get(port, "/readyz") == (200, "ready\n")
        assert get(port, "/healthz", method="HEAD") == (200, "")


def test_a_destination_in_trouble_is_no_reason_to_kill_the_flow() -> None:
    """It is live all the same, but not ready, and says why."""
    with serving(issue=ISSUE) as port:
        assert get(port, "/healthz")[0] == 200
        assert get(port, "/readyz") == (503, f"not ready\nsearch: {ISSUE}\n")


def test_the_status_has_the_figures_by_their_names() -> None:
    """Sums of all workers and sink partitions, rates and latencies, under the names that are documented."""
    with serving(issue=ISSUE) as port:
        status, body = get(port, "/api/status")
    found = json.loads(body)
    search = found["destinations"]["search"]
    assert status == 200
    assert (found["flow"], found["healthy"], search["healthy"], search["status"]) == ("shop", False, False, "error")
    assert search["issues"] == [ISSUE]
    assert (search["logs_read"], search["logs_streamed"], search["logs_failed"], search["logs_dropped"]) == (
        100,
        90,
        2,
        8,
    )
    assert search["success_rate"] == round(90 / 92, 6)
    assert (search["bytes"], search["request_bytes"], search["requests"], search["retries"]) == (40_000, 2000, 2, 0)
    assert search["avg_latency"] == 1.51
    assert search["latency"] == {"p50": 0.025, "p90": 5.0, "p99": 5.0}
    assert (search["errors"], search["error_rate"], search["lag"], search["buffer_utilisation"]) == (0, 0.0, 10, 0.25)
    assert search["last_flush"] == "2026-09-21T14:13:20.000Z"


def test_metrics_are_served() -> None:
    """Prometheus finds its text."""
    with serving() as port:
        status, body = get(port, "/metrics")
        assert get(port, "/nothing")[0] == 404
    assert (status, 'logweir_destination_read_total{destination="search"} 100.0' in body) == (200, True)


def test_a_token_guards_what_tells_something() -> None:
    """Without it, or with a wrong one, there is no status and no metric, and readiness is a bare no."""
    with serving("s3cret", ISSUE) as port:
        for token in ("", "wrong", "s3cre", "gehe\u00efm"):
            assert get(port, "/api/status", token)[0] == 401
            assert get(port, "/metrics", token)[0] == 401
            assert get(port, "/readyz", token) == (503, "not ready\n")
        assert get(port, "/api/status", "s3cret")[0] == 200
        assert get(port, "/metrics", "s3cret")[0] == 200


class TestAttacks:
    """Nobody needs a token for these."""

    @pytest.fixture(autouse=True)
    def _soon(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("flows.server_connections.REQUEST_SECONDS", 1.0)

    def test_very_many_connections(self) -> None:
        """Clients that say nothing, or a byte at a time, never keep a check of health out."""
        with serving() as port, ExitStack() as ended:
            for number in range(3 * CONNECTIONS):
                slow = ended.enter_context(socket.create_connection(("127.0.0.1", port)))
                slow.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: "[: number % 40])
                if not number % 20:
                    assert get(port, "/healthz") == (200, "ok\n")
            assert get(port, "/healthz") == (200, "ok\n")
            assert get(port, "/api/status")[0] == 200

    def test_a_request_a_byte_at_a_time(self) -> None:
        """Its time is over whatever it still sends."""
        with serving() as port, socket.create_connection(("127.0.0.1", port)) as slow:
            slow.settimeout(0.05)
            sent = 0
            with pytest.raises(OSError, match=r"reset|[Bb]roken pipe"):  # noqa: PT012  until it is closed
                while True:
                    slow.sendall(b"G" if not sent else b"E")
                    sent += 1
                    with suppress(TimeoutError):
                        if slow.recv(100) == b"":
                            msg = "reset"
                            raise ConnectionResetError(msg)
            assert 1 < sent < 200

    def test_headers_without_end(self) -> None:
        """What is longer than headers are is refused before it is kept."""
        with serving() as port, socket.create_connection(("127.0.0.1", port)) as client:
            client.settimeout(10)
            said = b""
            # The server may close while the rest is on its way.
            with suppress(OSError):
                client.sendall(b"GET / HTTP/1.1\r\nX: " + b"a" * 4 * HEADER_BYTES)
                while piece := client.recv(1000):
                    said += piece
            assert said == b"" or said.startswith(b"HTTP/1.1 400")
            assert get(port, "/healthz")[0] == 200

    def test_an_answer_that_nobody_reads(self) -> None:
        """It is given up: whoever asks again and again and reads nothing is closed."""
        with serving() as port, socket.create_connection(("127.0.0.1", port)) as client:
            client.settimeout(0.2)
            asked = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100
            with pytest.raises(ConnectionError):  # noqa: PT012  until it is closed
                while True:
                    with suppress(TimeoutError):
                        client.sendall(asked)
            assert get(port, "/healthz")[0] == 200

    def test_requests_in_one_go(self) -> None:
        """Several in one connection have their answers in order."""
        with serving() as port, socket.create_connection(("127.0.0.1", port)) as client:
            client.settimeout(10)
            for path in ("healthz", "readyz"):
                client.sendall(b"GET /%b HTTP/1.1\r\nHost: localhost\r\n\r\n" % path.encode())
            said = b""
            while said.count(b"HTTP/1.1 200") < 2 or not said.endswith(b"ready\n"):
                said += client.recv(1000)
            assert said.index(b"ok\n") < said.index(b"ready\n")

    @pytest.mark.parametrize(
        "host", ["evil.example", "evil.example:8080", "10.1.2.3", "localhost.evil.example", "[2001:db8::1]"]
    )
    def test_a_page_of_another_site(self, host: str) -> None:
        """A name that leads here is no name of this machine: the answer tells nothing."""
        with serving(issue=ISSUE) as port:
            for path in ("/api/status", "/metrics", "/readyz", "/healthz"):
                status, body = get(port, path, host=host)
                assert (status, ISSUE in body) == (421, False)
        with serving("s3cret") as port:
            assert get(port, "/api/status", "s3cret", host=host)[0] == 200

    @pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "127.0.0.1:80", "127.0.0.1", "[::1]:80", "[::1]"])
    def test_names_of_this_machine(self, host: str) -> None:
        """Its addresses, and localhost."""
        with serving() as port:
            assert get(port, "/api/status", host=host)[0] == 200

    @pytest.mark.parametrize("path", ["/healthz", "/api/status", "/nothing", "/metrics"])
    def test_headers_of_every_answer(self, path: str) -> None:
        """No page may frame it or guess its type, and no other site may read it."""
        with serving() as port:
            for method in ("GET", "POST", "OPTIONS"):
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
                connection.request(method, path, headers={"origin": "http://evil.example"})
                answer = connection.getresponse()
                found = {name.lower(): value for name, value in answer.getheaders()}
                connection.close()
                assert found.items() >= HEADERS.items()
                assert not any(name.startswith("access-control") or name == "server" for name in found)
                assert answer.status == (404 if path == "/nothing" else 200 if method == "GET" else 405)

    def test_a_defect_is_no_end(self) -> None:
        """Where the status can't be told the answer says so, without what it was about, and others are answered."""

        def status() -> dict[str, Any]:
            msg = "s3cret"
            raise ValueError(msg)

        server = StatusServer("127.0.0.1:0", "", status, registry_of(report, config))
        assert get(server.port, "/api/status") == (500, "defect: ValueError\n")
        assert get(server.port, "/healthz")[0] == 200
        server.close()


def test_a_port_that_is_taken_is_told_and_stops_nothing() -> None:
    """Two flows on one machine both run; the second says that its status is not served."""
    said = StringIO()
    with serving() as port:
        settings = StatusSettings(listen=f"127.0.0.1:{port}")
        serve(settings, dict, registry_of(report, config), Events(said))()
    assert f"status.listen 127.0.0.1:{port}" in said.getvalue()


def test_status_shows_a_running_flow() -> None:
    """The table has the figures, and the issue in full."""
    with serving("s3cret", ISSUE) as port:
        settings = StatusSettings.model_validate({"listen": f"127.0.0.1:{port}", "token": "s3cret"})
        text = status_text(ask(settings))
        with pytest.raises(LogweirError, match=r"another status\.token"):
            ask(StatusSettings(listen=f"127.0.0.1:{port}"))
    assert "shop: up" in text
    assert "NOT HEALTHY" in text
    assert f"search: {ISSUE}" in text


def test_status_tells_of_a_file_that_was_refused() -> None:
    """What is in force and what was wrong with the change stand above the table."""
    with serving(findings=["flow.yaml:3:5: rules: bad"]) as port:
        lines = status_text(ask(StatusSettings(listen=f"127.0.0.1:{port}"))).splitlines()
    assert lines[1] == "config 0123456789ab: in force since 2026-09-21T14:13:20.000Z"
    assert lines[2:4] == ["REFUSED at 2026-09-21T14:15:00.000Z, a changed file:", "flow.yaml:3:5: rules: bad"]


def test_status_while_the_file_is_wrong() -> None:
    """A flow that runs by what its file was before answers; when none runs, what is wrong with the file is said."""
    with serving() as port:
        wrong = read(json.dumps({"name": "shop", "status": {"listen": f"127.0.0.1:{port}"}}), "flow.yaml")
        assert ask_flow(wrong)["flow"] == "shop"
    with pytest.raises(ConfigError, match="`source` is required"):
        ask_flow(wrong)


def test_status_of_another_flow() -> None:
    """An address that another flow has taken first is an error, not that flow's figures."""
    text = {"name": "other", "source": {"type": "stdin"}, "destinations": {"out": {"type": "console"}}}
    with serving() as port:
        listen = {"status": {"listen": f"127.0.0.1:{port}"}}
        with pytest.raises(LogweirError, match=r"the flow 'shop' answers there, not 'other'.* of its own"):
            ask_flow(read(json.dumps(text | listen), "flow.yaml"))
        assert ask_flow(read(json.dumps(text | listen | {"name": "shop"}), "flow.yaml"))["flow"] == "shop"


def test_status_of_a_flow_of_the_same_name() -> None:
    """Two flows of one name are told apart by where they keep their positions."""

    def status() -> dict[str, Any]:
        return {**whole("shop", report(), 1_790_000_000.0, config()), "recovery": "/srv/one"}

    server = StatusServer("127.0.0.1:0", "", status, registry_of(report, config))
    text = {
        "name": "shop",
        "source": {"type": "stdin"},
        "destinations": {"out": {"type": "console"}},
        "status": {"listen": f"127.0.0.1:{server.port}"},
    }
    try:
        assert ask_flow(read(json.dumps(text | {"recovery": {"directory": "/srv/one"}}), "flow.yaml"))
        with pytest.raises(LogweirError, match="keeps its positions in /srv/one"):
            ask_flow(read(json.dumps(text | {"recovery": {"directory": "/srv/two"}}), "flow.yaml"))
    finally:
        server.close()


def test_status_of_a_flow_that_does_not_run() -> None:
    """The error says where it has asked."""
    with serving() as port:
        pass
    with pytest.raises(LogweirError, match=f"status.listen 127.0.0.1:{port}: no flow answers"):
        ask(StatusSettings(listen=f"127.0.0.1:{port}"))
