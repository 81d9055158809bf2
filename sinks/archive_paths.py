"""Where a file of the archive lies on this machine."""

from __future__ import annotations

import errno
from pathlib import Path

from logweir.archive_table import is_inside


def below(table: Path, path: str) -> Path:
    """Return where a file of a table lies: each of the archive's steps on the file system goes through here.

    Args:
        table: The table's directory, which may itself be a link.
        path: Of the file, below the table.

    Raises:
        OSError: It lies elsewhere: by its path, or since a link stands there or above it.
    """
    file = table / path
    if not is_inside(path) or not file.resolve().is_relative_to(table.resolve()):
        raise OSError(errno.ELOOP, "leads out of the archive", str(file))
    return file
