"""The page on adding a destination shows a whole one: it is taken from there, registered and delivered through."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import tokenize
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from logweir.ledger import Ledger
from tests.flowing import COMMAND, ROOT, assert_ledger, parse_ledgers, twice

PAGE = ROOT / "docs" / "adding-a-destination.md"
MODULE, LINE = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
PACKAGES = ("logweir", "flows", "operators", "sinks")
RUFF = Path(sys.executable).with_name("ruff")
MOST_LINES = 40
RECORDS = 500
TOKEN = "planted-token"


class Acme(ThreadingHTTPServer):
    """The service: it takes lines of JSON, from whoever has the token, once it has answered as it is told to."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script: list[int] = []
        """How the next requests are answered, without taking anything."""
        self.answers: list[int] = []
        self.ids: list[str] = []
        self.lock = threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Acme

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class names it
        """Say nothing."""

    def do_GET(self) -> None:
        self._answer(200 if self.path == "/health" and self._let_in() else 401)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        with self.server.lock:
            status = self.server.script.pop(0) if self.server.script else 202 if self._let_in() else 401
            if status == 202:
                assert (self.path, self.headers["content-encoding"]) == ("/ingest", "gzip")
                self.server.ids += [json.loads(line)["id"] for line in gzip.decompress(body).split(b"\n")]
            self.server.answers.append(status)
        self._answer(status)

    def _let_in(self) -> bool:
        return bool(self.headers["authorization"] == f"Bearer {TOKEN}")

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.fixture
def acme() -> Iterator[Acme]:
    """A new service."""
    with Acme() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the four packages, changed as the page says."""
    copy = tmp_path_factory.mktemp("checkout")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "sinks" / "acme.py").write_text(MODULE, encoding="utf-8")
    table = copy / "sinks" / "__init__.py"
    before, opening, after = table.read_text(encoding="utf-8").partition("SINKS: dict[str, str] = {\n")
    table.write_text(f"{before}{opening}    {LINE}{after}", encoding="utf-8")
    return copy


def python(checkout: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the changed copy."""
    environment = os.environ | {"PYTHONPATH": str(checkout)} | variables
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=checkout, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


def lines_of_code(text: str) -> int:
    """Return how many lines hold code: neither blank, nor a comment, nor a docstring alone."""
    quiet = {tokenize.NL, tokenize.NEWLINE, tokenize.COMMENT, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    found: set[int] = set()
    begun = False
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NEWLINE:
            begun = False
        elif token.type not in quiet:
            if begun or token.type != tokenize.STRING:
                found.update(range(token.start[0], token.end[0] + 1))
            begun = True
    return len(found)


def test_lines_of_code() -> None:
    """Docstrings, comments and blank lines are no code; everything else is."""
    assert (
        lines_of_code('"""A\nb."""\n\nx = (\n    1,  # one\n)\n\n\ndef f():\n    """Say."""\n    return "text"\n') == 5
    )


def test_short() -> None:
    """A whole destination is less than forty lines of code, each no longer than others are."""
    assert lines_of_code(MODULE) < MOST_LINES
    assert max(map(len, MODULE.splitlines())) <= 120
    assert ";" not in re.sub(r'""".*?"""', "", MODULE, flags=re.DOTALL)


@pytest.mark.skipif(not RUFF.exists(), reason="ruff is not installed beside this Python")
@pytest.mark.parametrize("arguments", [["check"], ["format", "--check"]], ids=["style", "format"])
def test_style(arguments: list[str]) -> None:
    """It is written as this project's linter wants it."""
    command = [str(RUFF), *arguments, "--stdin-filename", str(ROOT / "sinks" / "acme.py"), "-"]
    done = subprocess.run(command, cwd=ROOT, input=MODULE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_delivers(checkout: Path, acme: Acme, tmp_path: Path) -> None:
    """A flow delivers through it what its rule lets pass, after answers that may pass, and the ledger balances."""
    acme.script = [503, 429, 503]
    flow = {
        "name": "added",
        "source": {"type": "generate", "rate": 0, "count": RECORDS, "seed": 3},
        "rules": [{"name": "No debug", "type": "level", "levels": ["debug", "trace"], "action": "exclude"}],
        "destinations": {
            "logs": {
                "type": "acme",
                "url": acme.url,
                "token": "${ACME_SECRET}",
                "batch": {"max_records": 50, "flush_interval": "100ms"},
                "retry": {"backoff": "20ms", "max_backoff": "100ms"},
            }
        },
        "dead_letter": {"directory": str(tmp_path / "dead")},
        "recovery": {"directory": str(tmp_path / "recovery")},
        "status": {"listen": "127.0.0.1:0"},
    }
    path = tmp_path / "flow.yaml"
    path.write_text(json.dumps(flow), encoding="utf-8")
    checked = python(checkout, *COMMAND[1:], "check", str(path), ACME_SECRET=TOKEN)
    assert (checked.returncode, checked.stderr) == (0, "")
    done = python(checkout, *COMMAND[1:], "run", str(path), ACME_SECRET=TOKEN)
    assert done.returncode == 0, done.stderr
    ledger: Ledger = parse_ledgers(line for line in done.stderr.splitlines() if not line.startswith("{"))["logs"]
    dropped = RECORDS - len(acme.ids)
    assert_ledger(ledger, read=RECORDS, delivered=len(acme.ids), dropped={"No debug": dropped}, dead={})
    assert 0 < dropped < RECORDS
    assert twice(acme.ids) == []
    events = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    retried = [each["reason"] for each in events if each["event"] == "stream.retry"]
    assert sorted(retried) == ["HTTP 429", "HTTP 503", "HTTP 503"]
    assert TOKEN not in done.stderr + done.stdout + checked.stdout


@pytest.mark.parametrize(
    ("token", "said"),
    [(TOKEN, "Delivered(duplicates=0)"), ("other", "Hold(issue='HTTP 401: check url and token', blame='service')")],
)
def test_probe(token: str, said: str, checkout: Path, acme: Acme) -> None:
    """It tells a service that takes its token from one that doesn't, without sending anything."""
    program = "from sinks.acme import Acme; print(Acme.model_validate({'type': 'acme'}).open(None, None).probe())"
    done = python(checkout, "-c", program, ACME_URL=acme.url, ACME_TOKEN=token)
    assert (done.stdout.strip(), done.stderr) == (said, "")
    assert acme.answers == []
