"""Wherever destinations are listed, each type of the registry is there, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from benchmarks.encode import SETTINGS
from sinks import SINKS, load_sink
from tests.sinks.conformance import matrix
from tests.sinks.conformance.sites import REAL, SITES

DOCS = Path(__file__).parents[2] / "docs"
PAGES = DOCS / "destinations"


def test_the_index() -> None:
    """The index has a row for each type, which leads to its page."""
    text = (DOCS / "destinations.md").read_text()
    rows = re.findall(r"^\| \[`(.*)`\]\((.*)\) \| \S.* \| \S.* \|$", text, re.MULTILINE)
    assert sorted(rows) == [(kind, f"destinations/{kind}.md") for kind in sorted(SINKS)]


def test_pages() -> None:
    """Each type has a page of its own, and no page is of none."""
    assert {page.stem for page in PAGES.iterdir()} == SINKS.keys()


@pytest.mark.parametrize("kind", SINKS)
def test_examples(kind: str) -> None:
    """Each page shows how records are sent there."""
    blocks = re.findall(r"^```yaml\n(.*?)^```$", (PAGES / f"{kind}.md").read_text(), re.MULTILINE | re.DOTALL)
    shown = [yaml.safe_load(block) for block in blocks]
    types = {each["type"] for example in shown for each in (example or {}).get("destinations", {}).values()}
    assert kind in types


def test_conformance() -> None:
    """The suite that holds destinations to one behaviour runs for each, and the page of its outcomes has each."""
    assert {site.kind for site in SITES.values()} == SINKS.keys()
    assert {site.kind for site in REAL.values()} <= SINKS.keys()
    assert {name for name, _ in matrix.promises()} == SITES.keys()


def test_costs() -> None:
    """What encoding costs is measured for each."""
    assert SETTINGS.keys() == SINKS.keys()


@pytest.mark.parametrize("kind", SINKS)
def test_settings(kind: str) -> None:
    """A type is registered by the name that its settings have."""
    settings = load_sink(kind).model_validate({"type": kind, **SETTINGS[kind]})
    assert settings.model_dump()["type"] == kind
