"""Files that two parts of a flow would write, or one write and another read, however their paths are spelt."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path as FilePath
from typing import Any

from flows.document import Document, Finding, Path
from flows.recovery_store import ALL
from logweir.settings import expand_home

_MOST_PARTITIONS = 64
_FINISHED = ".20260101T000000Z-000001"
"""What stands behind the name of a file that was finished."""


def shared_files(document: Document) -> Iterator[Finding]:
    """Give a finding for each file destination that writes what another part writes, or what the source reads."""
    destinations = document.get(("destinations",))
    if not isinstance(destinations, dict):
        return
    source = _path(document, ("source", "path")) if document.get(("source", "type")) == "file" else ""
    own = _own(document, list(destinations))
    if source:
        yield from _circle(document, source, own)
    first: dict[Any, str] = {key: f"{what} are" for what, files in own.items() for file in files for key in _keys(file)}
    for name, each in destinations.items():
        if not isinstance(each, dict) or each.get("type") != "file" or each.get("enabled") is False:
            continue
        path = ("destinations", name, "path")
        written = _path(document, path)
        if not written:
            continue
        found = _find(document, path, _written(written, each.get("partitions")), source, first)
        if found is not None:
            yield found


def _find(document: Document, path: Path, written: list[str], source: str, first: dict[Any, str]) -> Finding | None:
    mine = f"the destination {path[1]} is"
    for each in written:
        if source and (_reads(source, each) or _reads(source, each + _FINISHED)):
            said = "is a file that the source reads, so its records would go round for ever; write to another"
            return document.find(path, said)
        for key in _keys(each):
            other = first.setdefault(key, mine)
            if other == mine:
                continue
            who = other.removesuffix(" is").removesuffix(" are")
            verb = "write" if other.endswith(" are") else "writes"
            said = (
                f"{who} {verb} to the same file, and each would take back the other's lines after a crash; give each a "
                "path of its own"
            )
            return document.find(path, said)
    return None


def _circle(document: Document, source: str, own: dict[str, list[str]]) -> Iterator[Finding]:
    """A source that reads what the flow itself writes beside its destinations."""
    for what, files in own.items():
        if any(_reads(source, each) for each in files):
            said = f"matches {what}, so each record of them would make more; name the files more closely"
            yield document.find(("source", "path"), said)


def _reads(source: str, file: str) -> bool:
    from flows.sources.file_paths import find_files, would_name

    try:
        if not _is_regular(os.path.realpath(file)):
            return False
        if would_name(source, file):
            return True
        mine = _keys(file)[1:]
        return bool(mine) and any(key in mine for each in find_files(source) for key in _keys(str(each)))
    except (OSError, ValueError):  # what is wrong with the path is told where it is read
        return False


def _own(document: Document, names: list[Any]) -> dict[str, list[str]]:
    """Return files that stand for what the flow keeps beside its destinations, by what that is."""
    own: dict[str, list[str]] = {}
    kafka = document.get(("source", "type")) == "kafka" or document.get(("dead_letter", "topic_prefix")) is not None
    letters = _path(document, ("dead_letter", "directory")) or ("" if kafka else "./dead-letter")
    if letters:
        own["the dead letters"] = [os.path.join(letters, f"{name}.ndjson") for name in names]  # noqa: PTH118  as spelt
    recovery = _path(document, ("recovery", "directory")) or "./recovery"
    own["the recorded positions"] = [
        os.path.join(recovery, str(document.get(("name",))), str(name), file)  # noqa: PTH118  as spelt
        for name in [ALL, *names]
        for file in ("partitions.json", "limiters.json", "part-0.sqlite3")
    ]
    archive = _path(document, ("retention", "archive")) or _path(document, ("retention", "archive", "path"))
    if archive and "://" not in archive:
        own["the archive's log"] = [os.path.join(archive, "_delta_log", f"{0:020}.json")]  # noqa: PTH118  as spelt
    return own


def _path(document: Document, path: Path) -> str:
    """Return a path of the flow file; empty where there is none, or one that is wrong."""
    value = document.get(path)
    try:
        return expand_home(value) if isinstance(value, str) else ""
    except ValueError:
        return ""


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
