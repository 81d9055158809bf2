"""The jars of the servers that tests start, resolved once by Maven into a folder of the repo.

Both servers come as libraries from the registry that `mvn` is set up for, so a test machine needs Java 17 and Maven and
nothing else: no container, no download page.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from xml.sax.saxutils import escape

JAVA_AT_LEAST = 17
DEPENDENCY_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1"
RESOLVE_TIMEOUT = 900.0


class ServersUnavailable(Exception):  # noqa: N818  # a fact about the machine, not a defect
    """This machine can't start the server; the message says what is missing and how to get it."""


def cache() -> Path:
    """Return the folder that keeps jars, compiled classes and the development broker's data."""
    chosen = os.environ.get("LOGWEIR_SERVERS")
    folder = Path(chosen).expanduser().resolve() if chosen else Path(__file__).resolve().parents[2] / ".servers"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def tool(name: str) -> str:
    """Return the path of one of Java's or Maven's programs.

    Raises:
        ServersUnavailable: It isn't installed.
    """
    home = os.environ.get("JAVA_HOME")
    inside = shutil.which(name, path=str(Path(home) / "bin")) if home else None
    found = inside or shutil.which(name)
    if found is None:
        msg = f"`{name}` was not found: tests against real servers need a JDK ({JAVA_AT_LEAST} or newer) and Maven"
        raise ServersUnavailable(msg)
    return found


def java() -> str:
    """Return the path of a `java` that is new enough.

    Raises:
        ServersUnavailable: There is none, or it is too old.
    """
    program = tool("java")
    answer = subprocess.run([program, "-version"], capture_output=True, text=True, check=False).stderr
    try:
        major = int(answer.split('"')[1].split(".")[0].split("-")[0])
    except (IndexError, ValueError):
        msg = f"`{program} -version` answered {answer!r}, which names no version"
        raise ServersUnavailable(msg) from None
    if major < JAVA_AT_LEAST:
        msg = f"`{program}` is version {major}: tests against real servers need {JAVA_AT_LEAST} or newer"
        raise ServersUnavailable(msg)
    return program


@contextmanager
def alone(name: str) -> Iterator[None]:
    """Hold the cache's lock of that name, so that test runs beside each other fill it once."""
    with (cache() / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _pom(name: str, artifacts: Sequence[str]) -> str:
    dependencies = []
    for artifact in artifacts:
        group, identifier, version = map(escape, artifact.split(":"))
        dependencies.append(
            f"<dependency><groupId>{group}</groupId><artifactId>{identifier}</artifactId>"
            f"<version>{version}</version></dependency>",
        )
    return (
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        f"<groupId>logweir</groupId><artifactId>{escape(name)}</artifactId><version>1</version>"
        f"<dependencies>{''.join(dependencies)}</dependencies></project>"
    )


def jars(name: str, artifacts: Sequence[str]) -> Path:
    """Return a folder with the artifacts' jars and all that they need at run time; Maven is asked only the first time.

    Args:
        name: What the folder is for, such as `kafka`.
        artifacts: Each as `group:artifact:version`.

    Raises:
        ServersUnavailable: Maven is missing, or can't resolve them.
    """
    digest = hashlib.sha256("\n".join(artifacts).encode()).hexdigest()[:8]
    folder = cache() / f"{name}-{digest}"
    with alone(name):
        if folder.is_dir():
            return folder
        with tempfile.TemporaryDirectory(dir=cache()) as scratch:
            project = Path(scratch)
            (project / "pom.xml").write_text(_pom(name, artifacts), encoding="utf-8")
            # A run that is cut short leaves no folder behind that looks complete: the rename is the last step.
            _resolve(project)
            (project / "jars").rename(folder)
    return folder


def _resolve(project: Path) -> None:
    command = [tool("mvn"), "-B", "-q", "-f", str(project / "pom.xml")]
    command += [f"{DEPENDENCY_PLUGIN}:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory=jars"]
    said = ""
    # What an earlier run left in Maven's own repository is used without asking the network, which may be absent.
    for offline in (["-o"], []):
        try:
            done = subprocess.run(
                [*command, *offline], capture_output=True, text=True, check=False, timeout=RESOLVE_TIMEOUT
            )
        except subprocess.TimeoutExpired:
            msg = f"Maven did not resolve the servers' jars within {RESOLVE_TIMEOUT:.0f} s"
            raise ServersUnavailable(msg) from None
        if done.returncode == 0:
            return
        said = done.stdout + done.stderr
    errors = [line for line in said.splitlines() if "ERROR" in line][:3]
    msg = "Maven could not resolve the servers' jars:\n" + "\n".join(errors or said.splitlines()[-3:])
    raise ServersUnavailable(msg)
