"""Decode: raw bytes become projected records; what is not one valid UTF-8 JSON object is rejected with its reason.

msgspec's own parser decides what is JSON, on the fast path and on the general one, so that both give the same verdict.
It leaves two things open, and they are settled here: it does not check UTF-8 in the fields that it skips (the bytes of
a whole batch are checked at once), and it refuses numbers out of a double's range only where it materialises them. Such
a number is valid by RFC 8259, so the record passes; a rule sees it as infinite. It refuses half of a surrogate pair
everywhere; that is valid too, so the record passes, and a rule sees U+FFFD in its place.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import filterfalse, repeat
from operator import contains, itemgetter
from typing import Any, NoReturn

import msgspec
import orjson

from logweir.batch import Account, Batch, Rejected
from logweir.json_text import MARK, without_halves
from logweir.times import rfc3339, settled
from operators.formats import Format
from operators.identity import digests_of, identities_of, ids_of, is_own, place_of
from operators.projection import Projection
from operators.settled import Levels

NOT_JSON = "not JSON"
NOT_UTF8 = "not UTF-8"
NOT_AN_OBJECT = "not an object"
TOO_DEEP = "nested too deeply"
EMPTY = "empty"
CAUSES = frozenset({NOT_JSON, NOT_UTF8, NOT_AN_OBJECT, TOO_DEEP, EMPTY})
"""Why something is no record: what has one of these has never come to the rules."""

UNREAD_TIME = "timestamp can't be read"
"""A notice: the record goes by the time at which it was written."""

_BRACE = ord("{")
_NEWLINE = ord("\n")
_FIRST_BYTE = itemgetter(0)
_WHITESPACE = b" \t\r\n"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


class _Anything(msgspec.Struct, gc=False):
    """Materialises nothing: decoding into it is a check of the grammar alone."""


_validate = msgspec.json.Decoder(_Anything).decode

Hide = Callable[[bytes, Account], bytes]
"""Returns what may be kept of a message that is no record, and notes on the account what was hidden."""


class Decoder:
    """Fills a batch's `records`, and moves what is no record to its account.

    Where rules decide first, a batch is decoded twice: into the fields that the rules read, and what passes into those
    that the destination reads. The second time costs less than to materialise for all what only the kept ones need.

    Args:
        projection: The fields that something downstream reads.
        final: Whether the destination comes next: then the records get their `ids`, times and levels, and each is put
            on one line.
        identified: Whether it asks for their `identities`.
        hide: What messages that are no records pass through on their way to the account.
    """

    def __init__(
        self, projection: Projection, *, final: bool = True, identified: bool = False, hide: Hide | None = None
    ) -> None:
        self._projection = projection
        self._final = final
        self._identified = identified
        self._hide = hide
        self._wrap = projection.layout.wrap
        self._identity = projection.getter("id") if final else None
        self._timestamp = projection.getter("timestamp") if final and "timestamp" in projection.fields else None
        self._levels = Levels(projection) if final and "level" in projection.fields else None

    def __call__(self, batch: Batch) -> None:
        """Decode one batch in place."""
        if self._wrap and not batch.records:
            wrap_lines(batch)
        if not batch.values:
            return
        if not self._decode_all(batch, batch.values):
            self._decode_odd(batch)
        if self._identity is None:
            return
        digests = (batch.digests or digests_of(batch.values)) if self._identified else []
        if set(map(_FIRST_BYTE, batch.values)) != {_BRACE} or any(map(contains, batch.values, repeat(_NEWLINE))):
            batch.digests = batch.digests or digests or digests_of(batch.values)
            batch.values = [_one_line(value) for value in batch.values]
            batch.size = sum(map(len, batch.values))
        own = list(map(self._identity, batch.records))
        batch.ids = ids_of(batch, own)
        if self._identified:
            batch.identities = identities_of(batch, own, digests)
        if self._timestamp is not None and batch.records:
            batch.times, unread = settled(list(map(self._timestamp, batch.records)), batch.written)
            batch.account.notice(UNREAD_TIME, unread)
        if self._levels is not None:
            batch.levels = self._levels(batch.records)
            self._levels.note(batch.levels, batch.records, batch.account)

    def step(self, batch: Batch) -> Batch:
        """Decode one batch in place, and return it."""
        self(batch)
        return batch

    def _decode_all(self, batch: Batch, values: list[bytes]) -> bool:
        """Make the whole batch records of these values, decoded at once; return whether that was possible."""
        try:
            for value in filterfalse(bytes.isascii, values):
                value.decode()
            batch.records = list(map(self._projection.decode, values))
        except (ValueError, RecursionError):
            return False
        if values is not batch.values:
            batch.values, batch.size = values, sum(map(len, values))
        return True

    def _decode_odd(self, batch: Batch) -> None:
        """Decode a batch in which something is no plain record: without byte order marks, else record by record."""
        bare = [value.removeprefix(MARK) for value in batch.values]
        if bare != batch.values:
            # Nobody can tell later what was read.
            batch.digests = batch.digests or digests_of(batch.values)
            if self._decode_all(batch, bare):
                return
        self._decode_each(batch, bare)

    def _decode_each(self, batch: Batch, bare: list[bytes]) -> None:
        """Decode record by record, keeping what is valid.

        Args:
            batch: The batch.
            bare: Its values without byte order marks; what is no record keeps its own.
        """
        records, valid = [], []
        for index, value in enumerate(bare):
            record, cause, detail = self._decode_one(value)
            valid.append(not cause)
            if cause:
                own = batch.values[index]
                shown = own if self._hide is None else self._hide(own, batch.account)
                batch.account.rejected.append(Rejected(shown, batch.offsets[index], cause, detail))
            else:
                records.append(record)
        batch.values, batch.size = bare, sum(map(len, bare))
        if len(records) < len(valid):
            batch.keep(valid)
        batch.records = records

    def _decode_one(self, value: bytes) -> tuple[Any, str, str]:
        """Return the record, or the cause and detail of why there is none."""
        if not value.strip(_WHITESPACE):
            return None, EMPTY, "the message is empty"
        try:
            value.decode()
        except UnicodeDecodeError as error:
            return None, NOT_UTF8, _not_utf8(error)
        value = without_halves(value)
        try:
            return self._projection.decode(value), "", ""
        except RecursionError:
            return None, TOO_DEEP, "objects or arrays are nested too deeply"
        except msgspec.ValidationError:
            return self._decode_any(value)
        except msgspec.DecodeError as error:
            return None, NOT_JSON, _plain(error)

    def _decode_any(self, value: bytes) -> tuple[Any, str, str]:  # noqa: PLR0911  a verdict for each way to fail
        """Decode a message whose fields have types that the projection doesn't expect."""
        try:
            _validate(value)
        except RecursionError:
            return None, TOO_DEEP, "objects or arrays are nested too deeply"
        except msgspec.ValidationError as error:
            # It stops at the first token, so what comes behind it may not be JSON at all.
            try:
                _parse(value)
            except RecursionError:
                return None, TOO_DEEP, "objects or arrays are nested too deeply"
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


class Identities:
    """Tells who a record is before the final decode: sampling asks for the few records that have no trace.

    Args:
        layout: Where the id lives.
    """

    def __init__(self, layout: Format) -> None:
        projection = Projection([], layout)
        self._decode = projection.decode
        self._identity = projection.getter("id")
        self._odd = OwnIds(layout)
        self.batch: Batch | None = None
        """The batch whose records are asked for."""

    def __call__(self, index: int) -> str:
        """Return the identity of the batch's record of this index."""
        batch = self.batch
        assert batch is not None
        value = batch.values[index]
        try:
            own = self._identity(self._decode(value))
        except (msgspec.DecodeError, RecursionError):
            own = self._odd(value)
        if type(own) is str and own:
            return own
        return str(own) if is_own(own) else place_of(batch, batch.offsets[index])


def is_record(value: bytes) -> bool:
    """Tell whether a decoder would take this message; what is nested too deeply for it counts as taken."""
    value = value.removeprefix(MARK)
    try:
        value.decode()
        try:
            _validate(value)
        except msgspec.DecodeError:
            if (whole := without_halves(value)) is value:
                return False
            _validate(whole)
    except ValueError:
        return False
    except RecursionError:
        return True
    return True


class OwnIds:
    """Reads the id that stands in a record.

    Args:
        layout: Where the id lives.
    """

    def __init__(self, layout: Format) -> None:
        self._projection = Projection([], layout)
        self._get = self._projection.getter("id")

    def __call__(self, value: bytes) -> str | None:
        """Return the id of what `is_record`, None if it has none."""
        value = without_halves(value.removeprefix(MARK))
        try:
            own = self._get(self._projection.decode(value))
        except msgspec.ValidationError:
            try:
                own = self._get(self._projection.build(_parse(value)))
            except RecursionError:
                return None
        except RecursionError:
            return None
        return str(own) if is_own(own) else None


def _one_line(value: bytes) -> bytes:
    """Return the record without raw newlines; in valid JSON they can only be white space between tokens."""
    return value.strip(_WHITESPACE).translate(None, b"\r\n")


def wrap_lines(batch: Batch) -> None:
    """Make each line of a text source the message of a record of its own."""
    wrapped = []
    for index, value in enumerate(batch.values):
        try:
            record = {"message": value.removeprefix(MARK).decode().rstrip("\r\n")}
        except UnicodeDecodeError:
            wrapped.append(value)  # rejected as such a moment later, with its own bytes
            continue
        record["timestamp"] = rfc3339(batch.written[index])
        wrapped.append(orjson.dumps(record))
    batch.values = wrapped
    batch.size = sum(map(len, wrapped))


def _parse(value: bytes) -> Any:
    """Return any JSON value; numbers out of a double's range become infinite instead of being refused."""
    # Of bytes, Python would guess by zeros among them that they are UTF-16.
    return json.loads(value.decode(), parse_constant=_refuse, parse_int=_integer)


_LONG_INTEGER = 4000
"""Python refuses to parse longer ones (sys.set_int_max_str_digits), to bound the time it takes."""


def _integer(text: str) -> int | float:
    return float(text) if len(text) > _LONG_INTEGER else int(text)


def _refuse(constant: str) -> NoReturn:
    msg = f"{constant} is not JSON"
    raise ValueError(msg)


def _not_utf8(error: UnicodeDecodeError) -> str:
    said = f"byte {error.object[error.start]:#04x} at {error.start} is not UTF-8"
    wide = error.object.startswith(_UTF16_MARKS)
    return f"{said}; it begins as UTF-16 does: let it be written in UTF-8" if wide else said


def _plain(error: Exception) -> str:
    return str(error).removeprefix("JSON is malformed: ")
