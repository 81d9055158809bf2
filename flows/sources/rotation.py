"""Rotation: which file a position belongs to, and which file comes after it.

A file is known by its inode, and by its first bytes once it was copied or compressed. Rotated files are those beside
`path` that carry its name and a number or a date, behind it or before its extension: `app.log.1`, `app.log-20261124.gz`
and `app.20261130T100000Z-000001.log`, `app-2026-11-30.log.gz`, `app.1.log`. A short number behind a dash, as in
`app-1.log`, is the name of another log as often as not, so it is taken for one. Rotated files may also lie in a
directory beside `path` that is named by a date, or `old`, `archive`, `rotated` or `backup`.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import zlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NotRequired, TypedDict

from flows.sources.zstandard_file import Zstandard
from logweir.errors import SourceError

HEAD_BYTES = 256
"""Enough to tell one log from another: the first record has a timestamp and an id."""

_TELLING_BYTES = 64
"""With fewer first bytes than these, a file of another inode is not taken for a copy."""

_ROTATED = re.compile(r"[.-]\d[\dT:_.Z+-]*(\.gz|\.zst)?|\.old(\.gz|\.zst)?")
_SUFFIX_START = re.compile(r"[.-]")
_COMPRESSED = {".gz", ".zst"}
_STAMPED = re.compile(
    r"(?P<stem>.+?)(?:[._-](?:\d{4}-\d\d-\d\d|\d{8})[\dT:_.Z+-]*|\.\d{1,3})(?P<extension>\.[A-Za-z]\w*)(?:\.gz|\.zst)?"
)
"""A name with a date or a number before its extension."""


_ASIDE = re.compile(r"\d\d|\d{4}|\d{4}-?\d\d(-?\d\d)?[\dT:_.Z+-]*|old|archived?|archives|rotated|backups?")
"""The name of a directory that holds rotated files of what is beside it."""
_DEEPEST = 3
"""2026/11/30 are three directories."""


class Position(TypedDict):
    """Where a reader stands: the snapshot of a file's partition."""

    device: int
    inode: int
    offset: int
    """In bytes of the text, also where the file is compressed."""
    head: bytes
    """Its first bytes, as many as were read, 256 at most."""
    generation: int
    """Tells the offsets of this file from those of the files that had or will have its path; 0: not known yet."""
    place: NotRequired[str]
    """Where it was without symbolic links: such a link may lead to the next file meanwhile."""
    modified: NotRequired[int]
    """When it was written last, in nanoseconds since 1970: later files are read where this one is gone."""


def generation(head: bytes, device: int, inode: int) -> int:
    """Return the generation of a file whose first line, or its beginning, is known."""
    first = head.split(b"\n", 1)[0]
    return zlib.crc32(b"%b %d %d" % (first, device, inode)) & 0x7FFFFFFF or 1


class Text:
    """An open file, as the text in it: compressed ones, told by their names, are decompressed.

    Raises:
        OSError: It can't be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.compressed = path.suffix in _COMPRESSED
        """Complete by its nature: nobody appends to it."""
        # Of a pipe that nobody writes to, the open would never return, and every other file would wait with it.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            directory = stat.S_ISDIR(status.st_mode)
            raise OSError(errno.EISDIR if directory else errno.EINVAL, "is no regular file", str(path))
        self._file = os.fdopen(descriptor, "rb", buffering=0)
        self.device, self.inode = status.st_dev, status.st_ino
        self._modified = status.st_mtime_ns
        self.place = os.path.realpath(path)
        """Without symbolic links."""
        self._read: Callable[[int], bytes] = _decompressed(path, self._file) if self.compressed else self._file.read

    def read(self, size: int) -> bytes:
        """Return the next bytes of the text, nothing at its end.

        Raises:
            OSError: It can't be read now.
            SourceError: It is damaged, or ends too early.
        """
        try:
            return self._read(size) or b""
        except Exception as error:  # each decompressor has exceptions of its own
            if isinstance(error, OSError) and error.errno is not None:
                raise
            msg = f"{self.path}: read: {error}"
            raise SourceError(msg) from error

    def seek(self, offset: int) -> int:
        """Go to this place in the text, and return how many bytes are still to be read and passed over."""
        if self.compressed:
            return offset
        self._file.seek(offset)
        return 0

    def is_cut(self, fed: int, head: bytes) -> bool:
        """Tell whether what was read is no longer there: the file was truncated, and maybe written again."""
        if self.compressed:
            return False
        descriptor = self._file.fileno()
        return os.fstat(descriptor).st_size < fed or os.pread(descriptor, len(head), 0) != head

    def is_at(self, path: Path) -> bool:
        """Tell whether this file is the one that has this path."""
        try:
            status = path.stat()
        except FileNotFoundError:
            return False
        except OSError:  # nobody can tell, so nothing is known to have changed
            return True
        return (status.st_dev, status.st_ino) == (self.device, self.inode)

    @property
    def modified(self) -> int:
        """Return when it was last written, in nanoseconds, as far as that is known."""
        with suppress(OSError):
            self._modified = os.fstat(self._file.fileno()).st_mtime_ns
        return self._modified

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def find(path: Path, position: Position) -> Path | None:
    """Return where the file of a position is now: at its path, renamed in its directory, copied or compressed.

    Raises:
        OSError: What may be the file can't be read now.
    """
    entries = [Path(entry.path) for entry in _around(path.parent) if entry.inode() == position["inode"]]
    if not position["head"]:
        # The inode alone could by now be that of any other file.
        entries = [entry for entry in rotated(path) if entry in entries]
    place = [Path(position["place"])] if "place" in position else []
    for candidate in (path, *place, *entries):
        if _is_same_file(candidate, position):
            return candidate
    return find_copy(path, position)


def find_copy(path: Path, position: Position) -> Path | None:
    """Return a rotated file that begins as the file of the position does and holds at least what was read of it."""
    head = position["head"]
    if len(head) < _TELLING_BYTES:
        return None
    for candidate in [path, *rotated(path)]:
        if _begins_with(candidate, head) and _holds(candidate, position["offset"]):
            return candidate
    return None


def successor(path: Path, finished: Position) -> Path:
    """Return what was written after a file that is finished or gone: the next rotated one, else `path`.

    Raises:
        OSError: The directory can't be read now.
    """
    beside = []
    for candidate in rotated(path):
        try:
            status = candidate.stat()
        except OSError:
            continue
        beside.append((status.st_mtime_ns, _turn(candidate.name, path.name), candidate, status.st_ino))
    modified, inode, head = finished.get("modified", 0), finished["inode"], finished["head"]
    # Several files may be written in one tick of the file system's clock; then their names tell which was first.
    turn = next((turn for _, turn, _, number in beside if number == inode), None)
    later = sorted(
        (written, order, candidate)
        for written, order, candidate, number in beside
        if number != inode and (written > modified or (turn is not None and (written, order) > (modified, turn)))
    )
    # A compressed copy of the finished file itself may be younger than it.
    copies = len(head) >= _TELLING_BYTES
    return next((each for _, _, each in later if not (copies and _begins_with(each, head))), path)


def _turn(name: str, base: str) -> tuple[int, ...]:
    """Return what sorts the names of rotated files: by their stamps, and of plain numbers the highest first."""
    start = next((index for index, pair in enumerate(zip(name, base, strict=False)) if len(set(pair)) > 1), len(base))
    numbers = [int(each) for each in re.findall(r"\d+", name[start:])]
    return (-numbers[0],) if len(numbers) == 1 and numbers[0] < 1000 else tuple(numbers)  # noqa: PLR2004  .log.999


def is_rotated_name(name: str, base: str) -> bool:
    """Tell whether a file of this name is a rotated one of the other name."""
    if name.startswith(base) and _ROTATED.fullmatch(name[len(base) :]):
        return True
    found = _STAMPED.fullmatch(name)
    return found is not None and found["stem"] + found["extension"] == base


def rotated(path: Path) -> list[Path]:
    """Return the rotated files of `path`, each once, also while one is being compressed."""
    found = [Path(entry.path) for entry in _around(path.parent) if _is_rotated_entry(entry, path)]
    names = set(found)
    return sorted(each for each in found if each.suffix not in _COMPRESSED or each.with_suffix("") not in names)


def without_rotated(paths: Iterable[Path], others: Iterable[Path] = ()) -> list[Path]:
    """Return the paths that are not rotated files of another one of them, or of others that were there before."""
    known = sorted(set(paths))
    names = {str(path) for path in (*known, *others)}
    return [path for path in known if not _is_rotated(path, names)]


def without_file(paths: Iterable[Path]) -> list[Path]:
    """Return the paths that have no file and no rotated one."""
    around: dict[Path, list[os.DirEntry[str]]] = {}
    found = []
    for path in paths:
        if os.path.exists(path):  # noqa: PTH110  no error where nobody may look
            continue
        if path.parent not in around:
            around[path.parent] = _around(path.parent)
        if not any(_is_rotated_entry(entry, path) for entry in around[path.parent]):
            found.append(path)
    return found


def _is_rotated_entry(entry: os.DirEntry[str], path: Path) -> bool:
    if entry.name == path.name:
        return os.path.dirname(entry.path) != str(path.parent)  # noqa: PTH120  text
    return is_rotated_name(entry.name, path.name)


def _is_rotated(path: Path, names: set[str]) -> bool:
    name = path.name
    stamped = _STAMPED.fullmatch(name)
    bases = [] if stamped is None else [stamped["stem"] + stamped["extension"]]
    cuts = [match.start() for match in _SUFFIX_START.finditer(name)]
    bases += [name[:cut] for cut in cuts if _ROTATED.fullmatch(name[cut:])]
    place = path.parent
    for _ in range(_DEEPEST + 1):
        if any(str(place / base) in names for base in bases if base):
            return True
        if not _ASIDE.fullmatch(place.name):
            return False
        place = place.parent
        if str(place / name) in names:
            return True
    return False


def _around(directory: Path, deepest: int = _DEEPEST) -> list[os.DirEntry[str]]:
    """Return the files of a directory, and those of the directories in it that hold what was rotated."""
    found = []
    for entry in _entries(directory):
        if _is(entry.is_file):
            found.append(entry)
        elif deepest and _ASIDE.fullmatch(entry.name) and not entry.is_symlink() and _is(entry.is_dir):
            found += _around(Path(entry.path), deepest - 1)
    return found


def _entries(directory: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return list(entries)
    except OSError:  # gone, or not to be listed
        return []


def _is(kind: Callable[[], bool]) -> bool:
    try:
        return kind()
    except OSError:  # a link in a circle, a mount that is away
        return False


def _is_same_file(candidate: Path, position: Position) -> bool:
    """Tell whether a file is that of a position, and still holds what was read of it.

    Raises:
        OSError: Nobody can tell now; it may be the file.
    """
    try:
        status = candidate.stat()
        if (status.st_dev, status.st_ino) != (position["device"], position["inode"]):
            return False
        text = Text(candidate)
    except FileNotFoundError:
        return False
    try:
        same = (text.device, text.inode) == (position["device"], position["inode"])
        return same and not text.is_cut(position["offset"], position["head"])
    finally:
        text.close()


def _begins_with(candidate: Path, head: bytes) -> bool:
    try:
        text = Text(candidate)
    except OSError:
        return False
    found = b""
    try:
        while len(found) < len(head) and (piece := text.read(len(head) - len(found))):
            found += piece
    except (SourceError, OSError):
        return False
    finally:
        text.close()
    return found[: len(head)] == head


def _holds(candidate: Path, offset: int) -> bool:
    try:
        return candidate.suffix in _COMPRESSED or candidate.stat().st_size >= offset
    except OSError:
        return False


def _decompressed(path: Path, file: IO[bytes]) -> Callable[[int], bytes]:
    if path.suffix == ".gz":
        from isal import igzip

        reader: Any = igzip.GzipFile(fileobj=file, mode="rb")  # type: ignore[no-untyped-call]
        return reader.read  # type: ignore[no-any-return]
    return Zstandard(file).read
