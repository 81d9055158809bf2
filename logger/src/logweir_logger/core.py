"""What a logger shares with its children: outputs, limits, redaction, and how a record that orjson refuses is saved."""

from __future__ import annotations

import os
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any
from weakref import WeakSet

import orjson

from logweir_logger.encode import LIMITS, OPTIONS, Limits, Walk, convert, has_parts
from logweir_logger.exceptions import text_of
from logweir_logger.levels import LEVELS, severity
from logweir_logger.outputs import Output, Write
from logweir_logger.redact import Redactor
from logweir_logger.visible import one_line

_COMPLAIN_SECONDS = 60.0
"""An output that fails says so on stderr no more often."""
_LEAST_RECORD = 1_024
_DEPTH = 100
"""Of what is written in full: a quarter of what orjson takes."""
_MESSAGE = len('{"message":')
_FRAME = 100
"""Bytes of a record's id, timestamp and level."""


class Core:
    """The part of a logger that its children have in common.

    Args:
        outputs: Where records go.
        redactor: Knows the secret keys.
        max_record_bytes: A larger record is cut down to it.
        sample: The share of each of these levels that is kept.
    """

    __slots__ = (
        "__weakref__",
        "_complained",
        "_lock",
        "_outputs",
        "default",
        "max_record_bytes",
        "redactor",
        "safe",
        "sample",
        "writers",
    )

    def __init__(
        self, outputs: Iterable[Output], redactor: Redactor, max_record_bytes: int, sample: Mapping[str, float]
    ) -> None:
        if max_record_bytes < _LEAST_RECORD:
            msg = f"max_record_bytes must be at least {_LEAST_RECORD}, got {max_record_bytes}"
            raise ValueError(msg)
        self.redactor = redactor
        self.safe = redactor.safe
        # A method is bound anew each time it is looked up, so this is done once.
        self.default = self._default
        self.max_record_bytes = max_record_bytes
        self.sample = {severity(level): _share(level, rate) for level, rate in sample.items()}
        self._outputs = tuple(outputs)
        self._lock = threading.Lock()
        self._complained = 0.0
        self.writers: list[tuple[Write, ...]] = []
        """For each severity, what writes a record of it."""
        self.route()
        _cores.add(self)

    @property
    def outputs(self) -> tuple[Output, ...]:
        """Where records go."""
        return self._outputs

    def route(self, instead: Write | None = None) -> None:
        """Find out what writes each level; `instead` takes all of them."""
        chosen = instead if instead is not None else _captured[-1] if _captured else None
        self.writers = [
            (chosen,)
            if chosen is not None
            else tuple(each.writer() for each in self._outputs if number >= each.severity)
            for number in range(len(LEVELS))
        ]

    def add(self, output: Output) -> None:
        """Send records to this output as well."""
        with self._lock:
            self._outputs = (*self._outputs, output)
            self.route()

    def remove(self, output: Output) -> None:
        """Send no more records to this output. Nothing happens when it has none."""
        with self._lock:
            self._outputs = tuple(each for each in self._outputs if each is not output)
            self.route()

    def kept(self, number: int, trace_id: Any) -> bool:
        """Whether a record of a sampled level is kept: by its trace, so that a trace is kept or dropped whole."""
        rate = self.sample[number]
        if isinstance(trace_id, str):
            return zlib.crc32(trace_id.encode("utf-8", "replace")) < rate * 0x1_0000_0000
        return int.from_bytes(os.urandom(4), "big") < rate * 0x1_0000_0000

    def _default(self, value: Any) -> Any:
        """Return something nearer to JSON for a value that orjson doesn't know, without secrets."""
        return self.redactor.clean(self.redactor.element(convert(value)))

    def text(self, value: Any) -> str:
        """Return as text what should have been text: of what has parts JSON without secrets, else its `str`."""
        try:
            if isinstance(value, str):
                return str.__str__(value)
            if not has_parts(value):
                return text_of(value)
            plain = Walk(LIMITS[0], self.redactor).plain(value)
            return plain if isinstance(plain, str) else orjson.dumps(plain).decode()
        except Exception as error:  # noqa: BLE001  # whatever a broken object does, its record is written
            return f"<{type(value).__name__} that fails with {type(error).__name__}>"

    def encode(self, value: Mapping[str, Any]) -> bytes:
        """Return a small object, such as a context, as JSON: redacted, whatever it holds, and cut down if need be."""
        refused = True
        with suppress(Exception):
            found = orjson.dumps(self.redactor.clean(value), self.default, OPTIONS)
            refused = False
            if len(found) <= self.max_record_bytes // 4:
                return found
        return self.mend(value, self.max_record_bytes // 4, refused=refused)

    def mend(self, value: Mapping[str, Any], limit: int, *, refused: bool = True) -> bytes:
        """Return an object as JSON that fits, whatever it holds.

        Args:
            value: The object.
            limit: Bytes.
            refused: By orjson; what is merely too large need not be tried in full.
        """
        size = 0
        # A member takes two bytes at least.
        whole = Limits(sys.maxsize, sys.maxsize, _DEPTH, limit // 2)
        for limits in (whole, *LIMITS) if refused else LIMITS:
            try:
                found = orjson.dumps(Walk(limits, self.redactor).plain(dict(value)))
            except Exception:  # noqa: BLE001, S112  # the next limits are tighter, the last resort needs none
                continue
            if len(found) <= limit:
                return found
            size = size or len(found)
        least: dict[str, Any] = {}
        if "message" in value:
            least["message"] = Walk(LIMITS[-1], self.redactor).text(self.text(value["message"]))
        least["metadata" if least else "…"] = {"…": f"left out: {size or 'too'} bytes do not fit into {limit}"}
        return orjson.dumps(least)

    def mended(
        self, body: Mapping[str, Any], before: int = 0, *, refused: bool = True
    ) -> tuple[bytes, bytes, bytes, bytes]:
        """Return the parts of a record from its message's text on, whatever the body holds; it begins with `message`.

        Args:
            body: The message, and what comes after it.
            before: Bytes of the record that are not the body's.
            refused: By orjson.
        """
        limit = max(self.max_record_bytes - before - _FRAME, self.max_record_bytes // 4)
        return self.mend(body, limit, refused=refused)[_MESSAGE:], b"", b"", b""

    def complain(self, write: Write, error: Exception) -> None:
        """Say on stderr that an output has failed, once in a while."""
        now = time.monotonic()
        if self._complained and now - self._complained < _COMPLAIN_SECONDS:
            return
        self._complained = now
        owner = next((type(each).__name__ for each in self._outputs if each.writer() == write), "an output")
        # Where that fails too, there is nowhere left to say it.
        with suppress(Exception):
            said = one_line(f"{owner} has not written a record: {type(error).__name__}: {error}")
            sys.stderr.write(f"logweir_logger: {said}\n")


def _share(level: str, rate: float) -> float:
    if not 0 <= rate <= 1:
        msg = f"sample of {level} must be a share from 0 to 1, got {rate!r}"
        raise ValueError(msg)
    return rate


_cores: WeakSet[Core] = WeakSet()
_captured: list[Write] = []


def capture(write: Write) -> Callable[[], None]:
    """Let all records of this process go to `write` alone; return what ends that."""
    _captured.append(write)
    _route_all()

    def end() -> None:
        _captured.remove(write)
        _route_all()

    return end


def _route_all() -> None:
    for core in list(_cores):
        core.route()


def _renew_locks() -> None:
    for core in list(_cores):
        core._lock = threading.Lock()  # noqa: SLF001  # a thread that held it is not in this process


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)
