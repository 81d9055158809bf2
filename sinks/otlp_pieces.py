"""Encoded records on their way to a request: each has its resource before it; a request says each resource once."""

from __future__ import annotations

import struct
from collections.abc import Iterable

_LENGTH = struct.Struct("<I")


def head(resource: bytes) -> bytes:
    """Return what stands before a record of this resource: its length, and the encoded resource."""
    return _LENGTH.pack(len(resource)) + resource


def grouped(pieces: Iterable[bytes]) -> dict[bytes, list[bytes]]:
    """Return the encoded records by their encoded resource, in the order of the first of each."""
    groups: dict[bytes, list[bytes]] = {}
    for piece in pieces:
        start = _LENGTH.size + _LENGTH.unpack_from(piece)[0]
        groups.setdefault(piece[_LENGTH.size : start], []).append(piece[start:])
    return groups
