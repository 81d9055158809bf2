from __future__ import annotations

from contextlib import suppress
from typing import Any
from unittest.mock import patch

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.sources.generate import Generator
from operators.formats import LOGWEIR
from operators.projection import Projection
from sinks.destination import Records
from sinks.otlp_protobuf import ProtobufEncoder
from sinks.otlp_record import FIELDS, Mapper
from sinks.otlp_usual import UsualEncoder, resources
from tests.sinks.otlp_support import LEVELS, RECORDS, SPAN, TRACE, USUAL, promised, sent, text

CHANGES = st.builds(
    lambda changes, names: {name: value for name, value in changes.items() if name in names},
    RECORDS,
    st.sets(st.sampled_from([*USUAL, "category", "performance", "error", "user"]), max_size=2),
)
"""What makes another record of a usual one: a member or two, or none."""
EDGES: list[dict[str, Any]] = [
    *[
        {"context": {name: value}}
        for name in ("service", "host", "requestId")
        for value in ("", None, 5, ["a"], {"a": 1})
    ],
    *[{"context": {"own": 1, name: value}} for name in ("service", "host") for value in ("", None, 5, ["a"], {"a": 1})],
    *[{name: {}} for name in ("context", "metadata", "performance", "error", "user", "trace")],
    {"context": {"version": "1"}},
    {"context": {"userId": "u", "sessionId": "s"}},
    {"context": {"userId": "u", "sessionId": "s"}, "user": {"id": "v", "ip": "10.0.0.1"}},
    {"context": {"userId": "u", "sessionId": "s", "own": 1}, "user": {"id": "v", "username": "n"}},
    {"context": {"userId": "u"}, "user": {"username": "n"}},
    {"user": {"username": "n", "name": "m"}},
    {"error": {"name": "E", "message": "é", "stack": "at x", "code": 5}},
    {"trace": {"traceId": "0" * 32, "spanId": SPAN}},
    {"trace": {"traceId": TRACE, "spanId": "0" * 16}},
    {"trace": {"traceId": TRACE, "spanId": SPAN[:14] + "  "}},
    {"trace": {"traceId": TRACE, "spanId": SPAN, "parentSpanId": "é"}},
    {"timestamp": "x"},
    {"level": "WARNING"},
    {"id": ""},
    {"own": 1},
]
"""What makes of a usual record one that is just within that shape, or just beyond it."""


class TestSaying:
    @given(changes=st.lists(CHANGES, min_size=1, max_size=4), escaped=st.booleans())
    def test_usual_records(self, changes: list[dict[str, Any]], escaped: bool) -> None:
        """Records that are nearly of the usual shape, beside others of it, say what they say by the general path."""
        records = [USUAL | each for each in changes]
        values = [text(record, escaped=escaped) for record in records]
        expected = [promised(record, index) for index, record in enumerate(records)]
        assert sent(*values) == sent(*values, way="general") == expected

    @pytest.mark.parametrize("change", EDGES, ids=str)
    def test_edges_of_the_usual_shape(self, change: dict[str, Any]) -> None:
        """What is just within the usual shape or just beyond it says the same, also beside records of that shape."""
        records = [USUAL, USUAL | change, USUAL, USUAL | change]
        values = [text(record, escaped=False) for record in records]
        expected = [promised(record, index) for index, record in enumerate(records)]
        assert sent(*values) == sent(*values, way="general") == expected

    def test_values_of_one_name(self) -> None:
        """A name whose values are of every kind and length says each of them, in any order, again and again."""
        kinds: list[Any] = [
            None,
            True,
            False,
            0,
            1,
            127,
            128,
            300,
            -1,
            2**63,
            0.0,
            -0.0,
            1.0,
            1.5,
            [],
            [1],
            {},
            {"b": "c"},
            {"": 1},
        ]
        kinds += ["x" * length for length in range(30)] + ["é"]
        records = [
            USUAL | {"metadata": {"a": each}, "performance": {"a": each}} for each in kinds + kinds[::-1] + kinds
        ]
        assert sent(*[text(record, escaped=False) for record in records]) == list(map(promised, records))

    @pytest.mark.parametrize("length", [0, 1, 127, 128, 255, 256, 257, 1000, 1024, 16_383, 16_384])
    @pytest.mark.parametrize("place", ["id", "category", "message", "level", "context", "metadata", "trace"])
    def test_lengths(self, place: str, length: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """Text of any length is sent whole, wherever it stands, the first time and again."""
        long = "é" + "x" * (length - 2) if length > 1 else "x" * length
        names = ("service", "version", "environment", "host", "requestId", "userId", "sessionId")
        changes: dict[str, Any] = {
            "context": dict.fromkeys(names, long),
            "metadata": {"a": long, long: 1},
            "trace": {"traceId": TRACE, "spanId": SPAN, "parentSpanId": long},
        }
        record = USUAL | {place: changes.get(place, long)}
        value = text(record, escaped=False)
        monkeypatch.setitem(LEVELS, long, 0)
        assert sent(value, value) == [promised(record, index) for index in (0, 1)]

    def test_any_depth(self) -> None:
        """Whatever is not too deep to be decoded is sent, also where it is too deep to be taken apart."""
        projection = Projection(FIELDS, LOGWEIR)
        encoder = ProtobufEncoder(Mapper(projection.getter), {})
        start = b'{"timestamp":"2026-11-01T10:00:00Z","message":"m","metadata":'
        taken = []
        for depth in range(700, 1100):
            value = start + b'{"a":' * depth + b'"end"' + b"}" * depth + b"}"
            with suppress(RecursionError):
                taken.append((value, projection.decode(value)))
        assert 0 < len(taken) < 400
        for value, row in taken:
            (piece,) = encoder.encode(Records([value], ["i"], [row], levels=[None], written=[1.0]))
            assert b'"end"' in piece

    def test_identities_of_any_text(self) -> None:
        """A record without an id has that of its place, such as a file whose name isn't ASCII, by either path."""
        value = b'{"timestamp":"2026-11-01T10:00:00Z","message":"m"}'
        projection = Projection(FIELDS, LOGWEIR)
        encoder = ProtobufEncoder(Mapper(projection.getter), {})
        records = Records([value], ["é.log-0-0"], [projection.decode(value)], levels=[None], written=[1.0])
        pieces = encoder.encode(records)
        with patch.object(ProtobufEncoder, "_is_native", return_value=False):
            assert encoder.encode(records) == pieces
        assert "é.log-0-0".encode() in pieces[0]


class TestCost:
    @pytest.mark.parametrize(
        "context", [{}, {"context": {"tenant": "a", "host": "h"}}, {"context": {"requestId": 5}}], ids=str
    )
    def test_the_usual_shape_goes_straight(self, context: dict[str, Any]) -> None:
        """The generator's records don't take the general path, which is slower; nor do those with their own names."""
        values = Generator(seed=2, start_time=1_793_527_200.0).batch(0, 500)
        values[200:300] = [orjson.dumps(orjson.loads(value) | context) for value in values[200:300]]
        with patch.object(ProtobufEncoder, "_general", side_effect=AssertionError):
            assert len(sent(*values)) == len(values)

    def test_bounds(self) -> None:
        """Names, numbers, lengths, times and resources that never come again don't fill the memory."""
        encoder = UsualEncoder(resources({}))
        for number in range(25_000):
            value = orjson.dumps(
                {
                    "timestamp": f"2026-11-01T10:00:00.{number:06}Z",
                    "message": "m" * (number % 2000),
                    "level": f"l{number}",
                    "context": {"service": f"s{number}", "host": "h" * (number % 2000)},
                    "metadata": {f"n{number}": number},
                }
            )
            encoder([value], ["-"], ["\x59" + "\x01" * 8])
        assert len(encoder._times.known) <= 10_000
        assert len(encoder._resources.known) <= 10_000
        assert len(encoder._integers.known) <= 10_000
        assert len(encoder._levels.known) <= 1_000
        assert len(encoder._bodies.known) <= 1_000
        assert sum(map(len, encoder._metadata.known.values())) <= 10_000
