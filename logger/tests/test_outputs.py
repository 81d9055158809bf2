from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from logweir_logger import ConsoleOutput, FileOutput, StreamOutput, StructuredLogger


def lines(path: Path) -> list[dict[str, Any]]:
    """Return the records of a file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_standard_output_by_default(capfd: pytest.CaptureFixture[str]) -> None:
    """A logger writes lines of JSON to standard output, and nothing to standard error."""
    StructuredLogger("a").info("grüß\ngott")
    out, err = capfd.readouterr()
    assert json.loads(out)["message"] == "grüß\ngott"
    assert out.count("\n") == 1
    assert err == ""


def test_replaced_streams() -> None:
    """Whoever redirects standard output or error gets what is logged meanwhile."""
    out, err = io.StringIO(), io.StringIO()
    logger = StructuredLogger("a", outputs=[StreamOutput("stdout"), StreamOutput("stderr", level="error")])
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        logger.info("info")
        logger.error("error")
    assert [json.loads(line)["message"] for line in out.getvalue().splitlines()] == ["info", "error"]
    assert [json.loads(line)["message"] for line in err.getvalue().splitlines()] == ["error"]


def test_order_with_print(tmp_path: Path) -> None:
    """What was printed before the first record stands before it."""
    program = "import logweir_logger as l; print('before'); l.StructuredLogger('a').info('x')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    assert done.stdout.startswith("before\n{")


def test_bytes_and_text_streams() -> None:
    """An open stream may take text or bytes."""
    text, data = io.StringIO(), io.BytesIO()
    StructuredLogger("a", outputs=[StreamOutput(text), StreamOutput(data)]).info("ä")
    assert text.getvalue() == data.getvalue().decode()


def test_no_standard_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no standard output at all, nothing happens."""
    monkeypatch.setattr(sys, "stdout", None)
    StructuredLogger("a").info("x")


def test_unknown_stream() -> None:
    """A stream by an unknown name is refused, with what takes a path."""
    with pytest.raises(ValueError, match="stream must be stdout, stderr or an open file, not 'app"):
        StreamOutput("app.log")


def test_slow_pipe() -> None:
    """Lines longer than a pipe holds come out whole and in turn, also through a pipe that doesn't block."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    found = bytearray()

    def read() -> None:
        while True:
            data = os.read(reading, 65_536)
            if not data:
                return
            found.extend(data)
            time.sleep(0.0005)

    reader = threading.Thread(target=read)
    reader.start()
    with os.fdopen(writing, "wb", buffering=0) as stream:
        logger = StructuredLogger("a", outputs=[StreamOutput(stream)])

        def write(number: int) -> None:
            for each in range(20):
                logger.info("x" * (100 if each % 2 else 150_000), metadata={"thread": number, "each": each})

        threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    reader.join()
    os.close(reading)
    records = [json.loads(line) for line in bytes(found).splitlines()]
    for number in range(4):
        assert [each["metadata"]["each"] for each in records if each["metadata"]["thread"] == number] == list(range(20))


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs interval timers")
def test_signal_handlers_may_log(tmp_path: Path) -> None:
    """A signal handler that logs neither waits for what it interrupted nor tears its line."""
    path = tmp_path / "log"
    with path.open("wb") as stream:
        logger = StructuredLogger("a", outputs=[StreamOutput(stream)])
        handled = []

        def handler(*_arguments: object) -> None:
            handled.append(1)
            logger.warning("signal")

        before = signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        try:
            written = 0
            while len(handled) < 50:
                logger.info("x" * 5000)
                written += 1
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
    messages = [record["message"] for record in lines(path)]
    assert messages.count("signal") == len(handled)
    assert len(messages) == written + len(handled)


def test_broken_pipe(capfd: pytest.CaptureFixture[str]) -> None:
    """A reader that goes away ends no application."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb", buffering=0) as stream:
        logger = StructuredLogger("a", outputs=[StreamOutput(stream), StreamOutput("stderr")])
        logger.info("x")
    assert "StreamOutput has not written a record: BrokenPipeError" in capfd.readouterr().err


def test_closed_stream(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A stream that was closed is no longer written to, even if its number is another file's by then."""
    stream = (tmp_path / "first").open("wb")
    logger = StructuredLogger("a", outputs=[StreamOutput(stream)])
    number = stream.fileno()
    stream.close()
    with (tmp_path / "second").open("wb") as other:
        assert other.fileno() == number
        logger.info("x")
        StructuredLogger("a", outputs=[StreamOutput(other)]).info("y")
    assert [record["message"] for record in lines(tmp_path / "second")] == ["y"]
    assert "StreamOutput has not written a record: ValueError: its stream is closed" in capfd.readouterr().err


def test_file(tmp_path: Path) -> None:
    """A file is appended to, in folders that are made, and opened again after it was closed."""
    path = tmp_path / "logs" / "app.ndjson"
    for number in range(3):
        output = FileOutput(path)
        logger = StructuredLogger("a", outputs=[output])
        logger.info("x", metadata={"number": number})
        logger.close()
        logger.info("y", metadata={"number": number})
        assert logger.flush()
        logger.close()
    assert [record["message"] for record in lines(path)] == ["x", "y"] * 3


def test_rotation_by_size(tmp_path: Path) -> None:
    """No file grows beyond its bound, no record is lost or torn, and only so many finished files stay."""
    path = tmp_path / "app.log"
    logger = StructuredLogger("a", outputs=[FileOutput(path, rotate_bytes=2_000)])
    for number in range(100):
        logger.info("x", metadata={"number": number})
    files = [*sorted(tmp_path.glob("app.*-*.log"), key=lambda each: each.name[-10:]), path]
    assert len(files) > 5
    assert all(each.stat().st_size <= 2_000 for each in files)
    assert [record["metadata"]["number"] for each in files for record in lines(each)] == list(range(100))
    logger = StructuredLogger("a", outputs=[FileOutput(path, rotate_bytes=2_000, keep=2)])
    for number in range(100):
        logger.info("x", metadata={"number": number})
    assert len(list(tmp_path.glob("app.*-*.log"))) == 2


def test_rotation_of_large_records(tmp_path: Path) -> None:
    """A record larger than the bound has a file for itself."""
    path = tmp_path / "app.log"
    logger = StructuredLogger("a", outputs=[FileOutput(path, rotate_bytes=100)])
    for _ in range(3):
        logger.info("x" * 1000)
    assert len(list(tmp_path.glob("app*.log"))) == 3


def test_rotation_by_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new file begins with each period of the clock, at the first record in it."""
    now = 1_000_000_000.0
    monkeypatch.setattr("logweir_logger.outputs.file.time.time", lambda: now)
    path = tmp_path / "app.log"
    logger = StructuredLogger("a", outputs=[FileOutput(path, rotate_seconds=3600)])
    for later in (0, 60, 3600, 3700, 9000):
        now = 1_000_000_000.0 + later
        logger.info("x", metadata={"later": later})
    files = [*sorted(tmp_path.glob("app.*-*.log"), key=lambda each: each.name[-10:]), path]
    assert [[record["metadata"]["later"] for record in lines(each)] for each in files] == [
        [0, 60],
        [3600, 3700],
        [9000],
    ]


def test_file_moved_by_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that another program has moved is left to it, and its name is opened anew."""
    monkeypatch.setattr("logweir_logger.outputs.file._LOOK_SECONDS", 0)
    path = tmp_path / "app.log"
    logger = StructuredLogger("a", outputs=[FileOutput(path)])
    logger.info("before")
    path.rename(tmp_path / "moved.log")
    logger.info("after")
    path.unlink()
    logger.info("again")
    assert [record["message"] for record in lines(tmp_path / "moved.log")] == ["before"]
    assert [record["message"] for record in lines(path)] == ["again"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_processes_share_a_rotating_file(tmp_path: Path) -> None:
    """Several processes write one file that is rotated all the time, and nothing is lost, torn or written twice."""
    program = """
import os, sys
from logweir_logger import FileOutput, StructuredLogger
logger = StructuredLogger("a", outputs=[FileOutput(sys.argv[1], rotate_bytes=20_000)])
logger.info("parent")
children = []
for child in range(4):
    pid = os.fork()
    if not pid:
        for number in range(500):
            logger.info("x" * 50, metadata={"child": child, "number": number})
        os._exit(0)
    children.append(pid)
for pid in children:
    os.waitpid(pid, 0)
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", program, str(tmp_path / "app.log")], check=True)
    records = [record for path in tmp_path.glob("app*.log") for record in lines(path)]
    assert len(records) == 2001
    assert len({record["id"] for record in records}) == 2001
    sizes = [path.stat().st_size for path in tmp_path.glob("app*.log")]
    assert len(sizes) > 10
    assert max(sizes) <= 20_000 + 4 * 400


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_fork_while_a_thread_writes_text() -> None:
    """A child that is forked while a thread is in the midst of a write to no file doesn't wait for that thread."""
    program = """
import os, threading
from logweir_logger import StreamOutput, StructuredLogger
inside, go_on = threading.Event(), threading.Event()
class Stream:
    def write(self, text):
        if threading.current_thread() is not threading.main_thread():
            inside.set()
            go_on.wait()
logger = StructuredLogger("a", outputs=[StreamOutput(Stream())])
thread = threading.Thread(target=logger.info, args=("x",))
thread.start()
inside.wait()
pid = os.fork()
if not pid:
    logger.info("y")
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
go_on.set()
thread.join()
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True, timeout=60)


@pytest.mark.parametrize("settings", [{"rotate_bytes": 0}, {"rotate_seconds": -1}, {"keep": -1}])
def test_wrong_file_settings(tmp_path: Path, settings: dict[str, Any]) -> None:
    """A setting that makes no sense is refused by its name."""
    with pytest.raises(ValueError, match=next(iter(settings))):
        FileOutput(tmp_path / "app.log", **settings)


def test_console() -> None:
    """For people, a record is one line with the time, the level, the message and what matters; a stack comes below."""
    stream = io.StringIO()
    logger = StructuredLogger("checkout", version="1", outputs=[ConsoleOutput(stream)], level="debug")
    logger.child(requestId="r-1", traceId="a" * 32).warn(
        "order is late", metadata={"items": 3, "who": "Ann B", "list": [1, 2]}, performance={"duration": 12.5}
    )
    try:
        raise ValueError("bad\x1b[2J")  # noqa: EM101, TRY301
    except ValueError:
        logger.exception("failed\nwith a line")
    first, second, *stack = stream.getvalue().splitlines()
    assert first[12:] == (
        ' warn  order is late items=3 who="Ann B" list=[1,2] requestId=r-1 duration=12.5ms trace=aaaaaaaa'
    )
    assert second[12:] == " error failed\\nwith a line "
    assert stack[0] == "    Traceback (most recent call last):"
    assert stack[-1] == "    ValueError: bad\\x1b[2J"


@pytest.mark.parametrize(
    ("environment", "colour", "coloured"),
    [
        ({}, None, False),
        ({"FORCE_COLOR": "1"}, None, True),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, None, False),
        ({}, True, True),
    ],
)
def test_console_colours(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], colour: bool | None, coloured: bool
) -> None:
    """Colours are for terminals, unless the environment or the setting says otherwise."""
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    stream = io.StringIO()
    StructuredLogger("a", outputs=[ConsoleOutput(stream, colour=colour)]).error("x")
    assert ("\x1b[" in stream.getvalue()) is coloured


def test_nothing_acts_on_the_console(capsys: pytest.CaptureFixture[str]) -> None:
    """Controls, overrides of direction and separators of lines are shown as text, wherever in a record they stand."""
    evil = "\x1b[2J\x07\x9b31m\x85\u202e\u2066\u200f\u2028\u2029\x7f\r\nfake: line"
    stream = io.StringIO()
    logger = StructuredLogger(evil, outputs=[ConsoleOutput(stream)])
    logger.child(**{evil: evil}).info(
        evil,
        metadata={evil: evil, "list": [evil], "object": {evil: [evil]}},
        performance={"duration": evil},
        error={"name": evil, "message": evil, "stack": evil},
    )
    logger.child(traceId=evil).info("m", performance={"duration": 2})
    shown = stream.getvalue()
    assert "\\x1b[2J" in shown
    assert "duration=2ms" in shown
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200f\u2028-\u202e\u2066-\u2069]", shown)
    assert not re.search("^fake: line", shown, re.MULTILINE)

    def broken(record: object) -> None:
        raise ValueError(evil)

    StructuredLogger("a", outputs=[broken]).info("m")
    said = capsys.readouterr().err
    assert "\\x1b[2J" in said
    assert said.count("\n") == 1
