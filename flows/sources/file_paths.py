"""Which files the path of a source names: a file of exactly that name, else those that match it as a pattern.

A pattern has `*`, `?`, `[...]` and `**`, and alternatives in braces as a shell has them. One file counts once, by
whatever links it is reached.
"""

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Collection, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import pairwise
from pathlib import Path

from flows.sources.rotation import is_rotated_name, without_file, without_rotated

MOST_ALTERNATIVES = 256
Identity = tuple[int, int]
"""Device and inode."""

_TOKENS = re.compile(r"\[!?\]?[^\]]*\]|[{},]")
"""What matters for braces: a group in brackets stands for one character, also where that is a brace."""


def alternatives(pattern: str) -> list[str]:
    """Return a pattern's alternatives in braces one by one: x.{log,json} is x.log and x.json.

    Raises:
        ValueError: There are too many.
    """
    found: list[str] = []
    pending = [pattern]
    while pending:
        each = pending.pop(0)
        group = _group(each)
        if group is None:
            found.append(each)
        else:
            start, commas, end = group
            cuts = [start, *commas, end]
            parts = [each[left + 1 : right] for left, right in pairwise(cuts)]
            pending += [each[:start] + part + each[end + 1 :] for part in parts]
        if len(found) + len(pending) > MOST_ALTERNATIVES:
            msg = f"its braces give more than {MOST_ALTERNATIVES} paths; write * or ? for some of them"
            raise ValueError(msg)
    return list(dict.fromkeys(found))


def _group(pattern: str) -> tuple[int, list[int], int] | None:
    """Return the first innermost group of braces with a comma: where it starts, its commas, its end."""
    open_groups: list[tuple[int, list[int]]] = []
    for token in _TOKENS.finditer(pattern):
        match token[0]:
            case "{":
                open_groups.append((token.start(), []))
            case "," if open_groups:
                open_groups[-1][1].append(token.start())
            case "}" if open_groups:
                start, commas = open_groups.pop()
                if commas:
                    return start, commas, token.start()
    return None


def is_pattern(path: str) -> bool:
    """Tell whether a path names files by a pattern: not where a file of exactly that name is, or was before a rotation.

    That is decided anew whenever it is asked.
    """
    return (glob.has_magic(path) or alternatives(path) != [path]) and not _is_there(path)


def find_files(path: str) -> list[Path]:
    """Return the files that a path names, sorted, each file once."""
    return _each_once(_identified(path))


def followed_files(path: str, known: Iterable[Path] = ()) -> list[Path]:
    """Return the files that a path names, without those that are rotated files of others, or of known ones.

    Args:
        path: A path or a pattern.
        known: The paths that are read already: of several names of one file, one of these is taken.
    """
    known = set(known)
    found = _identified(path)
    return _each_once({each: found[each] for each in without_rotated(found, known)}, known)


def _named(path: str) -> set[Path]:
    if not is_pattern(path):
        return {Path(path)}
    found: set[str] = set()
    for each in alternatives(path):
        found.update(glob.glob(each, recursive=True) if is_pattern(each) else [each])  # noqa: PTH207  absolute ones too
    return set(map(Path, found))


def _identified(path: str) -> dict[Path, Identity]:
    """Return the regular files that a path names, each name with what tells its file from all others."""
    found = ((each, _identity(each)) for each in _named(path))
    return {each: identity for each, identity in found if identity is not None}


def _each_once(paths: Mapping[Path, Identity], prefer: Collection[Path] = ()) -> list[Path]:
    """Return one path of each file: a known one, else one that is no link, else the shortest."""
    names: dict[Identity, list[Path]] = {}
    for path, identity in paths.items():
        names.setdefault(identity, []).append(path)

    def order(path: Path) -> tuple[bool, bool, int, Path]:
        return path not in prefer, path.is_symlink(), len(str(path)), path

    return sorted(each[0] if len(each) == 1 else min(each, key=order) for each in names.values())


def would_name(path: str, file: str) -> bool:
    """Tell whether a path names a file, or its rotated ones, also where there is no such file yet."""
    real = Path(os.path.realpath(file))
    exact = [Path(os.path.realpath(each)) for each in alternatives(path)] if is_pattern(path) else []
    exact.append(Path(os.path.realpath(path)))
    if any(each == real or (each.parent == real.parent and is_rotated_name(real.name, each.name)) for each in exact):
        return True
    return is_pattern(path) and any(_fits(real, each) for each in alternatives(path))


def _fits(file: Path, pattern: str) -> bool:
    parts = pattern.split("/")
    first = next((index for index, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    place = Path(os.path.realpath("/".join(parts[:first]) or ("/" if pattern.startswith("/") else ".")))
    return file.is_relative_to(place) and _fit(file.relative_to(place).parts, [each for each in parts[first:] if each])


def _fit(names: Sequence[str], parts: Sequence[str]) -> bool:
    if not names or not parts:
        return not names and all(part == "**" for part in parts)
    name, part = names[0], parts[0]
    if part == "**" and _fit(names, parts[1:]):
        return True
    if name.startswith(".") and not part.startswith("."):  # wildcards pass over hidden files
        return False
    return _fit(names[1:], parts) if part == "**" else fnmatchcase(name, part) and _fit(names[1:], parts[1:])


def why_none(path: str) -> str:
    """Return in words why a path names no file, and what to write instead where that can be told."""
    if os.path.isdir(path):  # noqa: PTH112  no error where nobody may look
        return f"{path} is a directory; write a pattern such as {os.path.join(path, '*.log')}"  # noqa: PTH118  as spelt
    if os.path.exists(path) and not os.path.isfile(path):  # noqa: PTH110, PTH113  no error where nobody may look
        return f"{path} is no regular file"
    said = f"no file matches {path}"
    place = _beginning(path)
    try:
        os.listdir(place)  # noqa: PTH208  as spelt
    except OSError as error:
        said += f" ({place}: {error.strerror})"
    if "[" in path:
        said += "; in a pattern [ begins a set of characters, write [[] for a bracket"
    return said


def unlistable(path: str) -> list[str]:
    """Return the directories that a pattern leads through and that can't be listed, each with the reason."""
    found = []
    for each in alternatives(path) if is_pattern(path) else ():
        matched = glob.glob(os.path.dirname(each) or ".", recursive=True)  # noqa: PTH207, PTH120  as spelt
        # What a wildcard matches may be no directory at all.
        places = {_beginning(each), *filter(os.path.isdir, matched)}
        for place in places:
            try:
                with os.scandir(place):
                    pass
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                found.append(f"{place}: {error.strerror}")
    return sorted(set(found))


def _beginning(path: str) -> str:
    """Return the directory in which a pattern begins to matter."""
    place = os.path.dirname(path)  # noqa: PTH120  as spelt
    while glob.has_magic(place) or "{" in place:
        place = os.path.dirname(place)  # noqa: PTH120  as spelt
    return place or "."


def _is_there(path: str) -> bool:
    return os.path.lexists(path) or not without_file([Path(path)])


def _identity(path: Path) -> Identity | None:
    """Return what tells a regular file from all others; None where there is none, or nobody may look."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return (status.st_dev, status.st_ino) if stat.S_ISREG(status.st_mode) else None
