"""Dead letters: records that can't be delivered, kept with the reason, one by one, so that they can be sent again.

In a directory each is one JSON line; in Kafka each is a message with the original key and bytes, whose headers hold the
rest. Both are durable when `flush` returns, which is before the epoch that read the record is recorded.
"""

from __future__ import annotations

import base64
import fcntl
import os
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol

import orjson

from logweir.events import Events
from logweir.head import NO_HEAD, Head, Headers
from logweir.librdkafka import teller
from logweir.private import close_to_others, make_private, private
from logweir.times import rfc3339
from sinks.durable import sync

_LEAST_BYTES = 1000
"""So much of a record, and so many characters of a reason, are not cut further."""
REDRIVE_SUFFIX = ".redrive"
"""Of the file that a redrive writes to; no destination's name has a dot in it."""


class DeadLetter(NamedTuple):
    """One record and why it could not be delivered."""

    value: bytes
    topic: str
    partition: int
    offset: int
    cause: str
    """A short fixed phrase, as the ledger counts it."""
    reason: str
    """In full, such as the destination's own words."""
    attempts: int
    """How often it was sent; 0 when it never was."""
    identity: str = ""
    """Who the record is, where its destination tells repetitions: redaction may have changed its bytes."""
    head: Head = NO_HEAD
    """What its message had beside the value: key, headers and timestamp."""
    log: str = ""
    """Names the log whose offset it is; empty where that's unknown."""
    size: int = 0
    """Bytes of the whole record, where `value` is only its beginning, since no more fits; else 0."""


class DeadLetters(Protocol):
    """Where one destination's dead letters go. Called from several sender threads."""

    def write(self, letters: Sequence[DeadLetter]) -> None:
        """Accept letters; they are durable after the next `flush`.

        Raises:
            OSError: They can't be kept now; the same call may succeed later.
        """
        ...

    def flush(self) -> None:
        """Return when every accepted letter is durable.

        Raises:
            OSError: Some are not yet; the same call may succeed later.
        """
        ...

    def close(self) -> None:
        """Release what is held."""
        ...


class DirectoryDeadLetters:
    """Appends to `<directory>/<destination>.ndjson`, one file for each sink partition.

    A redrive appends to a file of its own, and takes what is settled out of all of them, by a new file in the old one's
    place. So a writer holds the file's lock while it appends, and looks whether the file is still the one at its path.

    Args:
        directory: Made when the first letter is written.
        destination: The destination's name.
        partition: The sink partition's number; None for the file of a redrive.
    """

    def __init__(self, directory: Path, destination: str, partition: int | None) -> None:
        suffix = REDRIVE_SUFFIX if partition is None else f"-{partition}" if partition else ""
        self._path = directory / f"{destination}{suffix}.ndjson"
        self._destination = destination
        self._file: IO[bytes] | None = None
        self._lock = threading.Lock()

    def write(self, letters: Sequence[DeadLetter]) -> None:
        """Append the letters."""
        lines = b"".join(orjson.dumps(self._entry(letter)) + b"\n" for letter in letters)
        with self._lock:
            file = self._locked()
            try:
                _append(file, lines, self._path)
            finally:
                fcntl.flock(file, fcntl.LOCK_UN)

    def flush(self) -> None:
        """Sync the file."""
        with self._lock:
            if self._file is not None:
                os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _locked(self) -> IO[bytes]:
        """Return the file that is at the path now, locked against other writers and a redrive."""
        while True:
            file = self._file
            if file is None:
                make_private(self._path.parent)
                file = self._file = open(self._path, "a+b", buffering=0, opener=private)  # noqa: SIM115  kept
                close_to_others(file.fileno())
                sync(self._path.parent)
            fcntl.flock(file, fcntl.LOCK_EX)
            if is_at(self._path, file):
                return file
            # A redrive has put a new file here, or another program has moved the old one, with what was written to it.
            os.fsync(file.fileno())
            self._close()

    def _entry(self, letter: DeadLetter) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "timestamp": rfc3339(time.time()),
            "destination": self._destination,
            "cause": letter.cause,
            "reason": _clean(letter.reason),
            "attempts": letter.attempts,
            "topic": letter.topic,
            "partition": letter.partition,
            "offset": letter.offset,
            **_beside(letter),
        }
        if letter.identity:
            entry["identity"] = letter.identity
        try:
            entry["record"] = letter.value.decode()
        except UnicodeDecodeError:
            entry["record_base64"] = base64.b64encode(letter.value).decode()
        return entry


def _clean(text: str) -> str:
    """Return text that can be encoded, whatever a destination has answered."""
    return text.encode(errors="replace").decode()


def _beside(letter: DeadLetter) -> dict[str, Any]:
    """Return the fields of a letter's key, headers, timestamp and log; none where it has none."""
    more: dict[str, Any] = {}
    head = letter.head
    if (key := head.key()) is not None:
        try:
            more["key"] = key.decode()
        except UnicodeDecodeError:
            more["key_base64"] = base64.b64encode(key).decode()
    if headers := head.headers():
        more["headers"] = [[_clean(name), _shown(value)] for name, value in headers]
    if (millis := head.timestamp()[1]) > 0:
        more["message_timestamp"] = millis
    if letter.log:
        more["log"] = letter.log
    if letter.size:
        more["size"] = letter.size
    return more


def _shown(value: bytes | None) -> str | dict[str, str] | None:
    """Return the value of a header: text, null, or an object with base64 of what is no text."""
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value or b"").decode()}


def _append(file: IO[bytes], lines: bytes, path: Path) -> None:
    """Append whole lines to a locked file, or nothing.

    Raises:
        OSError: There is no room for all of them, or what else it may be.
    """
    start = file.seek(0, os.SEEK_END)
    if start and os.pread(file.fileno(), 1, start - 1) != b"\n":
        lines = b"\n" + lines  # a crash has left half a line, to which the first would be glued
    try:
        written = file.write(lines)
        if written != len(lines):
            msg = f"{path}: wrote {written} of {len(lines)} bytes"
            raise OSError(msg)  # noqa: TRY301  a short write is mended as a failed one is
    except OSError:
        file.truncate(start)
        raise


def is_at(path: Path, file: IO[bytes]) -> bool:
    """Tell whether an open file is the one that the path leads to."""
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    mine = os.fstat(file.fileno())
    return (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)


class KafkaDeadLetters:
    """Produces to one topic per destination: the original bytes as value, the rest as headers `logweir.*`.

    Args:
        settings: librdkafka's settings of the source's cluster: brokers, TLS, SASL.
        topic: Such as `dead.search`.
        destination: The destination's name.
        events: Where the producer's own log lines go.
    """

    _FLUSH_SECONDS = 10.0

    def __init__(self, settings: Mapping[str, Any], topic: str, destination: str, events: Events) -> None:
        self._topic = topic
        self._destination = destination
        self._events = events
        self._said = teller(settings)
        self._settings = {
            **settings,
            "enable.idempotence": True,
            "linger.ms": 20,
            "compression.type": "lz4",
            "message.max.bytes": 100_000_000,
            "queue.buffering.max.kbytes": 65536,
            "logger": events.logger("stream.log"),
        }
        self._producer = self._connect({})
        self._alone: Any = None
        """A producer that sends each letter by itself; made once it is needed."""
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        self._failed: list[DeadLetter] = []
        self._large: list[DeadLetter] = []
        """Refused for a size, perhaps another's: brokers look at whole batches."""
        self._error = ""

    def write(self, letters: Sequence[DeadLetter]) -> None:
        """Hand the letters to the producer."""
        for letter in letters:
            self._produce(self._producer, letter)
        self._producer.poll(0)

    def flush(self) -> None:
        """Wait for the broker's acknowledgements, and produce once more what it refused.

        What is larger than the topic takes, though it goes alone, is cut: see `cut`.
        """
        with self._flushing:
            with self._lock:
                again, self._failed = self._failed, []
            for letter in again:
                self._produce(self._producer, letter)
            left = self._producer.flush(self._FLUSH_SECONDS)
            with self._lock:
                large, self._large = self._large, []
            cuts = sum(self._fit(letter) for letter in large)
            if cuts:
                reason = (
                    "larger than max.message.bytes of the topic: their beginnings and their places are kept, and a "
                    "redrive reads the whole records at those; raise it"
                )
                self._events.tell("stream.letters_cut", "warn", topic=self._topic, letters=cuts, reason=reason)
            if left or self._failed or self._large:
                waiting = left + len(self._failed) + len(self._large)
                msg = f"dead letter topic {self._topic}: {waiting} letters are not acknowledged yet"
                raise OSError(f"{msg}: {self._error}" if self._error else msg)

    def close(self) -> None:
        """Give what is left a last chance; the epoch that it belongs to isn't recorded if it fails."""
        self._producer.flush(1.0)

    def _fit(self, letter: DeadLetter) -> bool:
        """Produce a letter alone, cut as far as it has to be; tell whether it was."""
        if self._alone is None:
            self._alone = self._connect({"batch.num.messages": 1})
        part: DeadLetter | None = letter
        while part is not None:
            self._produce(self._alone, part)
            if self._alone.flush(self._FLUSH_SECONDS):
                return False  # its callback comes later
            with self._lock:
                if part not in self._large:
                    return part is not letter
                self._large.remove(part)
            part = cut(part)
        with self._lock:
            self._large.append(letter)
        return False

    def _connect(self, more: Mapping[str, Any]) -> Any:
        from confluent_kafka import Producer

        return Producer({**self._settings, **more})

    def _produce(self, producer: Any, letter: DeadLetter) -> None:
        from confluent_kafka import KafkaError, KafkaException

        def failed(error: Any) -> None:
            with self._lock:
                too_large = error.code() == KafkaError.MSG_SIZE_TOO_LARGE
                (self._large if too_large else self._failed).append(letter)
                self._error = self._said(error)

        def acknowledged(error: Any, _message: Any) -> None:
            if error is not None:
                failed(error)

        key = letter.head.key()
        headers: list[Any] = [*headers_of(letter, self._destination)]
        while True:
            try:
                producer.produce(self._topic, letter.value, key, headers=headers, on_delivery=acknowledged)
            except BufferError:
                if not len(producer):
                    failed(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE))  # there never is room for it
                    return
                # The queue is full: deliveries make room. This is a sender thread, so waiting delays nothing else.
                producer.poll(0.5)
            except KafkaException as error:
                failed(error.args[0])
                return
            else:
                return


def cut(letter: DeadLetter) -> DeadLetter | None:
    """Return a letter with half of what is there of its record; None where nothing is left to be taken away.

    Key and headers go last: like the rest of the record they are still in its topic, where the letter says.
    """
    size = letter.size or len(letter.value)
    if len(letter.value) > _LEAST_BYTES:
        return letter._replace(value=letter.value[: len(letter.value) // 2], size=size)
    if letter.head.key() is not None or letter.head.headers():
        return letter._replace(head=Head(millis=letter.head.timestamp()[1]), size=size or 1)
    if len(letter.reason) > _LEAST_BYTES:
        return letter._replace(reason=letter.reason[:_LEAST_BYTES])
    return None


def headers_of(letter: DeadLetter, destination: str) -> Headers:
    """Return the headers of a letter's message: first the record's own, then those of the letter.

    The last `logweir.headers` says how many are the record's own, which may have any names; without it none are. The
    record's timestamp is a header too: as the message's own it would have the topic's retention delete it at once.
    """
    own = letter.head.headers()
    more = {
        "destination": destination,
        "cause": letter.cause,
        "reason": letter.reason,
        "attempts": str(letter.attempts),
        "topic": letter.topic,
        "partition": str(letter.partition),
        "offset": str(letter.offset),
    }
    if letter.identity:
        more["identity"] = letter.identity
    if letter.log:
        more["log"] = letter.log
    if (millis := letter.head.timestamp()[1]) > 0:
        more["timestamp"] = str(millis)
    if letter.size:
        more["size"] = str(letter.size)
    if own:
        more["headers"] = str(len(own))
    return [*own, *((f"logweir.{name}", text.encode(errors="replace")) for name, text in more.items())]
