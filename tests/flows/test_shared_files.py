"""Files that two parts of a flow would write, or one write and another read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from flows.config import load
from logweir.errors import ConfigError


def findings(*destinations: str, source: str = "{type: stdin}") -> list[str]:
    """Return what is wrong with a flow of these file destinations."""
    listed = "\n".join(f"  d{number}: {{type: file, {each}}}" for number, each in enumerate(destinations))
    try:
        load(f"name: a\nsource: {source}\ndestinations:\n{listed}\n", environment={})
    except ConfigError as error:
        return error.findings
    return []


@pytest.mark.parametrize(
    "spelt", ["out.ndjson", "./out.ndjson", "sub/../out.ndjson", "{here}/out.ndjson", "link.ndjson", "hard.ndjson"]
)
def test_one_file_of_two_destinations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spelt: str) -> None:
    """Two destinations that write one file are refused, however its path is spelt."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "out.ndjson").touch()
    (tmp_path / "link.ndjson").symlink_to("out.ndjson")
    os.link("out.ndjson", "hard.ndjson")
    (said,) = findings("path: out.ndjson", f"path: '{spelt.format(here=tmp_path)}'")
    assert "d1.path: the destination d0 writes to the same file" in said
    assert findings("path: out.ndjson", f"path: '{spelt.format(here=tmp_path)}', enabled: false") == []


def test_partitions_have_files_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file of another's sink partition is another's file; devices are nobody's."""
    monkeypatch.chdir(tmp_path)
    assert len(findings("path: out.ndjson, partitions: 3", "path: out-2.ndjson")) == 1
    assert findings("path: out.ndjson, partitions: 2", "path: out-2.ndjson") == []
    assert findings("path: /dev/null", "path: /dev/null") == []


def test_a_file_that_the_source_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A destination that writes what the source reads is refused, also behind a pattern."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "app.log").touch()
    for pattern in ("app.log", "*.log"):
        (said,) = findings("path: ./app.log", source=f"{{type: file, path: '{pattern}'}}")
        assert "is a file that the source reads" in said
