"""Redaction in flows: in the file, on the way to destinations and dead letters, in explain and redrive."""

from __future__ import annotations

import io
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from flows.check import warnings
from flows.config import load
from flows.explain import explain_stream
from flows.show import show
from logweir.errors import ConfigError
from logweir.ledger import Ledger
from sinks.deadletter import DeadLetter
from tests.flowing import COMMAND, Running
from tests.flows.redrive_support import dead, redrive, to_elastic, write_flow, write_letters
from tests.servers.elastic import FakeElastic

BASE = "name: f\nsource: {type: stdin}\ndestinations: {out: {type: console}}\n"
VARIABLES = {"SHORT": "pl4nted", "LONG": "pl4nted-and-long-enough"}
REDACT = {"fields": ["metadata.password"], "patterns": ["email"]}
PLANTED = ("hunter2", "jane@example.com")


@pytest.mark.parametrize(
    ("redact", "finding"),
    [
        ("{}", "redact: hides nothing; name some fields or patterns, or leave redact out"),
        ("{patterns: [emial]}", "redact.patterns[0]: unknown pattern `emial`; did you mean `email`?"),
        ("{patterns: [{name: x}]}", "redact.patterns[0]: unknown pattern `x`; built in are credit_card, email, ipv4"),
        ("{patterns: [{name: email, pattern: x}]}", "`email` is the name of a built-in pattern; call yours otherwise"),
        ("{patterns: [{name: x, pattern: 'a(?=b)'}]}", "patterns[0].pattern: look-ahead and look-behind are not"),
        ("{patterns: [{name: x, pattern: 'a*'}]}", "patterns[0].pattern: is found in empty text"),
        ("{patterns: ['${SHORT}']}", "redact.patterns[0]: the value from ${SHORT} is not allowed here"),
        ("{fields: ['a..b']}", "redact.fields[0]: must be a dotted path such as"),
        ("{fields: ['a*']}", "redact.fields[0]: * and ** stand for whole levels"),
        ("{fields: [5]}", "redact.fields[0]: must be a dotted path, or a mapping of path and mode"),
        ("{fields: [{path: a, mod: hash}]}", "redact.fields[0].mod: unknown setting; did you mean `mode`?"),
        ("{fields: [a, a]}", "redact: `a` is given twice"),
        ("{fields: [a], mode: mask}", "redact.mode: must be 'replace', 'hash' or 'remove'"),
        ("{fields: [a], mode: hash}", "redact: hash_key is needed for the mode hash; set it to a secret of 16"),
        ("{fields: [a], hash_key: '${LONG}'}", "redact: hash_key is given, but nothing is hashed; set mode: hash"),
        ("{fields: [a], mode: hash, hash_key: '${SHORT}'}", "redact.hash_key: must have 16 characters or more"),
    ],
)
def test_findings(redact: str, finding: str) -> None:
    """What is wrong is told with its place and what is allowed, and without what came from a variable."""
    with pytest.raises(ConfigError) as caught:
        load(f"{BASE}redact: {redact}\n", environment=VARIABLES)
    said = str(caught.value)
    assert finding in said
    assert "flow.yaml:4:" in said
    assert "pl4nted" not in said


def test_the_key_is_secret() -> None:
    """The key of the hashes is shown nowhere."""
    flow = load(f"{BASE}redact: {{fields: [a], mode: hash, hash_key: '${{LONG}}'}}\n", environment=VARIABLES).flow
    assert "pl4nted" not in f"{flow!r}{show(flow)}{flow.model_dump_json()}"
    assert show(flow)["redact"]["with"] == "[redacted]"


@pytest.mark.parametrize(
    ("kind", "path"), [("logweir", "id"), ("ecs", "event.id"), ("json, paths: {id: a.b}", "a.b")], ids=str
)
def test_check_warns_of_the_id(kind: str, path: str) -> None:
    """A field that is the id stays as it is, so naming it is warned of."""
    text = f"{BASE.replace('stdin', f'stdin, format: {kind}')}redact: {{fields: [x, {path}]}}\n"
    (warning,) = warnings(load(text, environment={}))
    assert str(warning).startswith("flow.yaml:4:22: warning: redact.fields[1]: is the record's id, which stays")


def test_explain() -> None:
    """`explain` sees what rules see: the redacted record, and says nothing of what was hidden."""
    rule = "{name: R, type: field, field: metadata.password, operator: ne, value: x, action: exclude}"
    flow = f"{BASE}redact: {{fields: [metadata.password], patterns: [email]}}\nrules: [{rule}]\n"
    out = io.StringIO()
    lines = b'{"id":"1","metadata":{"password":"hunter2"}}\n{"id":"2","metadata":{"password":"jane@example.com"}\n'
    explain_stream(load(flow, environment={}).flow, io.BytesIO(lines), out, as_json=False)
    assert out.getvalue().startswith("line 1 (1): dropped by 'R': metadata.password is [redacted], not x\n")
    assert not any(secret in out.getvalue() for secret in PLANTED)


@pytest.mark.parametrize("rules", [[], [{"name": "All", "type": "level", "min_level": "trace"}]], ids=["none", "some"])
def test_nothing_leaves(elastic: FakeElastic, tmp_path: Path, rules: list[dict[str, Any]]) -> None:
    """What is hidden is in no document, no dead letter of a destination, none of what is no record, and counted."""
    flow = write_flow(tmp_path, to_elastic(elastic.url), redact=REDACT, rules=rules)
    record = b'{"id":"%b","level":"info","message":"to jane@example.com","metadata":{"password":"hunter2"}}'
    broken = [
        b'{"metadata":{"password":"hunter2"},"m":"jane@example.com',
        b"\xff jane@example.com",
        b"jane@example.com",
    ]
    lines = [record % b"ok", record % b"bad", b'{"id":"clean","level":"info","n":1e999}', *broken]
    (tmp_path / "in.ndjson").write_bytes(b"\n".join(lines) + b"\n")
    error = {"type": "mapper_parsing_exception", "reason": "planted"}
    elastic.item_fault = lambda identity, _doc: (400, error) if identity == "bad" else None
    with Running(flow) as running:
        running.process.wait(60)
    ledger = running.ledgers()["out"]
    assert ledger.redacted == {"email": 5, "metadata.password": 3}
    assert (ledger.read, ledger.delivered, ledger.dead_lettered.total()) == (6, 2, 4)
    letters = dead(tmp_path / "dead")
    assert {each["offset"]: each["cause"] for each in letters}.keys() == {
        sum(len(line) + 1 for line in lines[:number]) for number in (1, 3, 4, 5)
    }
    documents = list(elastic.docs.values())
    said = f"{documents}{letters}{running.events}{running.text}{[*(tmp_path / 'dead').iterdir()]}"
    assert not any(secret in said for secret in PLANTED)
    assert elastic.docs["logs", "clean"].endswith(lines[2].partition(b",")[2])


def run_piped(text: str, tmp_path: Path, lines: bytes, *command: str) -> str:
    """Run a command on a flow file with these lines as its input; return all that it says."""
    path = tmp_path / "flow.yaml"
    path.write_text(text)
    done = subprocess.run([*COMMAND, *command, str(path)], input=lines, capture_output=True, cwd=tmp_path, check=False)
    return (done.stdout + done.stderr).decode()


@pytest.mark.parametrize("style", ["pretty", "json"])
def test_nothing_on_the_console(tmp_path: Path, style: str) -> None:
    """What the console shows, in either style, is redacted, and so are the events and the ledger beside it."""
    redact = "redact: {fields: [metadata.password], patterns: [email]}\n"
    flow = BASE.replace("type: console", f"type: console, style: {style}") + redact
    line = b'{"id":"1","level":"info","message":"to jane@example.com","metadata":{"password":"hunter2"}}\n'
    said = run_piped(flow, tmp_path, line + b'{"m":"jane@example.com"\n', "run")
    assert "to [redacted]" in said
    assert not any(secret in said for secret in PLANTED)
    letters = "".join(path.read_text() for path in tmp_path.rglob("*.ndjson"))
    assert "[redacted]" in letters
    assert not any(secret in letters for secret in PLANTED)


def test_nothing_in_the_archive(tmp_path: Path) -> None:
    """What is archived is redacted, in the record as it is kept and in the columns that are searched."""
    redact = "redact: {fields: [context.host], patterns: [email]}\nretention: {archive: ./archive}\n"
    line = b'{"id":"1","level":"info","message":"to jane@example.com","context":{"host":"hunter2"}}\n'
    run_piped(BASE + redact, tmp_path, line, "run")
    found = run_piped(BASE + redact, tmp_path, b"", "search", "--json")
    assert json.loads(found)["message"] == "to [redacted]"
    assert not any(secret in found for secret in PLANTED)


def test_nothing_in_what_a_test_says(tmp_path: Path) -> None:
    """A flow's test that fails tells what became of its record, and nothing of what is hidden in it."""
    rule = "{name: No mail, type: regex, pattern: 'example.com', action: exclude}"
    record = "{message: to jane@example.com, metadata: {password: hunter2}}"
    tests = (
        f"tests: [{{name: t, record: {record}, rule: No mail}}, {{name: u, record: 'jane@example.com', rule: No mail}}]"
    )
    redact = "redact: {fields: [metadata.password], patterns: [email]}"
    said = run_piped(f"{BASE}{redact}\nrules: [{rule}]\n{tests}\n", tmp_path, b"", "test")
    assert "expected 1 dropped by 'No mail', found 1 delivered" in said
    assert "2 tests, 2 failed" in said
    assert not any(secret in said for secret in PLANTED)


def test_redrive(elastic: FakeElastic, tmp_path: Path) -> None:
    """A redrive redacts by the flow as it is now, also what was dead-lettered before there was any `redact`."""
    flow = write_flow(tmp_path, to_elastic(elastic.url), redact={**REDACT, "mode": "hash", "hash_key": "k" * 16})
    # With a time of its own: Elasticsearch's @timestamp would else be when each was dead-lettered.
    value = (
        b'{"id":"a","timestamp":"2026-01-02T03:04:05Z",'
        b'"message":"to jane@example.com","metadata":{"password":"hunter2"}}'
    )
    letters = [
        DeadLetter(value, "logs", 0, 1, "rejected: x", "x", 1),
        DeadLetter(value.replace(b'"a"', b'"b"'), "logs", 0, 2, "not JSON", "x", 0),
        DeadLetter(b'{"metadata":{"password":"hunter2"}', "logs", 0, 3, "not JSON", "x", 0),
    ]
    write_letters(tmp_path / "dead", letters)
    assert redrive(flow, "--json").report["delivered"] == 2
    first, second = elastic.docs["logs", "a"], elastic.docs["logs", "b"]
    assert first.replace(b'"a"', b'"b"') == second
    assert not any(secret.encode() in first for secret in PLANTED)
    (left,) = dead(tmp_path / "dead")
    assert "hunter2" not in str(left)
    again = redrive(flow, "--json").report
    assert again["not_records"] == {"not JSON": 1}
    assert dead(tmp_path / "dead")[0]["record"] == left["record"]


def test_ledger_of_an_older_version() -> None:
    """A ledger that was recorded before there were such counts is read on, and keeps them from then on."""
    ledger = Ledger()
    ledger.redacted["email"] = 2
    state = ledger.to_dict()
    assert Ledger.from_dict(state).redacted == {"email": 2}
    del state["redacted"]
    assert Ledger.from_dict(state).redacted == {}
