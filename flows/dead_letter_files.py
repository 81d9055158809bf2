"""Dead letters in a directory, read to be sent again: the files of one destination, one after another.

What is settled is remembered in `<destination>.redrive.json` beside them, in bytes of each file. Once a file is read to
its end, it is written anew without what is settled, or removed if nothing is left, so that the directory shows what is
still dead. A running flow may append meanwhile: see `DirectoryDeadLetters`.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import orjson

from flows.dead_letter_lines import BLOCK_BYTES, LetterFile, parse, seal
from flows.dead_letters import READ_BYTES, Passed, Place, Read, Wanted
from logweir.errors import LogweirError, SourceError
from logweir.events import Events
from logweir.private import private
from sinks.deadletter import REDRIVE_SUFFIX, is_at
from sinks.durable import sync

_TOLD = 20
"""Lines of a file that are told one by one when they can't be read; the rest is counted."""


class LetterFiles:
    """The letters of one destination in a directory.

    Args:
        directory: Where they are.
        wanted: Which of them.
        events: Where it tells of lines that can't be read.
        claim: Whether they are going to be sent, by this process alone; otherwise nothing is written or locked.

    Raises:
        LogweirError: Another redrive is at work, or what was remembered can't be read.
        SourceError: The directory can't be read.
    """

    def __init__(self, directory: Path, wanted: Wanted, events: Events, *, claim: bool = True) -> None:
        self._directory = directory
        self._wanted = wanted
        self._events = events
        self._memory = directory / f"{wanted.destination}{REDRIVE_SUFFIX}.json"
        self._lock = _lock(directory / f".{wanted.destination}{REDRIVE_SUFFIX}.lock") if claim else None
        self.passed = Passed()
        self.state: Any = None
        try:
            remembered = self._remembered()
            self._files = [self._open(path, remembered) for path in self._paths()]
        except OSError as error:
            self.close()
            raise _unreadable(error, directory) from error
        except LogweirError:
            self.close()
            raise
        self._current = 0

    def is_empty(self) -> bool:
        """Tell whether there is nothing to read, or no more."""
        return all(file.at >= file.bound for file in self._files)

    def read(self, most: int, size: int = READ_BYTES) -> list[Read] | None:
        """Return the next letters."""
        found: list[Read] = []
        try:
            while len(found) < most and size > 0 and self._current < len(self._files):
                read = self._next(self._files[self._current])
                if read is None:
                    self._current += 1
                else:
                    found.append(read)
                    size -= len(read.letter.value)
        except OSError as error:
            raise _unreadable(error, self._directory) from error
        return found or None

    def record(self, state: Any) -> None:
        """Remember how far each file is settled."""
        self.state = state
        if self._lock is None:
            return
        for file in self._files:
            file.place.advance(file.at, self._wanted.causes)
        try:
            self._remember()
        except OSError as error:
            msg = f"{self._memory}: {error.strerror}: let logweir's user write there"
            raise SourceError(msg) from error

    def finish(self) -> None:
        """Take out of the files what is settled."""
        try:
            for file in self._files:
                if file.at >= file.bound and self._rewrite(file):
                    file.place, file.at = Place(), 0
            self._remember()
        except OSError as error:
            msg = f"{error.filename or self._directory}: {error.strerror}: what was redriven is still in the files, "
            msg += "and is not sent again; let logweir's user write there"
            raise SourceError(msg) from error

    def close(self) -> None:
        """Close the files, and let another redrive begin."""
        for file in getattr(self, "_files", ()):
            file.handle.close()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _paths(self) -> list[Path]:
        """Return the files, in the order in which they are read."""
        if not self._directory.is_dir():
            return []
        suffix = rf"(?:-\d+|{re.escape(REDRIVE_SUFFIX)})?\.ndjson"
        named = re.compile(rf"(?:{'|'.join(map(re.escape, self._wanted.names))}){suffix}")
        return sorted(path for path in self._directory.iterdir() if named.fullmatch(path.name) and path.is_file())

    def _open(self, path: Path, remembered: dict[str, Any]) -> LetterFile:
        file = LetterFile(path, self._wanted)
        known = remembered.get(path.name)
        if known is not None:
            place = Place(known["done"], known["causes"])
            if place.end <= file.bound and seal(file.handle, place.end) == known["seal"]:
                file.begin(place)
            else:
                reason = "changed since the last redrive, which got to some place in it: all of it is sent again"
                self._events.tell("redrive.changed", "warn", path=str(path), reason=reason)
        return file

    def _next(self, file: LetterFile) -> Read | None:
        """Return the next letter of a file that is wanted; None at its end."""
        for start, line in file.lines():
            if not line.strip():
                continue
            try:
                destination, read = parse(line)
            except ValueError as error:
                self.passed.unreadable += 1
                self._tell(file, str(error))
                continue
            letter = read.letter
            if not self._wanted.is_ours(destination, letter.topic):
                self.passed.foreign += destination in self._wanted.names
            elif file.place.is_settled(letter.cause, start):
                continue
            elif self._wanted.is_chosen(letter.cause):
                return read
            else:
                self.passed.others[letter.cause] += 1
        if file.torn:
            self.passed.unreadable += 1
            file.torn = False
            file.line += 1
            self._tell(file, "the last line has no end: a crash has cut it, or it is being written by hand")
        return None

    def _tell(self, file: LetterFile, reason: str) -> None:
        file.told += 1
        if file.told <= _TOLD:
            place = f"{file.path}:{file.number()}"
            self._events.tell("redrive.unreadable", "warn", place=place, reason=f"{reason}; it is left where it is")

    def _remembered(self) -> dict[str, Any]:
        """Return what is remembered of each file, by its name."""
        try:
            memory = orjson.loads(self._memory.read_bytes())
            self.state = memory["destination"]
            # A letter of a topic that was not the flow's is passed over: with other topics it may have become ours.
            files: dict[str, Any] = memory["files"] if memory["topics"] == sorted(self._wanted.topics) else {}
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError) as error:
            msg = f"{self._memory}: can't be read ({error}): restore it, or remove it to send all dead letters again"
            raise LogweirError(msg) from error
        return files

    def _remember(self) -> None:
        """Write what is remembered; as a whole or not at all, whatever happens."""
        if self._lock is None:
            return
        files = {
            file.path.name: {
                "done": file.place.done,
                "causes": file.place.causes,
                "seal": seal(file.handle, file.place.end),
            }
            for file in self._files
            if file.place.end
        }
        if not files and self.state is None:
            self._memory.unlink(missing_ok=True)
            return
        topics = sorted(self._wanted.topics)
        memory = {"topics": topics, "files": files, "destination": self.state}
        fresh = self._memory.with_suffix(".new")
        with open(fresh, "wb", opener=private) as out:
            out.write(orjson.dumps(memory))
            out.flush()
            os.fsync(out.fileno())
        fresh.replace(self._memory)
        sync(self._directory)

    def _rewrite(self, file: LetterFile) -> bool:
        """Put a file in a file's place that lacks what is settled; False when nothing is, or another has moved it."""
        if not file.place.end:
            return False
        fresh = file.path.with_name(f"{file.path.name}.new")
        try:
            with file.path.open("rb") as old, open(fresh, "wb", opener=private) as new:
                for start, stop in self._kept(file):
                    _copy(old, new, start, stop)
                # From here on nobody may append: what has come in the meantime moves along.
                fcntl.flock(old, fcntl.LOCK_EX)
                if not is_at(file.path, file.handle):
                    return False
                _copy(old, new, file.bound, old.seek(0, os.SEEK_END))
                new.flush()
                if new.tell():
                    _make_alike(new, old)
                    os.fsync(new.fileno())
                    fresh.replace(file.path)
                else:
                    file.path.unlink()
                sync(self._directory)
        finally:
            fresh.unlink(missing_ok=True)
        return True

    def _kept(self, file: LetterFile) -> Iterator[tuple[int, int]]:
        """Give the places of lines before the bound that are not settled, or not ours."""
        file.rewind()
        for start, line in file.lines():
            if not line.strip():
                continue
            try:
                destination, read = parse(line)
            except ValueError:
                yield start, file.at
                continue
            ours = self._wanted.is_ours(destination, read.letter.topic)
            if not (ours and file.place.is_settled(read.letter.cause, start)):
                yield start, file.at


def _copy(old: IO[bytes], new: IO[bytes], start: int, stop: int) -> None:
    """Copy a part of a file, whatever its size."""
    old.seek(start)
    while start < stop and (block := old.read(min(stop - start, BLOCK_BYTES))):
        new.write(block)
        start += len(block)


def _make_alike(new: IO[bytes], old: IO[bytes]) -> None:
    """Give a file another's owner and rights: a redrive by root must not lock the flow's user out.

    Raises:
        OSError: This user may not do that.
    """
    wanted, status = os.fstat(old.fileno()), os.fstat(new.fileno())
    if (wanted.st_uid, wanted.st_gid) != (status.st_uid, status.st_gid):
        os.fchown(new.fileno(), wanted.st_uid, wanted.st_gid)
    os.fchmod(new.fileno(), wanted.st_mode & 0o7777)


def _lock(path: Path) -> IO[bytes] | None:
    """Take the lock of a destination's redrive; none where there is no directory, and so no letter.

    Raises:
        LogweirError: Another redrive has it, or it can't be made.
    """
    try:
        handle = open(path, "ab", opener=private)  # noqa: SIM115  held by the caller
    except FileNotFoundError:
        return None
    except OSError as error:
        msg = f"{path}: {error.strerror}: let logweir's user write there"
        raise LogweirError(msg) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.close()
        msg = f"another redrive of these dead letters is at work ({path} is locked): wait for it, or stop it"
        raise LogweirError(msg) from None
    return handle


def _unreadable(error: OSError, directory: Path) -> SourceError:
    return SourceError(f"{error.filename or directory}: {error.strerror}: let logweir's user read it")
