"""What the pages show is true: their flows load, their rules are valid, their commands exist."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner

from flows.cli import main
from flows.config import LoadedFlow, load
from sinks import SINKS, load_sink
from tests.flowing import COMMAND

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
ENVIRONMENT = {
    "ELASTIC_URL": "http://localhost:9200",
    "ELASTIC_API_KEY": "id:key",
    "DATADOG_API_KEY": "key",
    "GCP_SERVICE_ACCOUNT_EMAIL": "writer@platform-1.iam.gserviceaccount.com",
    "GCP_PRIVATE_KEY": "key",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318",
    "SPLUNK_HEC_URL": "http://localhost:8088",
    "SPLUNK_HEC_TOKEN": "token",
    "COLLECTOR_TOKEN": "token",
    "REDACT_KEY": "0123456789abcdef0123456789abcdef",
    "GRAFANA_OTLP_TOKEN": "token",
    "HONEYCOMB_API_KEY": "key",
    "LOKI_ADDR": "http://localhost:3100",
    "LOKI_PASSWORD": "password",
}
BASE = {"name": "page", "source": {"type": "stdin"}, "destinations": {"out": {"type": "console"}}}
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)#]+)?(?:#([^)]+))?\)")


def blocks(page: Path, language: str) -> list[str]:
    """Return a page's code blocks in this language."""
    return [text for kind, text in _BLOCK.findall(page.read_text()) if kind == language]


def name(value: Any) -> str | None:
    """Return what a parametrized test is called."""
    return str(value.relative_to(ROOT)) if isinstance(value, Path) else value.strip().splitlines()[0][:40]


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Path], LoadedFlow | None]:
    """Read a block as a whole flow, or as one with what every flow needs; None when it is a comment."""
    secret = tmp_path / "kafka"
    secret.write_text("secret")
    monkeypatch.setenv("ELASTIC_URL", ENVIRONMENT["ELASTIC_URL"])

    def reader(text: str, page: Path) -> LoadedFlow | None:
        text = text.replace("/run/secrets/kafka", str(secret))
        data = yaml.safe_load(text)
        if data is None:
            return None
        if isinstance(data, list):
            data = {"rules": data}
        if not BASE.keys() <= data.keys():
            text = yaml.safe_dump({**BASE, **data})
        return load(text, page.name, ENVIRONMENT)

    return reader


@pytest.mark.parametrize(("page", "text"), [(page, text) for page in PAGES for text in blocks(page, "yaml")], ids=name)
def test_yaml(page: Path, text: str, read: Callable[[str, Path], LoadedFlow | None]) -> None:
    """Each block is a whole flow, or becomes one with what every flow needs."""
    read(text, page)


@pytest.mark.parametrize("kind", SINKS)
def test_page_of_each_destination(kind: str, read: Callable[[str, Path], LoadedFlow | None]) -> None:
    """Each type of destination has a page of its own, with an example that sends to it."""
    page = ROOT / "docs" / "destinations" / f"{kind}.md"
    examples = [loaded.flow for text in blocks(page, "yaml") if (loaded := read(text, page))]
    assert [each for flow in examples for each in flow.destinations.values() if isinstance(each, load_sink(kind))]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands(page: Path) -> None:
    """Each command line of logweir names a command that exists, with options that it has."""
    shown = "\n".join(blocks(page, "sh")) + "\n".join(re.findall(r"`((?:[\w./]*/)?logweir [^`]+)`", page.read_text()))
    for line in re.findall(r"(?:^|\s)(?:[\w./]*/)?logweir (.*)", shown):
        word, *rest = shlex.split(line.translate(str.maketrans("[]|\\", "    ")))
        command = main.commands[word]
        while isinstance(command, click.Group):
            command = command.commands[rest.pop(0)]
        options = {option for each in command.params if isinstance(each, click.Option) for option in each.opts}
        assert {part for part in rest if part.startswith("--")} <= options, line


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_targets(page: Path) -> None:
    """Each target of make that a page names is in the Makefile."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z]+)", page.read_text(), re.MULTILINE)) <= targets


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links(page: Path) -> None:
    """Each link within the repository leads somewhere, to a heading too."""
    for target, anchor in _LINK.findall(page.read_text()):
        if target.startswith("http"):
            continue
        place = (page.parent / target).resolve() if target else page
        assert place.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", place.read_text(), re.MULTILINE)
            assert anchor in {heading.lower().replace(" ", "-").replace("`", "") for heading in headings}, anchor


@pytest.mark.parametrize(
    ("page", "command"), [("limits", "run"), ("redaction", "run"), ("routing", "explain"), ("flow-tests", "test")]
)
def test_said(page: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a page says that a command says of its first flow and its records is what it says."""
    path = ROOT / "docs" / f"{page}.md"
    monkeypatch.chdir(tmp_path)
    Path("flow.yaml").write_text(blocks(path, "yaml")[0])
    records = blocks(path, "json")[0] if blocks(path, "json") else ""
    done = subprocess.run([*COMMAND, command, "flow.yaml"], input=records, capture_output=True, text=True, check=False)
    assert done.stdout == blocks(path, "text")[0]


def test_explain(tmp_path: Path) -> None:
    """The page's example of `explain` is what the command says."""
    page = ROOT / "docs" / "rules.md"
    flow = tmp_path / "flow.yaml"
    flow.write_text(blocks(page, "yaml")[-1])
    (records,) = blocks(page, "json")
    (said,) = blocks(page, "text")
    result = CliRunner().invoke(main, ["explain", str(flow)], input=records)
    assert result.stdout == said
