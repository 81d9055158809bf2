"""Every destination delivers to each independent server that can be had, and what is there is what was sent.

It is a suite of its own, since it builds the servers the first time: `make interop`, which prints the table.
"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.interop import table
from tests.interop.cases import CASES, Case, Running, There
from tests.servers.maven import ServersUnavailable
from tests.sinks.cloud_support import engine
from tests.sinks.conformance.site import stamp

pytestmark = pytest.mark.interop

COUNT = 20_000
PATIENCE_SECONDS = 60.0
MESSAGES = (
    "plain",
    "é ü 日本 \U0001f600 \u2028 \ufeff",
    "quotes \" and \\ and / and ' and <b>&amp;</b>",
    "two\nlines\r\n\tand a tab",
    "control \u0001 \u001f \u007f",
    "{not json} %s {{x}} $y ${z} #{q}",
    "x" * 3000,
)


def numbered(count: int, *, texts: bool) -> list[bytes]:
    """Return records of the last minutes, each with a number and a message that no parser should stumble over."""
    now, made = time.time(), []
    for number in range(count):
        record: dict[str, Any] = {
            "id": f"r-{number}",
            "timestamp": stamp(number % 300) if number % 2 else stamp(0.5),
            "level": ("info", "warn", "error", "debug")[number % 4],
            "message": f"{number} {MESSAGES[number % len(MESSAGES)]}",
            "n": str(number) if texts else number,
        }
        if not texts:
            record["trace"] = {"traceId": f"{number + 1:032x}", "spanId": f"{number + 1:016x}"}
            record["context"] = {"service": f"s{number % 3}", "host": "h"}
            record["metadata"] = {"a": None, "b": [1, 2], "c": {"d": {}}, "at": now, "big": 2**53 + number}
        made.append(orjson.dumps(record))
    return made


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_is_sent_is_there(case: Case, tmp_path: Path) -> None:
    """Nothing is missing, nothing is there twice, and no message is altered."""
    try:
        with case.start(tmp_path) as running:
            row = _tried(case, running, tmp_path)
    except ServersUnavailable as reason:
        pytest.skip(str(reason))
    table.ROWS.append(row)
    assert row.sent == row.delivered == row.there == COUNT
    assert (row.dead, row.missing, row.twice, row.altered) == (0, 0, 0, 0)


def _tried(case: Case, running: Running, folder: Path) -> table.Row:
    values = numbered(COUNT, texts=case.texts)
    sent = {int(record["n"]): record["message"] for record in map(orjson.loads, values)}
    with engine(running.settings, folder, max_records=1000, max_bytes=1_000_000) as run:
        started = time.monotonic()
        for at in range(0, COUNT, 500):
            run.write(*values[at : at + 500])
        run.deliver()
        seconds = time.monotonic() - started
        ledger, requests = run.delivery.ledger, run.delivery.stats.requests
        found = _read(running)
    counts = Counter(each.number for each in found)
    return table.Row(
        *(case.destination, case.server, case.variant),
        sent=len(sent),
        delivered=ledger.delivered,
        dead=sum(ledger.dead_lettered.values()),
        there=len(found),
        missing=len(sent.keys() - counts.keys()),
        twice=sum(counts.values()) - len(counts),
        altered=sum(sent.get(each.number) != each.message for each in found),
        requests=requests,
        seconds=seconds,
    )


def _read(running: Running) -> list[There]:
    """Return what is there once it is all of it, or doesn't change: some servers show it a moment later."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    found = running.read()
    while len({each.number for each in found}) < COUNT and time.monotonic() < deadline:
        time.sleep(0.5)
        found = running.read()
    return found
