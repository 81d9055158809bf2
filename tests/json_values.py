"""Values that are JSON and values that are not, by what they try: each is what a message or a line may hold.

The kinds are those of Nicolas Seriot's "Parsing JSON is a minefield"; the values are our own. A record is an object, so
`TAKEN` holds objects alone, and what is valid but no object is among `REFUSED`.
"""

from __future__ import annotations

_DEEP = 100_000
_LONG = 5_000


def _member(text: bytes) -> bytes:
    return b'{"id":"odd","message":%b}' % text


def _everywhere(value: bytes) -> bytes:
    """Return a record that says this wherever logweir reads something."""
    fields = (b"id", b"timestamp", b"level", b"category", b"message", b"error", b"@timestamp", b"time", b"host")
    within = b",".join(b'"%b":%b' % (name, value) for name in (b"service", b"traceId", b"spanId", b"id", b"duration"))
    parts = [b'"%b":%b' % (name, value) for name in fields]
    parts += [b'"%b":{%b}' % (name, within) for name in (b"context", b"trace", b"user", b"performance", b"metadata")]
    return b"{%b}" % b",".join(parts)


_ODD = {
    "nulls": b"null",
    "lists": b"[]",
    "objects": b"{}",
    "true": b"true",
    "zeros": b"0",
    "negative numbers": b"-1",
    "fractions": b"1.5",
    "infinite numbers": b"1e999",
    "long integers": b"9" * 300,
    "empty texts": b'""',
    "halves": rb'"\ud83d"',
    "controls": rb'"\u0000\u001b[31m\n"',
    "long texts": b'"' + b"y" * 3000 + b'"',
}
TAKEN = {
    "empty object": b"{}",
    "empty names": b'{"":0,"id":""}',
    "a name twice": b'{"a":1,"a":{"b":2},"a":[3]}',
    "names that are escapes of each other": rb'{"a":1,"\u0061":2}',
    "spaces everywhere": b' \t{ \t"id" \t: \t"odd" \t, "a" : [ 1 , 2 ] \t} \t',
    "a carriage return at the end": b'{"id":"odd"}\r',
    "a byte order mark": b'\xef\xbb\xbf{"id":"odd"}',
    "nested lists": _member(b"[[[[[[[[[[]]]]]]]]]]"),
    "nested 400 deep": _member(b"[" * 400 + b"]" * 400),
    "mixed 300 deep": _member(b'[{"a":' * 150 + b"0" + b"}]" * 150),
    "true, false and null": _member(b"[true,false,null]"),
    "a negative zero": _member(b"-0"),
    "a negative zero with a fraction": _member(b"-0.0"),
    "zero with an exponent": _member(b"0e+1"),
    "an exponent in capitals": _member(b"1E22"),
    "a negative exponent": _member(b"1e-2"),
    "the smallest double": _member(b"5e-324"),
    "less than the smallest double": _member(b"1e-400"),
    "the largest double": _member(b"1.7976931348623157e308"),
    "more than the largest double": _member(b"1e309"),
    "less than the least double": _member(b"-1e9999"),
    "an exponent of many digits": _member(b"1e" + b"9" * 400),
    "a fraction of many digits": _member(b"0." + b"1" * _LONG),
    "2^53 + 1": _member(b"9007199254740993"),
    "2^63": _member(b"9223372036854775808"),
    "2^64": _member(b"18446744073709551616"),
    "less than -2^63": _member(b"-9223372036854775809"),
    "an integer of many digits": _member(b"7" * _LONG),
    "a list of many": _member(b"[" + b"1," * _LONG + b"1]"),
    "many members": b"{" + b",".join(b'"k%d":%d' % (number, number) for number in range(_LONG)) + b"}",
    "all escapes": _member(rb'"\"\\\/\b\f\n\r\t\u0001\u00e9\u2028\uFEFF\uffff\u0000"'),
    "an escaped pair": _member(rb'"\uD83D\uDE00\ud834\udd1e"'),
    "a high half alone": _member(rb'"\ud83d"'),
    "a low half alone": _member(rb'"\uDE00"'),
    "a high half at the end": _member(rb'"cut \ud83d..."'),
    "two high halves": _member(rb'"\ud83d\ud83d\ude00"'),
    "halves in the wrong order": _member(rb'"\ude00\ud83d"'),
    "a half before an escape": _member(rb'"\ud83d\n"'),
    "an escaped backslash before u": _member(rb'"\\ud83d"'),
    "a half in a name": rb'{"\udead":1,"id":"odd"}',
    "noncharacters": _member("\ufdd0\ufffe\uffff\U0010ffff".join('""').encode()),
    "delete and C1 controls": _member("\x7f\x80\x9f\x85".join('""').encode()),
    "line separators": _member("\u2028\u2029".join('""').encode()),
    "a byte order mark within": _member("\ufeff".join('""').encode()),
    "right to left": _member("\u202e\u200f\u061c".join('""').encode()),
    "combining marks": _member(("e" + "\u0301" * 500).join('""').encode()),
    "a long text": _member(b'"' + b"x" * 200_000 + b'"'),
    "brackets in a text": _member(b'"' + b"[{" * _DEEP + b'"'),
    "a long name": b'{"' + b"n" * 100_000 + b'":1}',
    "numbers as names": b'{"0":1,"-1":2,"1e9":3}',
    "reserved names": b'{"__proto__":1,"_id":"x","@timestamp":{},"dd":1,"constructor":null,"null":null}',
    **{f"{name} wherever a value is read": _everywhere(value) for name, value in _ODD.items()},
    "texts wherever an object is read": b'{"context":"c","trace":"t","error":"e","user":"u","metadata":"m"}',
    "times of every kind": b'{"timestamp":1e300,"@timestamp":"9999-99-99","time":"","ts":"0000-00-00T00:00:00Z"}',
    "a far time": b'{"timestamp":"+292278994-08-17T07:12:55.807Z","level":"info"}',
}
"""What is one JSON object: delivered, whatever it holds."""

REFUSED = {
    "an array": b"[]",
    "an array of objects": b'[{"id":"odd"}]',
    "a text": b'"odd"',
    "an empty text": b'""',
    "a number": b"42",
    "minus": b"-",
    "a word": b"true",
    "null": b"null",
    "blank": b" \t ",
    "a byte order mark alone": b"\xef\xbb\xbf",
    "two byte order marks": b"\xef\xbb\xbf\xef\xbb\xbf{}",
    "UTF-16": '{"id":"odd"}'.encode("utf-16-le"),
    "UTF-16 with a mark": '{"id":"odd"}'.encode("utf-16"),
    "UTF-32": '{"id":"odd"}'.encode("utf-32-be"),
    "an open object": b"{",
    "a closed object": b"}",
    "an open array": b"[",
    "100,000 open arrays": b"[" * _DEEP,
    "100,000 arrays": b"[" * _DEEP + b"]" * _DEEP,
    "100,000 open objects": b'{"a":' * _DEEP,
    "100,000 objects": b'{"a":' * _DEEP + b"0" + b"}" * _DEEP,
    "100,000 of both": b'[{"a":' * _DEEP,
    "100,000 arrays in a record": _member(b"[" * _DEEP + b"]" * _DEEP),
    "a name alone": b'{"a"}',
    "a name and a colon": b'{"a":}',
    "two colons": b'{"a"::1}',
    "a colon for a comma": b'{"a":1:"b":2}',
    "no comma": b'{"a":1 "b":2}',
    "two commas": b'{"a":1,,"b":2}',
    "a comma first": b'{,"a":1}',
    "a comma last": b'{"a":1,}',
    "a comma last in a list": b'{"a":[1,]}',
    "a list that ends as an object": b'{"a":[1}',
    "an object that ends as a list": b'{"a":1]',
    "two objects": b'{"a":1}{"b":2}',
    "an object and a bracket": b'{"a":1}]',
    "an object and a zero byte": b'{"a":1}\x00',
    "an object and a word": b'{"a":1}x',
    "a comment": b'{"a":1/* no */}',
    "a comment behind": b'{"a":1}// no',
    "a hash": b'{"a":1}#',
    "single quotes": b"{'a':1}",
    "no quotes": b"{a:1}",
    "a number as a name": b"{1:1}",
    "null as a name": b"{null:1}",
    "NaN": _member(b"NaN"),
    "-NaN": _member(b"-NaN"),
    "Infinity": _member(b"Infinity"),
    "-Infinity": _member(b"-Infinity"),
    "a capital word": _member(b"True"),
    "half a word": _member(b"tru"),
    "a zero before a number": _member(b"012"),
    "a zero before a negative number": _member(b"-012"),
    "a plus": _member(b"+1"),
    "two minuses": _member(b"--1"),
    "a point first": _member(b".5"),
    "a point last": _member(b"5."),
    "a point before an exponent": _member(b"5.e1"),
    "two points": _member(b"1.2.3"),
    "an exponent alone": _member(b"1e"),
    "an exponent with a sign alone": _member(b"1e-"),
    "hexadecimal": _member(b"0x10"),
    "an underscore": _member(b"1_000"),
    "a full-width digit": _member("\uff11".encode()),
    "a number and a letter": _member(b"1a"),
    "an open text": b'{"a":"b',
    "a text that ends in a backslash": b'{"a":"b\\',
    "an escape that is none": _member(rb'"\x41"'),
    "an escaped quote of another kind": _member(b'"\\\'"'),
    "a capital escape": _member(rb'"\U0041"'),
    "half an escape": _member(rb'"\u12"'),
    "an escape of letters": _member(rb'"\uzzzz"'),
    "a half with half an escape": _member(rb'"\ud83d\u12"'),
    "an escape outside of a text": rb'{\u0022a":1}',
    "a raw tab": _member(b'"a\tb"'),
    "a raw zero": _member(b'"a\x00b"'),
    "a raw escape": _member(b'"a\x1bb"'),
    "a form feed between": b'{"a":\x0c1}',
    "a no-break space between": '{"a":\xa01}'.encode(),
    "a word joiner between": '{"a":\u20601}'.encode(),
    "a byte that begins nothing": _member(b'"\xff"'),
    "a continuation alone": _member(b'"\x80"'),
    "a character cut in two": _member(b'"\xc3"'),
    "an overlong slash": _member(b'"\xc0\xaf"'),
    "an overlong zero": _member(b'"\xe0\x80\x80"'),
    "an encoded half": _member(b'"\xed\xa0\xbd"'),
    "beyond Unicode": _member(b'"\xf4\x90\x80\x80"'),
    "Latin-1": _member("é".encode("latin-1").join([b'"'] * 2)),
    "a bad byte in a name": b'{"\xff":1}',
    "a bad byte between": b'{"a":\xff1}',
    "text": b"2026-01-01 10:00:00 ERROR it broke",
    "logfmt": b'level=info msg="it works"',
    "XML": b"<event><id>odd</id></event>",
    "MessagePack": b"\x82\xa2id\xa3odd\xa1n\x01",
    "gzip": b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
    "zeros": b"\x00" * 64,
}
"""What is no JSON object: dead-lettered with its cause, byte for byte."""


def good(number: int) -> bytes:
    """Return a record that nothing is wrong with."""
    return b'{"id":"good-%d","timestamp":"2026-11-01T10:00:00.000Z","level":"info","message":"neighbour"}' % number


def between_neighbours() -> list[bytes]:
    """Return each of the values between two records that nothing is wrong with."""
    messages = [good(0)]
    for number, value in enumerate([*TAKEN.values(), *REFUSED.values()], 1):
        messages += [value, good(number)]
    return messages
