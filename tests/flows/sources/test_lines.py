from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from flows.sources.lines import EMPTY_LINE, KEPT_BYTES, TOO_LARGE, Lines
from logweir.batch import Batch

LIMIT = 6

_text = st.lists(st.sampled_from([b"a", b"bc", b"\n", b"\n", b"\r\n", b"long-line"]), max_size=40).map(b"".join)


def cut(data: bytes, sizes: list[int], start: int = 0) -> tuple[list[Batch], Lines, list[int]]:
    """Feed data in chunks of these sizes; return the batches and each position that could have been recorded."""
    lines = Lines("t", LIMIT, start)
    batches, positions, at = [], [start], start
    for size in [*sizes, len(data)]:
        batch = lines.feed(data[at : at + size])
        at += size
        assert lines.fed == min(at, len(data))
        batches += [batch] if batch is not None else []
        positions.append(lines.position)
        at = min(at, len(data))
    last = lines.end()
    return batches + ([last] if last is not None else []), lines, positions


def outcome(batches: list[Batch]) -> tuple[list[tuple[int, bytes]], list[tuple[int, bytes, str]], int, int, int]:
    """Return what batches hold: records, rejected, empty lines, lines and bytes read."""
    records = [pair for batch in batches for pair in zip(batch.offsets, batch.values, strict=True)]
    rejected = [(each.offset, each.value, each.cause) for batch in batches for each in batch.account.rejected]
    empty = sum(batch.account.dropped.get(EMPTY_LINE, 0) for batch in batches)
    read = sum(batch.account.read for batch in batches)
    return records, rejected, empty, read, sum(batch.account.read_bytes for batch in batches)


def expected(data: bytes) -> tuple[list[tuple[int, bytes]], list[tuple[int, bytes, str]], int, int]:
    """Return what any chunking must give: records, rejected, empty lines, lines read."""
    records, rejected, empty, at = [], [], 0, 0
    pieces = data.split(b"\n")
    for index, piece in enumerate(pieces):
        line = piece.removesuffix(b"\r")
        if len(piece) > LIMIT:
            rejected.append((at, piece, TOO_LARGE))
        elif line:
            records.append((at, line))
        elif index < len(pieces) - 1 or piece:
            empty += 1
        at += len(piece) + 1
    return records, rejected, empty, len(records) + len(rejected) + empty


@settings(deadline=None)
@given(_text, st.lists(st.integers(1, 12), max_size=60))
def test_chunks_do_not_matter(data: bytes, sizes: list[int]) -> None:
    """Any chunking gives the same lines at the same offsets, and the account balances."""
    batches, lines, _ = cut(data, sizes)
    records, rejected, empty, read, _ = outcome(batches)
    assert (records, rejected, empty, read) == expected(data)
    assert lines.position == len(data)


@settings(deadline=None)
@given(_text, st.lists(st.integers(1, 12), max_size=60))
def test_every_position_resumes(data: bytes, sizes: list[int]) -> None:
    """Reading on from any recorded position gives exactly the lines that were not given out before it."""
    whole, rejected, *_ = expected(data)
    *_, positions = cut(data, sizes)
    for position in positions:
        again, refused, *_ = outcome(cut(data, [3] * 20, position)[0])
        assert again == [pair for pair in whole if pair[0] >= position]
        assert refused == [each for each in rejected if each[0] >= position]


def test_a_large_line_is_never_held() -> None:
    """Of a line over the limit only the beginning is kept, however long it goes on, and its length is told."""
    lines = Lines("t", 100_000)
    for _ in range(50):
        assert lines.feed(b"x" * 50_000) is None
        assert sum(map(len, lines._held)) <= 150_000
    batch = lines.feed(b"y\n{}\n")
    assert batch is not None
    assert batch.values == [b"{}"]
    assert batch.offsets == [2_500_002]
    (rejected,) = batch.account.rejected
    assert rejected.value == b"x" * KEPT_BYTES
    assert "2500001 bytes" in rejected.detail
    assert (batch.account.read, batch.account.read_bytes) == (2, 2_500_003)
