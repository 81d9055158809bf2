"""Files as a source: one record a line, read once or followed as they grow, across rotations and restarts.

Each path is a partition. Its position is the file's inode, its first bytes and the offset of the next line, so that a
restart finds the file again where a rotation has put it, finishes it, and goes on with what came after it.

Rotate by renaming where you can. A file that is copied and truncated (or, during a stop, compressed) before anything of
it was read leaves nothing to know it by: that takes a stop or a full flow as long as the time between two rotations.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from flows.sources.base import RecordSource, SourceContext, SourcePartition, SourceSettings
from flows.sources.file_part import FilePartition
from flows.sources.file_paths import alternatives, find_files, followed_files, is_pattern, why_none
from flows.sources.file_watch import WATCH, WatchPartition
from flows.sources.rotation import without_file
from logweir.errors import NothingToReadError
from logweir.settings import LocalPath
from logweir.units import Bytes

_MOST_ISSUES = 20
"""So many files that can't be read are named, the others are counted."""


class File(SourceSettings):
    """Lines of files."""

    type: Literal["file"] = Field("file", description="Lines of files; .gz and .zst are decompressed.")
    path: LocalPath = Field(
        min_length=1,
        description="A path, or a pattern such as /var/log/app/*.{log,json}; a file of exactly that name comes first. "
        "Rotated files need not match: they are found.",
    )
    follow: bool = Field(
        default=False, description="Wait for more at the end, follow rotations, and take up new files that match."
    )
    max_record_bytes: Bytes = Field(
        16_000_000, gt=0, description="The most bytes of a line; the beginning of a larger one goes to the dead letter."
    )

    @field_validator("path")
    @classmethod
    def _within_bounds(cls, path: str) -> str:
        alternatives(path)
        return path

    def open(self, context: SourceContext) -> FileSource:
        """Return the source.

        Raises:
            NothingToReadError: There is no such file, and none is waited for.
        """
        source = FileSource(self, context)
        if not self.follow and not source.list_parts():
            msg = f"source.path: {why_none(self.path)}; set `follow: true` to wait for one"
            raise NothingToReadError(msg)
        return source


class FileSource(RecordSource):
    """One partition for each path, and one that looks for new paths."""

    def __init__(self, settings: File, context: SourceContext) -> None:
        self._settings = settings
        self._context = context
        self._listed: list[Path] = []
        self._built: list[FilePartition | WatchPartition] = []

    def list_parts(self) -> list[str]:
        """Return the paths that match, without rotated files where live ones are followed."""
        path, follow = self._settings.path, self._settings.follow
        self._listed = followed_files(path) if follow else find_files(path)
        paths = [str(path) for path in self._listed]
        if not follow:
            return paths
        return [*paths, WATCH] if is_pattern(path) else [path]

    def issues(self) -> list[str]:
        """Return which files can't be read, and why, of those that this process reads."""
        found = sorted({part.issue for part in self._built} - {""})
        more = len(found) - _MOST_ISSUES
        return found if more <= 0 else [*found[:_MOST_ISSUES], f"and {more} more files that can't be read"]

    def partitions(self) -> int:
        """Return how many paths there were when they were listed."""
        return max(1, len(self._listed))

    def gone(self, partitions: Iterable[str]) -> set[str]:
        """Return the paths that have no file, and no rotated one either."""
        return set(map(str, without_file(Path(path) for path in partitions if path != WATCH)))

    def build_part(self, step_id: str, for_part: str, resume_state: Any) -> SourcePartition:  # noqa: ARG002
        """Return the partition of a path, from where it was."""
        settings = self._settings
        part: FilePartition | WatchPartition
        if for_part == WATCH:
            part = WatchPartition(settings.path, self._context, self._listed)
        else:
            part = FilePartition(
                Path(for_part), settings.max_record_bytes, settings.follow, self._context, resume_state
            )
        self._built.append(part)
        return part
