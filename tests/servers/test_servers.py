"""The servers that other tests lean on do what those tests take for granted."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import httpx
import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition

from tests.servers import maven
from tests.servers.elastic import FakeElastic, Fault
from tests.servers.kafka import Kafka
from tests.servers.opensearch import OpenSearch
from tests.servers.proxy import SLOW_SECONDS, Proxy, Way

NDJSON = {"Content-Type": "application/x-ndjson"}


def consume(brokers: str, topic: str, count: int, **settings: str) -> list[bytes]:
    """Return the first values of a topic."""
    named = {name.replace("_", "."): value for name, value in settings.items()}
    start = {"auto.offset.reset": "earliest", "enable.auto.commit": "false", "log_level": "0"}
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": f"read-{topic}", **start, **named})
    consumer.subscribe([topic])
    values: list[bytes] = []
    deadline = time.monotonic() + 30
    while len(values) < count and time.monotonic() < deadline:
        values += [message.value() or b"" for message in consumer.consume(count, 0.2) if message.error() is None]
    consumer.close()
    return values


def bulk(*pairs: tuple[dict[str, Any], str]) -> bytes:
    """Return a request's body."""
    return "".join(f"{json.dumps({'create': head})}\n{doc}\n" for head, doc in pairs).encode()


def post(server: FakeElastic, body: bytes, path: str = "/logs/_bulk", **headers: str) -> httpx.Response:
    """Send one request."""
    return httpx.post(server.url + path, content=body, headers=NDJSON | headers)


ONE = bulk(({"_id": "1"}, '{"n":1}'))


@pytest.mark.kafka
class TestKafka:
    def test_produce_and_consume(self, kafka: Kafka) -> None:
        """What is produced can be consumed, up to records of 20 MB."""
        kafka.create_topic("servers-large", 2, retention_ms=-1)
        values = [b"small", b"x" * 20_000_000]
        assert kafka.produce("servers-large", values, partition=1) == 2
        assert consume(kafka.brokers, "servers-large", 2) == values

    def test_sasl(self, kafka: Kafka) -> None:
        """The second listener lets in who knows the password."""
        kafka.produce("servers-sasl", [b"a"])
        login = {
            "security_protocol": "SASL_PLAINTEXT",
            "sasl_mechanism": "PLAIN",
            "sasl_username": kafka.sasl_username,
            "sasl_password": kafka.sasl_password,
        }
        assert consume(kafka.sasl_brokers, "servers-sasl", 1, **login) == [b"a"]

    def test_delete_records(self, kafka: Kafka) -> None:
        """Deleted records leave a gap at the start of the partition."""
        kafka.create_topic("servers-gap")
        kafka.produce("servers-gap", [b"a", b"b", b"c"])
        kafka.delete_records("servers-gap", 0, 2)
        consumer = Consumer({"bootstrap.servers": kafka.brokers, "group.id": "gap"})
        assert consumer.get_watermark_offsets(TopicPartition("servers-gap", 0), timeout=10) == (2, 3)
        consumer.close()

    def test_outage(self) -> None:
        """A broker that was killed comes back on its port with its data."""
        with Kafka() as kafka:
            kafka.produce("kept", [b"a"])
            kafka.kill()
            assert not kafka.running
            with pytest.raises(KafkaException):
                kafka.admin().list_topics(timeout=0.5)
            kafka.start()
            assert consume(kafka.brokers, "kept", 1) == [b"a"]
            data = kafka.data
        assert not data.exists()


@pytest.mark.opensearch
class TestOpenSearch:
    def test_items(self, opensearch: OpenSearch) -> None:
        """A real node answers 201, 409 and 400, each to its document."""
        body = bulk(({"_id": "1"}, '{"n":1}'), ({"_id": "1"}, '{"n":1}'), ({"_id": "2"}, '{"n":"no number"}'))
        items = opensearch.request("POST", "/servers/_bulk", body)["items"]
        assert [item["create"]["status"] for item in items] == [201, 409, 400]

    def test_pressure(self, opensearch: OpenSearch) -> None:
        """Beyond its memory limit a real node turns whole requests away with 429."""
        body = bulk(*(({"_id": str(n)}, json.dumps({"m": "x" * 100_000})) for n in range(80)))
        assert opensearch.request("POST", "/servers/_bulk", body)["status"] == 429


@pytest.mark.opensearch
class TestAlike:
    @pytest.mark.parametrize(
        "body",
        [
            ONE[:-1],
            b"\n",
            ONE.splitlines(keepends=True)[0],
            b'{"creat":{"_id":"6"}}\n{"n":1}\n',
            b"hello\n{}\n",
            bulk(({"_id": "i" * 513}, "{}")),
            bulk(({"_id": "same"}, "{}"), ({"_id": "same"}, "{}")),
            bulk(({"_id": "twice"}, '{"n":1,"n":2}'), ({"_id": "cut"}, '{"n":'), ({"_id": "list"}, "[1]")),
            bulk(({"_id": ""}, "{}")),
        ],
    )
    def test_answers(self, opensearch: OpenSearch, elastic: FakeElastic, body: bytes) -> None:
        """The stand-in refuses what a real node refuses, with the same statuses."""
        real = opensearch.request("POST", "/servers-alike/_bulk", body)
        fake = post(elastic, body).json()
        assert fake.get("status") == real.get("status")
        statuses = [[item["create"]["status"] for item in answer.get("items", ())] for answer in (real, fake)]
        assert statuses[0] == statuses[1]


class TestFakeElastic:
    def test_records(self, elastic: FakeElastic) -> None:
        """It keeps each document once, counts how often each was sent, and unpacks gzip."""
        body = bulk(({"_id": "1"}, '{"n":1}'), ({"_id": "2", "_index": "other"}, '{"n":2}'))
        for expected in ([201, 201], [409, 409]):
            answer = post(elastic, gzip.compress(body), **{"Content-Encoding": "gzip"}).json()
            assert [item["create"]["status"] for item in answer["items"]] == expected
        assert elastic.docs == {("logs", "1"): b'{"n":1}', ("other", "2"): b'{"n":2}'}
        assert elastic.creates == {"1": 2, "2": 2}
        assert elastic.requests == 2
        assert elastic.bytes == 2 * len(gzip.compress(body))
        assert [seen.ids for seen in elastic.seen] == [["1", "2"]] * 2
        assert elastic.violations == []

    @pytest.mark.parametrize(
        ("body", "headers"),
        [
            (ONE, {"Content-Type": "application/json"}),
            (ONE, {"Content-Encoding": "gzip"}),
            (ONE, {"Content-Encoding": "br"}),
            (b'{"index":{"_id":"1"}}\n{}\n', {}),
            (b'{"create":{}}\n{}\n', {}),
            (bulk(({"_id": "1"}, '{"n":NaN}')), {}),
            (b'{"create":{"_id":"1"}}\n{"n":"\xff"}\n', {}),
        ],
    )
    def test_violations(self, elastic: FakeElastic, body: bytes, headers: dict[str, str]) -> None:
        """What no client may send is stored nowhere and noted."""
        post(elastic, body, **headers)
        assert len(elastic.violations) == 1
        assert elastic.docs == {}

    def test_authorization(self, elastic: FakeElastic) -> None:
        """Without the planted credential the answer is a 401 with a security exception."""
        elastic.authorization = "ApiKey planted"
        assert httpx.get(elastic.url).status_code == 401
        assert post(elastic, ONE).json()["error"]["type"] == "security_exception"
        assert post(elastic, ONE, Authorization="ApiKey planted").json()["errors"] is False
        assert elastic.violations == []

    def test_version(self, elastic: FakeElastic) -> None:
        """It tells the version and the product that clients look for."""
        elastic.version = "9.1.0"
        answer = httpx.get(elastic.url)
        assert answer.json()["version"]["number"] == "9.1.0"
        assert answer.headers["X-Elastic-Product"] == "Elasticsearch"

    def test_statuses(self, elastic: FakeElastic) -> None:
        """A planted status is answered with its headers, and nothing is stored."""
        elastic.script(Fault(429, {"Retry-After": "7"}), Fault(503, body=b"<html>"), None)
        first, second, third = (post(elastic, ONE) for _ in range(3))
        assert (first.status_code, first.headers["Retry-After"]) == (429, "7")
        assert (second.status_code, second.content) == (503, b"<html>")
        assert third.json()["items"][0]["create"]["status"] == 201
        assert elastic.creates["1"] == 3

    @pytest.mark.parametrize(("close", "stored"), [("before", 0), ("after", 0), ("stored", 1)])
    def test_close(self, elastic: FakeElastic, close: Any, stored: int) -> None:
        """A connection that is closed leaves stored documents behind only if the answer alone was lost."""
        elastic.script(Fault(close=close))
        with pytest.raises(httpx.TransportError):
            post(elastic, ONE)
        assert len(elastic.docs) == stored
        assert post(elastic, ONE).status_code == 200

    def test_hang(self, elastic: FakeElastic) -> None:
        """A request that hangs runs into the client's time-out."""
        elastic.fault = lambda number, request: Fault(hang=True) if number == 1 and request.ids == ["1"] else None
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{elastic.url}/logs/_bulk", content=ONE, headers=NDJSON, timeout=0.2)
        assert post(elastic, ONE).status_code == 200

    def test_delay(self, elastic: FakeElastic) -> None:
        """A delayed answer takes its time."""
        elastic.fault = Fault(delay=0.2)
        started = time.monotonic()
        post(elastic, ONE)
        assert time.monotonic() - started >= 0.2

    def test_item_fault(self, elastic: FakeElastic) -> None:
        """A planted item error leaves its neighbours alone."""
        error = {"type": "es_rejected_execution_exception", "reason": "full"}
        elastic.item_fault = lambda identity, _doc: (429, error) if identity == "2" else None
        answer = post(elastic, bulk(*(({"_id": str(n)}, "{}") for n in range(1, 4)))).json()
        assert answer["errors"] is True
        assert [item["create"]["status"] for item in answer["items"]] == [201, 429, 201]

    def test_too_large(self, elastic: FakeElastic) -> None:
        """A body over the limit is a 413."""
        elastic.max_content_length = len(ONE) - 1
        assert post(elastic, ONE).status_code == 413

    def test_outage(self, elastic: FakeElastic) -> None:
        """A stopped server refuses connections, also those that were open, and comes back with what it had."""
        with httpx.Client() as client:
            post(elastic, ONE)
            client.get(elastic.url)
            elastic.stop()
            with pytest.raises(httpx.TransportError):
                client.get(elastic.url)
            elastic.start()
            assert post(elastic, ONE).json()["items"][0]["create"]["status"] == 409


class TestProxy:
    @pytest.mark.parametrize(
        ("way", "error", "taken"),
        [
            ("refused", httpx.ConnectError, 0),
            ("cut", httpx.TransportError, 0),
            ("unanswered", httpx.TransportError, 1),
            ("silent", httpx.ReadTimeout, 0),
            ("garbage", httpx.RemoteProtocolError, 0),
            ("slow", None, 1),
            ("", None, 1),
        ],
    )
    def test_faults(self, elastic: FakeElastic, way: Way, error: type[Exception] | None, taken: int) -> None:
        """Each fault is what it says, on a connection that was well, and passes when it is told to."""
        with Proxy(elastic.port) as proxy, httpx.Client(base_url=f"http://127.0.0.1:{proxy.port}") as client:
            assert client.get("/").status_code == 200
            proxy.fail(way)
            with pytest.raises(error) if error else nullcontext():
                client.post("/logs/_bulk", content=ONE, headers=NDJSON, timeout=SLOW_SECONDS + 0.5)
            assert len(elastic.docs) == taken
            proxy.heal()
            assert client.post("/logs/_bulk", content=ONE, headers=NDJSON).status_code == 200
        assert elastic.violations == []


class TestProcess:
    def test_count_only(self) -> None:
        """As a process of its own it counts until SIGTERM, then prints what it counted."""
        command = [sys.executable, "-m", "tests.servers.elastic", "--count-only", "--count-docs"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            httpx.post(f"{url}/logs/_bulk", content=ONE, headers=NDJSON)
            process.send_signal(signal.SIGTERM)
            stats = json.loads(process.stdout.read())
        assert process.returncode == 0
        assert stats == {"requests": 1, "bytes": len(ONE), "documents": 1, "stored": 0, "peak": 1}


class TestMaven:
    def test_missing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without Java the message says what to install."""
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.delenv("JAVA_HOME", raising=False)
        with pytest.raises(maven.ServersUnavailable, match=r"`java` was not found.*JDK.*Maven"):
            maven.java()

    def test_old(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A Java that is too old is named with its version."""
        fake = tmp_path / "java"
        fake.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
        fake.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/usr/bin{os.pathsep}/bin")
        monkeypatch.delenv("JAVA_HOME", raising=False)
        with pytest.raises(maven.ServersUnavailable, match="is version 11"):
            maven.java()
