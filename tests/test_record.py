from __future__ import annotations

import json
import pickle
import string
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logweir.record import LEVELS, OTEL_LEVELS, LevelTable, says_no_level, trace_of

SPELLINGS = {
    "trace": "trace verbose FINEST Level(-2) TRACE2 debug-4 T silly",
    "debug": "debug D1 D5 DEBUG1 DEBUG4 CONFIG http fine D dbg Level(-1) 7 LOG_DEBUG debug+2",
    "info": "info INFO2 SUCCESS Notice LOG Level(0) 5 6 INFO+2 information Severity.Info SEVERITY_NUMBER_INFO4 30.0",
    "warn": "warn WARNING W Level(1) 4 WARN3 warn: daemon.warning LogLevel.Warning",
    "error": "error ERROR+4 ERROR2 E err 3 [error] <ERROR> (err) local0.err LOG_ERR 'error' level=error severe",
    "fatal": "fatal dpanic DPANIC Level(3) Level(5) crit CRITICAL alert emerg panic 0 1 2 FATAL2 F critical+4",
}
"""What usual loggers write: zap, slog, zerolog, winston, pino, log4j, java.util.logging, loguru, PostgreSQL, syslog,
journald, GELF, glog, .NET and OpenTelemetry."""


@pytest.mark.parametrize(
    ("level", "spelling"), [(level, each) for level, some in SPELLINGS.items() for each in some.split()]
)
def test_levels_of_usual_loggers(level: str, spelling: str) -> None:
    """However a logger spells it, coloured, in brackets or among white space."""
    table = LevelTable()
    for text in (spelling, f" {spelling}\n", f"\x1b[31m{spelling}\x1b[39m", f"\x1b[1;31m{spelling}\x1b[0m"):
        found = table[text]
        assert found == level
        assert found is not None
        assert found.text == text
        assert LEVELS[(found.number - 1) // 4] == level


@pytest.mark.parametrize("value", [0, 1, 2, 3, 4, 5, 6, 7, 10, 20, 30, 40, 50, 60])
def test_numbers_mean_what_they_mean_as_text_and_as_doubles(value: int) -> None:
    """Syslog's numbers clash with none of pino's."""
    table = LevelTable()
    assert table[value] == table[str(value)] == table[float(value)] == table[f"{value}.0"] is not None


@pytest.mark.parametrize(
    "value", ["", "-", "null", "weird", "17", 17, 8, 35, 1.5, 1e300, float("inf"), "e404", "i1", "no error", "x" * 200]
)
def test_what_is_no_level_is_none(value: Any) -> None:
    """Nothing is guessed; what says itself that there is none is told from what nobody knows."""
    assert LevelTable()[value] is None
    assert says_no_level(value) == (value in {"", "-", "null"})


def test_opentelemetry_has_numbers_of_its_own() -> None:
    """10 is INFO2 there and trace to pino; the number and the text of the record are kept."""
    table = LevelTable(OTEL_LEVELS)
    found = [table[10, "NOTICE"], table[20, "ERROR4"], table[17, None], table["WARN2"], table[3]]
    assert found == ["info", "error", "error", "warn", "trace"]
    assert [each and (each.number, each.text) for each in found] == [
        (10, "NOTICE"),
        (20, "ERROR4"),
        (17, ""),
        (14, "WARN2"),
        (3, ""),
    ]
    assert table[0] is None
    assert table[25, "ERROR"] is None


def test_a_level_crosses_processes() -> None:
    """A batch may be pickled between workers; a level is the same there, and is text to whoever asks for no more."""
    level = LevelTable()["WARNING"]
    assert level is not None
    copy = pickle.loads(pickle.dumps(level))
    assert (copy, copy.number, copy.text, type(str(copy))) == ("warn", 13, "WARNING", str)
    assert json.dumps(copy) == orjson.dumps(copy).decode() == '"warn"'


@given(st.text(st.sampled_from(string.printable + "\x1béİ"), max_size=30) | st.integers() | st.floats() | st.none())
def test_any_value_has_a_level_or_none(value: Any) -> None:
    """Whatever stands there, nothing is raised, and the second look finds what the first did."""
    table = LevelTable()
    assert table[value] == table[value]
    assert table[value] is None or table[value] in LEVELS


@pytest.mark.parametrize(
    "value", [None, "", "-", "0", "0" * 16, "0" * 32, "null", "00000000-0000-0000-0000-000000000000", 7, {}]
)
def test_zeros_are_no_trace(value: Any) -> None:
    """W3C and OpenTelemetry call them invalid, and loggers write them where no trace is active."""
    assert trace_of(value) is None
    assert trace_of("4bf92f3577b34da6a3ce929d0e0e4736") == "4bf92f3577b34da6a3ce929d0e0e4736"
