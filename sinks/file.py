"""A file as a destination: NDJSON, appended, exactly once from the first checkpoint on.

A checkpoint holds the file's size and the number of the last rotation. A flow that resumes takes back whatever was
written after it: later files are removed, the file that was active then is active again, and is cut to that size; the
source gives those records again. So neither a crash nor a power cut leaves a record lost, twice, or half.

That holds as long as only logweir rotates. A file that another program has moved is followed (the next request opens
`path` anew), but what was in it can't be taken back: then a crash repeats the records since the last checkpoint.
"""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, TypedDict

from pydantic import Field, field_validator

from logweir.errors import DestinationError
from logweir.private import FileMode, make_directory, rights, set_mode
from logweir.settings import LocalPath
from logweir.units import Bytes, Duration
from sinks.destination import Delivered, Getter, Hold, Limits, Outcome, Probed, Records, Retry
from sinks.file_lock import IN_USE, FileLock
from sinks.settings import CommonDestination

_REMEDIES = {
    errno.ENOSPC: "free some space, or set `path` to another disk",
    errno.EDQUOT: "raise the quota, or set `path` to another disk",
    errno.EACCES: "let logweir's user write there, or set `path` elsewhere",
    errno.EPERM: "let logweir's user write there, or set `path` elsewhere",
    errno.EROFS: "mount it writable, or set `path` elsewhere",
    errno.EISDIR: "`path` names a directory; name a file in it",
    errno.ENOTDIR: "a part of `path` is a file where a directory should be",
    errno.ENAMETOOLONG: "shorten `path`",
}
"""What a person can do; the flow waits for it. Other errors may pass by themselves."""


class File(CommonDestination):
    """A file of NDJSON."""

    type: Literal["file"] = Field("file", description="A file of NDJSON, appended.")
    path: LocalPath = Field(
        min_length=1,
        description="Where to write; `{partition}` in it becomes the sink partition's number. Directories are created.",
    )
    rotate_bytes: Bytes | None = Field(
        None, gt=0, description="Begin a new file before this one grows larger; finished files get a time and a number."
    )
    rotate_interval: Duration | None = Field(
        None, ge=1, description="Begin a new file with each such period of the clock (UTC), at the first record in it."
    )

    mode: FileMode | None = Field(
        None,
        description="The rights of the files, such as 0640; directories that are created get "
        "the same, and those who may read may enter them. As the process's umask says if left out.",
    )

    @field_validator("path")
    @classmethod
    def _names_a_file(cls, value: str) -> str:
        if value.endswith("/") or Path(value).name in {"", ".."}:
            msg = "must name a file, such as ./out/logs.ndjson"
            raise ValueError(msg)
        return value

    def fields(self) -> set[str]:
        """Return no field: the records are written as they are."""
        return set()

    def open(self, getter: Callable[[str], Getter], resume: Any, *, partition: int = 0) -> FileDestination:  # noqa: ARG002
        """Return the destination. Each partition has a file of its own."""
        path = of_partition(self.path, partition)
        return FileDestination(path, self.rotate_bytes, self.rotate_interval, resume, rights(self.mode))


def of_partition(path: str, partition: int) -> Path:
    """Return the file of a partition: the number stands where `{partition}` does, else before the suffix."""
    if "{partition}" in path:
        return Path(path.replace("{partition}", str(partition)))
    plain = Path(path)
    return plain.with_name(f"{plain.stem}-{partition}{plain.suffix}") if partition else plain


class Checkpoint(TypedDict):
    """What is durable."""

    path: str
    device: int
    inode: int
    size: int
    rotation: int
    """The number of the last file that was finished."""


class FileDestination:
    """Appends to one file.

    Args:
        path: The file being written. Finished ones are named `path.<UTC time>-<number>` beside it.
        rotate_bytes: The largest size of a file.
        rotate_interval: The length in seconds of the periods that each have files of their own.
        resume: The last checkpoint.
        mode: The rights of files; None for those that the umask gives.
    """

    limits = Limits()
    compression: str | None = None
    serial = True

    def __init__(
        self,
        path: Path,
        rotate_bytes: int | None,
        rotate_interval: float | None,
        resume: Checkpoint | None,
        mode: int | None = None,
    ) -> None:
        self._path = path
        self._mode = mode
        self._rotate_bytes = rotate_bytes
        self._rotate_interval = rotate_interval
        self._resume = resume
        self._lock = FileLock(path)
        self._descriptor: int | None = None
        self._rotation = 0
        self._torn: int | None = None
        """The size to cut the file to before anything is written: a write failed half way."""

    def encode(self, records: Records) -> list[bytes]:
        """Return the records as they are."""
        return records.values

    def frame(self, pieces: list[bytes]) -> bytes:
        """Return the records as lines."""
        return b"\n".join(pieces) + b"\n"

    def send(self, body: bytes, count: int) -> Outcome:  # noqa: ARG002
        """Append it all, or nothing."""
        try:
            self._follow()
            descriptor = self._open()
            self._mend(descriptor)
            if self._is_due(descriptor, len(body)):
                self._rotate(descriptor)
                descriptor = self._open()
            self._append(descriptor, body)
        except OSError as error:
            return self._outcome(error)
        return Delivered()

    def probe(self) -> Probed:
        """Look whether the file can be written, or made. Makes nothing."""
        try:
            _writable(self._path, renames=bool(self._rotate_bytes or self._rotate_interval))
        except OSError as error:
            return self._outcome(error)
        return Delivered()

    def checkpoint(self) -> Checkpoint | None:
        """Make it durable, and return what to cut back to.

        Raises:
            DestinationError: It can't be made durable; the flow must go on from the checkpoint before.
        """
        # Before any record too: what is newer than the last checkpoint goes, and what comes can be taken back. What is
        # in the way of that is told by the next request.
        with suppress(OSError):
            self._open()
        if self._descriptor is None:
            return self._resume
        try:
            self._mend(self._descriptor)
            _sync(self._descriptor)
            status = os.fstat(self._descriptor)
        except OSError as error:
            msg = f"{self._path}: flush: {error.strerror}"
            raise DestinationError(msg) from error
        return Checkpoint(
            path=str(self._path),
            device=status.st_dev,
            inode=status.st_ino,
            size=status.st_size,
            rotation=self._rotation,
        )

    def close(self) -> None:
        """Close the file. What no checkpoint knows is taken back at the next start."""
        if self._descriptor is not None:
            with suppress(OSError):
                self._mend(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None
        self._lock.release()

    def _open(self) -> int:
        """Return the open file; the first time, what is newer than the checkpoint is taken back."""
        if self._descriptor is not None:
            return self._descriptor
        make_directory(self._path.parent, self._mode)
        # Before anything is taken back: that would be another's.
        self._lock.take()
        if self._resume is not None and self._resume["path"] == str(self._path):
            _take_back(self._path, self._resume)
        self._rotation = max([self._rotation, *_finished(self._path)])
        if self._resume is not None:
            self._rotation = max(self._rotation, self._resume["rotation"])
        mode = 0o644 if self._mode is None else self._mode
        descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, mode)
        try:
            set_mode(descriptor, self._mode)
            _end_line(descriptor)
            _sync_directory(self._path.parent)
        except OSError:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        self._resume = None
        return descriptor

    def _append(self, descriptor: int, body: bytes) -> None:
        size = os.fstat(descriptor).st_size
        rest = memoryview(body)
        try:
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        except OSError:
            if len(rest) < len(body):
                self._torn = size
                self._mend(descriptor)
            raise

    def _mend(self, descriptor: int) -> None:
        """Cut off what a failed write has left."""
        if self._torn is not None:
            os.ftruncate(descriptor, self._torn)
            self._torn = None

    def _follow(self) -> None:
        """Open `path` anew when another program has moved or removed the file."""
        if self._descriptor is None:
            return
        mine = os.fstat(self._descriptor)
        try:
            there = self._path.stat()
        except FileNotFoundError:
            there = None
        if there is None or (there.st_dev, there.st_ino) != (mine.st_dev, mine.st_ino):
            self._mend(self._descriptor)
            _sync(self._descriptor)
            self.close()

    def _is_due(self, descriptor: int, size: int) -> bool:
        status = os.fstat(descriptor)
        if not status.st_size:
            return False
        if self._rotate_bytes is not None and status.st_size + size > self._rotate_bytes:
            return True
        interval = self._rotate_interval
        return interval is not None and time.time() // interval > status.st_mtime // interval

    def _rotate(self, descriptor: int) -> None:
        """Finish the file: durable first, then under its final name at once."""
        _sync(descriptor)
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        self._path.rename(self._path.with_name(f"{self._path.name}.{stamp}-{self._rotation + 1:06}"))
        self._rotation += 1
        self.close()
        _sync_directory(self._path.parent)

    def _outcome(self, error: OSError) -> Retry | Hold:
        remedy = IN_USE if isinstance(error, BlockingIOError) else _REMEDIES.get(error.errno or 0)
        said = f"{error.filename or self._path}: {error.strerror or error}"
        return Hold(f"{said}: {remedy}") if remedy else Retry(said)


def _writable(path: Path, *, renames: bool) -> None:
    """Raise what would keep a file from being written, or made; its directory, where missing, would be made too.

    Args:
        path: The file.
        renames: Whether finished files are renamed, which a directory has to permit.
    """
    if path.is_dir():
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    directory = path.parent
    while not directory.exists() and directory != directory.parent:
        directory = directory.parent
    if not directory.is_dir():
        raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(directory))
    space = os.statvfs(directory)
    there = path.exists()
    needed = {path: os.W_OK} if there else {}
    if renames or not there:
        needed[directory] = os.W_OK | os.X_OK
    for place, access in needed.items():
        if not os.access(place, access):
            code = errno.EROFS if space.f_flag & os.ST_RDONLY else errno.EACCES
            raise OSError(code, os.strerror(code), str(place))
    # File systems such as /proc have no blocks at all.
    if space.f_blocks and not space.f_bavail:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(directory))


def _finished(path: Path) -> dict[int, Path]:
    """Return the finished files of `path` by their numbers, ascending."""
    pattern = re.compile(re.escape(path.name) + r"\.\d{8}T\d{6}Z-(\d{6,})")
    found = {int(match[1]): file for file in path.parent.iterdir() if (match := pattern.fullmatch(file.name))}
    return dict(sorted(found.items()))


def _take_back(path: Path, checkpoint: Checkpoint) -> None:
    """Undo what was written after the checkpoint. May be interrupted, and done again, at any point."""
    later = [file for number, file in _finished(path).items() if number > checkpoint["rotation"]]
    active = later[0] if later else path
    try:
        status = active.stat()
    except FileNotFoundError:
        return
    if (status.st_dev, status.st_ino) != (checkpoint["device"], checkpoint["inode"]):
        return  # another program has replaced it: what is there now is not ours to cut
    # From the newest to the oldest, so that the numbers still tell where to go on after an interruption.
    for file in reversed(later[1:]):
        file.unlink()
    if later:
        active.replace(path)
    if status.st_size > checkpoint["size"]:
        os.truncate(path, checkpoint["size"])
    _sync_directory(path.parent)


def _end_line(descriptor: int) -> None:
    """End the last line of a file that was there before, so that no record is glued to it."""
    size = os.fstat(descriptor).st_size
    if size and os.pread(descriptor, 1, size - 1) != b"\n":
        os.write(descriptor, b"\n")


def _sync(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # /dev/null and the like have nothing to make durable
            raise


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        _sync(descriptor)
    finally:
        os.close(descriptor)
