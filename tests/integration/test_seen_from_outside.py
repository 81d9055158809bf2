"""What an operator sees of a flow: before it runs, by `check --connect`, and while it does, by `status` and HTTP."""

from __future__ import annotations

import json
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.feeding import Feed
from tests.flowing import COMMAND, ROOT, Running, write_flow
from tests.servers.elastic import FakeElastic, Fault
from tests.servers.kafka import Kafka
from tests.servers.process import free_ports

pytestmark = pytest.mark.kafka


def logweir(*arguments: str) -> tuple[int, Any, str]:
    """Run a command with `--json`; return its exit code, what it printed and what it said on stderr."""
    done = subprocess.run([*COMMAND, *arguments, "--json"], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr


def test_connect_asks_everyone(kafka: Kafka, elastic: FakeElastic, tmp_path: Path) -> None:
    """Brokers, a destination that would do and one that isn't there: each has its row, and nothing was sent or made."""
    with Feed(kafka, "connect") as feed:
        (nobody,) = free_ports(1)
        away = {"url": f"http://127.0.0.1:{nobody}"}
        flow = write_flow(tmp_path, kafka, feed.topic, {"search": {"url": elastic.url}, "away": away})
        code, found, _ = logweir("check", str(flow), "--connect")
        rows = {each["name"]: each for each in found["connections"]}
        assert code == 1
        assert {name: each["status"] for name, each in rows.items()} == {
            "source": "connected",
            "search": "connected",
            "search: dead letters": "connected",
            "away": "unreachable",
            "away: dead letters": "connected",
        }
        assert "check the host and the port in `url`" in rows["away"]["issue"]
        assert not (tmp_path / "recovery").exists()
        assert not elastic.docs
        flow = write_flow(tmp_path, kafka, "no-such-topic", {"search": {"url": elastic.url}})
        code, found, _ = logweir("check", str(flow), "--connect")
        assert (code, found["connections"][0]["status"]) == (1, "error")
        assert "create it" in found["connections"][0]["issue"]


@pytest.mark.parametrize("workers", [1, 2])
def test_status_of_a_run(kafka: Kafka, elastic: FakeElastic, tmp_path: Path, workers: int) -> None:
    """Two dataflows and their workers are one status; a destination in trouble has its issue there and isn't ready."""
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    with Feed(kafka, f"status-{workers}", partitions=2) as feed, FakeElastic() as other:
        flow = write_flow(
            tmp_path,
            kafka,
            feed.topic,
            {"search": {"url": elastic.url}, "other": {"url": other.url}},
            status={"listen": f"127.0.0.1:{port}"},
        )
        code, _, said = logweir("status", str(flow))
        assert (code, f"status.listen 127.0.0.1:{port}: no flow answers" in said) == (1, True)
        other.fault = Fault(401)
        feed.send(3000)
        with Running(flow, "--workers", str(workers)) as running:

            def told() -> dict[str, Any]:
                _, found, _ = logweir("status", str(flow))
                return dict(found["destinations"]) if found else {}

            def settled() -> bool:
                found = told()
                if not found or not found["other"]["issues"]:
                    return False
                # Where one worker holds before the other has begun, that one gets its position later.
                held = found["other"]["in_flight"]["records"]
                return bool(found["search"]["logs_streamed"] == feed.sent and held in {feed.sent // 2, feed.sent})

            running.until(settled, "one has everything, the other refuses")
            code, found, _ = logweir("status", str(flow))
            search, refused = found["destinations"]["search"], found["destinations"]["other"]
            assert (code, found["healthy"], search["status"], refused["status"]) == (1, False, "connected", "error")
            assert "check api_key" in refused["issues"][0]
            assert (search["workers"], search["success_rate"], search["lag"]) == (workers, 1.0, 0)
            assert refused["errors"] == refused["requests"] > 0
            assert refused["in_flight"]["records"] == feed.sent
            assert urllib.request.urlopen(f"{url}/healthz").status == 200
            with pytest.raises(urllib.error.HTTPError, match="503"):
                urllib.request.urlopen(f"{url}/readyz")
            other.fault = None
            running.until(lambda: all(each["healthy"] for each in told().values()), "all are well")
            assert urllib.request.urlopen(f"{url}/readyz").read() == b"ready\n"
            metrics = urllib.request.urlopen(f"{url}/metrics").read().decode()
            for name in ("search", "other"):
                assert f'logweir_destination_read_total{{destination="{name}"}} {float(feed.sent)}' in metrics
            assert running.stop() == 0


def test_an_idle_flow_knows_its_destinations(kafka: Kafka, elastic: FakeElastic, tmp_path: Path) -> None:
    """With nothing to send, a check finds a refused credential, and that it is mended."""
    elastic.fault = Fault(401)
    with Feed(kafka, "idle") as feed:
        search = {"url": elastic.url, "health_interval": "500ms"}
        flow = write_flow(tmp_path, kafka, feed.topic, {"search": search})
        with Running(flow) as running:

            def health() -> list[str]:
                return [each["status"] for each in running.told("stream.health")]

            running.until(lambda: health() == ["error"], "the refusal is found")
            elastic.fault = None
            running.until(lambda: health() == ["error", "connected"], "it is mended")
            assert running.stop() == 0
        assert not elastic.docs
