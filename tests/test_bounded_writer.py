"""A stream that nobody has to read."""

from __future__ import annotations

import io
import os

from logweir.bounded_writer import BoundedWriter


def test_a_pipe_that_is_read() -> None:
    """All text arrives, in order, and the end waits for it."""
    read, write = os.pipe()
    with os.fdopen(write, "w") as stream, os.fdopen(read) as reader:
        out = BoundedWriter(stream)
        for number in range(100):
            out.write(f"{number}\n")
        assert out.close(30)
        assert [reader.readline() for _ in range(100)] == [f"{number}\n" for number in range(100)]
        assert out.left_out == 0


def test_a_pipe_that_nobody_reads() -> None:
    """Writing never waits: what there is no room for is left out and counted, and told once there is room again."""
    read, write = os.pipe()
    line = "x" * 999 + "\n"
    with os.fdopen(write, "w") as stream, os.fdopen(read) as reader:
        out = BoundedWriter(stream, lambda count: f"{count} left out\n", most=10_000)
        written = 0
        while out.close(0.05):  # until the pipe is full
            written += sum(bool(out.write(line)) for _ in range(100))
        assert 0 < out.left_out < written
        arrived = told = 0
        while arrived + out.left_out < written:
            got = reader.readline()
            arrived += got == line
            told += 0 if got == line else int(got.split()[0])
        assert out.close(30)
        out.write("after\n")
        rest = [reader.readline()]
        while rest[-1] != "after\n":
            rest.append(reader.readline())
        assert told + sum(int(text.split()[0]) for text in rest[:-1]) == out.left_out


def test_a_pipe_that_was_closed() -> None:
    """Where nobody will ever read, text is gone, and nothing raises or waits."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as stream:
        out = BoundedWriter(stream)
        out.write("gone\n")
        assert out.close(30)


def test_a_stream_without_a_descriptor() -> None:
    """A stream in memory is written to at once."""
    stream = io.StringIO()
    out = BoundedWriter(stream)
    out.write("a")
    out.flush()
    assert stream.getvalue() == "a"
    assert out.close(0)
