"""The logger's Kafka output beside a real broker: nothing waits for it, nothing that it accepted is lost."""

from __future__ import annotations

import io
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest
from logweir_logger import KafkaOutput, Output, StreamOutput, StructuredLogger
from logweir_logger.outputs import kafka as kafka_module

from tests.flowing import until
from tests.logger.kafka_support import QUICK, consumed, lines, run
from tests.servers.kafka import Kafka
from tests.servers.process import free_ports

NOBODY = "127.0.0.1:1"


class Kept(Output):
    """Keeps lines, as a fallback that can be looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[bytes] = []

    def write(self, line: bytes, severity: int) -> None:
        """Keep one line."""
        self.lines.append(line)

    def messages(self) -> list[str]:
        """Return the messages of what was written."""
        return [orjson.loads(line)["message"] for line in self.lines]


@pytest.fixture(autouse=True)
def _let_go() -> Iterator[None]:
    """Close what a test leaves open: the end of the test run would wait for brokers that never were."""
    yield
    for output in list(kafka_module._OUTPUTS):
        if output._producer is not None:
            output._producer.purge()
            output.close(0.1)


@pytest.fixture
def topic(kafka: Kafka, request: pytest.FixtureRequest) -> str:
    """Return a new topic."""
    name = f"logger-{request.node.name.replace('[', '-').replace(']', '').replace('_', '-')}"[:200]
    kafka.create_topic(name)
    return name


@pytest.mark.kafka
def test_delivers(kafka: Kafka, topic: str) -> None:
    """Records arrive as they were written, in their order, and are counted."""
    output = KafkaOutput(kafka.brokers, topic, settings=QUICK)
    logger = StructuredLogger("checkout", outputs=[output], level="debug")
    for number in range(1000):
        logger.debug("x", metadata={"number": number})
    assert logger.flush(30)
    found = consumed(kafka.brokers, topic)
    assert [record["metadata"]["number"] for record in found] == list(range(1000))
    assert output.stats() == {
        "accepted": 1000,
        "delivered": 1000,
        "waiting": 0,
        "undelivered": 0,
        "fallback": 0,
        "dropped": {},
    }
    logger.close()
    logger.info("after it was closed")
    logger.close()
    assert consumed(kafka.brokers, topic)[-1]["message"] == "after it was closed"


def test_full_queue_drops() -> None:
    """With nobody there, a full queue drops what comes, and counts it by level; no call raises."""
    output = KafkaOutput(NOBODY, "t", max_records=100, when_full="drop", fallback=None)
    logger = StructuredLogger("a", outputs=[output])
    for _ in range(150):
        logger.info("x")
    for _ in range(10):
        logger.error("x")
    stats = output.stats()
    assert (stats["accepted"], stats["waiting"], stats["dropped"]) == (100, 100, {"info": 50, "error": 10})


def test_full_queue_falls_back() -> None:
    """With nobody there, what a full queue refuses goes to the fallback, which is told why, once."""
    kept = Kept()
    output = KafkaOutput(NOBODY, "t", max_records=100, fallback=kept)
    logger = StructuredLogger("a", outputs=[output])
    for number in range(150):
        logger.info(str(number))
    until(lambda: len(kept.lines) >= 51, "the fallback has what was refused", 10)
    assert kept.messages() == ["Kafka does not take records; they are written here", *map(str, range(100, 150))]
    announced = orjson.loads(kept.lines[0])
    assert (announced["level"], announced["context"]["service"], announced["metadata"]["topic"]) == ("warn", "a", "t")
    assert output.stats()["fallback"] == 50


def test_fallback_that_stands_still() -> None:
    """A fallback that takes nothing blocks nobody: what it has no room for is dropped and counted."""
    released = threading.Event()

    class Stuck(Output):
        def write(self, line: bytes, severity: int) -> None:
            released.wait()

    output = KafkaOutput(NOBODY, "t", max_records=10, fallback=Stuck())
    logger = StructuredLogger("a", outputs=[output])
    for _ in range(11):
        logger.info("x")
    until(lambda: not output._aside, "the fallback has begun", 10)
    for _ in range(100):
        logger.info("x")
    stats = output.stats()
    assert (stats["waiting"], stats["fallback"], stats["dropped"]) == (10, 11, {"info": 90})
    released.set()


def test_fallback_that_fails() -> None:
    """What the fallback fails to take is dropped, each record counted, and what it takes is not."""

    class Failing(Kept):
        def write(self, line: bytes, severity: int) -> None:
            if b"odd" in line:
                msg = "no space left"
                raise OSError(msg)
            super().write(line, severity)

    kept = Failing()
    output = KafkaOutput(NOBODY, "t", max_records=10, fallback=kept, settings={"message.timeout.ms": 300})
    logger = StructuredLogger("a", outputs=[output])
    for number in range(20):
        logger.info("odd" if number % 2 else "even")
    until(lambda: sum(output.stats()["dropped"].values()) == 10, "all that was odd is dropped", 20)
    until(lambda: kept.messages().count("even") == 10, "the rest is written", 20)
    stats = output.stats()
    # As many as there is room for are accepted, and given up when their time is up.
    assert stats["dropped"]["undelivered"] >= 5
    assert stats["undelivered"] + stats["fallback"] + stats["dropped"].get("info", 0) == 20


@pytest.mark.kafka
def test_outage() -> None:
    """After an outage all that was accepted is delivered, once, and one record tells of what was not."""
    kept = {"drop": Kept(), "fallback": Kept(), "room": Kept()}
    with Kafka() as kafka:
        outputs = {}
        for name, fallback in kept.items():
            kafka.create_topic(name)
            outputs[name] = KafkaOutput(
                kafka.brokers,
                name,
                max_records=500 if name != "room" else 100_000,
                when_full="fallback" if name != "drop" else "drop",
                fallback=fallback,
                settings=QUICK,
            )
        logger = StructuredLogger("checkout", outputs=outputs.values())
        logger.info("before")
        assert logger.flush(30)
        kafka.stop()
        for number in range(800):
            logger.info("during", metadata={"number": number})
        stats = outputs["drop"].stats()
        kafka.start()
        until(lambda: not any(output._since for output in outputs.values()), "the outage was told", 60)
        logger.info("after")
        assert logger.flush(30)
        found = {name: consumed(kafka.brokers, name) for name in outputs}
        logger.close()
    during = {
        name: [record["metadata"]["number"] for record in records if record["message"] == "during"]
        for name, records in found.items()
    }
    told = {
        name: [record for record in records if record["message"] == "Kafka missed records of this application"]
        for name, records in found.items()
    }
    assert during["room"] == list(range(800))
    assert told["room"] == []
    assert kept["room"].lines == kept["drop"].lines == []
    for name in ("drop", "fallback"):
        # librdkafka may have taken some from its queue for a request that was never answered.
        assert during[name] == list(range(len(during[name])))
        assert 500 <= len(during[name]) < 800
        (record,) = told[name]
        assert (record["level"], record["context"]["service"]) == ("warn", "checkout")
        missing = 800 - len(during[name])
        if name == "drop":
            assert stats["dropped"] == record["metadata"]["dropped"] == {"info": missing}
        else:
            assert record["metadata"]["fallback"] == kept[name].messages().count("during") == missing
        assert found[name][-1]["message"] == "after"


@pytest.mark.kafka
def test_time_is_up(kafka: Kafka) -> None:
    """A record that no broker has taken in its time goes to the fallback."""
    kept = Kept()
    (port,) = free_ports(1)
    output = KafkaOutput(f"127.0.0.1:{port}", "t", fallback=kept, settings={"message.timeout.ms": 500, "linger.ms": 5})
    logger = StructuredLogger("a", outputs=[output])
    logger.info("x")
    until(lambda: len(kept.lines) == 2, "the record is in the fallback", 20)
    assert kept.messages()[1] == "x"
    assert output.stats()["undelivered"] == 1


@pytest.mark.parametrize("when_full", ["drop", "fallback"])
def test_too_large(when_full: str) -> None:
    """A record that Kafka would never take goes to the fallback, with the reason, and is counted."""
    kept = Kept()
    output = KafkaOutput(NOBODY, "t", settings={"message.max.bytes": 2000}, when_full=when_full, fallback=kept)
    StructuredLogger("a", outputs=[output]).info("x" * 3000)
    until(lambda: len(kept.lines) == 2, "the fallback has it", 10)
    assert "too large" in orjson.loads(kept.lines[0])["metadata"]["reason"]
    assert kept.messages()[1] == "x" * 3000
    assert output.stats()["fallback"] == 1


PROGRAM = """
import atexit, multiprocessing, os, sys, threading, time
from logweir_logger import KafkaOutput, StructuredLogger
output = KafkaOutput(sys.argv[1], sys.argv[2])
logger = StructuredLogger("a", outputs=[output])
def work(who, count=500):
    for number in range(count):
        logger.info("x", metadata={"who": who, "number": number})
"""
ENDS = {
    "falls off its end": "work('main')",
    "exits": "work('main'); sys.exit(3)",
    "raises": "work('main'); raise ValueError",
    "logs at exit": "atexit.register(work, 'main'); logger.level = 'info'",
    "logs after the output's end": "atexit.register(work, 'late', 0); work('main', 499); atexit.register(work, 'main')",
    "from a thread": "threading.Thread(target=work, args=('main',)).start()",
}


@pytest.mark.kafka
@pytest.mark.parametrize("end", ENDS.values(), ids=[each.replace(" ", "-").replace("'", "") for each in ENDS])
def test_interpreter_exit(kafka: Kafka, topic: str, end: str) -> None:
    """Whatever way the interpreter ends, what was accepted is delivered."""
    done = run(PROGRAM + end, kafka.brokers, topic)
    found = consumed(kafka.brokers, topic) + lines(done.stderr)
    numbers = Counter(record["metadata"]["number"] for record in found)
    assert set(range(499)) <= set(numbers), done.stderr
    assert len({record["id"] for record in found}) == len(found)


def test_exit_without_brokers() -> None:
    """At exit what no broker has taken goes to standard error, whole."""
    shorter = "import logweir_logger.outputs.kafka as k; k.EXIT_SECONDS = 0.5\n"
    done = run(shorter + PROGRAM + "work('main')", NOBODY, "t")
    found = lines(done.stderr)
    assert [record["metadata"]["number"] for record in found if record["message"] == "x"] == list(range(500))
    assert found[0]["message"] == "Kafka does not take records; they are written here"
    assert found[-1]["message"] == "Kafka missed records of this application"
    assert found[-1]["metadata"]["fallback"] == 500


FORKS = """
import gc
work("before")
children = []
for child in range(4):
    pid = os.fork()
    if not pid:
        work(f"child {child}")
        if child == 3:
            inner = os.fork()
            if not inner:
                work("grandchild")
                sys.exit(0)
            os.waitpid(inner, 0)
        gc.collect()
        sys.exit(0)
    children.append(pid)
work("between")
for pid in children:
    assert os.waitpid(pid, 0)[1] == 0
work("after")
"""


@pytest.mark.kafka
def test_forks(kafka: Kafka, topic: str) -> None:
    """As with a prefork server, a parent and its children deliver what each of them logs, once."""
    done = run(PROGRAM + FORKS, kafka.brokers, topic)
    assert done.returncode == 0, done.stderr
    found = consumed(kafka.brokers, topic)
    expected = {"before", "between", "after", "child 0", "child 1", "child 2", "child 3", "grandchild"}
    assert Counter(record["metadata"]["who"] for record in found) == dict.fromkeys(expected, 500)
    assert len({(record["metadata"]["who"], record["metadata"]["number"]) for record in found}) == 500 * len(expected)
    assert len({record["id"] for record in found}) == len(found)


FORKS_IN_AN_OUTAGE = """
import logweir_logger.outputs.kafka as k
k.EXIT_SECONDS = 0.5
work("before", 100)
pid = os.fork()
if not pid:
    work("child", 100)
    sys.exit(0)
os.waitpid(pid, 0)
work("after", 100)
"""


def test_forks_while_records_wait() -> None:
    """What waits when a process forks remains its own: the child neither sends nor writes it."""
    found = lines(run(PROGRAM + FORKS_IN_AN_OUTAGE, NOBODY, "t").stderr)
    counts = Counter(record["metadata"]["who"] for record in found if record["message"] == "x")
    assert counts == {"before": 100, "child": 100, "after": 100}


@pytest.mark.kafka
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(kafka: Kafka, topic: str, method: str, tmp_path: Any) -> None:
    """A process of multiprocessing, which ends in a way of its own, delivers what it has logged."""
    program = tmp_path / "program.py"
    main = f"""
if __name__ == "__main__":
    multiprocessing.set_start_method({method!r})
    if {method!r} == "fork":
        work("parent")
    processes = [multiprocessing.Process(target=work, args=(f"child {{each}}",)) for each in range(2)]
    [each.start() for each in processes]
    [each.join() for each in processes]
"""
    program.write_text(PROGRAM + main)
    code = f"import sys, runpy; sys.argv = sys.argv; runpy.run_path({str(program)!r}, run_name='__main__')"
    if method != "fork":
        # Such children import the program, so it has to be one.
        code = f"import subprocess, sys; sys.exit(subprocess.call([sys.executable, {str(program)!r}, *sys.argv[1:]]))"
    done = run(code, kafka.brokers, topic)
    assert done.returncode == 0, done.stderr
    counts = Counter(record["metadata"]["who"] for record in consumed(kafka.brokers, topic))
    assert counts == {"child 0": 500, "child 1": 500, **({"parent": 500} if method == "fork" else {})}


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: KafkaOutput(NOBODY, "t", settings={"no.such": 1}), 'No such configuration property: "no.such"'),
        (lambda: KafkaOutput(NOBODY, "t", settings={"dr_cb": print}), "`dr_cb` can't be set under `settings`: read"),
        (lambda: KafkaOutput(NOBODY, "t", when_full="block"), "when_full must be fallback or drop, got 'block'"),
        (lambda: KafkaOutput(NOBODY, "t", max_records=0), "max_records must be at least 1, got 0"),
        (lambda: KafkaOutput(NOBODY, ""), "topic must be the name of a topic"),
        (lambda: KafkaOutput([], "t"), "brokers must name at least one, as host:port"),
    ],
)
def test_wrong_settings(make: Callable[[], KafkaOutput], said: str) -> None:
    """What is set wrongly is refused when the output is made, with the name of the setting."""
    with pytest.raises(ValueError, match=said.replace("(", r"\(").replace(".", r"\.")):
        make()


@pytest.mark.kafka
def test_beside_other_outputs(kafka: Kafka, topic: str) -> None:
    """Kafka and a stream may both be written, each from its own level up."""
    stream = io.BytesIO()
    output = KafkaOutput([kafka.brokers], topic, level="error", settings=QUICK)
    logger = StructuredLogger("a", outputs=[output, StreamOutput(stream)])
    logger.info("info")
    logger.error("error")
    assert logger.flush(30)
    assert [record["message"] for record in consumed(kafka.brokers, topic)] == ["error"]
    assert [record["message"] for record in lines(stream.getvalue())] == ["info", "error"]
    logger.close()


@pytest.mark.kafka
def test_silence_sends_what_lingers(kafka: Kafka, topic: str) -> None:
    """A record that a long linger.ms would hold for company is sent after a second without another one."""
    output = KafkaOutput(kafka.brokers, topic, settings={"linger.ms": 60_000})
    StructuredLogger("s", host="h", outputs=[output]).info("alone")
    until(lambda: output.stats()["delivered"] == 1, "the record is sent", timeout=50)
    assert [record["message"] for record in consumed(kafka.brokers, topic)] == ["alone"]
