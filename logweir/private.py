"""Who may read the files that logweir makes.

What a flow keeps for itself has records in it, or what is known of them: recovery stores, dead letters. These are made
for logweir's user alone, whatever the umask is. Files that are made to be read by others have a setting, `mode`.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, WithJsonSchema

PRIVATE: Final = 0o600
_DIRECTORY: Final = 0o700
_READS: Final = 0o444
_MODE: Final = re.compile("0?[67][0-7]{2}")
"""logweir itself has to read what it has written, to go on after a crash."""


def private(path: str, flags: int) -> int:
    """Open a file, which only its owner may read if it is made by that: an `opener` for `open`."""
    return os.open(path, flags | os.O_CLOEXEC, PRIVATE)


def make_private(directory: Path) -> None:
    """Make a directory that only its owner may enter, and those above it. One that is there stays as it is."""
    if not directory.exists():
        directory.parent.mkdir(parents=True, exist_ok=True)
        directory.mkdir(_DIRECTORY, exist_ok=True)


def close_to_others(descriptor: int) -> None:
    """Take every right from all but the owner and the group of a file, if it is this user's: older versions gave them.

    A group may have been given its rights by a person, who wants a program of it to read there.
    """
    found = os.fstat(descriptor)
    if found.st_uid == os.geteuid() and stat.S_ISREG(found.st_mode) and found.st_mode & stat.S_IRWXO:
        os.fchmod(descriptor, stat.S_IMODE(found.st_mode) & ~stat.S_IRWXO)


def of_directory(mode: int) -> int:
    """Return the mode of a directory whose files have this one: who may read these may enter it."""
    return mode | (mode & _READS) >> 2


def set_mode(descriptor: int, mode: int | None) -> None:
    """Give a regular file its mode, unless it is None or the file has it already.

    Raises:
        OSError: It is another user's.
    """
    if mode is None:
        return
    found = os.fstat(descriptor)
    if stat.S_ISREG(found.st_mode) and stat.S_IMODE(found.st_mode) != mode:
        os.fchmod(descriptor, mode)


def make_directory(directory: Path, mode: int | None) -> None:
    """Make a directory and those above it, each that is made with the mode that goes with its files' mode."""
    missing = [each for each in (directory, *directory.parents) if not each.exists()]
    for each in reversed(missing):
        if mode is None:
            each.mkdir(exist_ok=True)
        else:
            each.mkdir(_DIRECTORY, exist_ok=True)
            each.chmod(of_directory(mode))


def rights(mode: str | None) -> int | None:
    """Return the rights that a setting says."""
    return None if mode is None else int(mode, 8)


def _mode(value: Any) -> str:
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if isinstance(text, str) and _MODE.fullmatch(text):
        return f"{int(text, 8):04o}"
    msg = "must be the rights of a file in octal, such as 0640, with 6 or 7 for the owner, who writes and reads it"
    raise ValueError(msg)


FileMode = Annotated[
    str,
    BeforeValidator(_mode),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": f"^{_MODE.pattern}$"}, {"type": "integer"}]}),
]
"""The rights of files in a flow file: 0640, in digits as chmod has them."""
