"""Two processes that write one file: one waits, and loses nothing of the other's."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sinks.destination import Delivered, Hold
from sinks.file import FileDestination

WRITER = """
import sys
from pathlib import Path
from sinks.file import FileDestination
destination = FileDestination(Path(sys.argv[1]), None, None, None)
print(type(destination.send(b"b\\n", 1)).__name__, flush=True)
sys.stdin.read()
"""


@contextmanager
def writer(path: Path) -> Iterator[str]:
    """Run another process that has written to a file, and holds it until the end of the block."""
    command = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.kill()


@pytest.mark.parametrize("spelt", ["out.ndjson", "link.ndjson", "hard.ndjson"])
def test_another_writer_is_kept_out(tmp_path: Path, spelt: str) -> None:
    """While one process writes a file, another holds with words, and takes nothing back of it after a crash."""
    path = tmp_path / "out.ndjson"
    first = FileDestination(path, None, None, None)
    assert first.send(b"a\n", 1) == Delivered()
    recorded = first.checkpoint()
    first.close()
    (tmp_path / "link.ndjson").symlink_to(path)
    os.link(path, tmp_path / "hard.ndjson")
    with writer(tmp_path / spelt) as outcome:
        assert outcome == "Delivered"
        again = FileDestination(path, None, None, recorded)
        held = again.send(b"c\n", 1)
        assert isinstance(held, Hold)
        assert "another flow or destination writes to it" in held.issue
        assert again.checkpoint() == recorded
        assert path.read_bytes() == b"a\nb\n"
    # The lock ends with its process, whatever way that ends.
    assert again.send(b"c\n", 1) == Delivered()
    assert path.read_bytes() == b"a\nc\n"
    again.close()


def test_through_a_rotation(tmp_path: Path) -> None:
    """A file stays its writer's when it is rotated."""
    path = tmp_path / "out.ndjson"
    first = FileDestination(path, 4, None, None)
    for body in (b"a\n", b"bbb\n", b"ccc\n"):
        assert first.send(body, 1) == Delivered()
    with writer(path) as outcome:
        assert outcome == "Hold"
    first.close()
    with writer(path) as outcome:
        assert outcome == "Delivered"


def test_devices_need_no_lock() -> None:
    """/dev/null may have any number of writers, and no file is made beside it."""
    one = FileDestination(Path(os.devnull), None, None, None)
    assert one.send(b"a\n", 1) == Delivered()
    with writer(Path(os.devnull)) as outcome:
        assert outcome == "Delivered"
    assert not Path("/dev/.null.lock").exists()
    one.close()


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the file system has no locks, as NFS without its lock service, records are delivered all the same."""

    def unable(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "lockf", unable)
    destination = FileDestination(tmp_path / "out.ndjson", None, None, None)
    assert destination.send(b"a\n", 1) == Delivered()
    destination.close()
