"""Trace and span ids as the destinations want them."""

from __future__ import annotations

import re
import sys
from array import array
from collections.abc import Sequence
from typing import Any

TRACE_FIELDS = frozenset({"trace.traceId", "trace.spanId", "trace.parentSpanId"})
"""The logical fields that are ids of traces or spans."""
TRACE_DIGITS = 32
SPAN_DIGITS = 16

_HEX = re.compile(f"[0-9a-fA-F]{{{SPAN_DIGITS}}}|[0-9a-fA-F]{{{TRACE_DIGITS}}}")


def packed(ids: Sequence[Any], digits: int) -> bytes | None:
    """Return the bytes of hexadecimal ids one behind another; None unless all have this number of digits."""
    try:
        text = " ".join(ids)
        # It skips white space, which stands between ids alone if the lengths fit.
        raw = bytes.fromhex(text)
    except (TypeError, ValueError):
        return None
    spaces = max(0, len(ids) - 1)
    fits = (
        2 * len(raw) == digits * len(ids)
        and len(text) == 2 * len(raw) + spaces
        and text[digits :: digits + 1] == " " * spaces
    )
    return raw if fits else None


def low_halves(ids: Sequence[Any], width: int) -> Sequence[int]:
    """Return the low 64 bits of hexadecimal ids; 0 where there is none, or what is there is no id.

    Args:
        ids: The ids, or None.
        width: The usual number of digits: a batch whose ids all have it is read at once.
    """
    none, words = "0" * width, width // SPAN_DIGITS
    ids = [each or none for each in ids]
    raw = packed(ids, width)
    if raw is not None:
        halves = array("Q", raw)[words - 1 :: words]
        if sys.byteorder == "little":
            halves.byteswap()
        return halves.tolist()
    return [int(each[-16:], 16) if isinstance(each, str) and _HEX.fullmatch(each) else 0 for each in ids]
