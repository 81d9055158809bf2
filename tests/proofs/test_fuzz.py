"""A million mutated records through all that looks at records, and what longer records cost.

FUZZ_SEED tries another seed, FUZZ_RECORDS another number. The short form is tests/fuzz/test_short.py.
"""

from __future__ import annotations

import gc
import os
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.sources.generate import Generator
from tests.flowing import COMMAND, ROOT, parse_ledgers
from tests.fuzz.line import Line
from tests.fuzz.mutations import FORMATS, Mutations
from tests.fuzz.whole import whole_flow

pytestmark = pytest.mark.proof

RECORDS = int(os.environ.get("FUZZ_RECORDS", "1000000"))
SEED = int(os.environ.get("FUZZ_SEED", "1"))
BATCH = 250
MOST_FOR_DOUBLE = 2.5


@pytest.mark.parametrize("layout", FORMATS)
def test_a_million_mutated_records(layout: str, tmp_path: Path) -> None:
    """Each is delivered, dropped by a rule or dead-lettered at every destination, and no step raises on any."""
    lines = [Line(layout, tmp_path, redacts=False), Line(layout, tmp_path)]
    mutations = Mutations(layout, SEED, time.time() - 60)
    batches = -(-RECORDS // len(FORMATS) // BATCH)
    for number in range(batches):
        lines[number % 2].take(mutations.mutated(BATCH), offset=number * BATCH)
    outcomes: Counter[str] = lines[0].outcomes + lines[1].outcomes
    for line in lines:
        line.close()
    assert outcomes.total() == batches * BATCH * len(lines[0].destinations)
    print(f"\n{layout}: {batches * BATCH:,} records; {dict(outcomes.most_common())}")  # noqa: T201


def test_mutated_records_through_a_process(tmp_path: Path) -> None:
    """The same through `logweir run` over a pipe: no worker crashes, and the sums are equal."""
    mutations = Mutations("logweir", SEED, time.time() - 60)
    # A line of a pipe ends at a newline, and blank ones are no records.
    values = [each.replace(b"\n", b" ") for each in mutations.mutated(min(RECORDS, 100_000))]
    ended = subprocess.run(
        [*COMMAND, "run", str(whole_flow(tmp_path))],
        cwd=ROOT,
        input=b"\n".join([*values, b""]),
        capture_output=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr.decode()
    assert b"crashed" not in ended.stderr
    ledger = parse_ledgers([*ended.stdout.decode().splitlines(), *ended.stderr.decode().splitlines()])["out"]
    assert ledger.read == ledger.delivered + sum(ledger.dropped.values()) + sum(ledger.dead_lettered.values())
    assert ledger.delivered == len((tmp_path / "out.ndjson").read_bytes().split(b"\n")) - 1
    print(f"\n{ledger.to_dict()}")  # noqa: T201


def _message(piece: bytes) -> Callable[[int], bytes]:
    return lambda size: b'{"id":"a","level":"info","message":"%b"}' % (piece * (size // len(piece)))


def _member(name: bytes, piece: bytes, end: bytes) -> Callable[[int], bytes]:
    return lambda size: b'{"id":"a","level":"info",%b%b%b}' % (name, piece * (size // len(piece)), end)


def _names(size: int) -> bytes:
    members = b",".join(b'"name-%06d":%d' % (number, number) for number in range(size // 20))
    return b'{"id":"a","metadata":{%b}}' % members


SHAPES: dict[str, Callable[[int], bytes]] = {
    "letters": _message(b"a"),
    "words": _message(b"lorem ipsum "),
    "digits": _message(b"1"),
    "cards": _message(b"4111 1111 1111 1111 "),
    "groups of digits": _message(b"1234-"),
    "at signs": _message(b"a@"),
    "addresses": _message(b"jane@example.com "),
    "dots": _message(b"."),
    "parts of addresses": _message(b"1.2.3."),
    "colons": _message(b":"),
    "parts of IPv6": _message(b"fe80:"),
    "parts of tokens": _message(b"eyJhbGciOi."),
    "bearers": _message(b"Bearer "),
    "keys of AWS": _message(b"AKIA"),
    "begun keys": _message(b"-----BEGIN PRIVATE KEY-----"),
    "begun keys apart": _message(b"-----BEGIN PRIVATE KEY-----!"),
    "begun and ended keys": _message(b"-----BEGIN PRIVATE KEY-----! -----END X PRIVATE KEY----"),
    "escapes": _message(rb"\u0061"),
    "halves": _message(rb"\ud83d"),
    "quotes": _message(rb"\""),
    "backslashes": _message(rb"\\"),
    "beyond ASCII": _message("é".encode()),
    "emojis": _message("😀".encode()),
    "lists": _member(b'"metadata":[', b"[],", b"0]"),
    "objects": _member(b'"metadata":[', b'{"a":{"token":"x"}},', b"0]"),
    "nested": lambda size: b'{"id":"a","metadata":%b1%b}' % (b'{"a":' * (size // 6), b"}" * (size // 6)),
    "nested, not closed": _member(b'"metadata":', b'{"token":', b""),
    "lists, not closed": _member(b'"metadata":', b'[{"token":1},', b""),
    "numbers": _member(b'"metadata":[', b"1.5e3,", b"0]"),
    "a long number": _member(b'"metadata":', b"7", b""),
    "spaces": _member(b'"metadata":[', b" ", b"]"),
    "names": _names,
    "one name": _member(b"", b'"a":1,', b'"b":0'),
    "stacks": _member(b'"error":{"name":"E","stack":"', rb"\n  at x (y.js:1:2)", b'"}'),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("layout", ["logweir", "ecs", "otel"])
def test_a_doubled_record_costs_twice(layout: str, shape: str, tmp_path: Path) -> None:
    """No step's cost grows faster than what it looks at: the least of several tries, in seconds of CPU."""
    line, sizes = Line(layout, tmp_path), (128_000, 256_000)
    line.take(Generator().batch(0, 10))
    # As a worker does: else looking for cycles in all that the tests hold is most of what a record costs.
    gc.collect()
    gc.freeze()
    seconds = dict.fromkeys(sizes, 1000000000.0)
    for _ in range(4):
        for size in sizes:
            value = SHAPES[shape](size)
            began = time.process_time()
            line.take([value])
            seconds[size] = min(seconds[size], time.process_time() - began)
    line.close()
    once, twice = (seconds[size] for size in sizes)
    print(f"\n{layout}, {shape}: {once * 1000:.1f} ms for {sizes[0]:,} bytes, {twice / once:.2f} times for double")  # noqa: T201
    assert twice < MOST_FOR_DOUBLE * once
