"""The built-in patterns: what is found in text, and how look-alikes are told from it.

Each finds with RE2, so in linear time, on bytes. What a regular expression can't say (a check digit, a header that must
decode) a check in Python says of the few candidates.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import re2

from operators.patterns import OPTIONS

Span = tuple[int, int]
"""Start and end in bytes."""
Finder = Callable[[bytes], Iterator[Span]]


SPAN = 4096
"""Bytes: what a pattern of one's own matches may be so long; what is longer may be found in part or not at all."""


@dataclass(frozen=True, slots=True)
class Builtin:
    """One kind of text."""

    find: Finder
    """Gives the spans to hide in text whose escapes are resolved. None of them has a quote in it."""
    hint: str
    """RE2, found in whatever `find` finds something in, and in its raw bytes unless `ESCAPES` stand in the way."""
    cut: Finder | None = None
    """Gives the spans to take out instead, where what `find` leaves would announce the next word."""


def _any_case(word: str) -> str:
    """Return a pattern for a word in upper or lower case; RE2's own (?i) would take in letters beyond ASCII."""
    return "".join(f"[{each.lower()}{each.upper()}]" if each.isalpha() else each for each in word)


def _compile(pattern: str) -> Any:
    return re2.compile(pattern, OPTIONS)


def _before(text: bytes, start: int) -> bytes:
    return text[start - 1 : start] if start else b""


# Payment cards: ISO/IEC 7812-1 (length, check digit); the ranges are those that the networks publish.
_CARD_RANGES: tuple[tuple[int, int, frozenset[int]], ...] = (
    (4, 4, frozenset({13, 16, 19})),  # Visa
    (51, 55, frozenset({16})),  # Mastercard
    (2221, 2720, frozenset({16})),
    (34, 34, frozenset({15})),  # American Express
    (37, 37, frozenset({15})),
    (6011, 6011, frozenset({16, 17, 18, 19})),  # Discover
    (644, 659, frozenset({16, 17, 18, 19})),
    (3528, 3589, frozenset({16, 17, 18, 19})),  # JCB
    (300, 305, frozenset({14, 16, 19})),  # Diners Club
    (3095, 3095, frozenset({14, 16, 19})),
    (36, 36, frozenset({14, 16, 19})),
    (38, 39, frozenset({14, 16, 19})),
    (62, 62, frozenset({16, 17, 18, 19})),  # UnionPay
    (2200, 2204, frozenset({16, 17, 18, 19})),  # Mir
    *((number, number, frozenset(range(13, 20))) for number in (5018, 5020, 5038, 5893, 6304, 6759, 6761, 6762, 6763)),
)
_CARD_SHAPES = ((), (4, 4, 4, 4, 3), (4, 4, 4, 4), (4, 6, 5), (4, 6, 4), (4, 4, 4, 1))
"""How many digits stand in each group; none: they are not parted."""
_CARD_LENGTHS = range(13, 20)
_CARD_START = _compile("[2-6][0-9]{12}|[2-6][0-9]{3}[ .-](?:[0-9]{4}[ .-][0-9]{4}[ .-]|[0-9]{6}[ .-][0-9]{3})[0-9]")
_CARD_GROUPS = re.compile(rb"[0-9]++(?:[ .-][0-9]++){0,4}+")
_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)
_ALNUM = frozenset(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_DIGITS = frozenset(b"0123456789")


def luhn(digits: bytes) -> bool:
    """Tell whether the check digit fits (ISO/IEC 7812-1, annex B)."""
    numbers = [each - 48 for each in reversed(digits)]
    return not (sum(numbers[::2]) + sum(_DOUBLED[each] for each in numbers[1::2])) % 10


def _is_card(digits: bytes) -> bool:
    if not any(len(digits) in lengths and _in_range(digits, low, high) for low, high, lengths in _CARD_RANGES):
        return False
    return luhn(digits) and len(set(digits)) > 1


def _in_range(digits: bytes, low: int, high: int) -> bool:
    return low <= int(digits[: len(str(low))]) <= high


def _cards(text: bytes) -> Iterator[Span]:
    at = 0
    while found := _CARD_START.search(text, at):
        start = found.start()
        groups = _groups(text, start)
        card = None if start and text[start - 1] in _DIGITS else _card_of(text, groups)
        if card is not None:
            yield card
        at = groups[0][1] if card is None else card[1]


def _groups(text: bytes, start: int) -> list[Span]:
    """Return the next groups of digits, which spaces, dots or dashes part."""
    run = _CARD_GROUPS.match(text, start)
    assert run is not None
    groups = []
    for digits in re.split(rb"[ .-]", run[0]):
        groups.append((start, start + len(digits)))
        start += len(digits) + 1
    return groups


def _card_of(text: bytes, groups: list[Span]) -> Span | None:
    """Return the card number that the first of these groups begins."""
    for shape in _CARD_SHAPES:
        window = groups[: max(1, len(shape))]
        lengths = tuple(high - low for low, high in window)
        fits = lengths == shape if shape else lengths[0] in _CARD_LENGTHS
        if fits and _stands_alone(text, window) and _is_card(b"".join(text[low:high] for low, high in window)):
            return window[0][0], window[-1][1]
    return None


def _stands_alone(text: bytes, window: list[Span]) -> bool:
    """Tell whether groups of digits are parted alike, and are no part of a word, a fraction or a phone number."""
    start, end = window[0][0], window[-1][1]
    if len({text[high] for _, high in window[:-1]}) > 1:
        return False
    before, after = text[max(0, start - 2) : start], text[end : end + 2]
    if before[-1:] == b"+" or (before and before[-1] in _ALNUM) or (after and after[0] in _ALNUM):
        return False
    # `blk_4162832865986721185_1001` is one name, and so is Hadoop's block id alone; `pan_4111111111111111` is a card.
    named = text[max(0, start - 5) : start].removesuffix(b"-")
    if named.endswith(b"_") and (after[:1] == b"_" or named.endswith(b"blk_")):
        return False
    fraction = len(before) > 1 and before[1:] == b"." and before[0] in _DIGITS
    return not fraction and not (len(after) > 1 and after[:1] == b"." and after[1] in _DIGITS)


_EMAIL = _compile(
    r"[\pL\pN_+%~#$*!-][\pL\pN._+%~#$*!'-]*?(?:@|%40)((?:[\pL\pN](?:[\pL\pN-]*[\pL\pN])?\.)+\pL[\pL\pN-]*[\pL\pN])"
)
_VERSION_OR_SCALE = re.compile(rb"[0-9]+\.[0-9]|[1-9]x\.")
_NO_TOP_LEVEL = frozenset(
    b"png jpg jpeg gif svg webp ico bmp css js mjs json xml html htm txt log csv yaml yml toml gz tgz bz2 xz tar bak"
    b" tmp exe dll conf cfg ini jar war class lock service socket timer mount automount slice scope swap".split()
)
"""What stands behind an @ and a dot in names of files and units, and is no top-level domain."""


def _emails(text: bytes) -> Iterator[Span]:
    for found in _EMAIL.finditer(text):
        domain = found.group(1)
        if _VERSION_OR_SCALE.match(domain) or domain.rpartition(b".")[2].lower() in _NO_TOP_LEVEL:
            continue
        yield found.span()


_DOTTED = _compile(r"[0-9]+(?:\.[0-9]+){3,}")
_OCTETS = frozenset(spelt % number for number in range(256) for spelt in (b"%d", b"%02d", b"%03d"))
_PRODUCT = re.compile(
    rb"(?:[A-Za-z]/|(?:^|[^A-Za-z])(?:v|ver|version|release|build|firmware)[ \t:=/\"'-]*)$", re.IGNORECASE
)
_PRODUCT_ENDS = (b"v", b"ver", b"version", b"release", b"build", b"firmware")
_NETWORK = re.compile(rb"[0-9]+\.0\.0\.0")
_RELEASE = re.compile(rb"[-+~][A-Za-z]|[A-Za-z0-9_]|\.(?:tar|t?gz|zip|jar|war|whl|deb|rpm|exe|msi|dll|so|dmg|apk)\b")


def _ipv4s(text: bytes) -> Iterator[Span]:
    for found in _DOTTED.finditer(text):
        start, end = found.span()
        octets = text[start:end].split(b".")
        if len(octets) != 4 or not _OCTETS.issuperset(octets):  # noqa: PLR2004  RFC 791
            continue
        before = text[max(0, start - 16) : start]
        # Behind a tilde stands the version of a package, as in `Package~31bf3856ad364e35~amd64~~6.1.1.2`.
        if before[-1:] in {b".", b"~"} or (before and before[-1] in _ALNUM) or _RELEASE.match(text, end):
            continue
        # `Chrome/120.0.0.0` is a version, `10.0.0.1/24` and `/hosts/10.0.0.1` are addresses.
        if before.endswith(b"/") or before.rstrip(b" \t:=/\"'-").lower().endswith(_PRODUCT_ENDS):
            product = _PRODUCT.search(before)
            if product and (not product.group().endswith(b"/") or _NETWORK.fullmatch(text, start, end)):
                continue
        yield start, end


_COLONS = _compile("[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*")
_TWO_DIGITS = re.compile(rb"(?:[0-9A-Fa-f]{2}:){7}[0-9A-Fa-f]{2}")
_IPV6_LONGEST = 45
"""Characters, of one whose end is written as IPv4 (RFC 4291, section 2.2)."""


def _ipv6s(text: bytes) -> Iterator[Span]:
    for found in _COLONS.finditer(text):
        start, end = found.span()
        if text[start : start + 1] == b":" != text[start + 1 : start + 2]:
            start += 1
        while end > start and (text[end - 1 : end] == b"." or (text[end - 1 : end] == b":" != text[end - 2 : end - 1])):
            end -= 1
        before, after = _before(text, start), text[end : end + 1]
        if end - start > _IPV6_LONGEST or (before and before[0] in _ALNUM) or (after and after[0] in _ALNUM):
            continue
        address = text[start:end]
        # A name such as `dead::beef` has no digit; eight pairs are the hardware's address (EUI-64).
        if _DIGITS.isdisjoint(address) or _TWO_DIGITS.fullmatch(address):
            continue
        try:
            ipaddress.IPv6Address(address.decode())
        except ValueError:
            continue
        yield start, end


_JWT = _compile(r"(ey[JA][A-Za-z0-9_-]+)\.[A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+){0,3}")


def _jwts(text: bytes) -> Iterator[Span]:
    """Find JWS and JWE in their compact form (RFC 7515, 7516), also cut off after a part."""
    for found in _JWT.finditer(text):
        before = _before(text, found.start())
        if not (before and before[0] in _ALNUM) and _names_algorithm(found.group(1)):
            yield found.span()


def _names_algorithm(header: bytes) -> bool:
    try:
        decoded = json.loads(base64.urlsafe_b64decode(header + b"=" * (-len(header) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        return False
    return isinstance(decoded, dict) and isinstance(decoded.get("alg"), str)


_KEY_ID = "(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}"
_AWS = _compile(
    f"({_KEY_ID})(?:[^A-Za-z0-9/+]{{1,8}}([A-Za-z0-9/+]{{40}}))?"
    f"|{_any_case('secret')}[_ -]?(?:{_any_case('access')})?[_ -]?(?:{_any_case('key')})?"
    "[^A-Za-z0-9/+]{1,8}([A-Za-z0-9/+]{40})"
)
_HEX = re.compile(rb"[0-9a-f]+|[0-9A-F]+")
_OF_SECRET = _ALNUM | frozenset(b"/+=")


def _aws_keys(text: bytes) -> Iterator[Span]:
    """Find access key ids (IAM's unique identifiers), and secret keys behind an id or behind their name."""
    for found in _AWS.finditer(text):
        if found.start(1) >= 0:
            before, after = _before(text, found.start(1)), text[found.end(1) : found.end(1) + 1]
            if (before and before[0] in _ALNUM) or (after and after[0] in _ALNUM):
                continue
            yield found.span(1)
        for group in (2, 3):
            secret, after = found.group(group), text[found.end(group) : found.end(group) + 1]
            if secret and not (after and after[0] in _OF_SECRET) and not _HEX.fullmatch(secret):
                yield found.span(group)


_BEARER = _compile(
    rf"(?:({_any_case('bearer')})|{_any_case('access')}_?{_any_case('token')})"
    r"(?:[\s\"':=+\\]|%20|%3[Aa])+([A-Za-z0-9._~+/-]+=*)"
)
_IN_AUTHORIZATION = re.compile(rb"authorization[\"'\s:=\[\\]*$", re.IGNORECASE)
_MIXED = re.compile(rb"[a-z][A-Z].*[a-z][A-Z]")
_TOKEN_LEAST = 12
_TOKEN_SURELY = 16


def _bearers(text: bytes) -> Iterator[Span]:
    return (token for _, token in _announced(text))


def _announced_bearers(text: bytes) -> Iterator[Span]:
    for start, token in _announced(text):
        yield token if b'"' in text[start : token[0]] else (start, token[1])


def _announced(text: bytes) -> Iterator[tuple[int, Span]]:
    """Find the word and what follows it (RFC 6750, section 2), unless it is a word of a sentence."""
    for found in _BEARER.finditer(text):
        start = found.start()
        before = _before(text, start)
        if before and before[0] in _ALNUM and found.start(1) >= 0:
            continue
        token = found.group(2)
        if _IN_AUTHORIZATION.search(text, max(0, start - 32), start) or _is_token(token):
            yield start, found.span(2)


def _is_token(text: bytes) -> bool:
    if len(text) < _TOKEN_LEAST:
        return False
    digits = not _DIGITS.isdisjoint(text)
    return digits or (len(text) >= _TOKEN_SURELY and (text.endswith(b"=") or _MIXED.search(text) is not None))


_PEM_LABEL = "(?:[A-Z0-9]+ ){0,8}PRIVATE KEY(?: BLOCK)?-----"
_PEM_BEGIN, _PEM_END = _compile(f"-----BEGIN {_PEM_LABEL}"), _compile(f"-----END {_PEM_LABEL}")
_PEM_PART = re.compile(rb"[A-Za-z0-9+/=\s\\:,.-]*+")
_PEM_LONGEST = 65_536
"""Bytes between the two lines; an RSA key of 16,384 bits has 12,800."""


def _private_keys(text: bytes) -> Iterator[Span]:
    """Find whole blocks (RFC 7468), and the beginnings of those that are cut off.

    The next end and the next quote are looked for once, however many beginnings stand before them.
    """
    at, quote, end = 0, -1, (-1, -1)
    while begun := _PEM_BEGIN.search(text, at):
        start, at = begun.span()
        if quote < at:
            quote = _or_end(text.find(b'"', at), text)
        if end[0] < at:
            found = _PEM_END.search(text, at)
            end = found.span() if found else (len(text) + 1, len(text) + 1)
        whole = end[0] < quote and end[0] - at <= _PEM_LONGEST
        part = None if whole else _PEM_PART.match(text, at)
        at = part.end() if part else end[1]
        yield start, at


def _or_end(at: int, text: bytes) -> int:
    return len(text) if at < 0 else at


# What stands before the digits must be no letter; of a raw escape such as \n the last letter may be.
_CARD_HINT = r"(?:^|[^0-9A-Za-z]|\\[bfnrt])(?:" + _CARD_START.pattern + ")"

BUILTINS: dict[str, Builtin] = {
    "credit_card": Builtin(_cards, _CARD_HINT),
    "email": Builtin(_emails, "@|%40"),
    "ipv4": Builtin(_ipv4s, r"[0-9]\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]"),
    "ipv6": Builtin(_ipv6s, "[0-9A-Fa-f]::|::[0-9A-Fa-f]|(?:[0-9A-Fa-f]{1,4}:){6}"),
    "jwt": Builtin(_jwts, "ey[JA]"),
    "aws_key": Builtin(_aws_keys, f"A(?:KIA|SIA|BIA|CCA)[A-Z2-7]|{_any_case('secret')}"),
    "bearer_token": Builtin(
        _bearers, f"{_any_case('bearer')}|{_any_case('access')}_?{_any_case('token')}", _announced_bearers
    ),
    "private_key": Builtin(_private_keys, "-----BEGIN"),
}
"""Each by its name in a flow file."""

ESCAPES = r"\\u(?:00[2-7]|[0-9A-Fa-f]{4}[0-9])"
"""Raw escapes that may hide from a hint what it looks for: of ASCII's characters, and of any before a digit."""


def finder(pattern: str) -> Finder:
    """Return what finds a pattern of one's own, in one value: what it matches, at most `SPAN` long.

    It takes time that grows as the value does: from each place where it begins a pattern may read on to the end, so
    that is never far away.
    """
    search = _compile(pattern).search

    def find(text: bytes) -> Iterator[Span]:
        at = begin = 0
        while at <= len(text):
            end = min(begin + 2 * SPAN, len(text))
            found = search(text, at, end)
            if found is None:
                if end == len(text):
                    return
                begin += SPAN
                at = max(at, begin)
                continue
            span = found.span()
            if end < min(span[0] + SPAN, len(text)):
                # It may go on behind the end, or there would be another one.
                at = begin = span[0]
                continue
            if span[0] < span[1]:
                yield span
            at = max(span[1], span[0] + 1)
            begin = max(begin, at - SPAN)

    return find
