from __future__ import annotations

import json
import math
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.sources.generate import Generator
from logweir.json_text import without_halves
from operators.formats import BUNYAN, ECS, FORMATS, LOGWEIR, OTEL, PINO, TEXT, Format
from operators.formats import configured as with_paths
from operators.projection import Projection
from sinks.otlp_record import FIELDS, is_native, nanoseconds
from sinks.otlp_wire import MAX_DEPTH
from tests.sinks.cloud_support import ODD
from tests.sinks.otlp_support import (
    RECORDS,
    WAYS,
    Told,
    Way,
    promised,
    sent,
    text,
)


class TestEverything:
    @pytest.mark.parametrize("way", WAYS)
    @given(records=st.lists(RECORDS, min_size=1, max_size=3), escaped=st.booleans())
    def test_any_record(self, way: Way, records: list[dict[str, Any]], escaped: bool) -> None:
        """Whatever a record holds, a server finds each of its fields where the page says, in either encoding."""
        values = [text(record, escaped=escaped) for record in records]
        assert sent(*values, way=way) == [promised(record, index) for index, record in enumerate(records)]

    @pytest.mark.parametrize("way", WAYS)
    def test_generated_records(self, way: Way) -> None:
        """The records of the generator, of which most are of the usual shape, say all that they hold."""
        values = Generator(seed=1, start_time=1_793_527_200.0).batch(0, 200)
        for value, found in zip(values, sent(*values, way=way), strict=True):
            record = orjson.loads(value)
            assert found.body == record["message"]
            assert found.attributes["log.record.uid"] == record["id"]
            assert found.resource["host.name"] == record["context"]["host"]
            assert found.trace == record.get("trace", {}).get("traceId", "")
            assert {name: found.attributes[f"metadata.{name}"] for name in record["metadata"]} == record["metadata"]
            assert found.time // 1_000_000_000 == 1_793_527_200

    @pytest.mark.parametrize("way", WAYS)
    @pytest.mark.parametrize("value", ODD)
    def test_odd_records(self, way: Way, value: bytes) -> None:
        """Records that are hard to carry say what they hold."""
        (found,) = sent(value, way=way)
        record = json.loads(without_halves(value))
        if "message" in record and record["message"] is not None:
            assert found.body == record["message"]
        if "n" in record:
            assert found.attributes["n"] == "123456789012345678901234567890"
            assert found.attributes["b"] == [True, False, None]
            assert found.attributes["o"] == {}

    @pytest.mark.parametrize("way", WAYS)
    def test_numbers_that_no_double_holds(self, way: Way) -> None:
        """A number out of a double's range, or of thousands of digits, is its own text."""
        value = b'{"a":1e999,"b":[-1e999],"c":%b,"d":18446744073709551616,"e":-9223372036854775808}' % (b"7" * 5000)
        (found,) = sent(value, way=way)
        assert found.attributes == {
            "a": "1e999",
            "b": ["-1e999"],
            "c": "7" * 5000,
            "d": "18446744073709551616",
            "e": -(2**63),
            "log.record.uid": "logs-0-0",
        }

    @pytest.mark.parametrize("way", WAYS)
    @pytest.mark.parametrize("depth", [MAX_DEPTH, MAX_DEPTH + 1, 200])
    def test_what_lies_deep(self, way: Way, depth: int) -> None:
        """What lies deeper than parsers of protobuf follow is sent as JSON text, each of its characters."""
        value: Any = "é"
        for _ in range(depth):
            value = [value]
        (found,) = sent(orjson.dumps({"a": value}), way=way)
        assert found == promised({"a": value})

    @pytest.mark.parametrize("way", WAYS)
    def test_deeper_than_python_follows(self, way: Way) -> None:
        """A record that is nested to the limit of decoding is sent whole: what can't be taken apart is text."""
        value = b'{"id":"1","a":' + b'{"a":' * 900 + '"é"'.encode() + b"}" * 901
        (found,) = sent(value, way=way)
        assert found.attributes["log.record.uid"] == "1"
        deep = found.attributes.get("log.record.original")
        if deep is None:
            deep = found.attributes["a.a"]
            while isinstance(deep, dict):
                deep = deep["a"]
        assert deep in value.decode()
        assert deep.startswith("{")
        assert deep.count("}") > 900 - 2 * MAX_DEPTH


class TestTime:
    @pytest.mark.parametrize(
        ("given", "expected", "exact"),
        [
            ("2026-01-02T03:04:05Z", 1_767_323_045_000_000_000, True),
            ("2026-01-02T03:04:05.6Z", 1_767_323_045_600_000_000, True),
            ("2026-01-02T03:04:05.123456789Z", 1_767_323_045_123_456_789, True),
            ("2026-01-02T03:04:05.1234567891Z", 1_767_323_045_123_456_789, False),
            ("2026-01-02T04:04:05.123456789+01:00", 1_767_323_045_123_456_789, True),
            ("2026-01-02 03:04:05,5", 1_767_323_045_500_000_000, True),
            ("2026-01-02t03:04:05z", 1_767_323_045_000_000_000, True),
            ("20260102T030405Z", 1_767_323_045_000_000_000, True),
            (1767323045, 1_767_323_045_000_000_000, True),
            (1767323045678, 1_767_323_045_678_000_000, True),
            ("1767323045678901", 1_767_323_045_678_901_000, True),
            (1767323045123456789, 1_767_323_045_123_456_789, True),
            (1767323045.678, 1_767_323_045_678_000_000, True),
            ("2026-02-30T00:00:00Z", 0, False),
            ("1969-12-31T00:00:00Z", 0, False),
            ("1970-01-01T00:00:00Z", 0, False),
            ("2554-12-31T00:00:00Z", 0, False),
            ("9" * 5000, 0, False),
            (-1, 0, False),
            (1e300, 0, False),
            (math.inf, 0, False),
            (True, 0, False),
            ("", 0, False),
            ([1], 0, False),
            (None, 0, False),
        ],
    )
    def test_nanoseconds(self, given: Any, expected: int, exact: bool) -> None:
        """A time is told to the nanosecond; what is none, or can't be told, is no time."""
        assert nanoseconds(given) == (expected, exact)

    @pytest.mark.parametrize("way", WAYS)
    def test_more_digits_than_nanoseconds(self, way: Way) -> None:
        """A time that is finer than a nanosecond is an attribute too, so that no digit is lost."""
        moment = "2026-01-02T03:04:05.1234567891Z"
        (found,) = sent(orjson.dumps({"timestamp": moment, "message": "m"}), way=way)
        assert found.time == 1_767_323_045_123_456_789
        assert found.attributes["timestamp"] == moment


class TestMapping:
    @pytest.mark.parametrize("way", WAYS)
    def test_semantic_conventions(self, way: Way) -> None:
        """What OpenTelemetry has a name for has that name, and all else its own."""
        record = {
            "timestamp": "2026-11-01T10:00:00Z",
            "message": "m",
            "category": "http",
            "context": {"service": "shop", "userId": "u", "sessionId": "s", "requestId": "r"},
            "error": {"name": "E", "message": "bad", "stack": "at x", "code": 5},
            "user": {"username": "me", "ip": "10.0.0.1", "plan": "free"},
            "metadata": {"deep": {"er": [1]}},
        }
        (found,) = sent(orjson.dumps(record), way=way)
        assert found.resource == {"service.name": "shop"}
        assert found.attributes == {
            "log.record.uid": "logs-0-0",
            "category": "http",
            "user.id": "u",
            "session.id": "s",
            "context.requestId": "r",
            "exception.type": "E",
            "exception.message": "bad",
            "exception.stacktrace": "at x",
            "error.code": 5,
            "user.name": "me",
            "client.address": "10.0.0.1",
            "user.plan": "free",
            "metadata.deep": {"er": [1]},
        }

    @pytest.mark.parametrize("way", WAYS)
    def test_a_name_that_is_taken(self, way: Way) -> None:
        """Where a record has a name of the conventions itself, the other field keeps its own."""
        record = {"timestamp": "2026-11-01T10:00:00Z", "message": "m", "context": {"userId": "a"}, "user": {"id": "b"}}
        (found,) = sent(orjson.dumps(record), way=way)
        assert found.attributes == {"log.record.uid": "logs-0-0", "context.userId": "a", "user.id": "b"}

    @pytest.mark.parametrize("way", WAYS)
    def test_the_static_resource(self, way: Way) -> None:
        """Attributes of the settings are in each resource, and give way to what a record says."""
        static = {"service.name": "none", "host.name": "any", "cloud.region": "é"}
        value = b'{"timestamp":"2026-11-01T10:00:00Z","message":"","context":{"service":"shop"%b}}'
        found = sent(value % b"", value % b',"host":"h"', b"{}", way=way, resource=static)
        expected = [static | {"service.name": "shop"}, static | {"service.name": "shop", "host.name": "h"}, static]
        assert [each.resource for each in found] == expected

    @pytest.mark.parametrize("way", WAYS)
    def test_pino(self, way: Way) -> None:
        """Of another format the places of a log record are filled too, and its own members stay as they are."""
        record = {"level": 50, "time": 1767323045678, "msg": "hi", "hostname": "h", "err": {"type": "E", "stack": "s"}}
        (found,) = sent(orjson.dumps(record), way=way, layout=PINO)
        assert found == Told(
            {"host.name": "h"},
            1_767_323_045_678_000_000,
            17,
            "50",
            "hi",
            attributes={
                "time": 1767323045678,
                "msg": "hi",
                "hostname": "h",
                "err.type": "E",
                "err.stack": "s",
                "exception.type": "E",
                "exception.stacktrace": "s",
                "log.record.uid": "logs-0-0",
            },
        )

    def test_ecs(self) -> None:
        """ECS names fields as the conventions do, by dots or nested."""
        record = {
            "@timestamp": "2026-11-01T10:00:00Z",
            "log.level": "warn",
            "service": {"name": "shop"},
            "message": "m",
        }
        (found,) = sent(orjson.dumps(record), layout=ECS)
        assert (found.severity, found.time, found.body) == (13, 1_793_527_200_000_000_000, "m")
        assert found.resource == {"service.name": "shop"}
        assert found.attributes["service.name"] == "shop"
        assert found.attributes["log.level"] == "warn"
        assert "message" not in found.attributes

    def test_a_field_that_lives_elsewhere(self) -> None:
        """What stands under a name of ours in another format is no part of that field, and isn't lost."""
        layout = with_paths({"message": "text", "context.host": "node"})
        value = b'{"text":[true],"message":[1],"context":{"host":"x"},"node":"y","timestamp":"2026-11-01T10:00:00Z"}'
        (found,) = sent(value, layout=layout)
        assert found.body == [True]
        assert found.resource == {"host.name": "y"}
        assert found.attributes["message"] == [1]
        assert found.attributes["context.host"] == "x"

    @pytest.mark.parametrize(
        ("layout", "native"),
        [
            (LOGWEIR, True),
            (TEXT, True),
            (ECS, False),
            (OTEL, False),
            (PINO, False),
            (BUNYAN, False),
            (with_paths({"metadata.a": "b"}), True),
            (with_paths({"context.host": "node"}), False),
            (with_paths({"message": "level", "level": "message"}), False),
        ],
        ids=lambda value: getattr(value, "name", None),
    )
    def test_native_formats_are_known(self, layout: Format, native: bool) -> None:
        """Only records whose fields live under their own names are written straight."""
        projection = Projection([*FIELDS, "context", "metadata.a"], layout)
        row = projection.build({})
        getters = {path: projection.getter(path) for path in FIELDS}
        assert is_native(type(row), getters) is native
        assert not is_native(dict, getters)

    @pytest.mark.parametrize("layout", FORMATS.values(), ids=FORMATS)
    def test_formats(self, layout: Format) -> None:
        """No format makes a record that can't be sent."""
        value = b'{"a":{"b":1},"level":[1],"error":"x"}'
        (found,) = sent(value, layout=layout)
        assert found.body == (value.decode() if layout is TEXT else None)
