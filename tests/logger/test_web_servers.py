"""Applications behind real servers that SIGTERM ends: what they have logged is delivered, or in the fallback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.flowing import until
from tests.logger.kafka_support import SOURCE, consumed, lines
from tests.scenarios import new_name
from tests.servers.kafka import Kafka
from tests.servers.process import free_ports

pytestmark = pytest.mark.kafka

APPLICATION = """
import os
from contextlib import asynccontextmanager
from logweir_logger import KafkaOutput, StructuredLogger
from logweir_logger.asgi import AsgiMiddleware

# A long linger, so that what is delivered is delivered because the outputs were closed.
output = KafkaOutput(os.environ["BROKERS"], os.environ["TOPIC"], settings={"linger.ms": 60000})
logger = StructuredLogger("shop", host="h", outputs=[output])

async def _living(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        logger.info("going")
        await send({"type": "lifespan.shutdown.complete"})
    else:
        await _plain(scope, receive, send)

async def _plain(scope, receive, send):
    assert scope["type"] == "http"
    logger.info("inside")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})

living, plain = AsgiMiddleware(_living, logger), AsgiMiddleware(_plain, logger)
"""
UVICORN = ["-m", "uvicorn", "--log-level", "warning", "--port"]
GUNICORN = ["-m", "gunicorn", "-k", "uvicorn_worker.UvicornWorker", "--log-level", "warning", "-b"]


def served(tmp_path: Path, server: list[str], application: str, brokers: str, topic: str) -> tuple[int, bytes]:
    """Serve one request, end the server by SIGTERM, and return its exit code and what it wrote to stderr."""
    (tmp_path / "shop.py").write_text(APPLICATION)
    (port,) = free_ports(1)
    where = f"127.0.0.1:{port}" if "gunicorn" in server else str(port)
    environment = {**os.environ, "PYTHONPATH": f"{SOURCE}:{tmp_path}", "BROKERS": brokers, "TOPIC": topic}
    command = [sys.executable, *server, where, f"shop:{application}"]
    with (tmp_path / "stderr").open("wb") as stderr:
        process = subprocess.Popen(command, env=environment, cwd=tmp_path, stderr=stderr)
        try:
            until(lambda: _answers(port), "the server answers")
            process.send_signal(signal.SIGTERM)
            code = process.wait(60)
        finally:
            process.kill()
            process.wait()
    return code, (tmp_path / "stderr").read_bytes()


def _answers(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/orders", timeout=30) as answer:
            return bool(answer.read() == b"ok")
    except OSError:
        return False


@pytest.mark.parametrize("server", [UVICORN, GUNICORN], ids=["uvicorn", "gunicorn"])
@pytest.mark.parametrize("application", ["living", "plain"])
def test_the_brokers_get_all(kafka: Kafka, tmp_path: Path, server: list[str], application: str) -> None:
    """All records are in the topic after SIGTERM, also the last ones, whether the application knows lifespan or not."""
    topic = new_name("served")
    kafka.create_topic(topic, 1)
    served(tmp_path, server, application, kafka.brokers, topic)
    messages = [record["message"] for record in consumed(kafka.brokers, topic)]
    assert messages == ["inside", "GET /orders 200"] + ["going"] * (application == "living")


def test_without_brokers_the_fallback_gets_all(tmp_path: Path) -> None:
    """Where no broker answers, what was logged is on standard error after SIGTERM."""
    _, stderr = served(tmp_path, UVICORN, "living", "127.0.0.1:1", "any")
    messages = [record["message"] for record in lines(stderr)]
    assert [each for each in messages if "Kafka" not in each] == ["inside", "GET /orders 200", "going"]
