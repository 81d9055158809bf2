"""No secret is ever said: not by a server's answer that repeats it, not by a mistake in a file, not by a crash."""

from __future__ import annotations

import base64
import json
import secrets
import signal
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Self
from urllib.error import HTTPError

import pytest
from click.testing import CliRunner
from pydantic import BaseModel

from flows.cli import main
from flows.config import load
from sinks import SINKS, load_sink
from tests.flowing import COMMAND, ROOT, until
from tests.flows.redrive_support import letter, write_letters
from tests.scenarios import new_name
from tests.servers.echo import ANSWERS, REFUSALS, EchoServer
from tests.servers.gcp import FakeLogging, key_pair
from tests.servers.kafka import Kafka
from tests.servers.process import free_ports

WITHOUT_SECRETS = {"console", "file"}
PATHS = ["/metrics", "/api/status", "/readyz", "/healthz", "/"]
"""What is asked of a running flow."""
COMMANDS = [
    ["check"],
    ["check", "--json"],
    ["check", "--connect"],
    ["check", "--connect", "--json"],
    ["explain"],
    ["explain", "--json"],
    ["status"],
    ["status", "--json"],
]
"""What is asked beside it; the flow file is appended."""
_CORE = 10
"""Characters of a secret that must not be there, so that a half of one is found too."""
RECORDS = 12


def planted(more: str = "") -> str:
    """Return a secret that is nowhere else, with some characters that have to be escaped here or there."""
    return secrets.token_hex(12) + more


class Planted:
    """Destinations of every type with every secret that it may have, and a source with a password.

    Args:
        urls: The address of a server for each.
        brokers: Those that want a password.
    """

    def __init__(self, urls: Iterator[str], brokers: str) -> None:
        odd = planted("/+ \"'&%:é\\")
        url_password = planted()
        instance = f"12345:{planted()}"
        pair = base64.b64encode(instance.encode()).decode()
        self.destinations: dict[str, dict[str, Any]] = {
            "datadog": {"type": "datadog", "url": next(urls), "api_key": planted("/+\"'&%")},
            "splunk": {"type": "splunk", "url": next(urls), "token": planted("-+/&")},
            "elastic": {
                "type": "elasticsearch",
                "url": next(urls),
                "username": "me",
                "password": odd,
                "headers": {"x-planted": planted(" \"'& words")},
                "params": {"planted": planted("&= /words")},
            },
            "elastic-key": {"type": "elasticsearch", "url": next(urls), "api_key": f"id:{planted()}"},
            "elastic-url": {"type": "elasticsearch", "url": next(urls).replace("//", f"//me:{url_password}%2F@")},
            "cloudwatch": {**self._aws(next(urls)), "type": "cloudwatch", "log_group": "g", "log_stream": "s"},
            "s3": {**self._aws(next(urls)), "type": "s3", "bucket": "bucket", "batch": {"max_records": 1}},
            "gcp": {
                "type": "gcp",
                "url": next(urls),
                "project_id": "project-1",
                "credentials": {"client_email": FakeLogging.email, "private_key": key_pair()[0]},
            },
            "http": {
                "type": "http",
                "url": next(urls),
                "token": planted("+/="),
                "headers": {"x-planted": planted(" \"'& words")},
            },
            "http-password": {"type": "http", "url": next(urls), "username": "me", "password": planted("&\"'")},
            "loki": {"type": "loki", "url": next(urls), "token": planted("+/=")},
            "loki-password": {"type": "loki", "url": next(urls), "username": "me", "password": planted("&\"'")},
            "otlp": {
                "type": "otlp",
                "url": next(urls),
                "headers": {"authorization": f"Basic {pair}", "x-planted": planted(" \"'& words")},
            },
            "kafka": {"type": "kafka", "brokers": [brokers], "topic": "planted", "settings": _sasl(planted("/+&"))},
        }
        self.status_token = planted()
        self._needles = {
            each for text in [*_texts(self.destinations), self.status_token] for each in _needles(text)
        } | {url_password[:_CORE], *_needles(instance.partition(":")[2])}
        for name in ("elastic", "http-password", "loki-password"):
            login = f"me:{self.destinations[name]['password']}".encode()
            # The ends of what is encoded depend on what stands before and behind.
            self._needles.add(base64.b64encode(login)[4:-4].decode())

    @staticmethod
    def _aws(url: str) -> dict[str, Any]:
        return {
            "region": "eu-west-1",
            "endpoint_url": url,
            "access_key_id": "AKIDEXAMPLE",
            "secret_access_key": planted("/+"),
            "session_token": planted("/+=="),
        }

    def add(self, texts: set[str]) -> None:
        """Look for these too."""
        self._needles |= {text for text in texts if len(text) > _CORE}

    def assert_unsaid(self, said: Mapping[str, str]) -> None:
        """Assert that no secret is in any of these texts, by what said it."""
        found = {
            (who, text[max(0, text.index(needle) - 200) : text.index(needle) + 60])
            for who, text in said.items()
            for needle in self._needles
            if needle in text
        }
        assert found == set()


def _sasl(password: str) -> dict[str, str]:
    return {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": Kafka.sasl_username,
        "sasl.password": password,
    }


def _texts(value: Any) -> Iterator[str]:
    """Return the texts of planted settings that are secrets: those which begin with one, or are a key."""
    if isinstance(value, dict):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, str):
        plain = value.removeprefix("id:").removeprefix("Basic ")
        if "PRIVATE KEY" in value or all(each in "0123456789abcdef" for each in plain[:24].ljust(24, "!")):
            yield plain


def _needles(secret: str) -> Iterator[str]:
    """Return what tells that a secret was said."""
    if "PRIVATE KEY" in secret:
        yield from (line[:24] for line in secret.splitlines() if len(line) > 24 and "-" not in line)
        return
    yield secret[:_CORE]
    yield base64.b64encode(secret.encode())[:16].decode()


@pytest.fixture
def servers() -> Iterator[list[EchoServer]]:
    """As many servers as there may be destinations."""
    with ExitStack() as ended:
        yield [ended.enter_context(EchoServer()) for _ in range(16)]


def write(folder: Path, flow: Mapping[str, Any]) -> Path:
    """Write a flow and return its path."""
    path = folder / "flow.yaml"
    path.write_text(json.dumps(flow), encoding="utf-8")
    return path


def flow_of(folder: Path, plants: Planted, **more: Any) -> dict[str, Any]:
    """Return a flow from a file to every planted destination."""
    quick = {
        "batch": {"max_records": 1, "flush_interval": "50ms"},
        "retry": {"max_retries": 1, "backoff": "5ms", "max_backoff": "10ms"},
        "on_failure": "dead_letter",
        "concurrency": 1,
        "health_interval": "300ms",
    }
    lines = folder / "in.ndjson"
    lines.write_text("".join(f'{{"id":"{number}","message":"m"}}\n' for number in range(RECORDS)))
    return {
        "name": "planted",
        "source": {"type": "file", "path": str(lines)},
        "destinations": {name: {**quick, **each} for name, each in plants.destinations.items()},
        "dead_letter": {"directory": str(folder / "dead")},
        "recovery": {"directory": str(folder / "recovery"), "interval": "200ms"},
        "status": {"listen": f"127.0.0.1:{free_ports(1)[0]}", "token": plants.status_token},
        "stop_timeout": "1s",
        **more,
    }


_AT_ONCE = 4
"""Redrives that run at the same time."""


def _has_met_a_server(redriving: Saying) -> bool:
    return redriving.process.poll() is not None or "stream." in redriving.said()


class Saying:
    """A command that runs, and all that it says; as a context manager nothing of it survives the block."""

    def __init__(self, folder: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        self._folder = folder
        self._name = "-".join(arguments[:3]).replace("/", "_")[:100]
        with self._path("out").open("wb") as out, self._path("err").open("wb") as err:
            self.process = subprocess.Popen(
                [*COMMAND, *arguments], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environment
            )

    def _path(self, stream: str) -> Path:
        return self._folder / f"{self._name}.{stream}"

    def said(self) -> str:
        """Return what it has said so far."""
        return self._path("out").read_text() + self._path("err").read_text()

    def end(self, within: float = 0.0) -> str:
        """Stop it, unless it ends by itself within some seconds; return all that it said."""
        try:
            self.process.wait(within)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(30)
        return self.said()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()


def get(flow: Mapping[str, Any], path: str) -> str:
    """Return what a running flow answers, its headers too."""
    headers = {"authorization": f"Bearer {flow['status']['token']}"}
    request = urllib.request.Request(f"http://{flow['status']['listen']}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return f"{answer.headers}{answer.read().decode()}"
    except HTTPError as error:
        return f"{error.headers}{error.read().decode()}"


def test_every_secret_is_planted() -> None:
    """A destination that has a secret is among those that are tested here, with each of its secrets."""
    plants = Planted(iter([f"http://127.0.0.1:{number}" for number in range(1, 99)]), "b:9092")
    for kind in SINKS:
        given = [each for each in plants.destinations.values() if each["type"] == kind]
        for path in _secret_fields(load_sink(kind)):
            assert any(_at(each, path) for each in given), f"plant {'.'.join(path)} of {kind}"
        assert given or kind in WITHOUT_SECRETS


def _secret_fields(model: type[BaseModel]) -> Iterator[tuple[str, ...]]:
    for name, field in model.model_fields.items():
        if "Secret" in repr(field.annotation) or "Secret" in repr(field.metadata):
            yield (name,)
        for part in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(part, type) and issubclass(part, BaseModel):
                yield from ((name, *rest) for rest in _secret_fields(part))


def _at(value: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


@pytest.mark.kafka
def test_servers_that_repeat_the_request(kafka: Kafka, servers: list[EchoServer], tmp_path: Path) -> None:
    """Whatever a server answers, nothing that is written, served or kept has a secret in it."""
    plants = Planted((server.url for server in servers), kafka.sasl_brokers)
    used = servers[: len(plants.destinations) - 1]
    flow = flow_of(tmp_path, plants)
    path = write(tmp_path, flow)
    said: dict[str, str] = {}
    with Saying(tmp_path, "run", str(path)) as running:
        wanted = 3 * len(ANSWERS)
        until(lambda: all(server.requests > wanted for server in used), "each server has answered in every way", 120)
        until(lambda: "_AUTHENTICATION" in running.said(), "the broker has refused the password")
        for place in PATHS:
            said[f"GET {place}"] = get(flow, place)
        for command in COMMANDS:
            with Saying(tmp_path, *command, str(path)) as asking:
                said[" ".join(command)] = asking.end(60)
        said["run"] = running.end()
    assert '"destinations"' in said["GET /api/status"]
    for event in ("stream.retry", "stream.health", "stream.failed"):
        assert event in said["run"]
    for server in used:
        server.answers = REFUSALS
        plants.add(server.credentials)
    dead = [file.stem for file in tmp_path.glob("dead/*.ndjson")]
    assert len(dead) > 5
    for start in range(0, len(dead), _AT_ONCE):
        with ExitStack() as stack:
            redriving = {
                name: stack.enter_context(Saying(tmp_path, "redrive", "--to", name, "--limit", "3", str(path)))
                for name in dead[start : start + _AT_ONCE]
            }
            for again in redriving.values():
                until(partial(_has_met_a_server, again), "it has been refused")
            said |= {f"redrive {name}": again.end(1) for name, again in redriving.items()}
    for file in [*tmp_path.glob("dead/*"), *tmp_path.glob("recovery/**/*")]:
        if file.is_file():
            said[str(file)] = file.read_bytes().decode("latin-1")
    plants.assert_unsaid(said)


@pytest.mark.kafka
@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"sasl.mechanism": "planted"},
        {"security.protocol": "planted"},
        {"enable.ssl.certificate.verification": "planted"},
        {"sasl.passwrd": "planted"},
        {"ssl.key.pem": "planted", "security.protocol": "SASL_SSL"},
        {"sasl.oauthbearer.config": "planted", "sasl.mechanism": "OAUTHBEARER"},
        {"ssl.ca.location": "planted", "security.protocol": "SASL_SSL"},
    ],
    ids=str,
)
def test_a_source_that_is_refused(kafka: Kafka, tmp_path: Path, wrong: dict[str, str]) -> None:
    """A password that is wrong, or that stands under a wrong name, is not said by what reads Kafka."""
    secret = planted("+/&")
    topic = new_name("refused")
    kafka.create_topic(topic)
    kafka.create_topic(f"{topic}.dead.out")
    settings = _sasl(secret) | {name: secret if value == "planted" else value for name, value in wrong.items()}
    flow = {
        "name": "planted",
        "source": {"type": "kafka", "brokers": [kafka.sasl_brokers], "topics": [topic], "settings": settings},
        "destinations": {"out": {"type": "console"}},
        "dead_letter": {"topic_prefix": f"{topic}.dead."},
        "recovery": {"directory": str(tmp_path / "recovery"), "interval": "200ms"},
        "status": {"listen": "127.0.0.1:0"},
        "stop_timeout": "1s",
    }
    path = write(tmp_path, flow)
    with (
        Saying(tmp_path, "run", str(path)) as running,
        Saying(tmp_path, "check", "--connect", str(path)) as checking,
        Saying(tmp_path, "redrive", "--to", "out", str(path)) as redriving,
    ):
        # A name that no client knows is refused before anything starts.
        ended = running.process.poll
        until(lambda: ended() or "flow.failed" in running.said() or "flow.crashed" in running.said(), "it can't read")
        said = {"run": running.end(), "check": checking.end(30), "redrive": redriving.end(30)}
    for who, text in said.items():
        assert secret[:_CORE] not in text, who


def test_a_secret_in_a_wrong_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is wrong with a file, and wherever in it a secret stands, what is said of it doesn't show it."""
    plants = Planted(iter([f"http://127.0.0.1:{number}" for number in range(1, 99)]), "b:9092")
    checked = 0
    for name, settings in plants.destinations.items():
        for place, secret in _places(settings):
            monkeypatch.setenv("PLANTED", secret)
            for spelt, command in ((secret, ["check"]), ("${PLANTED}", ["check", "--json"])):
                for changed in _mistakes(settings, place, spelt):
                    flow = flow_of(tmp_path, plants, destinations={name: changed})
                    done = CliRunner().invoke(main, [*command, str(write(tmp_path, flow))])
                    # Where a secret is a text like any other, nobody can know it.
                    if done.exit_code:
                        assert done.exit_code == 2, done
                        checked += 1
                        plants.assert_unsaid({f"{name}.{place} {changed}": done.output})
    assert checked > 500


def _places(settings: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from (((name, *rest), secret) for rest, secret in _places(value))
        elif any(True for _ in _texts(value)):
            yield (name,), value


def _mistakes(settings: dict[str, Any], place: tuple[str, ...], secret: str) -> Iterator[dict[str, Any]]:
    """Return the settings with a secret where it doesn't belong, or in a form that it can't have."""
    for wrong in ([secret], {"value": secret}, f"{secret}\n{secret}", f"é{secret}"):
        yield _changed(settings, place, wrong)
    yield _changed(settings, (*place[:-1], f"{place[-1]}x"), secret)
    yield _changed(settings, (*place[:-1], "unknown"), secret)
    yield {**_changed(settings, place, None), "url": f"https://me:{secret}@host"}
    yield {**_changed(settings, place, None), "url": f"https://me:pa/{secret}@host"}
    yield {**_changed(settings, place, None), "url": f"https://host:{secret}"}
    yield {**settings, "batch": {"max_bytes": secret, "flush_interval": secret, "max_records": secret}}
    yield {**settings, "endpoint_url": f"https://me:{secret}@host"}
    for other in load_sink(settings["type"]).model_fields:
        yield {**settings, other: secret}


def _changed(settings: dict[str, Any], place: tuple[str, ...], value: Any) -> dict[str, Any]:
    if len(place) == 1:
        return {**settings, place[0]: value}
    return {**settings, place[0]: _changed(settings[place[0]], place[1:], value)}


def test_a_flow_that_is_printed(tmp_path: Path) -> None:
    """Neither `repr` nor `str` of a loaded flow, of a part of it or of a destination that is open shows a secret."""
    plants = Planted(iter([f"http://127.0.0.1:{number}" for number in range(1, 99)]), "b:9092")
    flow = load(write(tmp_path, flow_of(tmp_path, plants))).flow
    said = {"repr": repr(flow), "str": str(flow), "dump": repr(flow.model_dump()), "json": flow.model_dump_json()}
    for name, settings in flow.destinations.items():
        opened = settings.open(lambda _path: lambda _record: None, None)
        said[name] = f"{settings!r} {settings} {opened!r} {opened}"
        opened.close()
    plants.assert_unsaid(said)


CRASHING = """
import os
import sinks.splunk

def fail(self, *_):
    raise ValueError(f"defect with {self._settings.token.get_secret_value()} and {vars(self._settings)}")

setattr(sinks.splunk.SplunkDestination, os.environ["DEFECT"], fail)
"""


def test_a_defect(servers: list[EchoServer], tmp_path: Path) -> None:
    """An exception that quotes a secret is told without it, with its stack, wherever it happens."""
    plants = Planted((server.url for server in servers), "b:9092")
    (tmp_path / "defect").mkdir()
    (tmp_path / "defect" / "sitecustomize.py").write_text(CRASHING)
    flow = flow_of(tmp_path, plants, destinations={"splunk": plants.destinations["splunk"]})
    flow["source"] = {"type": "generate", "rate": 1}
    # It is asked for its health before anything is sent.
    flow["destinations"]["splunk"] |= {"health_interval": "1ms", "batch": {"flush_interval": "1s"}}
    path = str(write(tmp_path, flow))
    write_letters(tmp_path / "dead", [letter(1)], destination="splunk")
    said = {}
    for command, defect in (
        (["run"], "encode"),
        (["redrive", "--to", "splunk"], "encode"),
        (["run"], "probe"),
        (["check", "--connect"], "probe"),
    ):
        environment = {"PYTHONPATH": f"{tmp_path / 'defect'}:{ROOT}", "PATH": "/usr/bin:/bin", "DEFECT": defect}
        with Saying(tmp_path, *command, path, environment=environment) as running:
            until(lambda run=running: "defect with" in run.said(), f"{command} has failed")  # type: ignore[misc]
            said[f"{command} {defect}"] = running.end()
    for who, text in said.items():
        assert "ValueError: defect with ***" in text, who
        # What fails on a record is told with its place, and anything else with its whole stack.
        assert "Traceback" in text or ("encode" in who and "(fail)" in text), who
    plants.assert_unsaid(said)
