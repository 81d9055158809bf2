"""When a flow file counts as changed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from flows.flow_file import LOOK_SECONDS, FlowFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a file."""
    path = tmp_path / "flow.yaml"
    path.write_text("one")
    return path


@pytest.fixture
def looks() -> Iterator[float]:
    """Return the moments of one look after another."""
    return map(LOOK_SECONDS.__mul__, count(1.0))


def settled(file: FlowFile, looks: Iterator[float]) -> bool:
    """Tell whether a change is noticed within three looks."""
    return any([file.changed(next(looks)) for _ in range(3)])  # noqa: C419  each look counts


def test_written_in_place(path: Path, looks: Iterator[float]) -> None:
    """A change is noticed once, when it has stayed the same from one look to the next."""
    file = FlowFile(path)
    assert file.read() == b"one"
    assert not settled(file, looks)
    path.write_text("two and")
    assert not file.changed(next(looks))
    path.write_text("two and a half")
    assert not file.changed(next(looks))
    assert file.changed(next(looks))
    assert file.read() == b"two and a half"
    assert not settled(file, looks)


def test_looked_at_now_and_then(path: Path) -> None:
    """Between two looks nothing is asked of the file system."""
    file = FlowFile(path)
    file.read()
    assert not file.changed(10.0)
    path.write_text("another")
    assert not file.changed(10.0 + LOOK_SECONDS / 2)
    assert not file.changed(10.0 + LOOK_SECONDS)
    assert file.changed(10.0 + 2 * LOOK_SECONDS)


def test_changed_while_the_flow_began(path: Path, looks: Iterator[float]) -> None:
    """What was there when the run began is looked at once more: it may be another than was read a moment before."""
    assert settled(FlowFile(path), looks)


def test_replaced(path: Path, looks: Iterator[float]) -> None:
    """Another file of the same name, even of the same size and time, is another content; none at all is no change."""
    file = FlowFile(path)
    file.read()
    other = path.with_name("other")
    other.write_text("two")
    times = path.stat()
    os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
    path.unlink()
    assert not settled(file, looks)
    other.rename(path)
    assert settled(file, looks)


def test_a_link_that_leads_elsewhere(tmp_path: Path, looks: Iterator[float]) -> None:
    """As Kubernetes changes a ConfigMap: the link to the directory changes, the path of the file stays."""
    for number in ("1", "2"):
        (tmp_path / number).mkdir()
        (tmp_path / number / "flow.yaml").write_text(number)
    data = tmp_path / "..data"
    data.symlink_to("1")
    path = tmp_path / "flow.yaml"
    path.symlink_to("..data/flow.yaml")
    file = FlowFile(path)
    assert file.read() == b"1"
    fresh = tmp_path / "..new"
    fresh.symlink_to("2")
    fresh.rename(data)
    assert settled(file, looks)
    assert file.read() == b"2"


def test_a_pipe_is_read_once(tmp_path: Path, looks: Iterator[float]) -> None:
    """What can't be read again is never looked at."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    file = FlowFile(path)
    assert not file.is_regular
    assert not settled(file, looks)


def test_made_readable(path: Path, looks: Iterator[float]) -> None:
    """A file that could not be read is looked at again once its rights have changed; so is one with its old time."""
    file = FlowFile(path)
    file.read()
    path.chmod(0o600)
    assert settled(file, looks)
    file.read()
    times = path.stat()
    path.write_text("two")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert settled(file, looks)
