"""Files that two parts of a flow would write, or one write and another read, however their paths are spelt."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from pathlib import Path as FilePath
from typing import Any

from flows.document import Document, Finding, Path

_MOST_PARTITIONS = 64


def shared_files(document: Document) -> Iterator[Finding]:
    """Give a finding for each file destination that writes what another one writes, or what the source reads."""
    destinations = document.get(("destinations",))
    if not isinstance(destinations, dict):
        return
    read = _read(document)
    first: dict[Any, str] = {}
    for name, each in destinations.items():
        if not isinstance(each, dict) or each.get("type") != "file" or each.get("enabled") is False:
            continue
        written, path = each.get("path"), ("destinations", name, "path")
        if not isinstance(written, str) or not written:
            continue
        found = _find(document, path, name, _written(written, each.get("partitions")), read, first)
        if found is not None:
            yield found


def _find(
    document: Document, path: Path, name: str, written: list[str], read: set[Any], first: dict[Any, str]
) -> Finding | None:
    for each in written:
        for key in _keys(each):
            if key in read:
                said = "is a file that the source reads, so its records would go round for ever; write to another"
                return document.find(path, said)
            other = first.setdefault(key, name)
            if other != name:
                said = (
                    f"the destination {other} writes to the same file, and each would take back the other's lines "
                    "after a crash; give each a path of its own"
                )
                return document.find(path, said)
    return None


def _read(document: Document) -> set[Any]:
    """Return what tells the files that the source reads from all others."""
    pattern = document.get(("source", "path"))
    if document.get(("source", "type")) != "file" or not isinstance(pattern, str):
        return set()
    names = [pattern, *glob.glob(pattern, recursive=True)]  # noqa: PTH207  absolute patterns too
    return {key for name in names for key in _keys(name)}


def _written(path: str, partitions: Any) -> list[str]:
    """Return the file of each sink partition."""
    from sinks.file import of_partition

    count = partitions if isinstance(partitions, int) and 0 < partitions <= _MOST_PARTITIONS else 1
    return [str(of_partition(path, number)) for number in range(count)]


def _keys(path: str) -> list[Any]:
    """Return what two spellings of one file have in common: where it leads, and which file is there."""
    try:
        real = os.path.realpath(path)
        keys: list[Any] = [real] if _is_regular(real) else []
        if keys and os.path.exists(real):  # noqa: PTH110  no error where nobody may look
            status = FilePath(real).stat()
            keys.append((status.st_dev, status.st_ino))
    except (OSError, ValueError):
        return []
    return keys


def _is_regular(path: str) -> bool:
    """Tell whether it is a file, or would be one; of /dev/null and the like no two writers harm each other."""
    return os.path.isfile(path) or not os.path.exists(path)  # noqa: PTH110, PTH113
