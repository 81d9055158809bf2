"""Telling in a record at which rate a sample has kept it: `"sampling":{"rate":0.1}`, spliced into its own bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from logweir.json_text import without_halves
from operators.redact_paths import Paths
from operators.redact_tokens import spliced

UNTOLD = -1.0
"""Stands for a rate that a record doesn't tell."""
OWN_SAMPLING = "sampling: a record's own was left as it is"

_NAME = b"sampling"
_ESCAPED = (b"\\u006", b"\\u007")
"""How a letter of the name may begin as an escape."""
_SAMPLING, _RATE = Paths(["sampling"]), Paths(["rate"])
_WHITESPACE = b" \t\r\n"


def annotated(values: Sequence[bytes], rates: Sequence[float], *, own: bool = True) -> tuple[list[bytes], int]:
    """Return records that tell their rates, and how many couldn't, since their own `sampling` says something else.

    A rate that a record tells already was applied before: then it tells the product. A `sampling` that is an object
    without a rate, or null, gets one; in any other the record stays as it is.

    Args:
        values: Valid JSON objects.
        rates: Of each; one that is UNTOLD is not told.
        own: Whether any of them may have a `sampling` of its own.
    """
    members = {rate: b',"sampling":{"rate":%b}}' % _number(rate) for rate in set(rates) if rate != UNTOLD}
    if not own and _plain(values):
        members[UNTOLD] = b"}"
        return [value[:-1] + member for value, member in zip(values, map(members.__getitem__, rates), strict=True)], 0
    told, left = [], 0
    for value, rate in zip(values, rates, strict=True):
        if rate != UNTOLD:
            with_rate = _merged(value, rate) if own and _mentions(value) else _appended(value, members[rate])
            left += with_rate is None
            told.append(value if with_rate is None else with_rate)
        else:
            told.append(value)
    return told, left


def _number(rate: float) -> bytes:
    return b"%d" % rate if rate == int(rate) else repr(float(f"{rate:.6g}")).encode()


def _plain(values: Sequence[bytes]) -> bool:
    """Tell whether each record ends in a member and its brace."""
    ends = {value[-2:] for value in values}
    return all(end[1:] == b"}" and end[0] not in b"{" + _WHITESPACE for end in ends)


def _mentions(value: bytes) -> bool:
    return _NAME in value or any(escape in value for escape in _ESCAPED)


def _appended(value: bytes, member: bytes) -> bytes:
    inside = value.rstrip(_WHITESPACE)[:-1].rstrip(_WHITESPACE)
    return inside + (member[1:] if inside.lstrip(_WHITESPACE) == b"{" else member)


def _merged(value: bytes, rate: float) -> bytes | None:
    """Return a record that may have a `sampling` of its own, with the rate; None where that can't be."""
    try:
        record = orjson.loads(without_halves(value))
    except ValueError:  # a number that no double can hold
        return None
    if "sampling" not in record:
        return _appended(value, b',"sampling":{"rate":%b}}' % _number(rate))
    own = record["sampling"]
    found = _spans(_SAMPLING, value, b'"sampling"')
    if len(found) != 1 or not (own is None or isinstance(own, dict)):
        return None
    start, end = found[0]
    if own is None:
        return spliced(value, [(start, end, b'{"rate":%b}' % _number(rate))])
    return _with_rate(value, start, end, own, rate)


def _with_rate(value: bytes, start: int, end: int, own: dict[str, Any], rate: float) -> bytes | None:
    """Return a record whose `sampling` is an object, which stands there, with the rate; None where that can't be."""
    if "rate" not in own:
        return spliced(value, [(start + 1, start + 1, b'"rate":%b%b' % (_number(rate), b"," if own else b""))])
    before = 1 if own["rate"] is None else own["rate"]
    inside = _spans(_RATE, value[start:end], b'"rate"')
    if len(inside) != 1 or isinstance(before, bool) or not isinstance(before, int | float) or not 0 < before <= 1:
        return None
    return spliced(value, [(start + inside[0][0], start + inside[0][1], _number(before * rate))])


def _spans(paths: Paths, raw: bytes, key: bytes) -> list[tuple[int, int]]:
    """Return where the values of this key of an object stand."""
    found = paths.find(raw, lambda _path, _value: True)
    return [(hit.start, hit.end) for hit in found if raw.startswith(key, hit.key)]
