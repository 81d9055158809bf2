"""The protobuf wire format, as far as OTLP's log records need it: "Encoding" in the Protocol Buffers documentation.

What is written is *wire text*: a str whose characters are the bytes (0 to 255), so that records are put together by
string formatting and become bytes once, as Latin-1. `wire` turns text into it: the bytes of its UTF-8.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator
from typing import Any

from msgspec import UNSET, UnsetType

MAX_DEPTH = 12
"""Objects and lists within each other, after which comes JSON text: parsers of protobuf stop at about 30 of these."""
MAX_INT64 = (1 << 63) - 1
MIN_INT64 = -(1 << 63)

ATTRIBUTE = "\x32"
"""The tag of a log record's attributes; a tag is the field's number times 8, and its wire type."""
_KEY, _VALUE = "\x0a", "\x12"
_STRING, _BOOL, _INT, _DOUBLE, _ARRAY, _KVLIST = "\x0a", "\x10", "\x18", "\x21", "\x2a", "\x32"
_ITEM = "\x0a"

_SEVEN_BITS = 0x7F
_UINT64 = (1 << 64) - 1
_VARINT_BITS = 70
_LONG = 1024
"""Bytes: longer texts seldom share a length."""
_HEADS_LIMIT = 20_000
"""Bounds the memory of a group's names, whatever records hold: about 3 MB."""
_INTEGERS_LIMIT = 10_000
_DOUBLE_BYTES = 9
_DOUBLE_HEAD = -1 << 62
_double = struct.Struct("<d").pack


def wire(text: str) -> str:
    """Return text as wire text. Half of a surrogate pair, which has no UTF-8, is written as an escape."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("latin-1")


def wired(value: Any) -> Any:
    """Return a value of JSON with all text in it as wire text."""
    if isinstance(value, str):
        return wire(value)
    if isinstance(value, dict):
        return {wire(name): wired(each) for name, each in value.items()}
    if isinstance(value, list):
        return [wired(each) for each in value]
    return value


def _varint(number: int) -> str:
    text = ""
    while number > _SEVEN_BITS:
        text += chr(number & _SEVEN_BITS | 0x80)
        number >>= 7
    return text + chr(number)


_SMALL = [_varint(number) for number in range(_LONG)]


def varint(number: int) -> str:
    """Return a number as the wire has it, seven bits a byte; a negative one in two's complement of 64 bits."""
    return _SMALL[number] if 0 <= number < _LONG else _varint(number & _UINT64)


def field(tag: str, content: str) -> str:
    """Return a field of this tag whose content has a length: text, bytes or a message."""
    return f"{tag}{varint(len(content))}{content}"


def fixed64(number: int) -> str:
    """Return an unsigned number of eight bytes."""
    return number.to_bytes(8, "little").decode("latin-1")


class _Integers(dict[int, str]):
    """AnyValues of whole numbers: those of logs are few, and come again."""

    def __missing__(self, number: int) -> str:
        fits = MIN_INT64 <= number <= MAX_INT64
        made = _INT + varint(number) if fits else field(_STRING, str(number))
        if len(self) < _INTEGERS_LIMIT:
            self[number] = made
        return made


_INTEGERS = _Integers()


def any_value(value: Any, depth: int = 0) -> str:
    """Return a value of JSON as an AnyValue. Texts in it are wire text already, as are the names of members.

    Args:
        value: Any value of JSON; null is an AnyValue that says nothing.
        depth: How many objects and lists it stands in.
    """
    kind = type(value)
    if kind is str:
        made = field(_STRING, value)
    elif kind is int:
        made = _INTEGERS[value]
    elif kind is float:
        made = _DOUBLE + _double(value).decode("latin-1")
    elif kind is bool:
        made = _BOOL + ("\x01" if value else "\x00")
    elif value is None:
        made = ""
    elif depth >= MAX_DEPTH:
        # Without escapes, so that it stays wire text.
        made = field(_STRING, json.dumps(value, ensure_ascii=False, separators=(",", ":")))
    elif kind is dict:
        members = [field(_ITEM, key_value(name, each, depth + 1)) for name, each in value.items()]
        made = field(_KVLIST, "".join(members))
    else:
        made = field(_ARRAY, "".join([field(_ITEM, any_value(each, depth + 1)) for each in value]))
    return made


def key_value(name: str, value: Any, depth: int = 0) -> str:
    """Return a KeyValue; name and value as `any_value` takes them."""
    return _key(name) + field(_VALUE, any_value(value, depth))


def _key(name: str) -> str:
    # What is empty is left out, as any other field of text.
    return field(_KEY, name) if name else ""


class _Heads(dict[int, str]):
    """What stands before the text of an attribute, by the text's length: tags, lengths and the attribute's name.

    A negative key `~n` gives what stands before any other AnyValue of n bytes, `_DOUBLE_HEAD` what stands before the
    eight bytes of a double.
    """

    def __init__(self, name: str, owner: Names) -> None:
        super().__init__()
        self._key, self._owner = _key(name), owner

    def __missing__(self, length: int) -> str:
        if length == _DOUBLE_HEAD:
            size, text = _DOUBLE_BYTES, _DOUBLE
        elif length < 0:
            size, text = ~length, ""
        else:
            text = _STRING + varint(length)
            size = len(text) + length
        start = f"{self._key}{_VALUE}{varint(size)}"
        head = f"{ATTRIBUTE}{varint(len(start) + size)}{start}{text}"
        if size < _LONG:
            self._owner.admit()
            self[length] = head
        return head


class Names(dict[str, _Heads]):
    """What stands before the attributes of a group, by the names of its members: made once for each.

    Args:
        prefix: Stands before each name.
        renamed: Names in place of these.
    """

    def __init__(self, prefix: str = "", renamed: dict[str, str] | None = None) -> None:
        super().__init__()
        self._prefix, self._renamed, self._count = prefix, renamed or {}, 0

    def __missing__(self, name: str) -> _Heads:
        self.admit()
        made = self[name] = _Heads(self._renamed.get(name, self._prefix + name), self)
        return made

    def admit(self) -> None:
        """Count one more, and start anew when there are too many."""
        self._count += 1
        if self._count > _HEADS_LIMIT:
            self.clear()
            self._count = 0


def write_attributes(parts: list[str], groups: Iterable[tuple[Names, dict[str, Any] | UnsetType]]) -> None:
    """Add attributes to the parts of a record.

    Args:
        parts: What a record is joined of.
        groups: Names and values, both wire text, with what writes the names.
    """
    for heads, members in groups:
        if members is UNSET:
            continue
        for name, value in members.items():
            kind = type(value)
            if kind is str:
                parts += heads[name][len(value)], value
            elif kind is float:
                parts += heads[name][_DOUBLE_HEAD], _double(value).decode("latin-1")
            else:
                made = _INTEGERS[value] if kind is int else any_value(value)
                parts += heads[name][~len(made)], made


def read_fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield number and content of each field of a message.

    Raises:
        ValueError: It is no message.
    """
    at = 0
    while at < len(message):
        key, at = _read_varint(message, at)
        number, kind = key >> 3, key & 7
        content: int | bytes
        if number == 0 or kind not in _FIXED_BYTES.keys() | {0, 2}:
            msg = f"no field has number {number} and wire type {kind}"
            raise ValueError(msg)
        content, after = _read_varint(message, at) if kind in {0, 2} else (_FIXED_BYTES[kind], at)
        if kind:
            after, start = after + content, after
            content = message[start:after]
        if after > len(message):
            msg = "a field is longer than its message"
            raise ValueError(msg)
        at = after
        yield number, content


_FIXED_BYTES = {1: 8, 5: 4}
"""By wire type."""


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    """Return a number, and where it ends."""
    number = 0
    for shift, byte in zip(range(0, _VARINT_BITS, 7), message[at : at + 10], strict=False):
        number |= (byte & _SEVEN_BITS) << shift
        if byte <= _SEVEN_BITS:
            return number & _UINT64, at + shift // 7 + 1
    msg = "a number without an end"
    raise ValueError(msg)
