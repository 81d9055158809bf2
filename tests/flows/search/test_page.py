"""The page about search says what is so: its examples are run."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.archiving import FlowArchive
from operators.where import parse
from tests.flows.search.support import archive, printed
from tests.test_docs import ROOT, blocks

PAGE = ROOT / "docs" / "search.md"
(RECORDS,) = (text.encode().splitlines() for text in blocks(PAGE, "json"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the page's records are in an archive."""
    folder = tmp_path_factory.mktemp("page")
    archive(folder / "archive", [RECORDS], folder)
    return folder


def settings(folder: Path) -> FlowArchive:
    """Return the page's archive."""
    return archive(folder / "archive", [], folder)


def test_examples(folder: Path) -> None:
    """The page's searches find what it shows."""
    expressions, first, second = blocks(PAGE, "text")[:3]
    for line in expressions.splitlines():
        assert parse(line)
    assert printed(settings(folder), where="performance.duration > 1000") == first
    assert printed(settings(folder), kept=True, text="sign-in") == second
