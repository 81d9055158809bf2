"""Decode: raw bytes become projected records; what is not one valid UTF-8 JSON object is rejected with its reason.

msgspec's own parser decides what is JSON, on the fast path and on the general one, so that both give the same verdict. It
leaves two things open, and they are settled here: it does not check UTF-8 in the fields that it skips (the bytes of a whole
batch are checked at once), and it refuses numbers out of a double's range only where it materialises them. Such a number is
valid by RFC 8259, so the record passes; a rule sees it as infinite.
"""

from __future__ import annotations

import json
from operator import itemgetter
from typing import Any, NoReturn

import msgspec
import orjson

from logweir.batch import Batch, Rejected
from logweir.record import rfc3339
from operators.projection import Projection

NOT_JSON = "not JSON"
NOT_UTF8 = "not UTF-8"
NOT_AN_OBJECT = "not an object"
TOO_DEEP = "nested too deeply"
EMPTY = "empty"

_BRACE = ord("{")
_FIRST_BYTE = itemgetter(0)
_WHITESPACE = b" \t\r\n"


class _Anything(msgspec.Struct, gc=False):
    """Materialises nothing: decoding into it is a check of the grammar alone."""


_validate = msgspec.json.Decoder(_Anything).decode


class Decoder:
    """Fills a batch's `records` and `ids`, and moves what is no record to its account.

    Args:
        projection: The fields that something downstream reads.
    """

    def __init__(self, projection: Projection) -> None:
        self._projection = projection
        self._identity = projection.getter("id")
        self._wrap = projection.layout.wrap

    def __call__(self, batch: Batch) -> None:
        """Decode one batch in place."""
        if self._wrap:
            _wrap_lines(batch)
        if not batch.values:
            return
        # What holds for all of a batch's bytes is tested once for all, at the speed of memory.
        joined = b"".join(batch.values)
        try:
            if not joined.isascii():
                b"\n".join(batch.values).decode()
            batch.records = list(map(self._projection.decode, batch.values))
        except (ValueError, RecursionError):
            self._decode_each(batch)
        if b"\n" in joined or set(map(_FIRST_BYTE, batch.values)) - {_BRACE}:
            batch.values = [_one_line(value) for value in batch.values]
        self._identify(batch)

    def _decode_each(self, batch: Batch) -> None:
        """Decode record by record, keeping what is valid."""
        records, kept = [], []
        for index, value in enumerate(batch.values):
            record, cause, detail = self._decode_one(value)
            if cause:
                batch.account.rejected.append(Rejected(value, batch.offsets[index], cause, detail))
            else:
                records.append(record)
                kept.append(index)
        if len(kept) < len(batch.values):
            batch.values = [batch.values[index] for index in kept]
            batch.offsets = [batch.offsets[index] for index in kept]
        batch.records = records

    def _decode_one(self, value: bytes) -> tuple[Any, str, str]:
        """Return the record, or the cause and detail of why there is none."""
        if not value.strip(_WHITESPACE):
            return None, EMPTY, "the message is empty"
        try:
            value.decode()
            return self._projection.decode(value), "", ""
        except UnicodeDecodeError as error:
            return None, NOT_UTF8, f"byte {error.object[error.start]:#04x} at {error.start} is not UTF-8"
        except RecursionError:
            return None, TOO_DEEP, "objects or arrays are nested too deeply"
        except msgspec.ValidationError:
            return self._decode_any(value)
        except msgspec.DecodeError as error:
            return None, NOT_JSON, _plain(error)

    def _decode_any(self, value: bytes) -> tuple[Any, str, str]:
        """Decode a message whose fields have types that the projection doesn't expect."""
        try:
            _validate(value)
        except RecursionError:
            return None, TOO_DEEP, "objects or arrays are nested too deeply"
        except msgspec.ValidationError as error:
            # It stops at the first token, so what comes behind it may not be JSON at all.
            try:
                _parse(value)
            except ValueError as syntax:
                return None, NOT_JSON, str(syntax)
            return None, NOT_AN_OBJECT, _plain(error)
        except msgspec.DecodeError as error:
            return None, NOT_JSON, _plain(error)
        try:
            return self._projection.build(_parse(value)), "", ""
        except RecursionError:
            return None, TOO_DEEP, "objects or arrays are nested too deeply"
        except ValueError as error:
            return None, NOT_JSON, str(error)

    def _identify(self, batch: Batch) -> None:
        """Give each record its own id, else its place in the topic."""
        ids = list(map(self._identity, batch.records))
        try:
            "".join(ids)  # the quickest test of every type
            usable = all(ids)
        except TypeError:
            usable = False
        if not usable:
            ids = [
                str(own)
                if isinstance(own, str | int) and own != "" and not isinstance(own, bool)
                else f"{batch.topic}-{batch.partition}-{offset}"
                for own, offset in zip(ids, batch.offsets, strict=True)
            ]
        batch.ids = ids


def _one_line(value: bytes) -> bytes:
    """Return the record without raw newlines; in valid JSON they can only be white space between tokens."""
    return value.strip(_WHITESPACE).translate(None, b"\r\n")


def _wrap_lines(batch: Batch) -> None:
    """Make each line of a text source the message of a record of its own."""
    wrapped = []
    for index, value in enumerate(batch.values):
        try:
            record = {"message": value.decode().rstrip("\r\n")}
        except UnicodeDecodeError:
            wrapped.append(value)  # rejected as such a moment later, with its own bytes
            continue
        record["timestamp"] = rfc3339(batch.times[index] if batch.times else batch.arrived)
        wrapped.append(orjson.dumps(record))
    batch.values = wrapped


def _parse(value: bytes) -> Any:
    """Return any JSON value; numbers out of a double's range become infinite instead of being refused."""
    return json.loads(value, parse_constant=_refuse, parse_int=_integer)


_LONG_INTEGER = 4000
"""Python refuses to parse longer ones (sys.set_int_max_str_digits), to bound the time it takes."""


def _integer(text: str) -> int | float:
    return float(text) if len(text) > _LONG_INTEGER else int(text)


def _refuse(constant: str) -> NoReturn:
    msg = f"{constant} is not JSON"
    raise ValueError(msg)


def _plain(error: Exception) -> str:
    return str(error).removeprefix("JSON is malformed: ")
