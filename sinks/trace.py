"""Trace and span ids as the destinations want them."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from typing import Any

TRACE_DIGITS = 32
SPAN_DIGITS = 16

_HEX = re.compile(f"[0-9a-fA-F]{{{SPAN_DIGITS}}}|[0-9a-fA-F]{{{TRACE_DIGITS}}}")


def low_halves(ids: Sequence[Any], width: int) -> Sequence[int]:
    """Return the low 64 bits of hexadecimal ids; 0 where there is none, or what is there is no id.

    Args:
        ids: The ids, or None.
        width: The usual number of digits: a batch whose ids all have it is read at once.
    """
    none, words = "0" * width, width // SPAN_DIGITS
    ids = [each or none for each in ids]
    try:
        raw = bytes.fromhex("".join(ids))
    except (TypeError, ValueError):
        raw = b""
    # White space is skipped by `fromhex`, so that ids which hold some come out shorter.
    if len(raw) * 2 == width * len(ids) and set(map(len, ids)) == {width}:
        return struct.unpack(f">{words * len(ids)}Q", raw)[words - 1 :: words]
    return [int(each[-16:], 16) if isinstance(each, str) and _HEX.fullmatch(each) else 0 for each in ids]
