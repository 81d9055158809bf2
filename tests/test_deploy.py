"""The image and the compose file, as far as that can be told without an engine that builds and runs them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from flows.cli import main
from flows.config import Flow, StatusSettings
from logweir import __version__
from logweir.units import parse_duration
from tests.examples import EXAMPLES
from tests.flowing import COMMAND, ROOT, until
from tests.servers.kafka import ARTIFACTS

DOCKERFILE = ROOT / "deploy" / "Dockerfile"
COMPOSE = ROOT / "deploy" / "compose.yaml"
HADOLINT = Path(sys.executable).with_name("hadolint")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def stages() -> list[list[tuple[str, str]]]:
    """Return the Dockerfile's stages, each as its instructions and their arguments."""
    text = "\n".join(line for line in DOCKERFILE.read_text(encoding="utf-8").splitlines() if not line.startswith("#"))
    found: list[list[tuple[str, str]]] = []
    for line in filter(None, text.replace("\\\n", " ").splitlines()):
        instruction, _, rest = line.partition(" ")
        if instruction == "FROM":
            found.append([])
        if found:
            found[-1].append((instruction, rest.strip()))
    return found


def arguments(stage: list[tuple[str, str]], instruction: str) -> list[str]:
    """Return the arguments of each instruction of this kind in a stage."""
    return [rest for kind, rest in stage if kind == instruction]


def health_command() -> list[str]:
    """Return the command by which the image's health is asked."""
    (check,) = arguments(stages()[-1], "HEALTHCHECK")
    command: list[str] = json.loads(check.partition(" CMD ")[2])
    return command


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """Return the compose file."""
    data: dict[str, Any] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
    return data


class TestImage:
    @pytest.mark.skipif(not HADOLINT.exists(), reason="hadolint comes for Linux on x86-64 alone")
    def test_hadolint(self) -> None:
        """The linter of Dockerfiles, and of the shell in them, has nothing to say."""
        done = subprocess.run([HADOLINT, "--no-color", DOCKERFILE], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout + done.stderr) == (0, "")

    def test_what_is_copied(self) -> None:
        """Each file that the build takes is there and let in, and all packages of the wheel are among them."""
        let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
        copied: set[str] = set()
        for rest in arguments(stages()[0], "COPY"):
            copied |= set(rest.split()[:-1])
        assert {name for name in copied if not (ROOT / name).exists()} == set()
        assert copied == let_in
        wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
        assert {*wheel, PROJECT["project"]["readme"], *PROJECT["project"]["license-files"]} <= copied

    def test_dependencies(self) -> None:
        """Whatever is installed comes from a lock, by its digest, but the wheel that is built here."""
        steps = [step for rest in arguments(stages()[0], "RUN") for step in rest.split("&&") if " install " in step]
        assert len(steps) == 3
        for step in steps:
            assert ("--require-hashes" in step) == (".lock" in step) != ("--no-deps dist/" in step)

    def test_bases(self) -> None:
        """Both stages have one Python, which is one that the project runs on: an environment is carried over."""
        build, final = stages()
        bases = {rest.split()[0] for stage in (build, final) for rest in arguments(stage, "FROM")}
        assert bases == {"${BASE}"}
        assert "ARG BASE=python:3.12-slim" in DOCKERFILE.read_text(encoding="utf-8").splitlines()
        assert "Programming Language :: Python :: 3.12" in PROJECT["project"]["classifiers"]

    def test_final_stage(self) -> None:
        """The image's processes aren't root, it installs nothing, and its state is on a volume of theirs."""
        final = stages()[-1]
        (user,) = arguments(final, "USER")
        (numbers,) = re.findall(r"^(\d+):(\d+)$", user)
        assert all(int(number) > 0 for number in numbers)
        steps = " ".join(arguments(final, "RUN"))
        assert f"--uid {numbers[0]} " in steps
        assert f"--gid {numbers[1]} " in steps
        assert "apt" not in steps
        assert "pip install" not in steps
        (home,) = arguments(final, "WORKDIR")
        assert json.loads(arguments(final, "VOLUME")[0]) == [home]
        assert f"--owner logweir --group logweir {home}" in steps
        # Where a flow keeps its state when it doesn't say otherwise, below the working directory.
        source = {"type": "generate"}
        flow = Flow.model_validate({"name": "a", "source": source, "destinations": {"out": {"type": "console"}}})
        assert not Path(flow.recovery.directory).is_absolute()
        assert not Path(str(flow.dead_letter.directory)).is_absolute()

    def test_entrypoint(self) -> None:
        """The entry point is the command itself, in exec form, and what it does by default exists."""
        final = stages()[-1]
        assert [json.loads(rest) for rest in arguments(final, "ENTRYPOINT")] == [list(PROJECT["project"]["scripts"])]
        (default,) = arguments(final, "CMD")
        assert json.loads(default)[0] in main.commands

    @pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
    def test_health(self, status: int, code: int) -> None:
        """The health check asks /healthz where a flow serves it by default, past any proxy, and heeds the answer."""
        asked: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                self.send_response(status)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class names it
                """Say nothing."""

        with HTTPServer(("127.0.0.1", 0), Handler) as server:
            threading.Thread(target=server.handle_request, daemon=True).start()
            _, flag, program = health_command()
            default = StatusSettings().listen.rpartition(":")[2]
            assert default in program
            program = program.replace(default, str(server.server_port))
            proxied = os.environ | {"http_proxy": "http://127.0.0.1:9"}
            done = subprocess.run([sys.executable, flag, program], env=proxied, check=False, timeout=60)
        assert (asked, done.returncode) == (["/healthz"], code)

    def test_health_of_nothing(self) -> None:
        """Where nothing answers the check fails."""
        _, flag, program = health_command()
        command = [sys.executable, flag, program.replace("8080", "9")]
        assert subprocess.run(command, stderr=subprocess.DEVNULL, check=False, timeout=60).returncode == 1

    def test_first_process(self, tmp_path: Path) -> None:
        """As the first process of a container, which signals without a handler don't reach, a flow stops in order."""
        namespace = ["unshare", "--pid", "--fork", "--kill-child"]
        try:
            subprocess.run([*namespace, "true"], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("a process namespace needs Linux and a right to it")
        (example,) = [path for path in EXAMPLES if path.stem == "development"]
        shown, told = tmp_path / "shown", tmp_path / "told"
        with shown.open("wb") as stdout, told.open("wb") as stderr:
            command = [*namespace, *COMMAND, "run", str(example)]
            environment = os.environ | {"PYTHONPATH": str(ROOT)}
            outer = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=stdout, stderr=stderr)
            try:
                until(lambda: outer.poll() is not None or shown.stat().st_size, "records on the screen")
                (first,) = Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split()
                os.kill(int(first), signal.SIGTERM)
                assert outer.wait(60) == 0
            finally:
                outer.kill()
        assert "in flight" not in told.read_text()
        assert "delivered" in told.read_text()


class TestCompose:
    def test_images(self, compose: dict[str, Any]) -> None:
        """Each image has a version: logweir's own, and the broker that the tests run against."""
        broker = next(name.rpartition(":")[2] for name in ARTIFACTS if ":kafka_" in name)
        images = {name: service["image"] for name, service in compose["services"].items()}
        assert set(images.values()) == {f"logweir:{__version__}", f"apache/kafka:{broker}"}

    def test_versions(self) -> None:
        """The page on deployment builds the image under the version that it has."""
        named = re.findall(r"logweir:([\w.]+)", (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8"))
        assert set(named) == {__version__}

    def test_references(self, compose: dict[str, Any]) -> None:
        """What a service is built from, mounts and waits for is there."""
        services = compose["services"]
        for service in services.values():
            build = service.get("build")
            if build:
                context = (COMPOSE.parent / build["context"]).resolve()
                assert context == ROOT
                assert context / build["dockerfile"] == DOCKERFILE
            for volume in service.get("volumes", ()):
                source = volume.split(":")[0]
                assert (COMPOSE.parent / source).is_file() if source.startswith(".") else source in compose["volumes"]
            for other, wanted in service.get("depends_on", {}).items():
                assert other in services
                assert wanted["condition"] != "service_healthy" or "healthcheck" in services[other]

    def test_commands(self, compose: dict[str, Any]) -> None:
        """Each command of logweir's exists, with the options that it is given."""
        for word, *rest in commands(compose):
            known = {option for each in main.commands[word].params for option in each.opts}
            assert {part for part in rest if part.startswith("--")} <= known
            context = click.Context(main.commands[word])
            main.commands[word].parse_args(context, list(rest))

    def test_flow(self, compose: dict[str, Any]) -> None:
        """The flow is one of the examples, it is read where it is mounted, and its port is the one published."""
        service = compose["services"]["logweir"]
        source, target, mode = service["volumes"][0].split(":")
        assert (COMPOSE.parent / source).resolve() in EXAMPLES
        assert (service["command"], mode) == (["run", target], "ro")
        listen = yaml.safe_load((COMPOSE.parent / source).read_text())["status"]["listen"]
        host, published, inside = service["ports"][0].split(":")
        assert (host, inside) == ("127.0.0.1", published)
        assert listen.endswith(f"0.0.0.0:{inside}}}")

    def test_stop(self, compose: dict[str, Any]) -> None:
        """A stop is granted more time than the flow takes for what is in flight."""
        granted = parse_duration(compose["services"]["logweir"]["stop_grace_period"])
        assert granted > Flow.model_fields["stop_timeout"].default


def commands(compose: dict[str, Any]) -> Iterator[list[str]]:
    """Return what each container of logweir is told to do."""
    for service in compose["services"].values():
        if service["image"].startswith("logweir:"):
            yield service["command"]


class TestLocks:
    """What the image installs is pinned by digest, and is what the tests ran with."""

    @staticmethod
    def locked(name: str) -> dict[str, tuple[str, int]]:
        """Return version and number of digests of each package of a lock."""
        text = (ROOT / "deploy" / name).read_text().replace("\\\n", " ")
        rows = [line.split() for line in text.splitlines() if not line.startswith("#")]
        found = {}
        for wanted, *digests in rows:
            package, _, version = wanted.partition("==")
            assert all(re.fullmatch("--hash=sha256:[0-9a-f]{64}", each) for each in digests), wanted
            found[_plain(package)] = version, len(digests)
        return found

    def test_all_that_is_named_is_there(self) -> None:
        """Each dependency of pyproject.toml is in the lock: `make lock` writes it anew."""
        project = PROJECT["project"]
        wanted = [*project["dependencies"], *project["optional-dependencies"]["archive"]]
        names = {_plain(re.split("[<>=;\\[ ]", each)[0]) for each in wanted}
        assert names <= self.locked("requirements.lock").keys()
        assert {_plain(each) for each in PROJECT["build-system"]["requires"]} <= self.locked("build.lock").keys()

    @pytest.mark.parametrize("name", ["requirements.lock", "build.lock"])
    def test_the_versions_are_those_of_the_tests(self, name: str) -> None:
        """Each version is that of constraints.txt, and each package has a digest."""
        lines = (ROOT / "constraints.txt").read_text().splitlines()
        pinned = {_plain(line.partition("==")[0]): line.partition("==")[2] for line in lines if "==" in line}
        found = self.locked(name)
        assert {package: version for package, (version, _) in found.items()}.items() <= pinned.items()
        assert all(digests for _, digests in found.values())


def _plain(name: str) -> str:
    """Return a package's name as registries compare it (PEP 503)."""
    return re.sub("[-_.]+", "-", name).lower()
