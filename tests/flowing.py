"""Flows as their users run them: a file, `logweir run` as a process, and the ledger that it prints at the end."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from logweir.ledger import Ledger
from tests.servers.kafka import Kafka

ROOT = Path(__file__).resolve().parent.parent
COMMAND = [sys.executable, "-c", "from flows.cli import main; main()"]
_HEAD = re.compile(r"(\S+): ([\d,]+) read \(.*\)")
_COORDINATOR_SOON = {
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
}
_LEADER_SOON = {
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError._UNKNOWN_PARTITION,
}
_SUMS = {
    "delivered": "delivered",
    "of the delivered were there already": "duplicates",
    "beside those read are summaries of limits": "made",
    "offsets were gone before they could be read": "gaps",
}
_ROW = re.compile(r"  +([\d,]+)  (.+)")


def write_flow(
    directory: Path, kafka: Kafka | None, topic: str, destinations: Mapping[str, Mapping[str, Any]], **more: Any
) -> Path:
    """Write a flow that reads a topic, as the group of the same name, and return its path.

    Args:
        directory: Holds the file and the recovery store.
        kafka: The broker; None where `more` names the source.
        topic: The topic; dead letters go to the topics `<topic>.dead.<destination>`.
        destinations: As in the file; what is left out is set for a quick test, and the type is elasticsearch.
        more: Further settings of the flow.
    """
    quick = {"batch": {"flush_interval": "200ms"}, "retry": {"backoff": "100ms", "max_backoff": "1s"}}
    flow = {
        "name": "proof",
        "source": {"type": "kafka", "brokers": [kafka.brokers] if kafka else [], "topics": [topic], "group": topic},
        "destinations": {
            name: {**({} if "type" in each else {"type": "elasticsearch", "index": "logs"}), **quick, **each}
            for name, each in destinations.items()
        },
        "dead_letter": {"topic_prefix": f"{topic}.dead."},
        "recovery": {"directory": str(directory / "recovery"), "interval": "500ms"},
        "status": {"listen": "127.0.0.1:0"},
        **more,
    }
    path = directory / "flow.yaml"
    # JSON is YAML, and without the anchors that a dumper would make.
    path.write_text(json.dumps(flow, indent=2), encoding="utf-8")
    return path


def until(condition: Callable[[], object], what: str, timeout: float = 60.0) -> float:
    """Wait for a condition, and return how many seconds that took.

    Raises:
        AssertionError: It did not come true in time.
    """
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > timeout:
            msg = f"{what}: not after {timeout:g} s"
            raise AssertionError(msg)
        time.sleep(0.02)
    return time.monotonic() - started


class Running:
    """One `logweir run`; as a context manager nothing of it survives the block.

    Args:
        flow: The flow file.
        arguments: Further ones of the command line.
    """

    def __init__(self, flow: Path, *arguments: str) -> None:
        self.started = time.monotonic()
        self.events: list[dict[str, Any]] = []
        self.text: list[str] = []
        """What is on stderr beside the events: the closing ledger, or why there is none."""
        self.process = subprocess.Popen(
            [*COMMAND, "run", str(flow), *arguments],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def told(self, event: str) -> list[dict[str, Any]]:
        """Return the events of this kind so far."""
        return [each for each in list(self.events) if each["event"] == event]

    def workers(self) -> list[int]:
        """Return the process ids of the workers that live, in the order of their start."""
        found = []
        for task in Path(f"/proc/{self.process.pid}/task").glob("*/children"):
            found += [int(pid) for pid in task.read_text().split()]
        return sorted(pid for pid in found if _is_worker(pid))

    def until(self, condition: Callable[[], object], what: str, timeout: float = 60.0) -> float:
        """Wait for a condition while it runs, and return how many seconds that took.

        Raises:
            AssertionError: It did not come true in time, or the flow ended.
        """

        def true_or_ended() -> bool:
            return bool(condition()) or self.process.poll() is not None

        took = until(true_or_ended, what, timeout)
        assert self.process.poll() is None, f"it ended before: {what}"
        return took

    def drain(self, kafka: Kafka, topic: str, group: str, timeout: float = 120.0) -> None:
        """Wait until a group has committed all of a topic."""
        with Positions(kafka, topic, group) as positions:
            self.until(positions.drained, f"{group} has read everything", timeout)

    def kill(self) -> None:
        """End the supervisor as a crash would; its workers notice by themselves."""
        self.process.kill()
        self._end(10)

    def stop(self, timeout: float = 60.0) -> int:
        """Ask it to end as an operator would, and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self._end(timeout)

    def ledgers(self) -> dict[str, Ledger]:
        """Return the closing ledgers that it printed, by destination."""
        return parse_ledgers(self.text)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        if kind is not None:
            sys.stderr.write("\n".join([*self.text, *(str(event) for event in self.events[-20:])]) + "\n")

    def _end(self, timeout: float) -> int:
        code = self.process.wait(timeout)
        # The workers hold its stderr too, so its end means that all of them are gone.
        self._reader.join(timeout)
        assert not self._reader.is_alive(), "workers survived their supervisor"
        return code

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            for line in lines:
                try:
                    self.events.append(orjson.loads(line))
                except ValueError:
                    self.text.append(line.decode().rstrip("\n"))


def _is_worker(pid: int) -> bool:
    try:
        return b"flows.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def parse_ledgers(lines: Iterable[str]) -> dict[str, Ledger]:
    """Return the ledgers of a closing text.

    Raises:
        KeyError: There is a row that none of these has.
        AssertionError: What it says is in flight isn't what the rest leaves open.
    """
    ledgers: dict[str, Ledger] = {}
    open_ends: dict[str, int] = {}
    name = ""
    for line in lines:
        if head := _HEAD.fullmatch(line):
            name = head[1]
            ledgers[name], open_ends[name] = Ledger(), 0
            ledgers[name].read = _number(head[2])
        elif name and (row := _ROW.fullmatch(line)):
            ledger, count, what = ledgers[name], _number(row[1]), row[2]
            if what == "in flight":
                open_ends[name] = count
            elif what.startswith("dropped by "):
                ledger.dropped[what.removeprefix("dropped by ")] = count
            elif what.startswith("dead-lettered: "):
                ledger.dead_lettered[what.removeprefix("dead-lettered: ")] = count
            elif what.startswith("had something hidden: "):
                ledger.redacted[what.removeprefix("had something hidden: ")] = count
            else:
                setattr(ledger, _SUMS[what], count)
    assert {each: ledger.in_flight for each, ledger in ledgers.items()} == open_ends
    return ledgers


def _number(text: str) -> int:
    return int(text.replace(",", ""))


class Positions:
    """Reads how far a topic is written and a group has committed; as a context manager it closes its client."""

    def __init__(self, kafka: Kafka, topic: str, group: str) -> None:
        self._consumer = Consumer({"bootstrap.servers": kafka.brokers, "group.id": group, "log_level": 0})
        found = self._consumer.list_topics(topic, timeout=10).topics[topic].partitions
        self._parts = [TopicPartition(topic, number) for number in sorted(found)]

    def committed(self) -> list[int]:
        """Return the next offset of each partition that the group has to read."""
        try:
            return [max(0, each.offset) for each in self._consumer.committed(self._parts, timeout=30)]
        except KafkaException as error:
            # A new broker makes its coordinator with the first question.
            if error.args[0].code() not in _COORDINATOR_SOON:
                raise
            return [0] * len(self._parts)

    def ends(self) -> list[int]:
        """Return the next offset of each partition that will be written."""
        return [self._consumer.get_watermark_offsets(part, timeout=30)[1] for part in self._parts]

    def drained(self) -> bool:
        """Whether the group has committed all that is written."""
        try:
            return self.committed() == self.ends()
        except KafkaException as error:
            # Where much else runs on the machine, a broker is fenced for a moment.
            if error.args[0].code() not in _LEADER_SOON:
                raise
            return False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._consumer.close()


def wait_drained(kafka: Kafka, topic: str, destination: str, timeout: float = 120.0) -> None:
    """Wait until the group of a destination has committed all of a topic."""
    with Positions(kafka, topic, f"{topic}.{destination}") as positions:
        until(positions.drained, f"{topic}.{destination} has read everything", timeout)


def assert_ledger(
    ledger: Ledger, *, read: int, delivered: int, dropped: Mapping[str, int], dead: Mapping[str, int]
) -> None:
    """Assert that a ledger says exactly this, and balances."""
    found = (ledger.read, ledger.delivered, dict(ledger.dropped), dict(ledger.dead_lettered))
    assert found == (read, delivered, dict(dropped), dict(dead))
    assert ledger.in_flight == 0
    assert ledger.gaps == 0


def twice(ids: Iterable[str]) -> list[str]:
    """Return the ids that are there more than once."""
    return [identity for identity, count in Counter(ids).items() if count > 1]
