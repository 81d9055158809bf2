"""What makes files last: they outlive a power cut once they, and the names in their directories, are on the disk."""

from __future__ import annotations

import os
from pathlib import Path

from logweir.private import set_mode


def sync(path: Path, mode: int | None = None) -> None:
    """Write a file, or a directory's names, to the disk; the file with these rights, if they are given."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        set_mode(descriptor, mode)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
