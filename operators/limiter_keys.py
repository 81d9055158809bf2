"""Keys of limiters and samplers: what the fields of `by` hold, as one text that is equal for equal values."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import xxhash

from operators.projection import Getter

LONGEST_KEY = 64
"""Characters; of a longer key its hash is kept."""
OTHER_KEYS = "\x00other"
"""The key of all that come after `max_keys`."""

_encode = msgspec.json.Encoder(order="deterministic").encode


def keys_of(rows: Sequence[Any], getters: Sequence[Getter]) -> Sequence[str]:
    """Return each record's key: the values of the limiter's fields, in a form that is equal for equal values."""
    if not getters:
        return [""] * len(rows)
    values = [list(map(get, rows)) for get in getters]
    if len(values) > 1:
        return _joint_keys(list(zip(*values, strict=True)))
    (column,) = values
    if set(map(type, column)) == {str} and max(map(len, column)) <= LONGEST_KEY and "\x00" not in "".join(column):
        return column
    return [
        value if isinstance(value, str) and len(value) <= LONGEST_KEY and "\x00" not in value else key
        for value, key in zip(column, _joint_keys([(value,) for value in column]), strict=True)
    ]


def values_of(key: str, fields: int) -> list[Any]:
    """Return the values that a key stands for; nothing where it stands for many, or is a long one's hash."""
    if key == OTHER_KEYS or not fields:
        return []
    if not key.startswith("\x00"):
        return [key]
    try:
        values = json.loads(key[1:])
    except ValueError:
        return []
    return values if isinstance(values, list) else []


def _joint_keys(rows: list[tuple[Any, ...]]) -> list[str]:
    """Return a key for each of some rows of values: their JSON, or its hash."""
    try:
        encoded = list(map(_encode, rows))
    except (ValueError, RecursionError):
        encoded = list(map(_encoded, rows))
    digest = xxhash.xxh3_128_hexdigest
    return ["\x00" + (data.decode() if len(data) <= LONGEST_KEY else digest(data)) for data in encoded]


def _encoded(row: tuple[Any, ...]) -> bytes:
    try:
        return _encode(row)
    except ValueError:  # half of a surrogate pair
        return json.dumps(row, sort_keys=True).encode()
    except RecursionError:
        return b"nested too deeply"
