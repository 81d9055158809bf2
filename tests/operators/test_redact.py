"""Redaction: what is hidden and how, what stays, and what becomes of messages that are no records."""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import Any

import pytest

from logweir.batch import Account, Batch, Rejected
from logweir.errors import LogweirError
from operators.decode import Decoder
from operators.formats import ECS, LOGWEIR, OTEL, TEXT
from operators.projection import Projection
from operators.redact_paths import Paths
from tests.operators.redact_support import ALL, hidden, redacted, redactor

KEY = "0123456789abcdef"
NUMBERS = b'"a":1e999,"b":123456789012345678901234567890,"b":0.10 , "c": "\\u00fc\\/"'


def mac(text: str) -> str:
    """Return the hash of a value."""
    return "hmac:" + hmac.new(KEY.encode(), text.encode(), hashlib.sha256).hexdigest()[:32]


def test_nothing_to_hide() -> None:
    """Records in which nothing is hidden stay the very same objects, also beside one in which something is."""
    values = [b'{"message":"%d"}' % number for number in range(10)]
    values[4] = b'{"message":"a@b.com"}'
    batch = redacted(redactor(patterns=ALL, fields=["x"]), *values)
    assert [new is old for new, old in zip(batch.values, values, strict=True)].count(False) == 1
    assert batch.values[4] == b'{"message":"[redacted]"}'
    assert batch.size == sum(map(len, batch.values))


def test_the_rest_keeps_its_bytes() -> None:
    """Numbers that no double holds, keys that are there twice, escapes and white space outlast what is hidden."""
    hide = redactor(fields=["p"], patterns=["email"])
    assert hidden(hide, b'{ "p" :5,%b,"m":"\\ta@b.com\\u0021" }' % NUMBERS) == (
        b'{ "p" :"[redacted]",%b,"m":"\\t[redacted]\\u0021" }' % NUMBERS
    )


@pytest.mark.parametrize(
    ("path", "record", "want"),
    [
        ("a.b", b'{"a":{"b":1,"c":2}}', b'{"a":{"b":"X","c":2}}'),
        ("a.b", b'{"a":[{"b":1},[{"b":[]}],3]}', b'{"a":[{"b":"X"},[{"b":"X"}],3]}'),
        ("a.b", b'{"a.b":1,"a":{"b.c":2}}', b'{"a.b":"X","a":{"b.c":"X"}}'),
        ("a.b", b'{"x":{"a":{"b":1}},"a":1}', None),
        ("a.b", b'{"a":{"b":null},"a":{"b":""}}', None),
        ("a.b", b'{"\\u0061":{"\\u0062":true}}', b'{"\\u0061":{"\\u0062":"X"}}'),
        ("a", b'{"a":{"x":{"a":1}},"z":1}', b'{"a":"X","z":1}'),
        ("*.b", b'{"b":1,"a":{"b":1,"c":{"b":1}}}', b'{"b":1,"a":{"b":"X","c":{"b":1}}}'),
        ("a.*", b'{"a":{"x":1,"y":[2]},"b":3}', b'{"a":{"x":"X","y":"X"},"b":3}'),
        ("**.b", b'{"b":1,"a":[{"b":{"b":2}}]}', b'{"b":"X","a":[{"b":"X"}]}'),
        ("a.**.b", b'{"b":1,"a":{"b":1,"c":{"b":2}}}', b'{"b":1,"a":{"b":"X","c":{"b":"X"}}}'),
        ("a/b", b'{"a\\/b":1,"a/b":2}', b'{"a\\/b":"X","a/b":"X"}'),
        ('"', b'{"\\"":1}', b'{"\\"":"X"}'),
        ("ü", b'{"\\u00fc":1,"\xc3\xbc":2}', b'{"\\u00fc":"X","\xc3\xbc":"X"}'),
    ],
)
def test_paths(path: str, record: bytes, want: bytes | None) -> None:
    """A path leads through objects and arrays, through keys with dots and escapes; null and empty text stay."""
    found = hidden(redactor(fields=[path], **{"with": "X"}), record)
    assert found == (record if want is None else want)
    assert (found is record) == (want is None)


@pytest.mark.parametrize(
    ("record", "want"),
    [
        (b'{"a":1,"b":2,"c":3}', b'{"b":2,"c":3}'),
        (b'{"b":2,"a":1,"c":3}', b'{"b":2,"c":3}'),
        (b'{"b":2 , "a" : {"x":[]} }', b'{"b":2  }'),
        (b'{ "a":1 }', b"{  }"),
        (b'{"a":1,"d":2,"b":3}', b'{"b":3}'),
        (b'{"b":1,"a":1,"d":2}', b'{"b":1}'),
        (b'{"a":null,"d":2}', b'{"a":null}'),
    ],
)
def test_removed_fields(record: bytes, want: bytes) -> None:
    """A field is taken out with its key and one comma, wherever it stands."""
    assert hidden(redactor(fields=["a", "d"], mode="remove"), record) == want


def test_removed_text() -> None:
    """A pattern's text is cut out, a number becomes null, and what is a match only then is cut out too."""
    hide = redactor(patterns=["email", "credit_card"], mode="remove")
    assert hidden(hide, b'{"m":"to a@b.com!","n":4111111111111111}') == b'{"m":"to !","n":null}'
    own = redactor(patterns=[{"name": "x", "pattern": "ab"}], mode="remove")
    assert hidden(own, b'{"m":"aaabbbc"}') == b'{"m":"c"}'


def test_hashes() -> None:
    """Equal values have equal hashes, as text or number, as a field or found by a pattern; once hashed they stay."""
    hide = redactor(fields=["user.id", "n"], patterns=["email"], mode="hash", hash_key=KEY)
    found = hidden(hide, b'{"user":{"id":"J\\u00fcrgen"},"n":5,"m":"to a@b.com."}')
    assert found == (f'{{"user":{{"id":"{mac("Jürgen")}"}},"n":"{mac("5")}","m":"to {mac("a@b.com")}."}}'.encode())
    assert hidden(hide, found) is found
    other = redactor(fields=["n"], mode="hash", hash_key=KEY[::-1])
    assert hidden(other, b'{"n":5}') != hidden(hide, b'{"n":5}')


def test_modes_of_their_own() -> None:
    """A field or a pattern may be hidden in another way than the rest; where two overlap the strictest counts."""
    hide = redactor(
        fields=["p", {"path": "q", "mode": "remove"}],
        patterns=[{"name": "email", "mode": "hash"}, {"name": "at b", "pattern": "@b", "mode": "remove"}],
        hash_key=KEY,
    )
    found = hidden(hide, b'{"p":1,"q":2,"m":"x@y.com a@b.com"}')
    assert found == f'{{"p":"[redacted]","m":"{mac("x@y.com")} "}}'.encode()


def test_with() -> None:
    """The replacement may be any text, is written as JSON, and is not hidden itself."""
    hide = redactor(patterns=["email", {"name": "w", "pattern": "hidden"}], **{"with": '"hidden"\n@b.com'})
    found = hidden(hide, b'{"m":"a@b.com"}')
    assert found == b'{"m":"\\"hidden\\"\\n@b.com"}'
    assert hidden(hide, found) is found


def test_keys() -> None:
    """Text in keys is hidden too, and keys that become equal are numbered, since a key twice would be refused."""
    hide = redactor(patterns=["email"])
    found = hidden(hide, b'{"a@b.com":1,"c@d.com":2,"[redacted]":3,"x":{"to a@b.com":4}}')
    assert found == b'{"[redacted] 2":1,"[redacted] 3":2,"[redacted]":3,"x":{"to [redacted]":4}}'
    assert hidden(hide, found) is found


def test_own_patterns() -> None:
    """Each text, key and number is searched by itself, so that ^ and $ are its ends and no match goes beyond it."""
    patterns = [
        {"name": "whole", "pattern": "^x+$"},
        {"name": "greedy", "pattern": "secret=.*"},
        {"name": "digits", "pattern": "77"},
        {"name": "across", "pattern": "(?s)begin.*end"},
    ]
    hide = redactor(patterns=patterns, **{"with": "H"})
    record = b'{"xx":"xxx","a":"xx y","b":"secret=1\\u0041","c":[1772,"77"],"d":"begin\\n","e":"end"}'
    assert hidden(hide, record) == b'{"H":"H","a":"xx y","b":"H","c":["H","H"],"d":"begin\\n","e":"end"}'


def test_greedy_patterns_see_each_record() -> None:
    """A pattern that would read on to the end of the batch hides in each record what is to be hidden, and no more."""
    hide = redactor(patterns=[{"name": "greedy", "pattern": "(?s)secret.*"}], **{"with": "H"})
    values = [b'{"m":"secret %d"}' % number if number % 3 else b'{"m":"%d"}' % number for number in range(50)]
    assert redacted(hide, *values).values == [b'{"m":"H"}' if number % 3 else values[number] for number in range(50)]


@pytest.mark.parametrize(
    ("layout", "record"),
    [
        (LOGWEIR, b'{"id":"a@b.com","m":"x"}'),
        (LOGWEIR, b'{"id":4111111111111111,"m":"x"}'),
        (ECS, b'{"event":{"id":"a@b.com"}}'),
        (ECS, b'{"event":5,"event.id":"a@b.com"}'),
        (OTEL, b'{"attributes":[{"key":"log.record.uid","value":{"stringValue":"a@b.com"}}]}'),
    ],
)
def test_the_id_stays(layout: Any, record: bytes) -> None:
    """The id of a record is not changed, wherever a format has it, or records would overwrite each other."""
    assert hidden(redactor(layout, patterns=ALL, fields=["id", "**.id"]), record) is record


def test_ids_of_others() -> None:
    """A field of that name elsewhere is no id."""
    hide = redactor(patterns=["email"])
    assert hidden(hide, b'{"id":"1","user":{"id":"a@b.com"}}') == b'{"id":"1","user":{"id":"[redacted]"}}'


def rejected(hide: Any, value: bytes) -> Rejected:
    """Return what a decoder rejects, after redaction."""
    batch = Batch("t", 0, [value], [0])
    hide(batch)
    Decoder(Projection([], LOGWEIR), hide=hide.text)(batch)
    (found,) = batch.account.rejected
    return found


@pytest.mark.parametrize(
    ("value", "cause", "want"),
    [
        (b"a@b.com, not JSON", "not JSON", b"[redacted], not JSON"),
        (b"\xff a@b.com 4111111111111111 \xfe", "not UTF-8", b"\xff [redacted] [redacted] \xfe"),
        (b'["a\\u0040b.com"]', "not an object", b'["[redacted]"]'),
        (b'{"p":"hunter2","m":"a\\u0040b.com","q":', "not JSON", b'{"p":"[redacted]","m":"[redacted]","q":'),
        (b'{"x":{"p":"hunt', "not JSON", b'{"x":{"p":"hunt'),
        (b'{"p":"hunt', "not JSON", b'{"p":"[redacted]"'),
        (b'{"p":{"q":["hunt', "not JSON", b'{"p":"[redacted]"'),
        (b'{"m":NaN,"p":"hunter2"}', "not JSON", b'{"m":NaN,"p":"[redacted]"}'),
        (b'{"a":1} 4111111111111111', "not JSON", b'{"a":1} [redacted]'),
        (b"card 4111111111111111", "not JSON", b"card [redacted]"),
        (b"}]}\\", "not JSON", b"}]}\\"),
    ],
)
def test_no_records(value: bytes, cause: str, want: bytes) -> None:
    """What is no record is redacted on its way to the dead letter, as far as it can be read; the cause is its own."""
    hide = redactor(fields=["p"], patterns=ALL)
    found = rejected(hide, value)
    assert (found.cause, found.value) == (cause, want)


def test_removal_makes_no_record() -> None:
    """What is no record is not made one by cutting out what is wrong with it."""
    assert rejected(redactor(patterns=ALL, mode="remove"), b'{"a":1} 4111111111111111').cause == "not JSON"


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("Authorization: Bearer abc123 for user bob", "Authorization:  for user bob"),
        ("?access_token=0123456789abcdef&page=2", "?&page=2"),
        ('{\\"access_token\\":\\"0123456789abcdef\\"}', '{\\"access_token\\":\\"\\"}'),
    ],
)
def test_removal_takes_no_neighbours(text: str, want: str) -> None:
    """What announced a token that is cut out doesn't announce the next word, now or the second time."""
    hide = redactor(patterns=["bearer_token"], mode="remove")
    found = hidden(hide, f'{{"m":"{text}"}}'.encode())
    assert found == f'{{"m":"{want}"}}'.encode()
    assert hidden(hide, found) is found


@pytest.mark.parametrize(
    "value",
    [
        b'{"p":"hunter1" "x":2 "p":"hunter2"}',
        b'{"a":"b, c" "p":"hunter1","x":[1,{"p":"hunter2"}] "p":"hunter3"}',
        b'{"p":"hunter1", "b":{"x":1 "p":"hunter2","z":1, "p":"hunter3"}',
    ],
)
def test_removal_where_commas_are_missing(value: bytes) -> None:
    """What is taken out of broken JSON takes nothing back that was taken out before it."""
    assert b"hunter" not in rejected(redactor(fields=["**.p"], mode="remove"), value).value


def test_too_deep() -> None:
    """What is nested deeper than can be decoded is redacted as well."""
    deep = b'{"p":"hunter2","m":"a@b.com","d":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    found = rejected(redactor(fields=["p"], patterns=ALL), deep)
    assert found.cause == "nested too deeply"
    assert found.value.startswith(b'{"p":"[redacted]","m":"[redacted]","d":[[')


def test_rejected_by_the_source() -> None:
    """What the source has rejected already, such as a line that is too large, is redacted too."""
    account = Account()
    account.rejected.append(Rejected(b'{"m":"a@b.com ...', 3, "too large", "a line of 70000 bytes"))
    batch = Batch("t", 0, [], [], account)
    redactor(patterns=ALL)(batch)
    assert batch.account.rejected == [Rejected(b'{"m":"[redacted] ...', 3, "too large", "a line of 70000 bytes")]
    assert account.redacted == {"email": 1}


def test_text() -> None:
    """A line of plain text becomes a record once, whose message is redacted; bytes that are no text are set aside."""
    batch = Batch("t", 0, [b"mail a@b.com", b"\xff a@b.com", b'{"message":"a@b.com"}'], [0, 1, 2])
    hide = redactor(TEXT, patterns=ALL)
    hide(batch)
    Decoder(Projection([], TEXT), hide=hide.text)(batch)
    assert [re.sub(rb',"timestamp.*', b"", value) for value in batch.values] == [
        b'{"message":"mail [redacted]"',
        b'{"message":"{\\"message\\":\\"[redacted]\\"}"',
    ]
    assert [each.value for each in batch.account.rejected] == [b"\xff [redacted]"]


def test_counts() -> None:
    """A record counts once for each field and pattern that hides something in it."""
    hide = redactor(fields=["**.p"], patterns=["email", "jwt"])
    values = [b'{"p":1,"q":{"p":2},"m":"a@b.com c@d.com"}', b'{"m":"a@b.com"}', b'{"m":"@"}', b'{"p":null}']
    assert redacted(hide, *values).account.redacted == {"**.p": 1, "email": 2}


def test_too_large_patterns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Patterns that don't fit into memory together are refused by name of the setting."""
    many = [{"name": f"p{number}", "pattern": f"{number}[a-z]{{900}}"} for number in range(99)]
    with monkeypatch.context() as patched:
        patched.setattr("operators.patterns.OPTIONS.max_mem", 1 << 20)
        with pytest.raises(LogweirError, match="redact: the patterns are too large together"):
            redactor(patterns=many)


def test_keys_do_not_fill_the_memory() -> None:
    """What is remembered of keys is bounded in their number and their length."""
    paths = Paths(["**.secret"])
    for number in range(20_000):
        raw = b'{"%d%b":1,"secret":2}' % (number, b"x" * (number % 400))
        assert len(list(paths.find(raw, lambda _path, _value: True))) == 1
    known = paths._known
    assert len(known) <= 10_000
    assert max(len(key) for _, key in known) <= 128


@pytest.mark.parametrize("value", [b"\xef\xbb\xbf%b", rb'{"cut":"\ud83d",%b'], ids=["a byte order mark", "half a pair"])
def test_what_is_read_after_all_is_redacted(value: bytes) -> None:
    """A record that a strict parser refuses is delivered, so what is to be hidden in it is hidden."""
    secret = b'"id":"1","password":"hunter2","message":"to jane.doe@example.com"}'
    raw = value.replace(b"%b", secret if value.startswith(b"{") else b"{" + secret)
    batch = Batch("t", 0, [raw], range(1))
    redactor(fields=["password"], patterns=["email"])(batch)
    Decoder(Projection(["message"], LOGWEIR))(batch)
    assert (len(batch), batch.account.rejected) == (1, [])
    assert b"hunter2" not in batch.values[0]
    assert b"jane.doe" not in batch.values[0]
    assert batch.ids == ["1"]
    assert batch.account.redacted == {"password": 1, "email": 1}
