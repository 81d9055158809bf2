from __future__ import annotations

import os
import time
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, run_main

from flows.sources.stdin import Stdin, StdinSource
from tests.flows.sources.context import Flow, drain, values


def read_all(part: Any, seconds: float = 5) -> list[Any]:
    """Return everything until the end of the input."""
    batches: list[Any] = []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        got, ended = drain(part)
        batches += got
        if ended:
            return batches
        time.sleep(0.005)
    raise AssertionError(batches)


def test_reads_lines_until_the_end() -> None:
    """Every line of a pipe arrives, any bytes in it, the last one without its newline too; then the source ends."""
    out, into = os.pipe()
    os.write(into, b'{"a":1}\n\xff\x00\n\nlast')
    os.close(into)
    part = StdinSource(Flow().context, 100, out).build_part("s", "stdin", None)
    batches = read_all(part)
    assert values(batches) == [b'{"a":1}', b"\xff\x00", b"last"]
    assert sum(batch.account.read for batch in batches) == 4
    assert part.snapshot() == 4
    part.close()


def test_never_waits_for_the_producer() -> None:
    """A producer that has nothing to say does not hold the flow."""
    out, into = os.pipe()
    part = StdinSource(Flow().context, 100, out).build_part("s", "stdin", None)
    assert part.next_batch() == []
    assert part.next_awake() is not None
    os.write(into, b"{}\n")
    os.close(into)
    assert values(read_all(part)) == [b"{}"]


def test_counts_on_after_a_restart() -> None:
    """The count of lines goes on; the input does not begin again."""
    out, into = os.pipe()
    os.write(into, b"{}\n")
    os.close(into)
    part = StdinSource(Flow().context, 100, out).build_part("s", "stdin", 41)
    read_all(part)
    assert part.snapshot() == 42


def test_runs_in_a_flow() -> None:
    """A flow over standard input ends when the input does."""
    out, into = os.pipe()
    os.write(into, b"".join(b'{"n":%d}\n' % number for number in range(1000)))
    os.close(into)
    taken: list[Any] = []
    flow = Dataflow("stdin")
    op.output("out", op.input("in", flow, StdinSource(Flow().context, 100, out)), TestingSink(taken))
    run_main(flow)
    assert len(values(taken)) == 1000


def test_opens_from_settings() -> None:
    """The settings open one part of standard input, and formats come with them."""
    settings = Stdin.model_validate({"type": "stdin", "format": "pino"})
    assert settings.open(Flow().context).list_parts() == ["stdin"]
    assert settings.layout().name == "pino"
