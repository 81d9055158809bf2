"""Rotations as loggers do them: the stamp behind the name or before its extension, while logweir runs or is stopped."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from logweir_logger import FileOutput, StructuredLogger

import flows.sources.file_part
from flows.sources.base import SourcePartition
from flows.sources.file import File
from flows.sources.rotation import is_rotated_name, without_rotated
from tests.flows.sources.context import Flow, drain, values

STAMPS = {
    "suffix": "app.log.{0}",
    "dashed": "app.log-2026113{0}.gz.old",
    "own logger": "app.20261130T10000{0}Z-00000{0}.log",
    "date": "app-2026-11-30T10-00-0{0}.000.log",
    "number": "app.{0}.log",
    "directory of a day": "2026-11-3{0}/app.log",
    "directories of a day": "2026/11/3{0}/app.log",
    "olddir": "old/app.log.2026113{0}",
}


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leave a renamed file at once, and close what a test has opened."""
    monkeypatch.setattr(flows.sources.file_part, "ROTATE_WAIT", 0.0)
    yield
    while _OPEN:
        _OPEN.pop().close()


_OPEN: list[SourcePartition] = []


def opened(pattern: str, state: dict[str, Any] | None = None, flow: Flow | None = None) -> dict[str, SourcePartition]:
    """Return the partitions of a pattern that is followed, each from its state."""
    flow = flow or Flow()
    source = File.model_validate({"type": "file", "path": pattern, "follow": True}).open(flow.context)
    parts = {name: source.build_part("s", name, (state or {}).get(name)) for name in source.list_parts()}
    _OPEN.extend(parts.values())
    return parts


def read(parts: dict[str, SourcePartition]) -> list[bytes]:
    """Return what all partitions have to give."""
    return [value for part in parts.values() for value in values(drain(part)[0])]


def lines(first: int, last: int) -> list[bytes]:
    """Return records that are long enough to tell one file from another."""
    return [b'{"id":"%06d","message":"%-60s"}' % (number, b"m") for number in range(first, last)]


def write(path: Path, *some: bytes) -> None:
    """Append lines."""
    with path.open("ab") as file:
        file.write(b"".join(line + b"\n" for line in some))


def rotate(path: Path, name: str, age: float) -> None:
    """Rename a file that was written some seconds ago."""
    when = time.time() - age
    os.utime(path, (when, when))
    target = path.parent / name
    target.parent.mkdir(parents=True, exist_ok=True)
    path.rename(target)


@pytest.mark.parametrize(
    ("name", "rotated"),
    [
        ("app.log.1", True),
        ("app.log-20261130.gz", True),
        ("app.20261130T100000Z-000001.log", True),
        ("app-2026-11-30.log", True),
        ("app_20261130.log.gz", True),
        ("app-2026-11-30.1.log", True),
        ("app.1.log", True),
        ("app.12.log.zst", True),
        ("app-1.log", False),
        ("app2.log", False),
        ("other-2026-11-30.log", False),
        ("app-2026-11-30.txt", False),
        ("app.log", False),
        ("app.new.log", False),
    ],
)
def test_names(name: str, rotated: bool) -> None:
    """A file is a rotated one of another by a date or a number behind its name or before its extension."""
    assert is_rotated_name(name, "app.log") is rotated
    assert (without_rotated([Path("d/app.log"), Path("d") / name]) == [Path("d/app.log")]) is (
        rotated or name == "app.log"
    )


def test_dated_files_without_another_are_read() -> None:
    """Files of one day each, of which none is the live one, are no rotated files."""
    paths = [Path("app-2026-11-29.log"), Path("app-2026-11-30.log")]
    assert without_rotated(paths) == paths


@pytest.mark.parametrize(
    "style", ["suffix", "own logger", "date", "number", "directory of a day", "directories of a day", "olddir"]
)
@pytest.mark.parametrize("pattern", ["app.log", "*.log", "**/*.log*"])
def test_each_record_once(tmp_path: Path, style: str, pattern: str) -> None:
    """Through rotations, while it runs and while it is stopped, each record is read once and none is left out."""
    path, names = tmp_path / "app.log", STAMPS[style]
    write(path, *lines(0, 2))
    parts = opened(str(tmp_path / pattern))
    got = read(parts)
    for turn in range(1, 4):
        write(path, *lines(10 * turn, 10 * turn + 2))
        rotate(path, names.format(turn), 20 - turn)
        write(path, *lines(10 * turn + 2, 10 * turn + 4))
        got += read(parts)
    state = {name: part.snapshot() for name, part in parts.items()}
    for turn in range(4, 7):
        write(path, *lines(10 * turn, 10 * turn + 2))
        rotate(path, names.format(turn), 10 - turn)
        write(path, *lines(10 * turn + 2, 10 * turn + 4))
    got += read(opened(str(tmp_path / pattern), state))
    expected = [*lines(0, 2), *(line for turn in range(1, 7) for line in lines(10 * turn, 10 * turn + 4))]
    assert got == expected


def test_between_a_rename_and_a_create(tmp_path: Path) -> None:
    """A rotated file whose live one isn't there at the moment is no new file."""
    path = tmp_path / "app.log"
    write(path, *lines(0, 2))
    flow = Flow()
    parts = opened(str(tmp_path / "*.log"), flow=flow)
    read(parts)
    rotate(path, "app.20261130T100000Z-000001.log", 1)
    read(parts)
    assert flow.restarts == []


def test_a_file_that_comes_late_after_a_rotation_is_no_issue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A logger that makes its next file with its next record, hours later, makes no flow unhealthy."""
    monkeypatch.setattr(flows.sources.file_part, "_MISSING_WAIT", 0.0)
    path = tmp_path / "app.log"
    write(path, *lines(0, 2))
    flow = Flow()
    source = File.model_validate({"type": "file", "path": str(path), "follow": True}).open(flow.context)
    part = source.build_part("s", str(path), None)
    _OPEN.append(part)
    assert read({"": part}) == lines(0, 2)
    rotate(path, "app.1.log", 1)
    for _ in range(3):
        read({"": part})
    assert [told["event"] for told in flow.told] == ["source.missing"]
    assert source.issues() == []
    write(path, *lines(2, 4))
    assert read({"": part}) == lines(2, 4)


@pytest.mark.parametrize("pattern", ["app.log", "*.log"])
def test_the_projects_own_logger(tmp_path: Path, pattern: str) -> None:
    """What logweir-logger writes and rotates is read once, all of it."""
    path = tmp_path / "app.log"
    logger = StructuredLogger("shop", host="h", outputs=[FileOutput(path, rotate_bytes=5_000)])
    logger.info("first", metadata={"pad": "x" * 60})
    parts = opened(str(tmp_path / pattern))
    got = read(parts)
    for number in range(200):
        logger.info("more", metadata={"number": number})
        if number % 7 == 0:
            got += read(parts)
    for _ in range(50):
        got += read(parts)
    assert len(list(tmp_path.glob("app.*.log"))) > 5
    assert len(got) == len(set(got)) == 201


@pytest.mark.parametrize("style", ["suffix", "own logger", "number", "olddir"])
def test_files_of_one_tick(tmp_path: Path, style: str) -> None:
    """Files that a fast writer finished within one tick of the file system's clock are all read, in their order."""
    path = tmp_path / "app.log"
    write(path, *lines(0, 2))
    parts = opened(str(path))
    got = read(parts)
    when = time.time_ns() - 10**10
    for turn in range(1, 5):
        write(path, *lines(10 * turn, 10 * turn + 2))
        os.utime(path, ns=(when, when))
        # Of plain numbers the newest file has the lowest.
        target = tmp_path / STAMPS[style].format(5 - turn if style in {"suffix", "number"} else turn)
        target.parent.mkdir(exist_ok=True)
        path.rename(target)
    write(path, *lines(90, 92))
    got += read(parts)
    assert got == [*lines(0, 2), *(line for turn in (1, 2, 3, 4, 9) for line in lines(10 * turn, 10 * turn + 2))]


@pytest.mark.parametrize("style", ["suffix", "own logger", "date", "directory of a day"])
def test_the_file_of_the_position_is_gone(tmp_path: Path, style: str) -> None:
    """Where the file that was being read was deleted while logweir was stopped, the rotated ones after it are read."""
    path = tmp_path / "app.log"
    write(path, *lines(0, 2))
    parts = opened(str(path))
    got = read(parts)
    state = {name: part.snapshot() for name, part in parts.items()}
    for turn in range(1, 5):
        write(path, *lines(10 * turn, 10 * turn + 2))
        rotate(path, STAMPS[style].format(turn), -turn)
    write(path, *lines(90, 92))
    (tmp_path / STAMPS[style].format(1)).unlink()
    flow = Flow()
    got += read(opened(str(path), state, flow))
    assert got == [*lines(0, 2), *(line for turn in (2, 3, 4, 9) for line in lines(10 * turn, 10 * turn + 2))]
    assert [told["event"] for told in flow.told] == ["source.gap"]


def test_a_link_that_leads_on(tmp_path: Path) -> None:
    """A link that leads to the next day's directory while logweir is stopped loses nothing of the last day."""
    for day in ("day-a", "day-b"):
        (tmp_path / day).mkdir()
    (tmp_path / "current").symlink_to("day-a")
    path = tmp_path / "current" / "app.log"
    write(path, *lines(0, 2))
    parts = opened(str(path))
    got = read(parts)
    state = {name: part.snapshot() for name, part in parts.items()}
    write(path, *lines(2, 4))
    (tmp_path / "current").unlink()
    (tmp_path / "current").symlink_to("day-b")
    write(path, *lines(4, 6))
    flow = Flow()
    got += read(opened(str(path), state, flow))
    assert got == lines(0, 6)
    assert flow.told == []


class TestUnreadable:
    def test_a_disk_that_fails(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A file that opens and gives EIO is told and tried again; once it is away from the path the next is read."""
        path = tmp_path / "b.log"
        path.symlink_to("/proc/self/mem")  # its first page is mapped by no process
        flow = Flow()
        source = File.model_validate({"type": "file", "path": str(path), "follow": True}).open(flow.context)
        part = source.build_part("s", str(path), None)
        _OPEN.append(part)
        monkeypatch.setattr(flows.sources.file_part, "GIVE_UP_SECONDS", 0.0)
        for _ in range(3):
            assert drain(part) == ([], False)
        assert [(told["event"], told["path"]) for told in flow.told] == [("source.error", str(path))]
        (issue,) = source.issues()
        assert "Input/output error" in issue
        path.unlink()
        write(path, *lines(0, 2))
        assert read({"": part}) + read({"": part}) == lines(0, 2)
        assert [told["event"] for told in flow.told] == ["source.error", "source.gap"]
        assert source.issues() == []

    def test_a_disk_that_fails_without_follow(self, tmp_path: Path) -> None:
        """Read once, what can't be read is a gap, and the other files are read."""
        path = tmp_path / "a.log"
        path.symlink_to("/proc/self/mem")
        write(tmp_path / "b.log", *lines(0, 2))
        flow = Flow()
        source = File.model_validate({"type": "file", "path": f"{tmp_path}/*.log"}).open(flow.context)
        parts = {name: source.build_part("s", name, None) for name in source.list_parts()}
        _OPEN.extend(parts.values())
        assert sorted(parts) == [str(path), str(tmp_path / "b.log")]
        assert read(parts) == lines(0, 2)
        assert [(told["event"], told["path"]) for told in flow.told] == [("source.gap", str(path))]

    def test_a_directory_that_vanishes(self, tmp_path: Path) -> None:
        """What was read of the others goes on; once the directory is back its file is read."""
        good, bad = tmp_path / "a" / "x.log", tmp_path / "b" / "x.log"
        for each in (good, bad):
            each.parent.mkdir()
        write(good, *lines(0, 2))
        write(bad, *lines(2, 4))
        parts = opened(f"{tmp_path}/*/x.log")
        shutil.rmtree(bad.parent)
        write(good, *lines(4, 6))
        assert read(parts) == [*lines(0, 2), *lines(4, 6), *lines(2, 4)]
        bad.parent.mkdir()
        write(bad, *lines(6, 8))
        for _ in range(3):
            found = read(parts)
            if found:
                break
        assert found == lines(6, 8)

    def test_what_can_be_read_is_read(self, tmp_path: Path) -> None:
        """A path that can't be opened is told, and tried again; the others go on, and it is read once it may be."""
        good, bad = tmp_path / "a.log", tmp_path / "b.log"
        write(good, *lines(0, 2))
        write(bad, *lines(2, 4))
        hidden = bad.rename(tmp_path / "kept")
        bad.symlink_to(bad)  # a loop, which nobody can open, whoever runs this
        flow = Flow()
        source = File.model_validate({"type": "file", "path": str(bad), "follow": True}).open(flow.context)
        parts = {str(bad): source.build_part("s", str(bad), None), **opened(str(good))}
        _OPEN.append(parts[str(bad)])
        assert read(parts) == lines(0, 2)
        assert [(told["event"], told["path"]) for told in flow.told] == [("source.error", str(bad))]
        bad.unlink()
        hidden.rename(bad)
        assert read(parts) == lines(2, 4)

    def test_a_position_is_kept(self, tmp_path: Path) -> None:
        """A file that can't be opened at a start is not gone: it goes on from its position once it can be."""
        path = tmp_path / "a.log"
        write(path, *lines(0, 2))
        parts = opened(str(path))
        assert read(parts) == lines(0, 2)
        state = {name: part.snapshot() for name, part in parts.items()}
        write(path, *lines(2, 4))
        hidden = path.rename(tmp_path.parent / f"{tmp_path.name}-kept")
        path.symlink_to(path)
        flow = Flow()
        again = opened(str(path), state, flow)
        assert read(again) == []
        assert again[str(path)].snapshot() == state[str(path)]
        assert [told["event"] for told in flow.told] == ["source.error"]
        path.unlink()
        hidden.rename(path)
        assert read(again) == lines(2, 4)

    def test_read_once(self, tmp_path: Path) -> None:
        """Without follow an unreadable file is a gap that is told, and the partition ends."""
        path = tmp_path / "a.log"
        path.symlink_to(path)
        flow = Flow()
        source = File.model_validate({"type": "file", "path": f"{tmp_path}/*", "follow": False})
        write(tmp_path / "b.log", *lines(0, 1))
        part = source.open(flow.context).build_part("s", str(path), None)
        _OPEN.append(part)
        assert drain(part) == ([], False)
        assert drain(part) == ([], True)
        assert [(told["event"], told["severity"]) for told in flow.told] == [("source.gap", "error")]
