from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from logweir_logger import FileOutput, LogContext, StreamOutput, StructuredLogger

THREADS = 32
TASKS = 1000
EACH = 100


def read(path: Path) -> list[dict[str, Any]]:
    """Return the records of a file, each of which must be a whole line."""
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def check(records: list[dict[str, Any]], workers: int, each: int) -> None:
    """Assert that all is there, once, and that nobody speaks in another's name."""
    assert len(records) == workers * each
    assert len({record["id"] for record in records}) == workers * each
    seen = set()
    for record in records:
        number, turn = record["metadata"]["worker"], record["metadata"]["turn"]
        seen.add((number, turn))
        assert record["context"]["worker"] == number
        assert record["context"]["bound"] == number
        assert record["trace"]["traceId"] == f"{number:032x}"
    assert len(seen) == workers * each


def test_threads(tmp_path: Path) -> None:
    """32 threads that log at once never mix their contexts and never tear a line."""
    path = tmp_path / "log"
    with path.open("wb") as stream:
        logger = StructuredLogger("a", outputs=[StreamOutput(stream)])
        begin = threading.Barrier(THREADS)

        def work(number: int) -> None:
            own = logger.child(bound=number)
            begin.wait()
            for turn in range(EACH):
                with LogContext.use(worker=number, traceId=f"{number:032x}"), LogContext.start_span():
                    own.info("x" * random.choice([1, 100, 9000]), metadata={"worker": number, "turn": turn})

        threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    check(read(path), THREADS, EACH)


def test_tasks(tmp_path: Path) -> None:
    """1,000 asyncio tasks that take turns at every step never mix their contexts and never tear a line."""
    path = tmp_path / "log"
    with path.open("wb") as stream:
        logger = StructuredLogger("a", outputs=[StreamOutput(stream)])

        async def work(number: int) -> None:
            own = logger.child(bound=number)
            with LogContext.use(worker=number, traceId=f"{number:032x}"):
                for turn in range(5):
                    await asyncio.sleep(0)
                    with LogContext.start_span():
                        await asyncio.sleep(0)
                        own.info("x", metadata={"worker": number, "turn": turn})

        async def main() -> None:
            await asyncio.gather(*(work(number) for number in range(TASKS)))

        asyncio.run(main())
    check(read(path), TASKS, 5)


def test_threads_with_tasks(tmp_path: Path) -> None:
    """32 threads with 32 asyncio tasks each, all at once, never mix their contexts and never tear a line."""
    path = tmp_path / "log"
    logger = StructuredLogger("a", outputs=[FileOutput(path)])
    begin = threading.Barrier(THREADS)

    async def work(number: int) -> None:
        own = logger.child(bound=number)
        with LogContext.use(worker=number, traceId=f"{number:032x}"):
            for turn in range(3):
                await asyncio.sleep(0)
                own.info("x" * 5000, metadata={"worker": number, "turn": turn})

    async def main(thread: int) -> None:
        begin.wait()
        await asyncio.gather(*(work(thread * THREADS + number) for number in range(THREADS)))

    threads = [threading.Thread(target=asyncio.run, args=(main(number),)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    logger.close()
    check(read(path), THREADS * THREADS, 3)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forks(tmp_path: Path) -> None:
    """Forked processes write whole lines with ids of their own, while threads of the parent go on logging."""
    program = """
import os, sys, threading
from logweir_logger import StructuredLogger
logger = StructuredLogger("a")
stop = threading.Event()
def chatter():
    while not stop.is_set():
        logger.info("chatter")
threads = [threading.Thread(target=chatter) for _ in range(4)]
for thread in threads:
    thread.start()
children = []
for child in range(8):
    pid = os.fork()
    if not pid:
        for number in range(50):
            logger.info("x" * 5000, metadata={"child": child, "number": number})
        os._exit(0)
    children.append(pid)
for pid in children:
    assert os.waitpid(pid, 0)[1] == 0
stop.set()
for thread in threads:
    thread.join()
"""
    path = tmp_path / "log"
    with path.open("wb") as stream:
        subprocess.run([sys.executable, "-W", "ignore", "-c", program], stdout=stream, check=True, timeout=60)
    records = read(path)
    assert sum(record["message"] != "chatter" for record in records) == 400
    assert len({record["id"] for record in records}) == len(records)


@pytest.mark.parametrize("end", ["", "sys.exit(3)", "raise ValueError", "os._exit(1)", "os.kill(os.getpid(), 9)"])
def test_ends(tmp_path: Path, end: str) -> None:
    """Whatever way a process ends, what it has logged is written."""
    program = f"""
import atexit, os, sys
from logweir_logger import FileOutput, StructuredLogger
logger = StructuredLogger("a", outputs=[FileOutput(sys.argv[1])])
atexit.register(logger.info, "at exit")
for number in range(1000):
    logger.info("x")
{end}
"""
    path = tmp_path / "log"
    subprocess.run([sys.executable, "-c", program, str(path)], check=False, capture_output=True)
    messages = [record["message"] for record in read(path)]
    assert messages.count("x") == 1000
    assert messages.count("at exit") == (0 if end.startswith("os.") else 1)
