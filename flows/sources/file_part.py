"""One path as a partition: the lines that are written to it, also across rotations and restarts."""

from __future__ import annotations

import errno
import os
import time
from contextlib import suppress
from pathlib import Path

from flows.sources.base import SourceContext, SourcePartition
from flows.sources.file_paths import why_none
from flows.sources.lines import Lines
from flows.sources.rotation import HEAD_BYTES, Position, Text, find, find_copy, generation, successor
from logweir.batch import Batch
from logweir.errors import SourceError

_CHUNK_BYTES = 1_000_000

ROTATE_WAIT = 5.0
"""Seconds that a renamed file is read on: its writer goes on with it until it opens the new one."""

_MISSING_WAIT = 5.0
"""Seconds without a file at the path before that is told: between a rename and a create it is normal."""

_REPEAT_SECONDS = 60.0
"""How often it is told that a file can't be read."""

GIVE_UP_SECONDS = 600.0
"""After so long a file that can't be read and is no longer at the path is left out: what came after it can be had."""

_REMEDIES = {
    errno.EACCES: "let logweir's user read it",
    errno.EPERM: "let logweir's user read it",
    errno.EISDIR: "it is a directory, write a pattern such as DIRECTORY/*.log",
    errno.EINVAL: "it is a pipe or a device, which can't be read twice; use `type: stdin`",
    errno.ELOOP: "its symbolic links lead in a circle",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
    errno.ENFILE: "raise the system's limit on open files",
}
"""What a person can do about it."""


class FilePartition(SourcePartition):
    """The lines that are written to one path.

    Args:
        path: Where they are written.
        limit: The most bytes of a line.
        follow: Whether to wait for more.
        context: What it needs to know of the flow.
        position: Where it was.
    """

    def __init__(self, path: Path, limit: int, follow: bool, context: SourceContext, position: Position | None) -> None:
        super().__init__(context)
        self._path = path
        self.lane = context.alignment.lane(str(path))
        self._limit = limit
        self._follow = follow
        self._position = position
        """Where it was, for as long as no file is open."""
        self._text: Text | None = None
        self._lines = Lines(str(path), limit)
        self._head = b""
        self._skip = 0
        """Bytes of a compressed file that were read before the restart."""
        self._since: float | None = None
        """When the file that is being read was first seen to be no longer at the path."""
        self.issue = ""
        """Why the file can't be read now; empty where it can."""
        self._told, self._told_at = "", -_REPEAT_SECONDS
        """What was told last of that, and when, on the monotonic clock."""
        self._failing: float | None = None
        """Since when reading has failed, on the monotonic clock."""
        self._unresumed = position is not None
        """Whether the file of the position has not been looked for yet, or could not be."""
        self._done = False
        with suppress(OSError):  # told when it is read
            self._resume(position)

    def read(self, room: int) -> list[Batch]:
        """Return the lines that are there."""
        if self._done:
            raise StopIteration
        batches: list[Batch] = []
        try:
            self._read(room, batches)
        except OSError as error:
            self._cannot_read(error, batches)
        return batches

    def _read(self, room: int, batches: list[Batch]) -> None:
        """Read what can be had at once.

        Raises:
            OSError: A file or its directory can't be read now.
        """
        if self._text is None and not self._begun():
            return
        while room > 0 and self._text is not None:
            if self._follow and self._text.is_cut(self._lines.fed, self._head):
                self._recover(batches)
                if self._text is None:
                    return
            chunk = self._chunk(self._text)
            room -= len(chunk)
            if chunk:
                self._take(chunk, batches)
            elif not self._move_on(self._text, batches):
                return

    def snapshot(self) -> Position | None:
        """Return where the next line starts."""
        if self._text is None:
            return self._position
        return Position(
            device=self._text.device,
            inode=self._text.inode,
            offset=self._lines.position,
            head=self._head,
            generation=self._lines.partition,
            place=self._text.place,
            modified=self._text.modified,
        )

    def close(self) -> None:
        """Close the file."""
        if self._text is not None:
            self._text.close()

    def _begun(self) -> bool:
        """Begin to read, or go on after the position; False where there is no file.

        Raises:
            OSError: It may not be read.
        """
        if self._unresumed:
            self._resume(self._position)
        elif not self._enter(self._path):
            self._missing()
        return self._text is not None

    def _resume(self, position: Position | None) -> None:
        """Go on after a position, or at the start of what comes after it where its file is gone.

        Raises:
            OSError: What may be the file can't be read. That is not gone: it is looked for again.
        """
        self._unresumed = position is not None
        found = None if position is None else find(self._path, position)
        if position is not None and found is not None:
            self._switch(found, position["offset"])
            self._head = position["head"]
            self._lines = Lines(str(self._path), self._limit, position["offset"], position["generation"])
            self._unresumed = False
            return
        following = self._path
        if position is not None and position.get("modified"):  # a version before this one did not record that
            following = successor(self._path, position)
        if position is not None and position["head"]:
            self._gap(
                "the file that was being read is gone or was cut while nobody read it; what was in it after byte "
                f"{position['offset']} is lost"
            )
        # Opened at once, though it may be read much later: what is rotated meanwhile is not missed.
        self._position, self._unresumed = None, False
        self._enter(following)

    def _enter(self, path: Path) -> bool:
        """Begin to read a file; False when it isn't there.

        Raises:
            OSError: It can't be read.
        """
        try:
            self._switch(path, 0)
        except FileNotFoundError:
            return False
        self._lines = Lines(str(self._path), self._limit)
        self._head = b""
        return True

    def _switch(self, path: Path, offset: int) -> None:
        """Read on in another file, from this place in its text.

        Raises:
            OSError: It isn't there, or can't be read.
        """
        text = Text(path)
        self._skip = text.seek(offset)
        if self._text is not None:
            self._text.close()
        self._text = text
        self._since = None

    def _chunk(self, text: Text) -> bytes:
        try:
            chunk = text.read(_CHUNK_BYTES)
        except SourceError as error:
            # What follows in a damaged file can't be had by anybody; what precedes it, and other files, can.
            self._gap(f"{error}; the rest of this file is lost", "error")
            return b""
        self.issue, self._failing = "", None
        if chunk:
            self._told = ""  # what goes wrong after this is told anew
        return chunk

    def _take(self, chunk: bytes, batches: list[Batch]) -> None:
        if self._skip:
            skipped = min(self._skip, len(chunk))
            self._skip -= skipped
            chunk = chunk[skipped:]
        fed = self._lines.fed
        if fed <= len(self._head) < HEAD_BYTES:
            self._head = (self._head[:fed] + chunk)[:HEAD_BYTES]
        if not self._lines.partition and (b"\n" in self._head or len(self._head) == HEAD_BYTES):
            self._name_generation()
        batch = self._lines.feed(chunk)
        if batch is not None:
            batches.append(batch)

    def _name_generation(self) -> None:
        # As the partition of each batch it keeps topic-partition-offset unique among all files that had this path.
        if self._text is not None:
            self._lines.partition = generation(self._head, self._text.device, self._text.inode)

    def _move_on(self, text: Text, batches: list[Batch]) -> bool:
        """Do what is to be done at a file's end; True when there is another to read."""
        if text.is_at(self._path):
            if not self._follow or text.compressed:
                self._finish(batches)
            return False
        position = self.snapshot()
        assert position is not None
        following = successor(self._path, position)
        if following == self._path:
            if self._follow and not self._waited(text):
                return False
            if not os.path.exists(self._path):  # noqa: PTH110  no error where nobody may look
                if self._follow:
                    self._missing()
                else:
                    self._finish(batches)
                return False
        self._end_line(batches)
        return self._enter(following)

    def _finish(self, batches: list[Batch]) -> None:
        """Give out what is left, and let go of the file: there is never more."""
        self._end_line(batches)
        self._position = self.snapshot()
        self.close()
        self._text = None
        self._done = True

    def _waited(self, text: Text) -> bool:
        """Tell whether the writer of a renamed file had time to open the new one."""
        if text.compressed:
            return True
        now = time.monotonic()
        self._since = self._since or now
        return now - self._since >= ROTATE_WAIT

    def _recover(self, batches: list[Batch]) -> None:
        """Go on after the file was truncated: in the copy that was made of it, if there is one, else from the start."""
        position = self.snapshot()
        assert position is not None
        copy = find_copy(self._path, {**position, "offset": self._lines.fed})
        if copy is not None and copy != self._path:
            with suppress(FileNotFoundError):  # a rotation may have taken it away meanwhile
                self._switch(copy, self._lines.fed)
                return
        self._end_line(batches)
        self._gap(
            f"the file was cut at byte {self._lines.position} or before, and there is no copy of it beside it; what "
            "was written to it since it was last read is lost"
        )
        self.close()
        self._text = self._position = None
        self._enter(self._path)

    def _end_line(self, batches: list[Batch]) -> None:
        """Give out the last line, which has no newline and never will."""
        if not self._lines.partition:
            self._name_generation()
        batch = self._lines.end()
        if batch is not None:
            batches.append(batch)

    def _cannot_read(self, error: OSError, batches: list[Batch]) -> None:
        """Let go of a file that can't be read now, to open it anew later; other files can be read meanwhile.

        A disk that fails, a network that is away, a permission that is missing: all of them may pass.
        """
        if not self._follow:
            self._end_line(batches)
        self._position = self.snapshot()
        self.close()
        self._text = None
        self._unresumed = self._position is not None
        place = error.filename or self._path
        remedy = _REMEDIES.get(error.errno or 0, "mend that")
        if not self._follow:
            self._done = True
            self._gap(f"{place} can't be read: {error.strerror}: {remedy}; it is left out from here on", "error")
            return
        self.issue = f"{place} can't be read, and is tried again: {error.strerror}: {remedy}"
        now = time.monotonic()
        if self.issue != self._told or now - self._told_at >= _REPEAT_SECONDS:
            self._told, self._told_at = self.issue, now
            self.context.events.tell("source.error", "error", path=str(self._path), reason=self.issue)
        self._failing = self._failing or now
        if self._position is not None and now - self._failing >= GIVE_UP_SECONDS and not self._is_at_path():
            self._leave(self._position)

    def _is_at_path(self) -> bool:
        """Tell whether the file of the position is at the path still, or may be."""
        assert self._position is not None
        try:
            status = self._path.stat()
        except OSError:
            return True
        return (status.st_dev, status.st_ino) == (self._position["device"], self._position["inode"])

    def _leave(self, position: Position) -> None:
        """Go on with what came after a file that can't be read."""
        self._gap(f"{self.issue}; what it holds after byte {position['offset']} is left out", "error")
        self._position, self._unresumed, self._failing, self.issue = None, False, None, ""
        with suppress(OSError):  # told when it is read
            self._enter(successor(self._path, position))

    def _missing(self) -> None:
        """Tell, once, that there is no file."""
        if not self._follow:
            self._gap("the file is gone before it was read to its end", "error")
            self._done = True
            return
        now = time.monotonic()
        self._since = self._since or now
        if now - self._since < _MISSING_WAIT:
            return
        reason = f"{why_none(str(self._path))}; it is waited for"
        if self._text is None:  # after a rotation the next file may come with the next record, and nothing is amiss
            self.issue = reason
        if reason != self._told:
            self._told = reason
            self.context.events.tell("source.missing", "warn", path=str(self._path), reason=reason)

    def _gap(self, reason: str, severity: str = "warn") -> None:
        self.context.events.tell("source.gap", severity, path=str(self._path), reason=reason)
