"""One file of dead letters: its lines, what is a letter of them, and how to tell that it is still the same file."""

from __future__ import annotations

import base64
import binascii
import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import orjson

from flows.dead_letters import Place, Read, Wanted
from logweir.head import Head
from logweir.times import epoch_seconds
from sinks.deadletter import DeadLetter

BLOCK_BYTES = 1_000_000
"""Of a file, read at once."""
_LINE_BYTES = 256_000_000
"""A longer line is no dead letter: the largest record of Kafka makes a shorter one."""
_SEAL_BYTES = 4096
"""So many before a place are looked at, to notice that the file was edited: each letter has its time and its offset."""


class LetterFile:
    """One file: its lines up to the end that it had when the redrive began."""

    def __init__(self, path: Path, wanted: Wanted) -> None:
        self.path = path
        self.place = Place()
        self.at = 0
        """Behind the last line that was read."""
        self.line = 0
        """Lines read."""
        self.told = 0
        self._wanted = wanted
        self._begun = 0
        self.handle = path.open("rb")
        # A line that is being written is there as a whole, or not at all, once the lock is ours.
        fcntl.flock(self.handle, fcntl.LOCK_SH)
        try:
            size = self.handle.seek(0, os.SEEK_END)
            self.bound = _last_line_end(self.handle, size)
        finally:
            fcntl.flock(self.handle, fcntl.LOCK_UN)
        self.torn = self.bound < size

    def begin(self, place: Place) -> None:
        """Go on from where the letters are settled."""
        self.place = place
        self.at = self._begun = place.start(self._wanted)

    def rewind(self) -> None:
        """Begin with the first line again."""
        self.at = self._begun = self.line = 0

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Give the next lines, each with the place of its first byte; one that is far too long is given in part."""
        self.handle.seek(self.at)
        while self.at < self.bound:
            start = self.at
            line = rest = self.handle.readline(_LINE_BYTES)
            self.at += len(line)
            while rest and not rest.endswith(b"\n"):
                rest = self.handle.readline(_LINE_BYTES)
                self.at += len(rest)
            if not rest:
                self.at = self.bound  # somebody has cut the file
                return
            self.line += 1
            yield start, line

    def number(self) -> int:
        """Return the number of the line that was read last, from 1 for the file's first."""
        before = self.handle.tell()
        self.handle.seek(0)
        left, count = self._begun, 0
        while left > 0 and (block := self.handle.read(min(left, BLOCK_BYTES))):
            count += block.count(b"\n")
            left -= len(block)
        self.handle.seek(before)
        return count + self.line


def parse(line: bytes) -> tuple[str, Read]:
    """Return the destination that a line names, and the letter in it.

    Raises:
        ValueError: It is no dead letter; the message says why.
    """
    if len(line) >= _LINE_BYTES:
        msg = f"longer than {_LINE_BYTES} bytes"
        raise ValueError(msg)
    try:
        entry = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        msg = f"not JSON: {error}"
        raise ValueError(msg) from error
    if not isinstance(entry, dict):
        msg = "not an object"
        raise ValueError(msg)  # noqa: TRY004  whoever calls asks only whether it is a letter
    letter = DeadLetter(
        _value(entry),
        _text(entry, "topic"),
        _number(entry, "partition"),
        _number(entry, "offset"),
        _text(entry, "cause"),
        _text(entry, "reason"),
        _number(entry, "attempts"),
        _text(entry, "identity") if "identity" in entry else "",
        _head(entry),
        _text(entry, "log") if "log" in entry else "",
        _number(entry, "size") if "size" in entry else 0,
    )
    return _text(entry, "destination"), Read(letter, epoch_seconds(entry.get("timestamp")) or time.time())


def _value(entry: dict[str, Any]) -> bytes:
    if "record" in entry:
        return _text(entry, "record").encode()
    return _decoded("record_base64", _text(entry, "record_base64"))


def _head(entry: dict[str, Any]) -> Head:
    key: bytes | None = None
    if "key" in entry:
        key = _text(entry, "key").encode()
    elif "key_base64" in entry:
        key = _decoded("key_base64", _text(entry, "key_base64"))
    headers = entry.get("headers", [])
    pairs = isinstance(headers, list) and all(isinstance(each, list) and len(each) == 2 for each in headers)  # noqa: PLR2004
    if not pairs or not all(isinstance(name, str) for name, _ in headers):
        msg = "`headers` is no list of pairs of a name and a value"
        raise ValueError(msg)
    millis = _number(entry, "message_timestamp") if "message_timestamp" in entry else 0
    return Head(key, [(name, _header(value)) for name, value in headers], millis)


def _header(value: Any) -> bytes | None:
    if value is None:
        return None
    if isinstance(value, dict):
        return _decoded("headers", _text(value, "base64"))
    if not isinstance(value, str):
        msg = "`headers` has a value that is neither text nor null nor base64"
        raise ValueError(msg)  # noqa: TRY004  as below
    return value.encode()


def _decoded(name: str, text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        msg = f"`{name}` is not base64: {error}"
        raise ValueError(msg) from error


def _text(entry: dict[str, Any], name: str) -> str:
    value = entry.get(name)
    if not isinstance(value, str):
        msg = f"`{name}` is missing or no text"
        raise ValueError(msg)  # noqa: TRY004  as above
    return value


def _number(entry: dict[str, Any], name: str) -> int:
    value = entry.get(name)
    if type(value) is not int:
        msg = f"`{name}` is missing or no whole number"
        raise ValueError(msg)
    return value


def _last_line_end(handle: IO[bytes], size: int) -> int:
    """Return where the last line that has an end ends."""
    stop = size
    while stop > 0:
        start = max(0, stop - BLOCK_BYTES)
        handle.seek(start)
        found = handle.read(stop - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        stop = start
    return 0


def seal(handle: IO[bytes], place: int) -> str:
    """Return what tells whether the text before a place is still the same."""
    before = handle.tell()
    start = max(0, place - _SEAL_BYTES)
    handle.seek(start)
    text = handle.read(place - start)
    handle.seek(before)
    return hashlib.blake2b(text, digest_size=16).hexdigest()
