"""The members of a record as the bytes that came, for destinations that put others between them."""

from __future__ import annotations

import json
from collections.abc import Mapping

import msgspec
import orjson
from msgspec import Raw

from logweir.json_text import without_halves

_members = msgspec.json.Decoder(dict[str, Raw]).decode
# No number is looked at: those of any size are passed over.
_value = json.JSONDecoder(parse_int=str, parse_float=str).raw_decode


def members(value: bytes) -> dict[str, bytes]:
    """Return a record's members by name, each as it is written; of a name that is there twice, the last."""
    whole = without_halves(value)
    if whole is not value:
        try:
            return _with_halves(value.decode())
        except RecursionError:
            pass  # nested deeper than Python follows: U+FFFD stands for halves of surrogate pairs then
    return {name: bytes(raw) for name, raw in _members(whole).items()}


def written(found: Mapping[str, bytes]) -> bytes:
    """Return members as they stand in a record, with commas between them."""
    return b",".join([b"%b:%b" % (_name(name), raw) for name, raw in found.items()])


def _name(name: str) -> bytes:
    try:
        return orjson.dumps(name)
    except TypeError:  # half of a surrogate pair, which JSON can only have as an escape
        return json.dumps(name).encode()


def _with_halves(text: str) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    at = text.index("{") + 1
    while (at := _start(text, at)) < len(text) and text[at] == '"':
        name, at = _value(text, at)
        start = _start(text, _start(text, at) + 1)
        _, end = _value(text, start)
        found[name] = text[start:end].encode()
        at = _start(text, end) + 1
    return found


def _start(text: str, at: int) -> int:
    """Return where the next token begins."""
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at
