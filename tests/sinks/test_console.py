from __future__ import annotations

import os
import pty
import re
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logweir.batch import Batch
from logweir.errors import DestinationError
from operators.decode import Decoder
from operators.formats import LOGWEIR
from operators.projection import Projection
from sinks.console import Console, Pretty, Terminal
from sinks.destination import Delivered, Hold, Records

PRETTY = Console.model_validate({"type": "console"})
PROJECTION = Projection(PRETTY.fields(), LOGWEIR)
FULL = {
    "timestamp": "2026-11-24T10:20:30.456Z",
    "level": "WARNING",
    "category": "http",
    "message": "Slow answer",
    "context": {"service": "checkout", "requestId": "r1"},
    "metadata": {"path": "/a b", "status": 200},
    "performance": {"duration": 12.3456},
}


def records(*given: Any) -> Records:
    """Return records as decode leaves them."""
    batch = Batch(
        "t", 0, [each if isinstance(each, bytes) else orjson.dumps(each) for each in given], range(len(given))
    )
    Decoder(PROJECTION)(batch)
    return Records.of(batch)


def lines(*given: Any, colours: bool = False) -> str:
    """Return what is printed for these records."""
    terminal = Terminal(Pretty(PROJECTION.getter, colours))
    return terminal.frame(terminal.encode(records(*given))).decode()


def test_a_line_for_people() -> None:
    """A record is one line: time, level, service, message, then what else it says as name=value."""
    assert lines(FULL) == (
        "10:20:30.456 WARN  checkout        Slow answer "
        'category=http path="/a b" status=200 duration=12.35ms requestId=r1\n'
    )


def test_errors_are_indented() -> None:
    """An error's name, message and stack follow below the line; what the stack repeats is written once."""
    error = {"name": "KeyError", "message": "'x'", "stack": "KeyError: 'x'\n\tat f (a.js:1)\n"}
    record = {"timestamp": "2026-01-01T00:00:00Z", "level": "error", "message": "Broken", "error": error}
    assert lines(record).splitlines() == [
        "00:00:00.000 ERROR -               Broken",
        "    KeyError: 'x'",
        "        at f (a.js:1)",
    ]


def test_records_cannot_act_on_the_terminal() -> None:
    """Escape sequences, control characters and direction overrides are shown as text, wherever they stand."""
    evil = "\x1b[2J\x07\u202e\r\nfake line\x9b"
    printed = lines({
        "message": evil, "level": evil, "context": {"service": evil}, "metadata": {evil: evil, "list": [evil]},
        "error": {"name": evil, "message": evil, "stack": evil},
    })  # fmt: skip
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", printed)
    assert "\\x1b[2J" in printed
    assert len([line for line in printed.splitlines() if not line.startswith("    ")]) == 1


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from([*FULL, "error", "trace"]), _VALUES))
def test_any_record_can_be_printed(record: dict[str, Any]) -> None:
    """Whatever the fields hold, the record is printed."""
    try:
        raw = orjson.dumps(record)
    except TypeError:
        return
    assert lines(raw).endswith("\n")


@pytest.mark.parametrize(
    "raw",
    [
        b'{"timestamp":"0001-01-01T00:00:00+23:00"}',
        b'{"performance":{"duration":1e999},"metadata":{"n":%s}}' % (b"9" * 400),
        rb'{"message":"\ud800"}',
        b'{"error":7,"context":7,"metadata":[1]}',
    ],
)
def test_odd_records_can_be_printed(raw: bytes) -> None:
    """A date out of range, a number out of range, half a surrogate pair and wrong types are printed."""
    assert lines(raw).count("\n") == 1


@pytest.mark.parametrize(
    "record",
    [
        {"error": "dial tcp 10.0.0.1:443: refused"},
        {"error": "dial tcp 10.0.0.1:443: refused", "level": "error", "message": "call failed"},
        {"error": {"message": "dial tcp 10.0.0.1:443: refused"}},
    ],
)
def test_an_error_that_is_text_is_shown(record: dict[str, Any]) -> None:
    """zap, zerolog, logrus and slog write it so."""
    assert lines(orjson.dumps(record)).endswith("\n    dial tcp 10.0.0.1:443: refused\n")


def test_colours_only_where_asked_for() -> None:
    """Colours are written only when the reader understands them."""
    assert "\x1b[33mWARN \x1b[0m" in lines(FULL, colours=True)
    assert "\x1b" not in lines(FULL)


def test_colours_and_the_status_line_go_with_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal the supervisor's counter line is wiped first; NO_COLOR and a pipe are respected."""
    monkeypatch.setenv("LOGWEIR_STATUS_LINE", "1")
    leader, follower = pty.openpty()
    reader, writer = os.pipe()
    assert Terminal(None, follower).frame([b"{}"]) == b"\r\x1b[K{}\n"
    assert Terminal(None, writer).frame([b"{}"]) == b"{}\n"
    monkeypatch.delenv("LOGWEIR_STATUS_LINE")
    assert Terminal(None, follower).frame([b"{}"]) == b"{}\n"
    monkeypatch.setattr(os, "isatty", lambda _: True)
    for setting, coloured in (("", True), ("1", False)):
        monkeypatch.setenv("NO_COLOR", setting)
        assert (b"\x1b" in PRETTY.open(PROJECTION.getter, None).encode(records(FULL))[0]) is coloured
    for descriptor in (leader, follower, reader, writer):
        os.close(descriptor)


def test_json_is_the_record_itself() -> None:
    """Style json prints the raw bytes and needs no field."""
    settings = Console.model_validate({"type": "console", "style": "json"})
    assert settings.fields() == set()
    terminal = settings.open(PROJECTION.getter, None)
    assert terminal.frame(terminal.encode(Records([b'{"a": 1}', b"{}"]))) == b'{"a": 1}\n{}\n'


def test_writes_one_request_whole() -> None:
    """A request arrives on the descriptor as it is."""
    reader, writer = os.pipe()
    assert Terminal(None, writer).send(b"{}\n", 1) == Delivered()
    assert os.read(reader, 100) == b"{}\n"
    os.close(reader)
    with pytest.raises(DestinationError, match="whoever read it has ended"):
        Terminal(None, writer).send(b"{}\n", 1)
    os.close(writer)
    assert isinstance(Terminal(None, writer).send(b"{}\n", 1), Hold)


def test_a_closed_output_is_found() -> None:
    """A health check tells whether somebody reads standard output, and writes nothing to find out."""
    read, write = os.pipe()
    terminal = Terminal(None, write)
    assert terminal.probe() == Delivered()
    os.close(read)
    found = terminal.probe()
    assert isinstance(found, Hold)
    assert "whoever read it has ended" in found.issue
    os.close(write)
    found = terminal.probe()
    assert isinstance(found, Hold)
    assert "standard output is closed" in found.issue
