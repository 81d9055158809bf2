r"""JSON as other programs write it: a byte order mark before it, and halves of surrogate pairs within its texts.

RFC 8259 lets a reader pass over the mark (section 8.1), and its grammar takes an escape such as `\ud83d` alone (section
8.2), which JavaScript writes where a text was cut within an emoji. No parser here reads either, so both are taken away
from what is read, never from what is delivered.
"""

from __future__ import annotations

import json
import re
from typing import Any

MARK = b"\xef\xbb\xbf"
"""The byte order mark in UTF-8, which says nothing there."""

_ESCAPES = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[dD][89a-fA-F][0-9a-fA-F]{2}|\\."
)
_HALF_BYTES = 6


def without_halves(value: bytes) -> bytes:
    """Return JSON in which U+FFFD stands for each half of a surrogate pair; the same object if there is none.

    The length stays the same, so a position in one is the same position in the other.
    """
    if b"\\ud" not in value and b"\\uD" not in value:
        return value
    # `\\` and a letter is an escape of its own, so that the backslash of `\\ud83d` begins none.
    changed = _ESCAPES.sub(lambda found: b"\\ufffd" if len(found[0]) == _HALF_BYTES else found[0], value)
    return value if changed == value else changed


def text_of(value: Any) -> str:
    """Return any value of a record as JSON, without escapes that need not be; what is nested too deeply says so.

    orjson would refuse a whole number of more than 64 bits.
    """
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    except RecursionError:
        return '"nested too deeply"'
