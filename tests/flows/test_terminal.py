"""Nothing that a command shows to a person can act on the terminal, and what it prints as JSON stays exact."""

from __future__ import annotations

import ast
import io
import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from flows.cli import main
from flows.dead_letters import Passed
from flows.display import ledger_text
from flows.redrive_report import Report
from flows.worker import print_trace
from logweir.events import Events
from logweir.ledger import Ledger
from logweir.secrecy import Secrets
from logweir.terminal import visible, visible_json, visible_lines
from tests.flows.search.support import archive, printed
from tests.flows.search.support import record as archived

EVIL = "\x1b[2J\x07\x9b31m\x85\u202e\u2066\u200f\u2028\u2029\ufeff\x7f\r\nfake: line\tend"
ACTS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
FAKED = re.compile(r"^fake: line", re.MULTILINE)
FLOWS = Path(__file__).parents[2] / "flows"


def harmless(text: str) -> bool:
    """Tell whether a text has something of EVIL in it that is only shown."""
    return "\\x1b[2J" in text and not ACTS.search(text) and not FAKED.search(text)


def invoke(*arguments: str | Path, given: bytes = b"") -> Result:
    """Return what the command line answers."""
    return CliRunner().invoke(main, [str(each) for each in arguments], input=given)


def flow_file(folder: Path, **changes: Any) -> Path:
    """Write a flow."""
    path = folder / "flow.yaml"
    flow = {"name": "a", "source": {"type": "stdin"}, "destinations": {"out": {"type": "console"}}, **changes}
    path.write_text(yaml.safe_dump(flow))
    return path


@contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    """Run a server that answers all with this body, and give its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def status_of(name: str) -> dict[str, Any]:
    """Return what a hostile program on the status server's port answers."""
    destination = {
        "type": EVIL, "status": EVIL, "logs_streamed": 1, "logs_dropped": 1, "logs_failed": 1, "still_dead": None,
        "in_flight": {"records": 1}, "lag": 1, "bytes": 1, "error_rate": 0.5, "avg_latency": 1.0, "last_flush": EVIL,
        "issues": [EVIL],
    }  # fmt: skip
    return {
        "flow": name,
        "uptime": 1.0,
        "healthy": False,
        "config": {"pending": False, "version": EVIL, "since": EVIL, "refused_at": EVIL, "findings": [EVIL]},
        "destinations": {EVIL: destination},
        "retention": {"archive": None, "last_round": None, "issues": [EVIL]},
    }


def test_status(tmp_path: Path) -> None:
    """Whatever answers in the place of the flow can't act on the terminal; --json is what it has answered."""
    with answering(200, json.dumps(status_of("a")).encode()) as place:
        flow = flow_file(tmp_path, status={"listen": place})
        shown, exact = invoke("status", flow), invoke("status", flow, "--json")
    assert harmless(shown.output), shown.output
    assert not ACTS.search(exact.output)
    assert json.loads(exact.stdout) == status_of("a")


def test_another_flow_answers(tmp_path: Path) -> None:
    """An error that quotes an answer can't either."""
    with answering(200, json.dumps(status_of(EVIL)).encode()) as place:
        shown = invoke("status", flow_file(tmp_path, status={"listen": place}))
    assert shown.exit_code == 1
    assert harmless(shown.output), shown.output


def test_check_connect(tmp_path: Path) -> None:
    """What a destination answers to the probe can't either."""
    body = json.dumps({"error": {"type": EVIL, "reason": EVIL}, "status": 403}).encode()
    with answering(403, body) as place:
        search = {"type": "elasticsearch", "url": f"http://{place}", "index": "logs"}
        flow = flow_file(tmp_path, destinations={"search": search})
        shown, exact = invoke("check", flow, "--connect"), invoke("check", flow, "--connect", "--json")
    assert harmless(shown.output), shown.output
    assert EVIL[:4] in json.loads(exact.stdout)["connections"][0]["issue"]


def test_findings(tmp_path: Path) -> None:
    """A flow file from elsewhere can't: not by names, not by values, not by a rule's name in the tables."""
    for changes in ({EVIL: 1}, {"destinations": {EVIL: {"type": "x"}}}):
        shown = invoke("check", flow_file(tmp_path, **changes))
        assert shown.exit_code == 2
        assert harmless(shown.output), (changes, shown.output)
    shown = invoke("check", flow_file(tmp_path, rules=[{"name": EVIL, "type": "level", "min_level": "info"}]))
    assert shown.exit_code == 0
    assert harmless(shown.output), shown.output


def test_usage(tmp_path: Path) -> None:
    """An argument that a script has taken from elsewhere can't."""
    shown = invoke("redrive", flow_file(tmp_path), "--to", EVIL)
    assert shown.exit_code == 2
    assert not ACTS.search(shown.output)


def test_explain(tmp_path: Path) -> None:
    """A record that is explained can't, nor one that is none."""
    rule = {"name": "R", "type": "field", "field": "metadata.x", "operator": "eq", "value": "y"}
    given = json.dumps({"id": EVIL, "metadata": {"x": EVIL}}, ensure_ascii=False).encode() + b"\n"
    given += "\x9b31m\u202e no record\n".encode()
    shown = invoke("explain", flow_file(tmp_path, rules=[rule]), given=given)
    assert harmless(shown.output), shown.output
    assert len(shown.stdout.splitlines()) >= 2


def test_search(tmp_path: Path) -> None:
    """A record that is found can't; with --json its bytes are exact."""
    value = json.loads(archived(1, 1_767_268_800.0, level="info"))
    value |= {"message": EVIL, "metadata": {EVIL: EVIL}, "context": {"service": EVIL}, "error": {"stack": EVIL}}
    raw = json.dumps(value, ensure_ascii=False).encode()
    settings = archive(tmp_path / "a", [[raw]], tmp_path)
    assert harmless(printed(settings, kept=True))
    assert printed(settings, as_json=True).encode() == raw + b"\n"


def test_reports() -> None:
    """Causes and rules in the reports of a run and of a redrive can't."""
    ledger = Ledger()
    ledger.dropped[EVIL] = ledger.dead_lettered[EVIL] = 1
    assert harmless(ledger_text({EVIL: ledger}))
    passed = Passed(others=Counter({EVIL: 1}))
    assert harmless(Report(EVIL, passed, ledger).text())
    assert harmless(Report(EVIL, passed, waiting=Counter({EVIL: 1}), dry_run=True).text())


def test_events() -> None:
    """An event can't, on a terminal or in a container's log that is shown on one, and says the same as before."""
    out = io.StringIO()
    Events(out).tell("stream.health", "error", stream=EVIL, issue=EVIL, **{EVIL: 1})
    assert not ACTS.search(out.getvalue())
    assert out.getvalue().count("\n") == 1
    told = json.loads(out.getvalue())
    assert (told["stream"], told["issue"], told[EVIL]) == (EVIL, EVIL, 1)


def test_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    """What a thread has died of can't, and its traceback keeps its lines."""
    print_trace(ValueError(f"of {EVIL}"), Secrets())
    said = capfd.readouterr().err
    assert "\\x1b[2J" in said
    assert not ACTS.search(said)


def test_texts() -> None:
    """What acts is shown as what it is; all else stays as it is, emoji made of several characters among it."""
    family = "caf\u00e9 \u65e5\u672c \U0001f468\u200d\U0001f469\u200d\U0001f467 a\u00a0b"
    assert visible(family) == visible_lines(family) == visible_json(family) == family
    assert visible("a\x1b\n\t\x9b\u202e\ud800") == "a\\x1b\\n\\t\\x9b\\u202e\\ud800"
    assert visible_lines("a\x1b\n\tb\r") == "a\\x1b\n\tb\\x0d".replace("\\x0d", "\\r")
    assert json.loads(visible_json(json.dumps(EVIL, ensure_ascii=False))) == EVIL


@pytest.mark.parametrize("path", sorted(FLOWS.rglob("*.py")), ids=lambda path: str(path.relative_to(FLOWS)))
def test_one_way_to_print(path: Path) -> None:
    """No command prints by itself: `flows/terminal.py` does."""
    if path.name == "terminal.py":
        return
    called = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    names = {f"{getattr(each.value, 'id', '')}.{each.attr}" for each in called if isinstance(each, ast.Attribute)}
    names |= {each.id for each in called if isinstance(each, ast.Name)}
    assert not names & {"print", "click.echo", "click.secho", "click.style"}
