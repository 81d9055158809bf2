from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsPartialSuccess
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from sinks.otlp_wire import any_value, read_fields, varint, wire


@given(st.integers(-(2**63), 2**63 - 1))
def test_whole_numbers(number: int) -> None:
    """Each number of 64 bits is read as it was written."""
    assert AnyValue.FromString(any_value(number).encode("latin-1")).int_value == number
    assert dict(read_fields(b"\x08" + varint(number).encode("latin-1"))) == {1: number % 2**64}


@given(st.text())
def test_text(text: str) -> None:
    """Each text is read as it was written."""
    assert AnyValue.FromString(any_value(wire(text)).encode("latin-1")).string_value == text


def test_half_a_surrogate_pair() -> None:
    """What has no UTF-8 is told by its escape."""
    assert wire("é\ud800") == "é\\ud800".encode().decode("latin-1")


@given(st.integers(0, 2**63 - 1), st.text())
def test_messages(number: int, text: str) -> None:
    """The fields of a message are read by their numbers."""
    message = ExportLogsPartialSuccess(rejected_log_records=number, error_message=text).SerializeToString()
    expected = {1: number, 2: text.encode()}
    assert dict(read_fields(message)) == {key: value for key, value in expected.items() if value}


def test_fields_of_fixed_length() -> None:
    """Fields of four and eight bytes are read too: a later version of a message may have some."""
    message = b"\x0d1234\x1112345678\x18\x05"
    assert list(read_fields(message)) == [(1, b"1234"), (2, b"12345678"), (3, 5)]


@pytest.mark.parametrize(
    "message",
    [
        b"\x08",
        b"\x08\xff",
        b"\x08" + b"\xff" * 11,
        b"\x12\x05abc",
        b"\x0d123",
        b"\x00\x01",
        b"\x0b",
        b"\x0f",
        b"<html>",
    ],
)
def test_what_is_no_message(message: bytes) -> None:
    """What is cut, or is something else, is no message."""
    with pytest.raises(ValueError, match=r"number|longer|field"):
        list(read_fields(message))


@given(st.binary(max_size=30))
def test_any_bytes(message: bytes) -> None:
    """Whatever comes, reading it ends, with fields or with a ValueError."""
    with suppress(ValueError):
        assert all(number for number, _ in read_fields(message))
