r"""Text in raw records: which of a column's values hold it, at the speed of memory.

A value of JSON may be written in more ways than one: `é` or `\u00e9`. So what stands in a record as it is written is
looked for in all of a column's bytes at once, and only those with an escape that could hide it need a closer look.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import TYPE_CHECKING

import orjson

from logweir.json_text import without_halves

if TYPE_CHECKING:
    import pyarrow as pa

_ESCAPE = b"\\"
_BY_NUMBER = b"\\u"
_HAS_A_SHORT_ESCAPE = re.compile(r'["\\/\x08\x09\x0a\x0c\x0d]')
"""All other characters can be escaped by their number alone."""


def rows_with(values: pa.Array, wanted: bytes, *, ignore_case: bool = False) -> set[int]:
    """Return the rows whose bytes hold these.

    Args:
        values: A column of binary.
        wanted: What is looked for; in lower case where case is ignored.
        ignore_case: Whether letters of ASCII are the same in upper and lower case.
    """
    if not len(values):
        return set()
    offsets_buffer, data = values.buffers()[1:3]
    if data is None:
        return set()
    offsets = memoryview(offsets_buffer).cast("B").cast("i")[values.offset : values.offset + len(values) + 1]
    first = offsets[0]
    body = memoryview(data)[first : offsets[-1]].tobytes()
    if ignore_case:
        body = body.lower()
    rows: set[int] = set()
    at = body.find(wanted)
    while at >= 0:
        row = bisect_right(offsets, at + first) - 1
        end = offsets[row + 1] - first
        if at + len(wanted) <= end:
            rows.add(row)
            at = body.find(wanted, end)
        else:
            at = body.find(wanted, at + 1)
    return rows


def rows_saying(values: pa.Array, texts: list[str]) -> set[int]:
    """Return the rows in which one of these may stand, as a value of JSON or within one, and surely all that do."""
    rows = rows_with(values, _ESCAPE if any(map(_HAS_A_SHORT_ESCAPE.search, texts)) else _BY_NUMBER)
    for text in texts:
        rows |= rows_with(values, text.encode(errors="surrogatepass"))
    return rows


def rows_holding(values: pa.Array, text: str) -> set[int]:
    """Return the rows that hold a text, in whatever way it is written; letters of ASCII in upper or lower case."""
    wanted = text.encode().lower()
    rows = rows_with(values, wanted, ignore_case=True)
    escaped = orjson.dumps(text)[1:-1].lower()
    for row in rows_with(values, _ESCAPE if _HAS_A_SHORT_ESCAPE.search(text) else _BY_NUMBER) - rows:
        try:
            # Written anew, it has only those escapes that there must be.
            plain = orjson.dumps(orjson.loads(without_halves(values[row].as_py()))).lower()
        except ValueError:  # a number or a depth that only other parsers take
            continue
        if escaped in plain:
            rows.add(row)
    return rows
