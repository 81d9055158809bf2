"""A real OpenSearch node, which speaks Elasticsearch's `_bulk`, on a free port of 127.0.0.1.

The registry has OpenSearch as libraries only, so a class of a few lines, compiled once, starts the node.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.servers import maven
from tests.servers.process import JavaServer, free_ports, java_command, listening

VERSION = "2.19.6"
ARTIFACTS = (
    f"org.opensearch:opensearch:{VERSION}",
    f"org.opensearch.plugin:transport-netty4-client:{VERSION}",
    f"org.opensearch.plugin:analysis-common:{VERSION}",
    f"org.opensearch.plugin:ingest-common:{VERSION}",
    "org.apache.logging.log4j:log4j-core:2.25.4",
)
MAIN = """
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.opensearch.analysis.common.CommonAnalysisPlugin;
import org.opensearch.common.logging.LogConfigurator;
import org.opensearch.common.settings.Settings;
import org.opensearch.ingest.common.IngestCommonPlugin;
import org.opensearch.node.InternalSettingsPreparer;
import org.opensearch.node.Node;
import org.opensearch.transport.Netty4Plugin;

public final class TestNode extends Node {
    private TestNode(Settings settings) {
        super(
            InternalSettingsPreparer.prepareEnvironment(settings, Map.of(), null, () -> "test"),
            List.of(Netty4Plugin.class, CommonAnalysisPlugin.class, IngestCommonPlugin.class),
            true);
    }

    public static void main(String[] arguments) throws Exception {
        LogConfigurator.setNodeName("test");
        Settings settings = Settings.builder().loadFromPath(Path.of(arguments[0])).build();
        Node node = new TestNode(settings);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            try {
                node.close();
            } catch (Exception error) {
                error.printStackTrace();
            }
        }));
        node.start();
        Thread.currentThread().join();
    }
}
"""
OPTIONS = ("-Xmx1g", "-XX:+UseSerialGC")


def prepare() -> list[Path]:
    """Return the folders of the node's jars and of its compiled main class, filled the first time."""
    jars = maven.jars("opensearch", ARTIFACTS)
    return [jars, _classes(jars)]


class OpenSearch(JavaServer):
    """A node; as a context manager it runs inside the block.

    Args:
        settings: Node settings beside those needed to run alone, such as `indexing_pressure.memory.limit`.
        data: Kept between runs; None: a temporary folder.
    """

    name = "OpenSearch"

    def __init__(self, settings: Mapping[str, object] | None = None, data: Path | None = None) -> None:
        super().__init__(data)
        self._http, self._transport = free_ports(2)
        self._settings = dict(settings or {})
        self.url = f"http://127.0.0.1:{self._http}"

    def _command(self) -> list[str]:
        settings: dict[str, object] = {
            "cluster.name": "logweir",
            "node.name": "test",
            "path.home": str(self.data),
            "path.data": str(self.data / "data"),
            "path.logs": str(self.data / "logs"),
            "discovery.type": "single-node",
            "network.host": "127.0.0.1",
            "http.port": self._http,
            "http.type": "netty4",
            "transport.port": self._transport,
            "transport.type": "netty4",
            # A test machine with a full disk would otherwise turn every index read-only.
            "cluster.routing.allocation.disk.threshold_enabled": False,
            **self._settings,
        }
        config = self.data / "config" / "opensearch.yml"
        config.parent.mkdir(exist_ok=True)
        # JSON is YAML, and needs no library.
        config.write_text(json.dumps(settings), encoding="utf-8")
        return java_command(prepare(), "TestNode", [str(config)], list(OPTIONS))

    def _ready(self) -> bool:
        if not listening(self._http):
            return False
        try:
            return self.request("GET", "/_cluster/health")["status"] in ("green", "yellow")
        except (OSError, KeyError):
            return False

    def request(self, method: str, path: str, body: object = None) -> Any:
        """Return the parsed answer, whatever its status; an error's body has `status` and `error`.

        Args:
            method: GET, POST, ...
            path: Begins with a slash.
            body: Bytes are sent as NDJSON, anything else as JSON.
        """
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        kind = "application/x-ndjson" if isinstance(body, bytes) else "application/json"
        asked = urllib.request.Request(self.url + path, data=data, method=method, headers={"Content-Type": kind})
        try:
            with urllib.request.urlopen(asked, timeout=30) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            with error:
                return json.loads(error.read() or b"null")


def _classes(jars: Path) -> Path:
    """Return the folder of the compiled main class, which belongs to these jars."""
    folder = jars.with_name(f"{jars.name}-classes")
    with maven.alone("opensearch"):
        if (folder / "TestNode.class").exists() and (folder / "TestNode.java").read_text(encoding="utf-8") == MAIN:
            return folder
        with tempfile.TemporaryDirectory(dir=maven.cache()) as scratch:
            source = Path(scratch) / "TestNode.java"
            source.write_text(MAIN, encoding="utf-8")
            command = [maven.tool("javac"), "-nowarn", "-cp", f"{jars}/*", "-d", scratch, str(source)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                msg = f"compile OpenSearch's main class: {done.stderr[-2000:]}"
                raise RuntimeError(msg)
            folder.mkdir(exist_ok=True)
            for file in Path(scratch).iterdir():
                file.replace(folder / file.name)
    return folder
