"""The client library beside structlog, logging and loguru: what a call costs.

`python -m benchmarks.logger [BROKERS]`; without brokers there is no row for Kafka. All write to /dev/null, each call
has five fields of metadata and a bound context of five, and the loggers take turns, so that a busy machine slows all
alike.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
import timeit
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

TOPIC = "bench-logger"
CALLS = 20_000
CHILDREN = 10_000
SOURCE = Path(__file__).resolve().parents[1] / "logger" / "src"
sys.path.insert(0, str(SOURCE))

CONTEXT = {
    "service": "checkout",
    "environment": "production",
    "version": "1.2.3",
    "host": "node-1",
    "requestId": "r-123456",
}
FIELDS = '"order": 12345, "amount": 99.5, "currency": "EUR", "items": 3, "customer": "c-123"'
KEYWORDS = "order=12345, amount=99.5, currency='EUR', items=3, customer='c-123'"

STRUCTLOG = "structlog with orjson"

Candidate = tuple[str, str, dict[str, Any], Callable[[], object]]
"""A name, the statement that is measured, its names, and what is done after a round, untimed."""


def null(mode: str) -> Any:
    """Return /dev/null, open for as long as this process lives."""
    return Path(os.devnull).open(mode)


def logweir(brokers: str | None) -> list[Candidate]:
    """Return our own, to a stream and to Kafka."""
    from logweir_logger import KafkaOutput, Output, StreamOutput, StructuredLogger

    def made(output: Output) -> StructuredLogger:
        known: dict[str, Any] = {name: value for name, value in CONTEXT.items() if name != "requestId"}
        return StructuredLogger(**known, outputs=[output]).child(requestId=CONTEXT["requestId"])

    statement = f"log.info('order placed', metadata={{{FIELDS}}})"
    stream = made(StreamOutput(null("wb")))
    found: list[Candidate] = [("logweir-logger", statement, {"log": stream}, stream.flush)]
    if brokers is not None:
        kafka = made(KafkaOutput(brokers, TOPIC, fallback=None, when_full="drop"))
        kafka.info("first")
        found.append(("logweir-logger to Kafka", statement, {"log": kafka}, kafka.flush))
    return found


def structlog() -> Candidate:
    """Return structlog in its fastest recommended configuration, with orjson."""
    import orjson
    import structlog as library

    library.configure(
        cache_logger_on_first_use=True,
        wrapper_class=library.make_filtering_bound_logger(logging.INFO),
        processors=[
            library.contextvars.merge_contextvars,
            library.processors.add_log_level,
            library.processors.format_exc_info,
            library.processors.TimeStamper(fmt="iso", utc=True),
            library.processors.JSONRenderer(serializer=orjson.dumps),
        ],
        logger_factory=library.BytesLoggerFactory(null("wb")),
    )
    log = library.get_logger().bind(**CONTEXT)
    return STRUCTLOG, f"log.info('order placed', {KEYWORDS})", {"log": log}, lambda: None


def stdlib() -> Candidate:
    """Return logging with python-json-logger."""
    from pythonjsonlogger.json import JsonFormatter

    handler = logging.StreamHandler(null("w"))
    handler.setFormatter(JsonFormatter("%(asctime)s %(levelname)s %(message)s"))
    log = logging.getLogger("bench")
    log.propagate = False
    log.setLevel(logging.INFO)
    log.addHandler(handler)
    statement = f"log.info('order placed', extra={{**context, {FIELDS}}})"
    return "logging with python-json-logger", statement, {"log": log, "context": CONTEXT}, lambda: None


def loguru() -> Candidate:
    """Return loguru with serialize."""
    from loguru import logger

    logger.remove()
    logger.add(null("w"), serialize=True, level="INFO")
    log = logger.bind(**CONTEXT)
    return "loguru with serialize", f"log.info('order placed', {KEYWORDS})", {"log": log}, lambda: None


def compare(brokers: str | None, repeats: int) -> None:
    """Print what an enabled call costs each of them, and the ratio to structlog's."""
    candidates = [*logweir(brokers), structlog(), stdlib(), loguru()]
    # The CPU of the calling thread, and that of the whole process until all is written: a Kafka producer's threads
    # compress and send. Other processes on these cores have no part in either.
    timers = [
        timeit.Timer(statement, globals=names, timer=time.thread_time) for _, statement, names, _after in candidates
    ]
    callers: list[list[float]] = [[] for _ in candidates]
    wholes: list[list[float]] = [[] for _ in candidates]
    for _ in range(repeats):
        for number, (timer, (*_names, after)) in enumerate(zip(timers, candidates, strict=True)):
            began = time.process_time()
            callers[number].append(timer.timeit(CALLS) / CALLS * 1e6)
            after()
            wholes[number].append((time.process_time() - began) / CALLS * 1e6)
    caller, whole = ([statistics.median(times) for times in each] for each in (callers, wholes))
    base = [name for name, *_rest in candidates].index(STRUCTLOG)
    print(f"logger: CPU of an info call with 5 fields and a bound context, medians of {repeats} rounds")
    for number, (name, *_rest) in enumerate(candidates):
        print(
            f"  {name:<32} {caller[number]:6.2f} us of the caller's, {caller[number] / caller[base]:4.2f} of "
            f"structlog's; {whole[number]:6.2f} us of all threads', {whole[number] / whole[base]:4.2f}"
        )


def disabled(repeats: int) -> None:
    """Print what a disabled debug call costs."""
    candidates = [logweir(None)[0], structlog(), stdlib(), loguru()]
    print("logger: a disabled debug call, without and with metadata of 5 fields")
    for name, statement, names, _after in candidates:
        found = []
        for each in ("log.debug('order placed')", statement.replace(".info(", ".debug(")):
            times = timeit.Timer(each, globals=names, timer=time.thread_time).repeat(repeats, CALLS * 5)
            found.append(statistics.median(times) / CALLS / 5 * 1e9)
        print(f"  {name:<32} {found[0]:5.0f} ns, {found[1]:5.0f} ns")


def memory() -> None:
    """Print what a child logger with two more fields occupies."""
    parent = logweir(None)[0][2]["log"]
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    children = [parent.child(userId="u-1234", orderId="o-5678") for _ in range(CHILDREN)]
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    print(f"logger: a child logger occupies {taken / len(children):.0f} bytes")


def imports(repeats: int) -> None:
    """Print what CPU an import takes, with what it imports itself."""
    program = "import time; at = time.process_time(); import logweir_logger; print(time.process_time() - at)"
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "PYTHONPATH": str(SOURCE), "PYTHONPYCACHEPREFIX": cache}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        command = [sys.executable, "-c", program]
        took = [float(subprocess.check_output(command, env=environment)) for _ in range(repeats + 1)][1:]
    print(f"logger: import takes {statistics.median(took) * 1e3:.0f} ms of CPU, orjson included")


def measure(brokers: str | None, repeats: int = 15) -> None:
    """Print all of it."""
    compare(brokers, repeats)
    disabled(repeats)
    memory()
    imports(repeats)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="benchmarks.logger", description=__doc__)
    parser.add_argument("brokers", nargs="?")
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    measure(options.brokers, options.repeats)
