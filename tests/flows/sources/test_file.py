from __future__ import annotations

import gzip
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bytewax.operators as op
import pytest
import zstandard
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, run_main
from hypothesis import given
from hypothesis import strategies as st

import flows.sources.file_part
from flows.sources.base import SourcePartition
from flows.sources.file import File
from flows.sources.lines import EMPTY_LINE, TOO_LARGE
from logweir.errors import SourceError
from tests.flows.sources.context import Flow, drain, values


def line(number: int, about: str = "") -> bytes:
    """Return a record that is long enough to tell one file from another."""
    return b'{"id":"%06d","message":"%-60s"}' % (number, about.encode())


def text(numbers: range, about: str = "") -> bytes:
    """Return the lines of these records."""
    return b"".join(line(number, about) + b"\n" for number in numbers)


def part(path: Path, flow: Flow, state: Any = None, **given: Any) -> SourcePartition:
    """Return the partition of a path."""
    source = File.model_validate({"type": "file", "path": str(path), **given}).open(flow.context)
    _OPEN.append(source.build_part("s", str(path), state))
    return _OPEN[-1]


_OPEN: list[SourcePartition] = []


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    """Close what a test has opened."""
    yield
    while _OPEN:
        _OPEN.pop().close()


def rename(path: Path, age: float, suffix: str = ".1") -> Path:
    """Rotate a file as it was written some seconds ago."""
    target = path.with_name(path.name + suffix)
    when = time.time() - age
    os.utime(path, (when, when))
    return path.rename(target)


@pytest.fixture
def no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave a renamed file at once."""
    monkeypatch.setattr(flows.sources.file_part, "ROTATE_WAIT", 0.0)


def test_reads_a_file_once(tmp_path: Path) -> None:
    """Each line is a record at its byte offset, empty ones are counted, the last needs no newline."""
    path = tmp_path / "app.log"
    path.write_bytes(b'{"a":1}\r\n\n{"b":2}\nlast')
    got, ended = drain(part(path, Flow()))
    assert ended
    assert values(got) == [b'{"a":1}', b'{"b":2}', b"last"]
    assert [offset for batch in got for offset in batch.offsets] == [0, 10, 18]
    assert {batch.topic for batch in got} == {str(path)}
    assert sum(batch.account.dropped.get(EMPTY_LINE, 0) for batch in got) == 1
    assert sum(batch.account.read for batch in got) == 4


@pytest.mark.parametrize(
    ("suffix", "compress"),
    [
        ("", bytes),
        (".gz", gzip.compress),
        (".zst", lambda data: zstandard.compress(data[:5000]) + zstandard.compress(data[5000:])),
    ],
)
def test_resumes_anywhere(
    tmp_path: Path, suffix: str, compress: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From any snapshot the rest follows exactly, whether the file is compressed or not."""
    monkeypatch.setattr(flows.sources.file_part, "_CHUNK_BYTES", 700)
    path = tmp_path / f"app.log{suffix}"
    path.write_bytes(compress(text(range(200))))
    flow = Flow(room=1000)
    reader = part(path, flow)
    states: list[Any] = [None]
    got = []
    for _ in range(1000):
        try:
            got += values(reader.next_batch())
        except StopIteration:
            break
        states.append(reader.snapshot())
    assert got == [line(number) for number in range(200)]
    assert len(states) > 10
    for state in states:
        rest, ended = [], False
        resumed = part(path, Flow(), state)
        while not ended:
            batches, ended = drain(resumed)
            rest += values(batches)
        done = state["offset"] // len(text(range(1))) if state else 0
        assert rest == [line(number) for number in range(done, 200)]


@given(st.lists(st.sampled_from(["write", "write", "half", "read", "restart", "rename", "copy", "gzip"]), max_size=30))
def test_follows_whatever_happens(tmp_path_factory: pytest.TempPathFactory, steps: list[str]) -> None:
    """Writing, reading, restarts and rotations in any order give every line once, in order."""
    directory = tmp_path_factory.mktemp("follow")
    path = directory / "app.log"
    clock = time.time() - 10_000
    path.write_bytes(b"")
    flow = Flow()
    wait, flows.sources.file_part.ROTATE_WAIT = flows.sources.file_part.ROTATE_WAIT, 0.0
    reader, got, number, rest, rotations = part(path, flow, follow=True), [], 0, b"", 0
    state = reader.snapshot()
    try:
        for step in [*steps, "write", "read", "read"]:
            clock += 1
            if step in {"write", "half"}:
                data = rest + text(range(number, number + 3), step)
                number += 3
                cut = len(data) if step == "write" else len(data) - 30
                with path.open("ab") as file:
                    file.write(data[:cut])
                rest = data[cut:]
            elif step == "read":
                got += values(drain(reader)[0])
                state = reader.snapshot()
            elif step == "restart":
                reader.close()
                reader = part(path, flow, state, follow=True)
            elif not rest and path.stat().st_size and (step == "rename" or reader.snapshot()["head"]):
                rotations += 1
                rotate(path, step, rotations, clock)
        assert got == [line(each, about_of(got, each)) for each in range(number)]
        assert not [told for told in flow.told if told["event"] == "source.gap"]
    finally:
        flows.sources.file_part.ROTATE_WAIT = wait
        reader.close()
        shutil.rmtree(directory)


def about_of(lines: list[bytes], number: int) -> str:
    """Return which step wrote a record."""
    return "half" if number < len(lines) and b'"half' in lines[number] else "write"


def rotate(path: Path, how: str, number: int, clock: float) -> None:
    """Rotate a file as logrotate does, dated by a clock that never stands still."""
    target = path.with_name(f"{path.name}-2026{number:04}")
    if how == "copy":
        shutil.copy(path, target)
        os.truncate(path, 0)
    else:
        path.rename(target)
        path.write_bytes(b"")
    os.utime(target, (clock, clock))
    if how == "gzip":
        packed = target.with_name(target.name + ".gz")
        packed.write_bytes(gzip.compress(target.read_bytes()))
        target.unlink()
        os.utime(packed, (clock, clock))


@pytest.mark.usefixtures("no_wait")
def test_finishes_what_was_rotated_while_stopped(tmp_path: Path) -> None:
    """After a stop with two rotations the rest of the old file comes first, then the one between, then the new one."""
    path = tmp_path / "app.log"
    path.write_bytes(text(range(3)))
    first = part(path, Flow(), follow=True)
    drain(first)
    with path.open("ab") as file:
        file.write(text(range(3, 5)))
    rename(path, 20, ".2")
    path.write_bytes(text(range(5, 7)))
    rename(path, 10)
    path.write_bytes(text(range(7, 9)))
    got, ended = drain(part(path, Flow(), first.snapshot(), follow=True))
    assert values(got) == [line(number) for number in range(3, 9)]
    assert not ended


def test_a_renamed_file_is_read_on_for_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the writer still puts into the renamed file is read before the new one is."""
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    path = tmp_path / "app.log"
    path.write_bytes(text(range(2)))
    reader = part(path, Flow(), follow=True)
    drain(reader)
    old = rename(path, 0)
    path.write_bytes(text(range(3, 4)))
    assert values(drain(reader)[0]) == []
    with old.open("ab") as file:
        file.write(text(range(2, 3)))
    assert values(drain(reader)[0]) == [line(2)]
    now += 6
    assert values(drain(reader)[0]) == [line(3)]


def test_paths_that_are_gone(tmp_path: Path) -> None:
    """A path is gone when it has no file and no rotated one; one between two rotations isn't, nor is the watch."""
    for name in ("a.log", "b.log.1", "c.log-20261124.gz", "d.log2"):
        (tmp_path / name).write_bytes(text(range(1)))
    source = File.model_validate({"type": "file", "path": str(tmp_path / "*"), "follow": True}).open(Flow().context)
    paths = [str(tmp_path / name) for name in ("a.log", "b.log", "c.log", "d.log", "no/e.log")]
    assert source.gone([*paths, *source.list_parts()]) == set(paths[3:])


@pytest.mark.usefixtures("no_wait")
def test_a_path_is_one_lane(tmp_path: Path) -> None:
    """What follows a rotation comes after what was before it, so samples go on with what they know."""
    path = tmp_path / "app.log"
    path.write_bytes(text(range(2)))
    reader = part(path, Flow(), follow=True)
    got = drain(reader)[0]
    rename(path, 10)
    path.write_bytes(text(range(2, 4)))
    got += drain(reader)[0]
    assert len({batch.partition for batch in got}) == 2
    assert {batch.lane for batch in got} == {str(path)}


@pytest.mark.usefixtures("no_wait")
def test_offsets_of_two_files_are_told_apart(tmp_path: Path) -> None:
    """Records of a rotated file and of its successor never share topic, partition and offset."""
    path = tmp_path / "app.log"
    path.write_bytes(text(range(2), "same"))
    reader = part(path, Flow(), follow=True)
    before = drain(reader)[0]
    with path.open("ab") as file:
        file.write(text(range(2, 4), "same"))
    rename(path, 5)
    path.write_bytes(text(range(2), "same"))
    after = drain(part(path, Flow(), reader.snapshot(), follow=True))[0]
    assert before[0].partition == after[0].partition
    places = {(batch.partition, offset) for batch in before + after for offset in batch.offsets}
    assert len(places) == 6


def test_a_half_line_is_waited_for(tmp_path: Path) -> None:
    """While following, a line without its newline is given out when it is complete."""
    path = tmp_path / "app.log"
    path.write_bytes(b'{"a":')
    reader = part(path, Flow(), follow=True)
    assert drain(reader) == ([], False)
    with path.open("ab") as file:
        file.write(b"1}\n")
    assert values(drain(reader)[0]) == [b'{"a":1}']


def test_a_cut_file_is_told(tmp_path: Path) -> None:
    """A truncated file is read from its start, and what may be lost is told, while running and after a stop."""
    path = tmp_path / "app.log"
    path.write_bytes(text(range(5), "old"))
    flow = Flow()
    reader = part(path, flow, follow=True)
    drain(reader)
    state = reader.snapshot()
    path.write_bytes(text(range(9), "new and longer than before"))
    expected = [line(number, "new and longer than before") for number in range(9)]
    assert values(drain(reader)[0]) == expected
    assert [told["event"] for told in flow.told] == ["source.gap"]
    assert "lost" in flow.told[0]["reason"]
    stopped = Flow()
    assert values(drain(part(path, stopped, state, follow=True))[0]) == expected
    assert [told["event"] for told in stopped.told] == ["source.gap"]


def test_large_lines_are_rejected(tmp_path: Path) -> None:
    """A line over max_record_bytes is a rejected record with its cause; its neighbours pass."""
    path = tmp_path / "app.log"
    path.write_bytes(b"a\n" + b"x" * 3_000_000 + b"\nb\n")
    got, _ = drain(part(path, Flow(), max_record_bytes="10KB"))
    assert values(got) == [b"a", b"b"]
    (rejected,) = [each for batch in got for each in batch.account.rejected]
    assert (rejected.cause, rejected.offset, len(rejected.value)) == (TOO_LARGE, 2, 65_536)


@pytest.mark.parametrize(("suffix", "compress"), [(".gz", gzip.compress), (".zst", zstandard.compress)])
def test_a_damaged_archive_is_told(tmp_path: Path, suffix: str, compress: Callable[[bytes], bytes]) -> None:
    """Of a compressed file that ends too early everything before that is read, and the loss is told."""
    path = tmp_path / f"app.log{suffix}"
    path.write_bytes(compress(text(range(50_000)))[:-40])
    flow = Flow()
    got, ended = drain(part(path, flow))
    assert ended
    assert values(got)[0] == line(0)
    assert [(told["event"], told["severity"]) for told in flow.told] == [("source.gap", "error")]


def test_waits_for_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Following waits for a file that isn't there yet, and says so after a while; reading once is an error."""
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    path = tmp_path / "app.log"
    flow = Flow()
    reader = part(path, flow, follow=True)
    assert drain(reader) == ([], False)
    assert flow.told == []
    now += 6
    drain(reader)
    assert [told["event"] for told in flow.told] == ["source.missing"]
    path.write_bytes(text(range(1)))
    assert values(drain(reader)[0]) == [line(0)]
    with pytest.raises(SourceError, match="no file matches"):
        part(tmp_path / "other.log", flow)


def test_new_files_ask_for_a_restart(tmp_path: Path) -> None:
    """While following a pattern, a new file that matches asks for a restart; a rotated one does not."""
    (tmp_path / "a.log").write_bytes(b"")
    flow = Flow()
    source = File.model_validate({"type": "file", "path": f"{tmp_path}/*.log*", "follow": True}).open(flow.context)
    parts = source.list_parts()
    assert parts[0] == str(tmp_path / "a.log")
    watch = source.build_part("s", parts[1], None)
    (tmp_path / "a.log.1").write_bytes(b"")
    (tmp_path / "a.log-20261124.gz").write_bytes(b"")
    assert watch.next_batch() == []
    assert flow.restarts == []
    (tmp_path / "b.log").write_bytes(b"")
    watch.next_batch()
    watch.next_batch()
    assert len(flow.restarts) == 1
    assert "b.log" in flow.restarts[0]


def test_runs_in_a_flow(tmp_path: Path) -> None:
    """A flow over a pattern reads every file once and ends."""
    for number in range(3):
        (tmp_path / f"{number}.log").write_bytes(text(range(number * 100, number * 100 + 100)))
    taken: list[Any] = []
    flow = Dataflow("file")
    source = File.model_validate({"type": "file", "path": f"{tmp_path}/*.log"}).open(Flow().context)
    op.output("out", op.input("in", flow, source), TestingSink(taken))
    run_main(flow)
    assert sorted(values(taken)) == [line(number) for number in range(300)]
