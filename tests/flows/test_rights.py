"""What a flow keeps for itself is for its user alone; what others are to read has the rights that its setting says."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from logweir.private import rights
from sinks.archive import Archive
from sinks.deadletter import DeadLetter, DirectoryDeadLetters
from sinks.file import File
from tests.flowing import COMMAND
from tests.flows.compaction.support import at, compact, record
from tests.sinks.archive_support import configured, rows, writer

GROUP_AND_OTHERS = 0o077


@pytest.fixture(autouse=True)
def open_to_all() -> Iterator[None]:
    """Have a umask that takes no right from anybody."""
    before = os.umask(0)
    yield
    os.umask(before)


def found(place: Path) -> dict[str, int]:
    """Return the rights of a directory and of all that is below it."""
    return {str(each.relative_to(place)): each.lstat().st_mode & 0o777 for each in (place, *place.rglob("*"))}


def test_a_run(tmp_path: Path) -> None:
    """Recovery stores and dead letters are 0600 in 0700, whatever the umask; a file destination as its `mode` says."""
    flow = tmp_path / "flow.yaml"
    settings = {
        "name": "a",
        "source": {"type": "stdin"},
        "destinations": {"out": {"type": "file", "path": str(tmp_path / "out" / "logs.ndjson"), "mode": "0640"}},
        "dead_letter": {"directory": str(tmp_path / "letters")},
        "recovery": {"directory": str(tmp_path / "recovery")},
    }
    flow.write_text(yaml.safe_dump(settings))
    given = b'{"id":"1","message":"m"}\nno record\n'
    subprocess.run([*COMMAND, "run", flow], input=given, check=True, umask=0, timeout=120, capture_output=True)
    kept = {**found(tmp_path / "recovery"), **found(tmp_path / "letters")}
    assert len(kept) > 6
    assert not {name: oct(mode) for name, mode in kept.items() if mode & GROUP_AND_OTHERS}
    assert (tmp_path / "out" / "logs.ndjson").read_bytes() == given[:25]
    written = found(tmp_path / "out")
    assert (written["."], written["logs.ndjson"]) == (0o750, 0o640)


def test_letters_of_an_older_version(tmp_path: Path) -> None:
    """A file of letters that all could read is closed to others; a group that was given it keeps it."""
    letter = DeadLetter(cause="c", reason="r", attempts=1, topic="t", partition=0, offset=0, value=b"{}")
    letters = DirectoryDeadLetters(tmp_path, "out", None)
    letters.write([letter])
    letters.close()
    (file,) = tmp_path.glob("*.ndjson*")
    assert file.stat().st_mode & 0o777 == 0o600
    file.chmod(0o644)
    letters.write([letter])
    letters.close()
    assert file.stat().st_mode & 0o777 == 0o640
    assert file.read_bytes().count(b"\n") == 2


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_files(tmp_path: Path, umask: int) -> None:
    """Each file of the destination has its mode, also after a rotation, and one that was there gets it."""
    os.umask(umask)
    settings = {"type": "file", "path": str(tmp_path / "a" / "b" / "out.ndjson"), "rotate_bytes": 10, "mode": "0640"}
    destination = File.model_validate(settings).open(lambda _: lambda _: None, None)
    for _ in range(3):
        destination.send(b'{"a":1}\n', 1)
    destination.close()
    files = {mode for name, mode in found(tmp_path / "a").items() if ".ndjson" in name and not name.endswith(".lock")}
    assert files == {0o640}
    assert {found(tmp_path / "a")[name] for name in (".", "b")} == {0o750}
    again = File.model_validate({**settings, "mode": "0600"}).open(lambda _: lambda _: None, None)
    again.send(b"{}\n", 1)
    again.close()
    assert found(tmp_path / "a")["b/out.ndjson"] == 0o600


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_archive(tmp_path: Path, umask: int) -> None:
    """Nobody else can enter any of the archive's directories or read its files, those of a compaction neither."""
    os.umask(umask)
    settings = configured(tmp_path / "a", archive={"mode": "0640"})
    with writer(settings, tmp_path) as archive:
        for number in range(3):
            archive.deliver([record(number)], number)
    compact(settings, at("2026-01-02"))
    assert rows(tmp_path / "a").height == 3
    directories = {each: each.stat().st_mode & 0o777 for each in (tmp_path / "a", *(tmp_path / "a").rglob("*/"))}
    assert set(directories.values()) == {0o750}
    files = {each: each.stat().st_mode & 0o777 for each in (tmp_path / "a").rglob("*") if each.is_file()}
    assert set(files.values()) == {0o640}


def test_archive_of_an_older_version(tmp_path: Path) -> None:
    """An archive that is there is closed by its directory, once `mode` is set."""
    with writer(configured(tmp_path / "a"), tmp_path) as archive:
        archive.deliver([record(0)])
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o777
    with writer(configured(tmp_path / "a", archive={"mode": "600"}), tmp_path) as archive:
        archive.deliver([record(1)], 1)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(("given", "mode"), [("0640", 0o640), ("600", 0o600), (644, 0o644), ("0777", 0o777)])
def test_modes(given: Any, mode: int) -> None:
    """A mode is what chmod takes, quoted or not, and is read again as it was shown."""
    settings = File.model_validate({"type": "file", "path": "a", "mode": given})
    assert rights(settings.mode) == mode
    assert File.model_validate(settings.model_dump()) == settings


@pytest.mark.parametrize("given", ["0440", "0200", "1640", "0o640", "rw-r-----", 0o640, "8", True, -640, "06400", ""])
def test_wrong_modes(given: Any) -> None:
    """What would keep logweir from its own files, or isn't octal, is refused in words."""
    with pytest.raises(ValidationError, match="must be the rights of a file in octal, such as 0640"):
        File.model_validate({"type": "file", "path": "a", "mode": given})


def test_a_bucket_has_none() -> None:
    """Rights of files mean nothing in S3."""
    with pytest.raises(ValidationError, match="mode goes with a directory"):
        Archive.model_validate({"path": "s3://bucket/a", "mode": "0640"})
