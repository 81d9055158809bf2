"""The example flows do what their comments say, each run as a person would run it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.examples import ENVIRONMENT, EXAMPLES, SECRETS, placed
from tests.feeding import Feed
from tests.flowing import COMMAND, ROOT, Running, parse_ledgers, twice, until
from tests.scenarios import new_name, stored_in
from tests.servers.datadog import FakeDatadog
from tests.servers.elastic import FakeElastic
from tests.servers.kafka import Kafka

API_KEY = "ApiKey aWQ6a2V5"  # of id:key
RECORDS = 4000
BY_NAME = {path.stem: path for path in EXAMPLES}


class Levels:
    """A judge that lets everything pass, and notes the ids of each level."""

    def __init__(self) -> None:
        self.ids: dict[str, set[str]] = {}

    def __call__(self, record: dict[str, Any]) -> str:
        """Note one record."""
        self.ids.setdefault(record["level"], set()).add(record["id"])
        return ""

    def __getitem__(self, names: str) -> set[str]:
        """Return the ids of these levels, separated by spaces."""
        return set().union(*(self.ids[name] for name in names.split()))


def adapted(example: Path, directory: Path, kafka: Kafka, topic: str, dog: FakeDatadog) -> Path:
    """Return a copy of an example with the test's topic and servers where the file names the world's."""
    path = placed(example, directory)
    flow = yaml.safe_load(path.read_text())
    flow["source"] |= {"topics": [topic], "group": topic, "start": "earliest"}
    if "settings" in flow["source"]:
        # The broker's own way in with a password; the rest of the settings is the example's.
        flow["source"]["settings"] |= {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN"}
    flow["destinations"]["datadog"]["url"] = dog.url
    flow["dead_letter"]["topic_prefix"] = f"{topic}.dead."
    # Short epochs, so that the test need not wait for a long one.
    flow["recovery"] = {"directory": str(directory / "recovery"), "interval": "500ms"}
    path.write_text(json.dumps(flow, indent=2))
    return path


@pytest.mark.kafka
@pytest.mark.parametrize(
    ("name", "debug", "info", "least"),
    [("production", 0.1, 1.0, "info"), ("high-volume", 0.01, 0.05, "warn")],
)
def test_over_kafka(
    name: str,
    debug: float,
    info: float,
    least: str,
    kafka: Kafka,
    elastic: FakeElastic,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every error arrives at both destinations, debug and info by their samples, and both ledgers balance."""
    secured = name == "production"
    brokers = kafka.sasl_brokers if secured else kafka.brokers
    around = {"KAFKA_BROKERS": brokers, "ELASTIC_URL": elastic.url, "LOGWEIR_LISTEN": "127.0.0.1:0"}
    for variable, value in (ENVIRONMENT | around).items():
        monkeypatch.setenv(variable, value)
    elastic.authorization = API_KEY
    topic, levels = new_name(name), Levels()
    with FakeDatadog(ENVIRONMENT["DATADOG_API_KEY"]) as dog, Feed(kafka, topic, judge=levels, plant=200) as feed:
        feed.send(RECORDS)
        with Running(adapted(BY_NAME[name], tmp_path, kafka, topic, dog)) as running:
            for destination in ("search", "datadog"):
                running.drain(kafka, topic, f"{topic}.{destination}")
            assert running.stop() == 0
        assert dog.violations == []
        arrived = {"search": stored_in(elastic), "datadog": [log["id"] for log in dog.logs]}
    assert {each["event"] for each in running.events} <= {"stream.added", "stream.health", "stream.failed"}
    ledgers = running.ledgers()
    for destination, ids in arrived.items():
        ledger = ledgers[destination]
        assert (ledger.read, ledger.in_flight, ledger.gaps) == (feed.sent, 0, 0)
        assert (ledger.delivered, ledger.dead_lettered) == (len(ids), feed.dead)
        assert twice(ids) == []
        assert ledger.dropped["No trace logs"] == len(levels["trace"])
        feed.assert_dead_letters(destination, once=True)
    search, datadog = set(arrived["search"]), set(arrived["datadog"])
    for level, share in {"trace": 0.0, "debug": debug, "info": info, "warn error fatal": 1.0}.items():
        there, sent = len(search & levels[level]), len(levels[level])
        assert there == share * sent if share in {0, 1} else 0 < there < 2 * share * sent, level
    # The samples are the very same, so what the second has is what its own rule leaves of the first's.
    assert datadog == search & levels["info warn error fatal" if least == "info" else "warn error fatal"]


@pytest.mark.kafka
def test_container(kafka: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The flow of the compose file writes what its rules let through to its volume."""
    monkeypatch.setenv("KAFKA_BROKERS", kafka.brokers)
    monkeypatch.setenv("LOGWEIR_LISTEN", "127.0.0.1:0")
    monkeypatch.setenv("LOGWEIR_STATUS_TOKEN", "token")
    topic, levels = new_name("container"), Levels()
    path = placed(BY_NAME["container"], tmp_path)
    flow = yaml.safe_load(path.read_text())
    flow["source"] |= {"topics": [topic], "group": topic}
    flow["destinations"]["disk"]["path"] = str(tmp_path / "logs.ndjson")
    flow["dead_letter"] = {"topic_prefix": f"{topic}.dead."}
    flow["recovery"] = {"directory": str(tmp_path / "recovery"), "interval": "500ms"}
    path.write_text(json.dumps(flow))
    with Feed(kafka, topic, judge=levels) as feed:
        feed.send(1000)
    with Running(path) as running:
        for destination in ("screen", "disk"):
            running.drain(kafka, topic, f"{topic}.{destination}")
        assert running.stop() == 0
    ids = [json.loads(line)["id"] for line in (tmp_path / "logs.ndjson").read_text().splitlines()]
    ledgers = running.ledgers()
    assert twice(ids) == []
    assert levels["info warn error fatal"] <= set(ids)
    assert not levels["trace"] & set(ids)
    assert (ledgers["disk"].delivered, ledgers["disk"].in_flight) == (len(ids), 0)
    assert (ledgers["screen"].delivered, ledgers["screen"].in_flight) == (len(levels["warn error fatal"]), 0)


def test_secrets_are_not_told(tmp_path: Path) -> None:
    """What `logweir check` prints of an example holds none of its secrets."""
    path = placed(BY_NAME["production"], tmp_path)
    command = [*COMMAND, "check", "--json", str(path)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | ENVIRONMENT, capture_output=True, text=True, check=True)
    for secret in (*SECRETS.values(), ENVIRONMENT["DATADOG_API_KEY"]):
        assert secret not in done.stdout + done.stderr


def test_development(tmp_path: Path) -> None:
    """The example for developers needs nothing: records appear on the screen, and a stop ends it in balance."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    screen, told = tmp_path / "screen", tmp_path / "told"
    with screen.open("wb") as stdout, told.open("wb") as stderr:
        command = [*COMMAND, "run", str(BY_NAME["development"])]
        process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=stdout, stderr=stderr)
        try:
            until(lambda: process.poll() is not None or screen.read_text().count("\n") > 30, "records on the screen")
            process.send_signal(signal.SIGTERM)
            code = process.wait(60)
        finally:
            process.kill()
    assert code == 0, told.read_text()
    ledger = parse_ledgers(line for line in told.read_text().splitlines() if not line.startswith("{"))["screen"]
    lines = [line for line in screen.read_text().splitlines() if not line.startswith(" ")]
    levels = Counter(line.split()[1] for line in lines)
    assert (ledger.in_flight, ledger.delivered) == (0, len(lines))
    assert ledger.dead_lettered.total() == levels["TRACE"] == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} <= {"recovery", "dead-letter"}
