from __future__ import annotations

import errno
import os
import pickle
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from logweir.errors import DestinationError
from sinks.destination import Delivered, Hold, Records, Retry
from sinks.file import File, FileDestination, of_partition


def opened(path: Path, resume: Any = None, **given: Any) -> FileDestination:
    """Return a destination that writes to `path`."""
    model = File.model_validate({"type": "file", "path": str(path), **given})
    assert model.fields() == set()
    return model.open(lambda _: lambda _: None, pickle.loads(pickle.dumps(resume)))


def put(destination: FileDestination, *values: bytes) -> Any:
    """Send one request of these records."""
    return destination.send(destination.frame(destination.encode(Records(list(values)))), len(values))


def everything(path: Path) -> list[bytes]:
    """Return the lines of the finished files and the active one, in order."""
    finished = sorted(path.parent.glob(path.name + ".*"), key=lambda file: file.name.rpartition("-")[2])
    return [line for file in [*finished, path] if file.exists() for line in file.read_bytes().splitlines()]


def test_appends_lines(tmp_path: Path) -> None:
    """Records are lines; directories are created; what was in the file stays, its last line ended."""
    path = tmp_path / "a" / "b" / "out.ndjson"
    assert put(opened(path), b"{}", b'{"a":1}') == Delivered()
    assert path.read_bytes() == b'{}\n{"a":1}\n'
    path.write_bytes(b"torn")
    put(opened(path), b"{}")
    assert path.read_bytes() == b"torn\n{}\n"


def test_takes_back_what_no_checkpoint_knows(tmp_path: Path) -> None:
    """After a kill -9 the file holds exactly what the last checkpoint had; half a line is gone too."""
    path = tmp_path / "out.ndjson"
    first = opened(path)
    put(first, b"1")
    state = first.checkpoint()
    put(first, b"2")
    path.write_bytes(path.read_bytes() + b'{"ha')
    put(opened(path, state), b"2")
    assert path.read_bytes() == b"1\n2\n"


def test_takes_back_across_rotations(tmp_path: Path) -> None:
    """Files finished after the checkpoint are taken back: the one that was active is active again."""
    path = tmp_path / "out.ndjson"
    first = opened(path, rotate_bytes=4)
    put(first, b"1")
    put(first, b"2")
    state = first.checkpoint()
    for value in (b"3", b"4", b"5", b"6", b"7"):
        put(first, value)
    assert everything(path) == [b"1", b"2", b"3", b"4", b"5", b"6", b"7"]
    second = opened(path, state, rotate_bytes=4)
    assert second.checkpoint() == state
    assert everything(path) == [b"1", b"2"]
    for value in (b"3", b"4", b"5"):
        put(second, value)
    assert everything(path) == [b"1", b"2", b"3", b"4", b"5"]
    assert [file.name[-6:] for file in sorted(tmp_path.glob("*Z-*"))] == ["000001", "000002"]


@given(st.lists(st.sampled_from(["put", "put", "put", "checkpoint", "crash", "stop"]), max_size=40), st.integers(0, 12))
def test_every_record_once(tmp_path_factory: pytest.TempPathFactory, steps: list[str], rotate: int) -> None:
    """Whenever it dies, each record is in the files once, as long as the source gives again what no checkpoint had."""
    path = tmp_path_factory.mktemp("out") / "out.ndjson"
    options: dict[str, Any] = {"rotate_bytes": rotate} if rotate else {}
    destination = opened(path, **options)
    state, safe = destination.checkpoint(), 0
    number = 0
    for step in steps:
        if step == "put":
            assert put(destination, b"%d" % number) == Delivered()
            number += 1
        elif step == "checkpoint":
            state, safe = destination.checkpoint(), number
        else:
            if step == "stop":
                destination.close()
            destination, number = opened(path, state, **options), safe
    destination.checkpoint()
    assert everything(path) == [b"%d" % each for each in range(number)]
    shutil.rmtree(path.parent)


def test_rotates_before_it_grows_larger(tmp_path: Path) -> None:
    """No file is larger than rotate_bytes, unless one request alone is."""
    path = tmp_path / "out.ndjson"
    destination = opened(path, rotate_bytes=6)
    for value in (b"11", b"22", b"333333333", b"4"):
        put(destination, value)
    assert [file.read_bytes() for file in sorted(tmp_path.glob("*Z-*"))] == [b"11\n22\n", b"333333333\n"]
    assert path.read_bytes() == b"4\n"


def test_rotates_with_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first record in a new period begins a new file, after a restart too."""
    path = tmp_path / "out.ndjson"
    put(opened(path, rotate_interval="1h"), b"1")
    os.utime(path, (7200, 7200))
    monkeypatch.setattr(time, "time", lambda: 3600 * 3 - 1)
    put(opened(path, rotate_interval="1h"), b"2")
    assert path.read_bytes() == b"1\n2\n"
    os.utime(path, (7200, 7200))
    monkeypatch.setattr(time, "time", lambda: 3600 * 3)
    put(opened(path, rotate_interval="1h"), b"3")
    assert path.read_bytes() == b"3\n"


def test_a_full_disk_holds_and_leaves_no_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk is full the stream holds, with the fix in words; what was half written is cut off again."""
    path = tmp_path / "out.ndjson"
    destination = opened(path)
    put(destination, b"1")
    write = os.write

    def full(descriptor: int, data: bytes) -> int:
        if len(data) < 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data[:2])

    monkeypatch.setattr(os, "write", full)
    outcome = put(destination, b"22222")
    assert isinstance(outcome, Hold)
    assert str(path) in outcome.issue
    assert "free some space" in outcome.issue
    assert path.read_bytes() == b"1\n"
    monkeypatch.setattr(os, "write", write)
    assert put(destination, b"22222") == Delivered()
    assert path.read_bytes() == b"1\n22222\n"


def test_what_was_half_written_is_cut_before_anything_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where even the cut fails, it is made up for before the next write, checkpoint or close."""
    path = tmp_path / "out.ndjson"
    destination = opened(path)
    write, truncate = os.write, os.ftruncate

    def broken(*_: Any) -> Any:
        raise OSError(errno.EIO, "Input/output error")

    def half(descriptor: int, data: bytes) -> int:
        return write(descriptor, data[:2]) if len(data) > 4 else broken()

    monkeypatch.setattr(os, "write", half)
    monkeypatch.setattr(os, "ftruncate", broken)
    assert put(destination, b"22222") == Retry(f"{path}: Input/output error")
    monkeypatch.setattr(os, "write", write)
    assert isinstance(put(destination, b"22222"), Retry)
    with pytest.raises(DestinationError, match="Input/output error"):
        destination.checkpoint()
    monkeypatch.setattr(os, "ftruncate", truncate)
    state = destination.checkpoint()
    assert state is not None
    assert state["size"] == 0


def test_an_unusable_path_holds(tmp_path: Path) -> None:
    """A directory in the way, or a file where a directory should be, holds with the fix; mending it is enough."""
    path = tmp_path / "out.ndjson"
    path.mkdir()
    destination = opened(path)
    assert destination.checkpoint() is None
    outcome = put(destination, b"1")
    assert isinstance(outcome, Hold)
    assert "names a directory" in outcome.issue
    path.rmdir()
    assert put(destination, b"1") == Delivered()
    assert isinstance(put(opened(path / "below"), b"1"), Hold | Retry)


def test_what_stands_in_the_way_does_not_lose_the_checkpoint(tmp_path: Path) -> None:
    """A directory that can't be opened at the start is retried with the checkpoint that it began from."""
    path = tmp_path / "out" / "out.ndjson"
    first = opened(path)
    put(first, b"1")
    state = first.checkpoint()
    put(first, b"2")
    path.parent.rename(tmp_path / "aside")
    path.parent.write_bytes(b"in the way")
    second = opened(path, state)
    assert second.checkpoint() == state
    assert not isinstance(put(second, b"2"), Delivered)
    path.parent.unlink()
    (tmp_path / "aside").rename(path.parent)
    assert put(second, b"2") == Delivered()
    assert path.read_bytes() == b"1\n2\n"


def test_follows_a_file_that_was_moved(tmp_path: Path) -> None:
    """When logrotate has moved the file, the next request goes to a new one at `path`."""
    path = tmp_path / "out.ndjson"
    destination = opened(path)
    put(destination, b"1")
    state = destination.checkpoint()
    path.rename(tmp_path / "moved")
    assert put(destination, b"2") == Delivered()
    assert path.read_bytes() == b"2\n"
    put(opened(path, state), b"3")
    assert path.read_bytes() == b"2\n3\n"
    assert (tmp_path / "moved").read_bytes() == b"1\n"


def test_partitions_have_files_of_their_own() -> None:
    """Each sink partition writes its own file, named where the path says so, else before the suffix."""
    assert [str(of_partition("out/logs.ndjson", number)) for number in (0, 2)] == [
        "out/logs.ndjson",
        "out/logs-2.ndjson",
    ]
    assert str(of_partition("out/{partition}/logs.ndjson", 0)) == "out/0/logs.ndjson"


def test_devices_can_be_written() -> None:
    """/dev/null is a file like any other."""
    destination = opened(Path("/dev/null"))
    assert put(destination, b"1") == Delivered()
    assert destination.checkpoint() is not None
    destination.close()


@pytest.mark.parametrize("path", ["out/", "..", "/"])
def test_path_must_name_a_file(path: str) -> None:
    """A path that can only be a directory is a finding."""
    with pytest.raises(ValidationError, match="must name a file"):
        File.model_validate({"type": "file", "path": path})


def test_opening_makes_nothing(tmp_path: Path) -> None:
    """Neither opening nor a health check makes a directory or a file, or takes anything back."""
    path = tmp_path / "a" / "out.ndjson"
    destination = opened(path)
    assert destination.probe() == Delivered()
    destination.close()
    assert not list(tmp_path.iterdir())
    first = opened(path)
    state = first.checkpoint()
    put(first, b"1")
    assert opened(path, state).probe() == Delivered()
    assert path.read_bytes() == b"1\n"


def test_health(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What would keep a record from being written is found before there is one, with the fix in words."""

    def issue(path: Path, **given: Any) -> str:
        found = opened(path, **given).probe()
        assert isinstance(found, Hold)
        return found.issue

    (tmp_path / "file").touch()
    assert "names a directory" in issue(tmp_path)
    assert "is a file where a directory should be" in issue(tmp_path / "file" / "a" / "out.ndjson")
    with monkeypatch.context() as patched:
        patched.setattr(os, "statvfs", lambda _: os.statvfs_result((4096, 4096, 9, 0, 0, 9, 9, 9, 0, 255)))
        assert "free some space" in issue(tmp_path / "out.ndjson")
    monkeypatch.setattr(os, "access", lambda place, _: Path(place) != tmp_path)
    assert "let logweir's user write there" in issue(tmp_path / "a" / "out.ndjson")
    assert opened(tmp_path / "file").probe() == Delivered()
    assert "let logweir's user write there" in issue(tmp_path / "file", rotate_bytes=100)
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_health_of_a_device() -> None:
    """A device is not made, so its directory needs no permission."""
    assert opened(Path("/dev/null")).probe() == Delivered()
