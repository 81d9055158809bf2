"""Files as a source: one record a line, read once or followed as they grow, across rotations and restarts.

Each path is a partition. Its position is the file's inode, its first bytes and the offset of the next line, so that a
restart finds the file again where a rotation has put it, finishes it, and goes on with what came after it.

Rotate by renaming where you can. A file that is copied and truncated (or, during a stop, compressed) before anything of
it was read leaves nothing to know it by: that takes a stop or a full flow as long as the time between two rotations.
"""

from __future__ import annotations

import glob
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from flows.sources.base import RecordSource, SourceContext, SourcePartition, SourceSettings
from flows.sources.lines import Lines
from flows.sources.rotation import (
    HEAD_BYTES,
    Position,
    Text,
    find,
    find_copy,
    generation,
    successor,
    without_file,
    without_rotated,
)
from logweir.batch import Batch
from logweir.errors import SourceError
from logweir.units import Bytes

_CHUNK_BYTES = 1_000_000

ROTATE_WAIT = 5.0
"""Seconds that a renamed file is read on: its writer goes on with it until it opens the new one."""

_MISSING_WAIT = 5.0
"""Seconds without a file at the path before that is told: between a rename and a create it is normal."""

_REPEAT_SECONDS = 60.0
"""How often it is told that a file can't be read."""

_WATCH = "(new files)"
_WATCH_SECONDS = 2.0


class File(SourceSettings):
    """Lines of files."""

    type: Literal["file"] = Field("file", description="Lines of files; .gz and .zst are decompressed.")
    path: str = Field(
        min_length=1,
        description="A path, or a pattern such as /var/log/app/*.log. Rotated files need not match: they are found.",
    )
    follow: bool = Field(
        default=False, description="Wait for more at the end, follow rotations, and take up new files that match."
    )
    max_record_bytes: Bytes = Field(
        16_000_000, gt=0, description="The most bytes of a line; the beginning of a larger one goes to the dead letter."
    )

    def open(self, context: SourceContext) -> FileSource:
        """Return the source.

        Raises:
            SourceError: There is no such file, and none is waited for.
        """
        source = FileSource(self, context)
        if not self.follow and not source.list_parts():
            msg = f"source.path: no file matches {self.path}; set `follow: true` to wait for one"
            raise SourceError(msg)
        return source


class FileSource(RecordSource):
    """One partition for each path, and one that looks for new paths."""

    def __init__(self, settings: File, context: SourceContext) -> None:
        self._settings = settings
        self._context = context
        self._listed: list[Path] = []
        self._pattern = glob.has_magic(settings.path)

    def list_parts(self) -> list[str]:
        """Return the paths that match, without rotated files where live ones are followed."""
        self._listed = _matches(self._settings)
        paths = [str(path) for path in self._listed]
        if not self._settings.follow:
            return paths
        return [*paths, _WATCH] if self._pattern else [self._settings.path]

    def partitions(self) -> int:
        """Return how many paths there were when they were listed."""
        return max(1, len(self._listed))

    def gone(self, partitions: Iterable[str]) -> set[str]:
        """Return the paths that have no file, and no rotated one either."""
        return set(map(str, without_file(Path(path) for path in partitions if path != _WATCH)))

    def build_part(self, step_id: str, for_part: str, resume_state: Any) -> SourcePartition:  # noqa: ARG002
        """Return the partition of a path, from where it was."""
        if for_part == _WATCH:
            return WatchPartition(self._settings, self._context, self._listed)
        return FilePartition(
            Path(for_part), self._settings.max_record_bytes, self._settings.follow, self._context, resume_state
        )


def _matches(settings: File, known: Iterable[Path] = ()) -> list[Path]:
    """Return the files that match; where they are followed, without those that are rotated files of others."""
    found = [Path(name) for name in glob.glob(settings.path, recursive=True)]  # noqa: PTH207  absolute patterns too
    files = sorted(path for path in found if os.path.isfile(path))  # noqa: PTH113  no error where nobody may look
    return without_rotated(files, known) if settings.follow else files


class WatchPartition(SourcePartition):
    """Gives no record: it asks for a restart when a new file matches, which gives that file a partition.

    Args:
        settings: What matches.
        context: What it needs to know of the flow.
        known: The paths that have partitions.
    """

    def __init__(self, settings: File, context: SourceContext, known: list[Path]) -> None:
        super().__init__(context)
        self._settings = settings
        self._known = set(known)

    def read(self, room: int) -> list[Batch]:  # noqa: ARG002
        """Look for new files."""
        # Between a rename and a create the path that was read is not there, but its rotated file is no new one.
        new = [path for path in _matches(self._settings, self._known) if path not in self._known]
        if new:
            self._known.update(new)
            self.context.restart(f"new files match {self._settings.path}: {', '.join(map(str, new))}")
        return []

    def next_awake(self) -> datetime:
        """Look every few seconds."""
        return datetime.now(UTC) + timedelta(seconds=_WATCH_SECONDS)

    def snapshot(self) -> None:
        """Keep no state."""

    def close(self) -> None:
        """Hold nothing."""


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
        self._told_missing = False
        self._told_unreadable = -_REPEAT_SECONDS
        """When it was told last that the file can't be read, on the monotonic clock."""
        self._unresumed = False
        """Whether the file of the position could not be looked for, since it may not be read."""
        self._done = False
        self._resume(position)

    def read(self, room: int) -> list[Batch]:
        """Return the lines that are there."""
        if self._done:
            raise StopIteration
        batches: list[Batch] = []
        if self._text is None and not self._begun():
            return batches
        while room > 0 and self._text is not None:
            if self._follow and self._text.is_cut(self._lines.fed, self._head):
                self._recover(batches)
            chunk = self._chunk(self._text)
            room -= len(chunk)
            if chunk:
                self._take(chunk, batches)
            elif not self._move_on(self._text, batches):
                break
        return batches

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
        )

    def close(self) -> None:
        """Close the file."""
        if self._text is not None:
            self._text.close()

    def _begun(self) -> bool:
        """Begin to read, or go on after the position; False where there is no file, or none that may be read."""
        if self._unresumed:
            self._resume(self._position)
        elif not self._enter(self._path) and not self._unreadable():
            self._missing()
        return self._text is not None

    def _resume(self, position: Position | None) -> None:
        found = None if position is None else find(self._path, position)
        # What can't be read is not gone: it is looked for again.
        self._unresumed = position is not None and found is None and self._unreadable()
        if self._unresumed:
            return
        if position is None or found is None:
            if position is not None and position["head"]:
                self._gap(
                    "the file that was being read is gone or was cut while nobody read it; what was in it after byte "
                    f"{position['offset']} is lost"
                )
            # Opened at once, though it may be read much later: what is rotated meanwhile is not missed.
            self._position = None
            self._enter(self._path)
            return
        self._switch(found, position["offset"])
        self._head = position["head"]
        self._lines = Lines(str(self._path), self._limit, position["offset"], position["generation"])

    def _enter(self, path: Path) -> bool:
        """Begin to read a file; False when it isn't there, or may not be read."""
        try:
            self._switch(path, 0)
        except FileNotFoundError:
            return False
        except OSError as error:
            if path != self._path:
                self._tell_unreadable(f"{path}: {error.strerror}")
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
        self._told_missing = False

    def _chunk(self, text: Text) -> bytes:
        try:
            return text.read(_CHUNK_BYTES)
        except SourceError as error:
            if not text.compressed:
                # A disk that fails, a network that is away: other files can be read, and this one is tried again.
                if self._follow:
                    self._tell_unreadable(str(error))
                else:
                    self._gap(f"{error}; the rest of this file is left out", "error")
                return b""
            # What follows in a damaged file can't be had by anybody; what precedes it, and other files, can.
            self._gap(f"{error}; the rest of this file is lost", "error")
            return b""

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
        following = successor(self._path, text, self._head)
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
        self._enter(self._path)

    def _end_line(self, batches: list[Batch]) -> None:
        """Give out the last line, which has no newline and never will."""
        if not self._lines.partition:
            self._name_generation()
        batch = self._lines.end()
        if batch is not None:
            batches.append(batch)

    def _unreadable(self) -> bool:
        """Tell whether there is a file that can't be opened, and say so now and then: others can be read meanwhile."""
        try:
            with self._path.open("rb"):
                return False
        except FileNotFoundError:
            return False
        except OSError as error:
            if not self._follow:
                self._gap(f"it can't be read: {error.strerror}: let logweir's user read it", "error")
                self._done = True
                return True
            self._tell_unreadable(f"{error.strerror}: let logweir's user read it")
            return True

    def _tell_unreadable(self, reason: str) -> None:
        now = time.monotonic()
        if now - self._told_unreadable >= _REPEAT_SECONDS:
            self._told_unreadable = now
            self.context.events.tell(
                "source.error", "error", path=str(self._path), reason=f"it can't be read, and is tried again: {reason}"
            )

    def _missing(self) -> None:
        """Tell, once, that there is no file."""
        if not self._follow:
            self._gap("the file is gone before it was read to its end")
            self._done = True
            return
        now = time.monotonic()
        self._since = self._since or now
        if not self._told_missing and now - self._since >= _MISSING_WAIT:
            self._told_missing = True
            self.context.events.tell(
                "source.missing", "warn", path=str(self._path), reason="there is no such file; it is waited for"
            )

    def _gap(self, reason: str, severity: str = "warn") -> None:
        self.context.events.tell("source.gap", severity, path=str(self._path), reason=reason)
