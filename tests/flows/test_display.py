from __future__ import annotations

import sys
from typing import Any

import pytest

from flows.config import load
from flows.display import Display, ledger_text
from logweir.ledger import Ledger

FLOW = load("name: a\nsource: {type: stdin}\ndestinations: {out: {type: console}}\n").flow


def report(read: int, delivered: int, issue: str = "") -> dict[str, Any]:
    """Return what the supervisor reports of one destination."""
    ledger = Ledger()
    ledger.read, ledger.delivered = read, delivered
    return {"out": {"ledger": ledger, "workers": [{"health": {"issue": issue}}], "running": True, "issue": ""}}


def live() -> Display:
    """Return a display that takes stderr for a terminal."""
    display = Display(FLOW)
    display._live = True
    return display


def test_line(capsys: pytest.CaptureFixture[str]) -> None:
    """The counters are one line, wiped before whatever is written next."""
    display = live()
    assert display.environment == {"LOGWEIR_STATUS_LINE": "1"}
    display.draw(report(1500, 1000))
    line = capsys.readouterr().err
    assert line.startswith("\r\x1b[K1,500 read (")
    assert line.endswith("out: 1,000 delivered, 500 in flight")
    with display.aside():
        sys.stderr.write("text\n")
    assert capsys.readouterr().err == "\r\x1b[Ktext\n"
    with display.aside():
        pass
    assert capsys.readouterr().err == ""


def test_line_fits(capsys: pytest.CaptureFixture[str]) -> None:
    """A line never wraps, and a destination's words in it can't act on the terminal."""
    display = live()
    display.draw(report(1, 0, "\x1b[2J\nno such index: " + "x" * 300))
    line = capsys.readouterr().err.removeprefix("\r\x1b[K")
    assert line.isprintable()
    assert len(line) < 80
    assert "!!" in line


def test_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Where stderr is no terminal, only the closing ledger is written."""
    display = Display(FLOW)
    assert display.environment == {}
    display.draw(report(1, 1))
    assert capsys.readouterr().err == ""
    display.close(report(1, 1))
    assert capsys.readouterr().err == "out: 1 read (0B)\n               1  delivered\n"


def test_ledger() -> None:
    """The ledger names each rule and cause, most frequent first, and its rows add up to what was read."""
    ledger = Ledger()
    ledger.read, ledger.read_bytes, ledger.delivered, ledger.duplicates, ledger.gaps = 10, 2_000_000, 3, 2, 4
    ledger.dropped.update({"few": 1, "many": 3})
    ledger.dead_lettered.update({"not JSON": 2})
    rows = [line.split(maxsplit=1) for line in ledger_text({"search": ledger}).splitlines()]
    assert rows == [
        ["search:", "10 read (2MB)"],
        ["3", "delivered"],
        ["3", "dropped by many"],
        ["1", "dropped by few"],
        ["2", "dead-lettered: not JSON"],
        ["1", "in flight"],
        ["2", "of the delivered were there already"],
        ["4", "offsets were gone before they could be read"],
    ]
