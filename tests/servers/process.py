"""A Java server as a child process that can be stopped, killed and started again."""

from __future__ import annotations

import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.servers import maven

STOP_TIMEOUT = 30.0
POLL = 0.05
BRIEF = ("-XX:TieredStopAtLevel=1",)
"""Java's options for a short life: the thorough compiler takes longer than it saves."""

_PORTS = range(12_000, 32_000)
"""Below those that outgoing connections are given, which would else take a port before its server does."""

# A child with a parent-death signal dies with the *thread* that started it, so all of them are started by one that
# lives as long as the test run, whichever thread asks.
_spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="servers")


def free_ports(count: int) -> list[int]:
    """Return ports of 127.0.0.1 that nobody listens on, all different."""
    ports: set[int] = set()
    while len(ports) < count:
        port = random.SystemRandom().choice(_PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            ports.add(port)
    return list(ports)


def listening(port: int) -> bool:
    """Whether somebody accepts connections on this port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


class JavaServer:
    """One server with its data folder. A subclass says how it is prepared and launched, and when it is ready.

    Args:
        data: Where it keeps its data and log; kept afterwards. None: a temporary folder that `__exit__` removes.
    """

    name = "server"
    start_timeout = 90.0

    def __init__(self, data: Path | None = None) -> None:
        self._temporary = data is None
        self.data = data if data is not None else Path(tempfile.mkdtemp(prefix=f"logweir-{self.name}-"))
        self.data.mkdir(parents=True, exist_ok=True)
        self.log = self.data / "server.log"
        self.brief = False
        """Whether it is to be ready soon, with less processor time, rather than fast once it has run for minutes."""
        self._process: subprocess.Popen[bytes] | None = None

    def _command(self) -> list[str]:
        """Return the program and its arguments; prepares the data folder the first time."""
        raise NotImplementedError

    def _ready(self) -> bool:
        """Whether it answers requests now. Called until it does."""
        raise NotImplementedError

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        if self._process is None:
            msg = f"{self.name} is not running"
            raise RuntimeError(msg)
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is alive."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it on the same ports and data as before, and return when it answers.

        Raises:
            ServersUnavailable: Java or the jars are missing.
            RuntimeError: It ended, or was not ready in time; the message has the end of its log.
        """
        if self.running:
            return
        command = self._command()
        if self.brief:
            command[1:1] = BRIEF
        setpriv = shutil.which("setpriv")
        if setpriv is not None:
            # A test run that is killed must not leave servers behind.
            command = [setpriv, "--pdeathsig", "KILL", "--", *command]
        with self.log.open("ab") as log:
            self._process = _spawner.submit(
                subprocess.Popen[bytes], command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.data
            ).result()
        deadline = time.monotonic() + self.start_timeout
        while not self._ready():
            if not self.running or time.monotonic() > deadline:
                what = "was not ready in time" if self.running else f"ended with code {self._process.returncode}"
                self.kill()
                msg = f"{self.name} {what}; the end of its log:\n{self._log_end()}"
                raise RuntimeError(msg)
            time.sleep(POLL)

    def stop(self) -> None:
        """Shut it down in order. Nothing happens when it isn't running."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self._end(signal.SIGKILL)

    def _end(self, with_signal: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(with_signal)
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _log_end(self) -> str:
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-30:])

    def close(self) -> None:
        """End it, and remove its data if that was temporary."""
        # Data that is thrown away needs no orderly shutdown, which takes seconds.
        if self._temporary:
            self.kill()
            shutil.rmtree(self.data, ignore_errors=True)
        else:
            self.stop()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def java_command(jars: list[Path], main: str, arguments: list[str], options: list[str]) -> list[str]:
    """Return the command that runs a main class with these jars or class folders, logging to standard output."""
    logging = maven.cache() / "log4j2.xml"
    logging.write_text(_LOG4J, encoding="utf-8")
    classpath = ":".join(str(jar / "*") if any(jar.glob("*.jar")) else str(jar) for jar in jars)
    return [maven.java(), *options, f"-Dlog4j2.configurationFile={logging}", "-cp", classpath, main, *arguments]


_LOG4J = """<Configuration status="error">
  <Appenders><Console name="out"><PatternLayout pattern="%d %p %c{1}: %m%n"/></Console></Appenders>
  <Loggers><Root level="warn"><AppenderRef ref="out"/></Root></Loggers>
</Configuration>
"""
