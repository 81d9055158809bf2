import json
import os
import re
import subprocess
import sys
import types
from datetime import datetime
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from flows import cli
from flows.cli import main
from flows.config import LoadedFlow
from flows.reference import reference
from flows.schema import flow_schema, schema_text
from logweir import __version__
from logweir.errors import DestinationError
from tests.examples import ENVIRONMENT, EXAMPLES, placed

ROOT = Path(__file__).parents[2]
FLOW = "name: a\nsource: {type: stdin}\ndestinations:\n  out: {type: console}\n  off: {type: console, enabled: false}\n"


def invoke(*arguments: str | Path) -> Result:
    """Return what the command line answers."""
    return CliRunner().invoke(main, [str(each) for each in arguments])


@pytest.fixture
def flow(tmp_path: Path) -> Path:
    """Return the file of a small valid flow."""
    path = tmp_path / "flow.yaml"
    path.write_text(FLOW)
    return path


@pytest.fixture
def supervised(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Stand in for the supervisor, and note how it was called."""
    calls: list[dict[str, Any]] = []
    module = types.ModuleType("flows.supervisor")

    def run(loaded: LoadedFlow, **options: Any) -> int:
        exists = Path(loaded.flow.recovery.directory).is_dir()
        calls.append({"flow": loaded.flow, "recovery_exists": exists, **options})
        return 0

    module.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "flows.supervisor", module)
    return calls


@pytest.mark.parametrize("path", [*EXAMPLES, ROOT / "flows" / "quickstart.yaml"], ids=lambda path: path.name)
def test_examples_are_valid(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every flow that we ship passes the check without a warning."""
    for variable, value in ENVIRONMENT.items():
        monkeypatch.setenv(variable, value)
    path = placed(path, tmp_path)
    result = invoke("check", path)
    assert result.exit_code == 0
    assert result.stderr == ""
    assert f"{path}: ok" in result.stdout


def test_examples_name_the_schema() -> None:
    """Each example tells editors where the schema is, and it is there."""
    for path in EXAMPLES:
        head, _, where = path.read_text().splitlines()[0].partition("$schema=")
        assert head == "# yaml-language-server: "
        assert (path.parent / where).resolve() == ROOT / "deploy" / "schema" / "flow.schema.json"


def test_check_tables(flow: Path) -> None:
    """A valid flow is shown with its destinations and its rules, in the order in which they are asked."""
    flow.write_text(FLOW + "rules:\n  - {name: low, type: sample, sample_rate: 0.5}\n")
    with flow.open("a") as file:
        file.write("  - {name: high, type: level, levels: [error], priority: 9}\n")
    lines = invoke("check", flow).stdout.splitlines()
    assert lines[2].split() == ["DESTINATION", "TYPE", "ENABLED", "RULES", "ON", "FAILURE"]
    assert lines[4].split() == ["off", "console", "no", "2", "hold"]
    assert [line.split()[1] for line in lines[-2:]] == ["high", "low"]


def test_check_archive(flow: Path) -> None:
    """The archive is shown with its place, what goes into it, and its policies in the order in which they decide."""
    policies = "{name: Most, period: 7d, levels: [info, warn]}, {name: First, period: 2w, priority: 1, enabled: false}"
    hold = "{name: Case 7, where: id exists}"
    flow.write_text(
        FLOW + f"retention: {{archive: ./kept, default_period: 3d, policies: [{policies}], hold: [{hold}]}}\n"
    )
    result = invoke("check", flow)
    assert "archive      archive  yes      0      hold" in result.stdout
    place, policies = result.stdout.split("\n\n")[2:]
    assert [line.split("  ") for line in re.sub(" {2,}", "  ", place).splitlines()] == [
        ["ARCHIVE", "FROM", "COMPACTION", "HOLDS"],
        ["./kept", "source", "every 10m", "Case 7"],
    ]
    assert [re.split(" {2,}", line.strip()) for line in policies.splitlines()[1:]] == [
        ["1", "First", "14d", "no", "all"],
        ["0", "Most", "7d", "yes", "level info, warn"],
        ["(no policy)", "3d", "what no policy takes"],
    ]


@pytest.mark.parametrize(
    ("place", "status", "said"),
    [
        ("kept/deep", "connected", ""),
        ("flow.yaml/kept", "error", "a part of retention.archive is a file"),
        ("/proc/kept", "unreachable", "/proc: No such file or directory"),
    ],
)
def test_check_connects_to_the_archive(flow: Path, place: str, status: str, said: str) -> None:
    """`--connect` writes where the archive will be, and leaves nothing there."""
    flow.write_text(FLOW + f"retention: {{archive: {flow.parent / place}}}\n")
    before = sorted(flow.parent.rglob("*"))
    result = invoke("check", flow, "--connect", "--json")
    rows = {each["name"]: each for each in json.loads(result.stdout)["connections"]}
    assert (rows["archive"]["type"], rows["archive"]["status"]) == ("archive", status)
    assert said in rows["archive"]["issue"]
    assert sorted(flow.parent.rglob("*")) == before


def test_check_findings(flow: Path) -> None:
    """A wrong flow gives its findings on stderr, nothing on stdout, and exit code 2."""
    flow.write_text(FLOW + "isolatoin: none\n")
    result = invoke("check", flow)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"{flow}:6:1: isolatoin: unknown setting; did you mean `isolation`?\n"


def test_check_warnings(flow: Path) -> None:
    """Warnings don't fail the check."""
    flow.write_text(FLOW + "rules:\n  - {name: idle, type: sample, sample_rate: 1}\n")
    result = invoke("check", flow)
    assert result.exit_code == 0
    assert "7:5: warning: rules[0]: `idle` has no effect" in result.stderr


def test_check_json(flow: Path) -> None:
    """With --json findings and the flow in effect are data."""
    whole = json.loads(invoke("check", flow, "--json").stdout)
    assert (whole["ok"], whole["findings"], whole["flow"]["stop_timeout"]) == (True, [], 25)
    flow.write_text(FLOW + "max_in_flight: x\n")
    result = invoke("check", flow, "--json")
    assert result.exit_code == 2
    whole = json.loads(result.stdout)
    assert (whole["ok"], whole["flow"]) == (False, None)
    finding = whole["findings"][0]
    assert (finding["line"], finding["column"], finding["severity"], finding["path"]) == (
        6,
        16,
        "error",
        "max_in_flight",
    )


def test_missing_file(tmp_path: Path) -> None:
    """A file that isn't there is one line and exit code 2."""
    result = invoke("check", tmp_path / "no.yaml")
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [f"{tmp_path}/no.yaml: can't be read: No such file or directory"]


def test_schema() -> None:
    """The schema that is printed, the one that is kept and the models are the same."""
    kept = (ROOT / "deploy" / "schema" / "flow.schema.json").read_text()
    assert invoke("schema").stdout == schema_text() == kept, "run: logweir schema > deploy/schema/flow.schema.json"


def test_schema_has_every_type() -> None:
    """Sources, destinations and rules are each one of all types, told apart by `type`."""
    schema = flow_schema()
    source, destination = schema["properties"]["source"], schema["properties"]["destinations"]["additionalProperties"]
    assert list(source["discriminator"]["mapping"]) == ["file", "generate", "kafka", "stdin"]
    assert {"console", "elasticsearch", "file"} <= set(destination["discriminator"]["mapping"])
    rules = schema["$defs"]["destination_console"]["properties"]["rules"]["items"]
    assert rules == schema["properties"]["rules"]["items"]
    assert len(rules["oneOf"]) >= 5
    assert "url" not in schema["$defs"]["destination_elasticsearch"]["required"]
    for reference_ in (*source["oneOf"], *destination["oneOf"], *rules["oneOf"]):
        assert "type" in schema["$defs"][reference_["$ref"].rpartition("/")[2]]["required"]


def test_schema_has_no_loose_end() -> None:
    """Every reference in the schema leads somewhere, and nothing in it is never referred to."""
    text = schema_text()
    definitions = json.loads(text)["$defs"]
    named = set(definitions)
    referred = {part.split('"')[0] for part in text.split('"#/$defs/')[1:]}
    assert referred == named


def test_reference() -> None:
    """docs/configuration.md is what the models say."""
    kept = (ROOT / "docs" / "configuration.md").read_text()
    assert kept == reference(), "run: python -m flows.reference > docs/configuration.md"


def test_version() -> None:
    """--version names the program and its version."""
    assert invoke("--version").stdout.strip() == f"logweir, version {__version__}"


def test_check_is_quick() -> None:
    """A check imports none of the clients, and so answers at once; the proof says how soon."""
    code = (
        "import sys; from flows.cli import main\n"
        "try: main(['check', 'deploy/examples/selective.yaml'])\n"
        "except SystemExit as end: assert not end.code\n"
        "heavy = {'boto3', 'confluent_kafka', 'httpx', 'prometheus_client'} & sys.modules.keys()\n"
        "assert not heavy, heavy\n"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_run(flow: Path, supervised: list[dict[str, Any]]) -> None:
    """`run` hands the flow and its options to the supervisor."""
    assert invoke("run", flow, "--only", "out", "--workers", "3").exit_code == 0
    assert invoke("run", flow).exit_code == 0
    assert [(call["only"], call["workers"]) for call in supervised] == [(["out"], 3), (None, 1)]


@pytest.mark.parametrize("only", ["ouf", "off", "", "out,x"])
def test_run_only_unknown(flow: Path, supervised: list[dict[str, Any]], only: str) -> None:
    """A name after --only that is no enabled destination is refused before anything runs."""
    result = invoke("run", flow, "--only", only)
    assert result.exit_code == 2
    assert "--only" in result.stderr
    assert supervised == []


def test_run_quickstart(supervised: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a flow the packaged one runs, which reads what is piped in and else makes records up."""
    for piped, kind in ((False, "generate"), (True, "stdin")):
        monkeypatch.setattr(cli, "_piped", lambda piped=piped: piped)
        assert invoke("run").exit_code == 0
        assert supervised[-1]["flow"].source.type == kind


def test_quickstart_leaves_no_position(supervised: list[dict[str, Any]]) -> None:
    """The packaged flow's recovery directory is a new one each time, and is gone afterwards."""
    for _ in range(2):
        invoke("run")
    directories = [Path(call["flow"].recovery.directory) for call in supervised]
    assert [call["recovery_exists"] for call in supervised] == [True, True]
    assert directories[0] != directories[1]
    assert not any(directory.exists() for directory in directories)


def test_quickstart_shows_the_same_again(tmp_path: Path) -> None:
    """What is piped in is shown each time, and the ledger says what became of it."""
    records = b"".join(b'{"level":"%b","message":"m"}\n' % level for level in (b"error", b"info", b"trace"))
    command = [sys.executable, "-m", "flows.cli", "run"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    runs = [
        subprocess.run(command, cwd=tmp_path, input=records, capture_output=True, env=environment, check=True)
        for _ in range(2)
    ]
    assert runs[0].stdout.count(b"\n") == 1
    assert runs[0].stdout.split()[1:] == runs[1].stdout.split()[1:]
    for run in runs:
        assert b"screen: 3 read" in run.stderr
        assert b"1  dropped by Warnings and errors" in run.stderr
    assert len((tmp_path / "out" / "logs.ndjson").read_bytes().splitlines()) == 4


def test_piped(tmp_path: Path) -> None:
    """A pipe and a file are piped in, /dev/null and a closed stdin are not."""
    file = tmp_path / "records"
    file.write_text("x")
    code = "from flows.cli import _piped; import sys; sys.exit(_piped())"

    def piped(**options: Any) -> bool:
        return bool(subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, **options).returncode)

    assert piped(input=b"x")
    with file.open("rb") as stream:
        assert piped(stdin=stream)
    assert not piped(stdin=subprocess.DEVNULL)
    assert not piped(preexec_fn=lambda: os.close(0))


def test_errors_are_one_line(flow: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What logweir raises on purpose is one line and exit code 1, not a traceback."""
    module = types.ModuleType("flows.supervisor")

    def run(*_: Any, **__: Any) -> int:
        msg = "search: set `url`"
        raise DestinationError(msg)

    module.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "flows.supervisor", module)
    result = invoke("run", flow)
    assert (result.exit_code, result.stderr) == (1, "logweir: search: set `url`\n")


def test_packages_of_another_installation(monkeypatch: pytest.MonkeyPatch, flow: Path) -> None:
    """Another distribution's `operators` package is noticed and named, with the remedy."""
    real = find_spec
    stranger = ModuleSpec("operators", None, origin="/elsewhere/operators/__init__.py")
    monkeypatch.setattr(cli, "find_spec", lambda name: stranger if name == "operators" else real(name))
    result = invoke("check", flow)
    assert result.exit_code == 1
    assert "`operators` comes from /elsewhere" in result.stderr
    assert "virtual environment of its own" in result.stderr


def test_generate(capfd: pytest.CaptureFixture[str]) -> None:
    """The same seed gives the same records but for their times, one JSON object a line, as many as asked for."""

    def generated(*options: str) -> list[dict[str, Any]]:
        assert invoke("generate", "--count", "20", *options).exit_code == 0
        lines = capfd.readouterr().out.splitlines()
        records = [json.loads(line) for line in lines]
        return [{key: record[key] for key in record.keys() - {"id", "timestamp"}} for record in records]

    seven = generated("--seed", "7")
    assert len(seven) == 20
    assert all({"level", "message", "context"} <= record.keys() for record in seven)
    assert generated("--seed", "7", "--rate", "1000") == seven
    assert generated("--seed", "8") != seven


def test_generated_timestamps_follow_the_rate(capfd: pytest.CaptureFixture[str]) -> None:
    """At a rate, the records' timestamps are as far apart as the records."""
    invoke("generate", "--count", "11", "--rate", "100")
    lines = capfd.readouterr().out.splitlines()
    first, last = (datetime.fromisoformat(json.loads(lines[index])["timestamp"]) for index in (0, 10))
    assert 0.09 < (last - first).total_seconds() < 0.11


def test_generate_into_a_closed_pipe() -> None:
    """A reader that goes away ends the command quietly."""
    command = f"{sys.executable} -c 'from flows.cli import main; main()' generate | head -n 2"
    result = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True, check=False, timeout=30)
    assert len(result.stdout.splitlines()) == 2
    assert result.stderr == ""


def test_explain(flow: Path) -> None:
    """`explain` answers for each record on stdin."""
    record = json.dumps({"level": "info", "message": "x", "id": "1", "timestamp": "2026-01-01T00:00:00.000Z"})
    result = CliRunner().invoke(main, ["explain", str(flow)], input=record + "\n")
    assert result.exit_code == 0, result.output
    assert "out" in result.stdout


def test_quickstart_is_yaml_for_others_too() -> None:
    """The packaged flow has no trick in it: another loader reads the same."""
    text = (ROOT / "flows" / "quickstart.yaml").read_text()
    assert yaml.safe_load(text)["source"]["type"] == "generate"
