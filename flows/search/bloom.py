"""Bloom filters of Parquet files, read without the column that they are of.

Format: "Bloom Filter" in the Parquet specification: blocks of 256 bits, one of which is looked at for each value; the
header is Thrift's compact protocol, and the hash is XXH64. pyarrow writes them, and says where they are, but doesn't
use them.
"""

from __future__ import annotations

import struct
from typing import Any

import xxhash

_SALT = (0x47B6137B, 0x44974D91, 0x8824AD5B, 0xA2B7289D, 0x705495C7, 0x2DF1424B, 0x9EFC4947, 0x5C6BFB31)
_BLOCK = struct.Struct("<8I")
_HEADER = 32
"""Bytes that hold the header's first field: it is ten at most."""
_FIELD_1_I32 = 0x15


def may_hold(handle: Any, column: Any, values: frozenset[bytes]) -> bool:
    """Tell whether a column of a row group may hold one of these values; True where there is no filter.

    Args:
        handle: The file, as pyarrow opens it.
        column: The column's metadata, as pyarrow has it.
        values: As they are stored.
    """
    offset, length = column.bloom_filter_offset, column.bloom_filter_length
    if not offset or not length:
        return True
    size = _size(handle.read_at(min(_HEADER, length), offset))
    if size is None or size > length or not size or size % _BLOCK.size:
        return True
    start, blocks = offset + length - size, size // _BLOCK.size
    for value in values:
        hashed = xxhash.xxh64_intdigest(value)
        place = start + ((hashed >> 32) * blocks >> 32) * _BLOCK.size
        words = _BLOCK.unpack(handle.read_at(_BLOCK.size, place))
        key = hashed & 0xFFFFFFFF
        if all(word >> ((key * salt & 0xFFFFFFFF) >> 27) & 1 for word, salt in zip(words, _SALT, strict=True)):
            return True
    return False


def _size(header: bytes) -> int | None:
    """Return the bytes of the filter itself: the header's first field, a zigzag number."""
    if not header or header[0] != _FIELD_1_I32:
        return None
    number = shift = 0
    for byte in header[1:]:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:  # noqa: PLR2004  the last byte of a variable-length number has no high bit
            return (number >> 1) ^ -(number & 1)
    return None
