from __future__ import annotations

import json
import math
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logweir.batch import Batch, ReadAt
from operators.decode import Decoder, Identities
from operators.formats import ECS, FORMATS, LOGWEIR, configured
from operators.identity import digests_of
from operators.projection import Projection

FIELDS = [
    "level",
    "timestamp",
    "context.service",
    "context.environment",
    "performance.duration",
    "metadata.a.b",
    "metadata",
]
GOOD = b'{"id":"1","level":"info","message":"m"}'


def decode(*values: bytes, fields: list[str] = FIELDS, start: int = 0) -> Batch:
    """Return these values as a decoded batch."""
    batch = Batch("logs", 2, list(values), range(start, start + len(values)))
    Decoder(Projection(fields, LOGWEIR))(batch)
    return batch


def read(value: bytes, layout: str, *paths: str) -> list[Any]:
    """Return what is read at these paths of a record of this format."""
    projection = Projection(paths, FORMATS[layout])
    batch = Batch("logs", 0, [value], range(1))
    Decoder(projection)(batch)
    assert not batch.account.rejected
    return [projection.getter(path)(batch.records[0]) for path in paths]


BAD = {
    "truncated": (b'{"id":"1","level":"in', "not JSON"),
    "bad UTF-8 in a field that nothing reads": (b'{"id":"1","zzz":"\xff\xfe"}', "not UTF-8"),
    "bad UTF-8 in a key": (b'{"\xff":1}', "not UTF-8"),
    "half a character": ('{"message":"é"}'.encode()[:-3] + b'"}', "not UTF-8"),
    "NaN": (b'{"x":NaN}', "not JSON"),
    "NaN in a projected field": (b'{"level":NaN}', "not JSON"),
    "Infinity behind a wrong type": (b'{"context":"s","x":-Infinity}', "not JSON"),
    "nested 100,000 deep": (b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
    "nested 100,000 deep in a projected field": (
        b'{"metadata":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}",
        "nested too deeply",
    ),
    "an array": (b"[1,2]", "not an object"),
    "a string": (b'"text"', "not an object"),
    "null": (b"null", "not an object"),
    "two objects": (b'{"a":1}{"b":2}', "not JSON"),
    "empty": (b"", "empty"),
    "blank": (b" \r\n\t", "empty"),
    "a byte order mark alone": (b"\xef\xbb\xbf", "empty"),
    "two byte order marks": (b"\xef\xbb\xbf\xef\xbb\xbf{}", "not JSON"),
    "UTF-16": ('{"id":"1"}'.encode("utf-16"), "not UTF-8"),
    "an array nested 100,000 deep": (b"[" * 100_000, "nested too deeply"),
    "a text that holds objects 100,000 deep": (b'"' + b"[" * 100_000 + b'"', "not an object"),
    "zeros between bytes": (b"1\x00", "not JSON"),
    "a raw newline in a string": (b'{"message":"a\nb"}', "not JSON"),
    "a raw control character": (b'{"message":"a\x01b"}', "not JSON"),
    "half an escape": (b'{"message":"\\ud8"}', "not JSON"),
    "a lone surrogate in broken JSON": (b'{"message":"\\ud83d"', "not JSON"),
    "single quotes": (b"{'a':1}", "not JSON"),
    "a trailing comma": (b'{"a":1,}', "not JSON"),
    "plain text": (b"2026-01-01 ERROR: it broke", "not JSON"),
}

FINE = {
    "1e999": b'{"id":"a","x":1e999}',
    "1e999 in a projected field": b'{"id":"a","performance":{"duration":1e999}}',
    "an integer of 5,000 digits": b'{"id":"a","performance":{"duration":' + b"9" * 5000 + b"}}",
    "duplicate keys": b'{"id":"b","id":"a","level":"info","level":"warn"}',
    "wrong types in every projected field": (
        b'{"id":"a","level":[1],"timestamp":{},"context":7,"performance":null,"metadata":"x"}'
    ),
    "a pair of surrogates": b'{"id":"a","message":"\\ud83d\\ude00"}',
    "a lone surrogate": b'{"id":"a","message":"cut \\ud83d..."}',
    "a low surrogate alone": b'{"id":"a","message":"\\ude00"}',
    "two high surrogates before a low one": b'{"id":"a","message":"\\uD83D\\uD83D\\uDE00"}',
    "a lone surrogate in a projected field": b'{"id":"a","level":"\\udfff"}',
    "a lone surrogate in a key": b'{"id":"a","x\\udfff":1}',
    "a lone surrogate behind a wrong type": b'{"id":"a","context":1,"message":"\\ud800"}',
    "an escaped zero": b'{"id":"a","message":"\\u0000"}',
    "an escaped key": b'{"i\\u0064":"a"}',
    "20 MB": b'{"id":"a","message":"' + b"x" * 20_000_000 + b'"}',
    "spaces around": b'  {"id":"a"}  ',
}


def test_a_batch_knows_the_size_of_what_is_left() -> None:
    """What is rejected, or put on one line, is no longer part of a batch's size, by which the source has room again."""
    batch = decode(GOOD, b"no record", b' {"id":\n"2"} ', GOOD)
    assert batch.size == sum(map(len, batch.values)) == 2 * len(GOOD) + len(b'{"id":"2"}')


class TestVerdicts:
    @pytest.mark.parametrize("name", BAD)
    def test_what_is_no_record_is_rejected_with_its_cause_and_costs_only_itself(self, name: str) -> None:
        """The dead letter gets its bytes, offset, cause and detail; the neighbours go on."""
        value, cause = BAD[name]
        batch = decode(GOOD, value, GOOD, start=50)
        (rejected,) = batch.account.rejected
        assert (rejected.value, rejected.offset, rejected.cause) == (value, 51, cause)
        assert rejected.detail
        assert batch.values == [GOOD, GOOD]
        assert list(batch.offsets) == [50, 52]
        assert batch.ids == ["1", "1"]
        assert len(batch.records) == 2

    @pytest.mark.parametrize("name", FINE)
    def test_what_is_a_record_passes_whatever_its_fields_hold(self, name: str) -> None:
        """Odd but valid JSON is delivered as it is, under its own id."""
        batch = decode(GOOD, FINE[name], GOOD)
        assert not batch.account.rejected
        assert batch.ids == ["1", "a", "1"]
        assert batch.values[1] == FINE[name].strip()

    def test_pretty_printed_json_is_put_on_one_line(self) -> None:
        """A record with raw newlines between tokens would break NDJSON; its content stays the same."""
        record = {"id": "a", "context": {"service": "s"}, "list": [1, 2, "a\nb"], "big": 12345678901234567890123}
        for pretty in (json.dumps(record, indent=2), json.dumps(record, indent="\t").replace("\n", "\r\n")):
            batch = decode(GOOD, pretty.encode())
            assert b"\n" not in batch.values[1]
            assert b"\r" not in batch.values[1]
            assert batch.values[1].startswith(b"{")
            assert json.loads(batch.values[1]) == record

    @pytest.mark.parametrize("others", [[], [b"no record"], [b'{"context":1}']])
    def test_a_byte_order_mark_is_taken_away(self, others: list[bytes]) -> None:
        """Whoever writes one, before a file or before each message, means the record behind it."""
        marked = b"\xef\xbb\xbf" + GOOD
        batch = decode(marked, GOOD, *others, marked)
        assert [value for value in batch.values if value not in others] == [GOOD] * 3
        assert batch.size == sum(map(len, batch.values))
        assert [each.value for each in batch.account.rejected] == [each for each in others if each == b"no record"]

    @pytest.mark.parametrize("rules", [False, True], ids=["no rules", "rules"])
    def test_a_byte_order_mark_is_part_of_what_was_read(self, rules: bool) -> None:
        """The identity is of the bytes as they were read, whatever has been taken away before it is asked for."""
        values = [b"\xef\xbb\xbf" + GOOD, b"no record", GOOD]
        batch = Batch("logs", 2, list(values), range(3))
        if rules:
            Decoder(Projection(["level"], LOGWEIR, identified=False), final=False)(batch)
        Decoder(Projection(FIELDS, LOGWEIR), identified=True)(batch)
        assert batch.values == [GOOD, GOOD]
        assert batch.identities == [f"1-{digest}" for digest in digests_of([values[0], values[2]])]

    def test_half_of_a_surrogate_pair_reads_as_no_character(self) -> None:
        """Rules and destinations get text that can be written; the bytes of the record stay as they are."""
        value = rb'{"id":"\ud83d","level":"x\uDE00y","metadata":{"a":{"b":"\\ud83d \ud83d\ude00"}}}'
        batch = decode(value)
        get = Projection(FIELDS, LOGWEIR).getter
        assert (batch.values, batch.ids) == ([value], ["\ufffd"])
        assert get("level")(batch.records[0]) == "x\ufffdy"
        assert get("metadata.a.b")(batch.records[0]) == "\\ud83d \U0001f600"

    @given(st.text(st.sampled_from('aud83\\"\ud83d\ud83e\ude00\udfff\U0001f600'), max_size=20))
    def test_texts_with_halves_are_read_as_a_full_parser_reads_them(self, text: str) -> None:
        """All but the halves is read as it is written."""
        value = json.dumps({"id": "a", "level": text}).encode()
        batch = decode(value)
        expected = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        assert Projection(FIELDS, LOGWEIR).getter("level")(batch.records[0]) == expected

    def test_a_record_is_never_encoded_again(self) -> None:
        """The very bytes that were read go on."""
        value = b'{ "id" : "a",  "n":1.10, "s":"\\u00e9" }'
        assert decode(value).values[0] is value

    def test_a_record_without_id_is_known_by_its_place(self) -> None:
        """Topic, partition and offset stand in for a missing, empty or unusable id; a number is taken as text."""
        batch = decode(b'{"a":1}', b'{"id":""}', b'{"id":{}}', b'{"id":7}', b'{"id":true}', start=10)
        assert batch.ids == ["logs-2-10", "logs-2-11", "logs-2-12", "7", "logs-2-14"]


class TestPaths:
    @given(
        st.dictionaries(
            st.sampled_from(["id", "level", "timestamp", "context", "performance", "metadata", "other"]),
            st.recursive(
                st.none()
                | st.booleans()
                | st.integers(-(2**70), 2**70)
                | st.floats(allow_nan=False)
                | st.text(max_size=5),
                lambda inner: (
                    st.lists(inner, max_size=3)
                    | st.dictionaries(
                        st.sampled_from(["service", "environment", "duration", "a", "b", "c"]), inner, max_size=3
                    )
                ),
                max_leaves=8,
            ),
        )
    )
    def test_the_fast_and_the_general_path_read_the_same(self, record: dict[str, Any]) -> None:
        """Whatever the types, each getter gives what a full decode of the record holds at that path."""
        value = json.dumps(record).replace("Infinity", "1e999").encode()
        projection = Projection(FIELDS, LOGWEIR)
        batch = Batch("t", 0, [value], range(1))
        Decoder(projection)(batch)
        assert not batch.account.rejected
        general = projection.build(json.loads(value))
        for path in FIELDS:
            expected: Any = json.loads(value)
            for key in path.split("."):
                expected = expected.get(key) if isinstance(expected, dict) else None
            if path == "level" and (isinstance(expected, bool) or not isinstance(expected, str | int | float)):
                expected = None
            got = [projection.getter(path)(each) for each in (batch.records[0], general)]
            # msgspec reads 1.0 as 1 where an integer is allowed; they are equal.
            assert got == [expected, expected]

    @given(st.binary(max_size=60))
    def test_any_bytes_get_a_verdict(self, value: bytes) -> None:
        """Whatever a message holds, it is a record or it is rejected, as a strict parser says."""
        batch = decode(GOOD, value)
        assert len(batch.values) + len(batch.account.rejected) == 2


class TestFormats:
    def test_ecs(self) -> None:
        """ECS fields are found nested, and as keys with dots."""
        paths = ("timestamp", "level", "category", "context.service", "performance.duration", "metadata.team")
        nested = (
            b'{"@timestamp":"T","log":{"level":"WARN"},"event":{"category":["web"],"duration":5000000},'
            b'"service":{"name":"s"},"labels":{"team":"x"}}'
        )
        dotted = (
            b'{"@timestamp":"T","log.level":"WARN","event.category":"web","event.duration":5000000,'
            b'"service.name":"s","labels.team":"x"}'
        )
        for value in (nested, dotted):
            assert read(value, "ecs", *paths) == ["T", "WARN", "web", "s", 5, "x"]

    def test_otel(self) -> None:
        """An OTLP/JSON log record gives its attributes by name and its body as the message."""
        value = orjson.dumps(
            {
                "timeUnixNano": "1700000000000000000",
                "severityNumber": 17,
                "body": {"stringValue": "hello"},
                "attributes": [
                    {"key": "service.name", "value": {"stringValue": "s"}},
                    {"key": "retries", "value": {"intValue": "3"}},
                ],
                "traceId": "0af7651916cd43dd8448eb211c80319c",
            }
        )
        paths = ("timestamp", "level", "message", "context.service", "metadata.retries", "trace.traceId")
        assert read(value, "otel", *paths) == [
            "1700000000000000000",
            17,
            "hello",
            "s",
            3,
            "0af7651916cd43dd8448eb211c80319c",
        ]

    def test_pino_and_bunyan(self) -> None:
        """The numbers of their levels, their msg, name and err are found."""
        value = (
            b'{"level":30,"time":1700000000000,"msg":"m","name":"s","hostname":"h","err":{"type":"E"},"responseTime":7}'
        )
        paths = (
            "level",
            "timestamp",
            "message",
            "context.service",
            "context.host",
            "error.name",
            "performance.duration",
        )
        for layout in ("pino", "bunyan"):
            assert read(value, layout, *paths) == [30, 1700000000000, "m", "s", "h", "E", 7]

    def test_json_with_configured_paths(self) -> None:
        """Fields live where the flow file says, also under keys with dots."""
        projection = Projection(["level", "message"], configured({"level": "a.sev", "message": "/x.y/text"}))
        batch = Batch("t", 0, [b'{"a":{"sev":"info"},"x.y":{"text":"hi"}}'], range(1))
        Decoder(projection)(batch)
        assert projection.getter("level")(batch.records[0]) == "info"
        assert projection.getter("message")(batch.records[0]) == "hi"

    def test_text(self) -> None:
        """Each line becomes a record with the line as message and the time it was written; bad UTF-8 is rejected."""
        batch = Batch("t", 0, [b'\xef\xbb\xbfsay "hi"\ttab', b"\xff"], range(2), origin=ReadAt(1_700_000_000.0))
        Decoder(Projection(["message"], FORMATS["text"]))(batch)
        assert [orjson.loads(value) for value in batch.values] == [
            {"message": 'say "hi"\ttab', "timestamp": "2023-11-14T22:13:20.000Z"}
        ]
        assert [each.cause for each in batch.account.rejected] == ["not UTF-8"]


MIXED = [
    {"http.response.status_code": 500},
    {"http": {"response": {"status_code": 500}}},
    {"http": {"response.status_code": 500}},
    {"http.response": {"status_code": 500}},
    {"http": {"response": {"status_code": None}}, "http.response.status_code": 500},
]


@pytest.mark.parametrize("record", MIXED)
def test_every_dotted_name_of_ecs_is_found(record: dict[str, Any]) -> None:
    """Nested, as one key, or mixed: also names that logweir has no path of its own for."""
    assert read(orjson.dumps(record), "ecs", "http.response.status_code") == [500]
    assert read(orjson.dumps(record), "logweir", "http.response.status_code") == [
        record.get("http", {}).get("response", {}).get("status_code")
        if isinstance(record.get("http", {}).get("response"), dict)
        else None
    ]


def test_ecs_names_of_both_kinds_side_by_side() -> None:
    """Where one path reads an object, and another a member of it, both are found; a slash names keys as they are."""
    value = b'{"user.id":"u1","user":{"name":"n"},"error.message":"boom","error":{"type":"E"},"a.b":1,"labels.c.d":2}'
    paths = ("user.id", "user.username", "user", "error.message", "error.name", "/a.b", "/a/b", "metadata.c.d")
    assert read(value, "ecs", *paths) == ["u1", "n", {"name": "n"}, "boom", "E", 1, None, 2]


@pytest.mark.parametrize(
    ("value", "identity"),
    [
        (b'{"event":{"id":"a"}}', "a"),
        (rb'{"event":{"id":"a"},"message":"\ud83d"}', "a"),
        (rb'{"event":"odd","event.id":"a","message":"\ude00\ud83d"}', "a"),
        (rb'{"event":"odd","id":"\ude00\ud83d"}', "logs-0-7"),
        (b'{"event":["odd"],"event.id":"a"}', "a"),
    ],
)
def test_who_a_sample_is_about(value: bytes, identity: str) -> None:
    """The id is found beside half of a surrogate pair, and beside fields of types that nobody expects."""
    identities = Identities(ECS)
    identities.batch = Batch("logs", 0, [value], [7])
    assert identities(0) == identity


@pytest.mark.parametrize(("number", "duration"), [(b"9" * 400, math.inf), (b"-" + b"9" * 400, -math.inf)])
def test_nanoseconds_beyond_a_double(number: bytes, duration: float) -> None:
    """A duration of hundreds of digits is infinite, as any number beyond a double is."""
    projection = Projection(["performance.duration"], ECS)
    batch = Batch("logs", 0, [b'{"event":{"duration":%b}}' % number], [0])
    Decoder(projection)(batch)
    assert projection.getter("performance.duration")(batch.records[0]) == duration
