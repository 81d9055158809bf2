"""The protobuf wire format, as far as OTLP's log records need it: "Encoding" in the Protocol Buffers documentation.

What is written is *wire text*: a str whose characters are the bytes (0 to 255), so that records are put together by
string formatting and become bytes once, as Latin-1. `wire` turns text into it: the bytes of its UTF-8.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from typing import Any

MAX_DEPTH = 12
"""Objects and lists within each other, after which comes JSON text: parsers of protobuf stop at about 30 of these."""
MAX_INT64 = (1 << 63) - 1
MIN_INT64 = -(1 << 63)

ATTRIBUTE = "\x32"
"""The tag of a log record's attributes; a tag is the field's number times 8, and its wire type."""
_KEY, _VALUE = "\x0a", "\x12"
_STRING, _BOOL, _INT, _DOUBLE, _ARRAY, _KVLIST = "\x0a", "\x10", "\x18", "\x21", "\x2a", "\x32"
_ITEM = "\x0a"
_TRUE, _FALSE = f"{_BOOL}\x01", f"{_BOOL}\x00"

_SEVEN_BITS = 0x7F
_UINT64 = (1 << 64) - 1
_VARINT_BITS = 70
_SMALL = 1024
"""Numbers below this one are written beforehand."""
double = struct.Struct("<d").pack


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


def _written(number: int) -> str:
    text = ""
    while number > _SEVEN_BITS:
        text += chr(number & _SEVEN_BITS | 0x80)
        number >>= 7
    return text + chr(number)


_NUMBERS = [_written(number) for number in range(_SMALL)]
_MORE = [chr(bits | 0x80) for bits in range(_SEVEN_BITS + 1)]
"""Seven bits with more behind them."""


def varint(number: int) -> str:
    """Return a number as the wire has it, seven bits a byte; a negative one in two's complement of 64 bits."""
    if number < 0:
        number &= _UINT64
    text = ""
    while number >= _SMALL:
        text += _MORE[number & _SEVEN_BITS]
        number >>= 7
    return text + _NUMBERS[number]


def field(tag: str, content: str) -> str:
    """Return a field of this tag whose content has a length: text, bytes or a message."""
    return f"{tag}{varint(len(content))}{content}"


def fixed64(number: int) -> str:
    """Return an unsigned number of eight bytes."""
    return number.to_bytes(8, "little").decode("latin-1")


def integer(number: int) -> str:
    """Return a whole number as an AnyValue; one of more than 64 bits is text."""
    return _INT + varint(number) if MIN_INT64 <= number <= MAX_INT64 else field(_STRING, str(number))


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
        made = integer(value)
    elif kind is float:
        made = _DOUBLE + double(value).decode("latin-1")
    elif kind is bool:
        made = _TRUE if value else _FALSE
    elif value is None:
        made = ""
    elif depth >= MAX_DEPTH:
        # Without escapes, so that it stays wire text.
        made = field(_STRING, json.dumps(value, ensure_ascii=False, separators=(",", ":")))
    elif kind is dict:
        members = [field(_ITEM, key_value(name, each, depth + 1)) for name, each in named(value).items()]
        made = field(_KVLIST, "".join(members))
    else:
        made = field(_ARRAY, "".join([field(_ITEM, any_value(each, depth + 1)) for each in value]))
    return made


def key_value(name: str, value: Any, depth: int = 0) -> str:
    """Return a KeyValue; name and value as `any_value` takes them."""
    return _key(name) + field(_VALUE, any_value(value, depth))


def named(members: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return members of an object without an empty name, which the data model forbids: `_` stands for it, if free."""
    if "" not in members:
        return members
    instead = "_"
    while instead in members:
        instead += "_"
    return {name or instead: value for name, value in members.items()}


def _key(name: str) -> str:
    return field(_KEY, name)


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
