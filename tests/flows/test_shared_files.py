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


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("./*.ndjson", "path: out.ndjson"),
        ("./*.{log,ndjson}", "path: out.ndjson"),
        ("{here}/a/**/*.ndjson", "path: a/b/out.ndjson"),
        ("link/*.ndjson", "path: real/out.ndjson"),
        ("app.log", "path: app.log.1"),
        ("app.log", "path: app.1.log"),
        ("*.ndjson", "path: out.ndjson, partitions: 2"),
        ("out.ndjson.*", "path: out.ndjson, rotate_bytes: 1MB"),
        ("?ut.[mn]djson", "path: out.ndjson"),
    ],
)
def test_a_file_that_the_source_will_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str, path: str
) -> None:
    """What isn't there yet is refused too, before the flow writes it and begins to read itself."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    said = findings(path, source=f"{{type: file, path: '{pattern.replace('{here}', str(tmp_path))}', follow: true}}")
    assert len(said) == 1
    assert "is a file that the source reads" in said[0]


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("./*.log", "path: out.ndjson"),
        ("logs/*.ndjson", "path: out.ndjson"),
        ("*.ndjson", "path: .hidden.ndjson"),
        ("app.log", "path: app-1.log"),
        ("*", "path: /dev/null"),
        ("logs/**/*.log", "path: out/logs/a.log"),
    ],
)
def test_files_that_the_source_does_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str, path: str
) -> None:
    """Others are let be."""
    monkeypatch.chdir(tmp_path)
    assert findings(path, source=f"{{type: file, path: '{pattern}', follow: true}}") == []


@pytest.mark.parametrize(
    ("pattern", "what"),
    [
        ("dead-letter/*", "the dead letters"),
        ("./**/*.ndjson", "the dead letters"),
        ("recovery/a/*/*.json", "the recorded positions"),
        ("**/0*.json", "the archive's log"),
    ],
)
def test_a_source_that_reads_what_the_flow_keeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str, what: str
) -> None:
    """A flow that reads its own dead letters, positions or archive would feed itself."""
    monkeypatch.chdir(tmp_path)
    text = (
        f"name: a\nsource: {{type: file, path: '{pattern}', follow: true}}\n"
        "destinations: {out: {type: console}}\nretention: {archive: ./archive, policies: default}\n"
    )
    with pytest.raises(ConfigError, match=f"source.path: matches {what}, so"):
        load(text, environment={})


def test_a_destination_among_the_dead_letters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file of another's dead letters is not a destination's to write."""
    monkeypatch.chdir(tmp_path)
    (said,) = findings("path: dead-letter/d1.ndjson", "path: out.ndjson")
    assert "d0.path: the dead letters write to the same file" in said


def test_home_is_one_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """~ is read as the home directory wherever a path stands."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (said,) = findings("path: ~/out.ndjson", f"path: '{tmp_path}/out.ndjson'")
    assert "the destination d0 writes to the same file" in said
