"""Servers of others' making, which Go builds once into the folder that keeps the servers of all tests.

VictoriaLogs      takes Elasticsearch's _bulk, Loki's push, OTLP, Datadog's intake, Splunk's collector, JSON lines
the Collector     of OpenTelemetry, with its OTLP receiver and the exporter that writes JSON to a file
Versity's gateway speaks S3 before a folder
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.servers.maven import ServersUnavailable, cache
from tests.servers.process import JavaServer, free_ports, listening

VICTORIA_LOGS = ("github.com/VictoriaMetrics/VictoriaLogs/app/victoria-logs", "v1.52.2")
GATEWAY = ("github.com/versity/versitygw/cmd/versitygw", "v1.8.0")
COLLECTOR = (
    "go.opentelemetry.io/collector/otelcol@v0.165.0",
    "go.opentelemetry.io/collector/receiver/otlpreceiver@v0.165.0",
    "github.com/open-telemetry/opentelemetry-collector-contrib/exporter/fileexporter@v0.165.1",
)
BUILD_SECONDS = 1800.0
ACCESS_KEY = "interop"
SECRET_KEY = "interop-secret"

_MAIN = Path(__file__).with_name("collector") / "main.go"


def installed(module: tuple[str, str]) -> Path:
    """Return a program of a Go module, built the first time.

    Raises:
        ServersUnavailable: There is no Go, or it can't be built; the message has what Go said.
    """
    path, version = module
    folder = cache() / "go" / f"{path.rpartition('/')[2]}-{version}"
    program = folder / path.rpartition("/")[2]
    if not program.exists():
        _go(["install", "-ldflags=-s", f"{path}@{version}"], folder, {"GOBIN": str(folder)})
    return program


def collector() -> Path:
    """Return the Collector, built the first time.

    Raises:
        ServersUnavailable: There is no Go, or it can't be built; the message has what Go said.
    """
    folder = cache() / "go" / f"otelcol-{COLLECTOR[0].rpartition('@')[2]}"
    program = folder / "otelcol"
    if not program.exists():
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(_MAIN, folder / "main.go")
        if not (folder / "go.mod").exists():
            _go(["mod", "init", "collector"], folder, {})
        _go(["get", *COLLECTOR], folder, {})
        # Not `mod tidy`: it wants the modules of others' tests too.
        _go(["build", "-mod=mod", "-ldflags=-s", "-o", "otelcol.new", "."], folder, {})
        (folder / "otelcol.new").rename(program)
    return program


def _go(arguments: list[str], folder: Path, environment: dict[str, str]) -> None:
    program = shutil.which("go")
    if program is None:
        msg = "`go` was not found: these servers are built by it"
        raise ServersUnavailable(msg)
    folder.mkdir(parents=True, exist_ok=True)
    command = [program, *arguments]
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=BUILD_SECONDS,
    )
    if done.returncode:
        msg = f"`go {' '.join(arguments)}` failed: {done.stderr.strip()[-2000:]}"
        raise ServersUnavailable(msg)


class VictoriaLogs(JavaServer):
    """A VictoriaLogs, which keeps what any of its protocols brings."""

    name = "VictoriaLogs"

    def __init__(self) -> None:
        super().__init__()
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"

    def rows(self) -> list[dict[str, str]]:
        """Return all that it has, as names and texts; it shows what it took about a second later."""
        query = urllib.parse.urlencode({"query": "*", "limit": "1000000"})
        with urllib.request.urlopen(f"{self.url}/select/logsql/query?{query}") as answer:
            return [json.loads(line) for line in answer]

    def _command(self) -> list[str]:
        return [
            str(installed(VICTORIA_LOGS)),
            f"-httpListenAddr=127.0.0.1:{self.port}",
            f"-storageDataPath={self.data / 'logs'}",
            "-retentionPeriod=100y",
        ]

    def _ready(self) -> bool:
        return _answers(f"{self.url}/health")


class Collector(JavaServer):
    """A Collector of OpenTelemetry, whose OTLP receiver writes what it takes to a file."""

    name = "otelcol"

    def __init__(self) -> None:
        super().__init__()
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield the log records that it took, in OTLP's JSON."""
        path = self.data / "taken.json"
        # It may be writing the last one.
        lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
        for line in lines:
            for resource in json.loads(line)["resourceLogs"]:
                for scope in resource["scopeLogs"]:
                    yield from scope["logRecords"]

    def _command(self) -> list[str]:
        parts = {
            "receivers": {"otlp": {"protocols": {"http": {"endpoint": f"127.0.0.1:{self.port}"}}}},
            "exporters": {"file": {"path": str(self.data / "taken.json")}},
            "service": {
                "telemetry": {"metrics": {"level": "none"}},
                "pipelines": {"logs": {"receivers": ["otlp"], "exporters": ["file"]}},
            },
        }
        # JSON is YAML, and needs no library.
        (self.data / "config.yaml").write_text(json.dumps(parts), encoding="utf-8")
        return [str(collector()), f"--config=file:{self.data / 'config.yaml'}"]

    def _ready(self) -> bool:
        return listening(self.port)


class Gateway(JavaServer):
    """Versity's gateway: S3 before a folder of this machine."""

    name = "versitygw"

    def __init__(self) -> None:
        super().__init__()
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"

    def _command(self) -> list[str]:
        (self.data / "buckets").mkdir(exist_ok=True)
        return [
            *(str(installed(GATEWAY)), "--port", f"127.0.0.1:{self.port}"),
            *("--access", ACCESS_KEY, "--secret", SECRET_KEY, "--region", "us-east-1"),
            *("posix", "--nometa", str(self.data / "buckets")),
        ]

    def _ready(self) -> bool:
        return listening(self.port)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
