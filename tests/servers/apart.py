"""Stand-ins for five services, each in a process of its own, so that what they cost is not the flow's to bear.

A pipe tells such a process what to do. It keeps of each record that it takes no more than the id.
"""

from __future__ import annotations

import multiprocessing
import secrets
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

import orjson

from tests.servers.bulk import own_id
from tests.servers.cloud import Answer, CloudServer
from tests.servers.cloudwatch import FakeCloudWatch
from tests.servers.datadog import FakeDatadog
from tests.servers.elastic import FakeElastic, Fault
from tests.servers.gcp import FakeLogging, key_pair
from tests.servers.splunk import FakeSplunk

KINDS = ("cloudwatch", "datadog", "elasticsearch", "gcp", "splunk")
DEDUPING = {"elasticsearch", "gcp"}
"""Those that have a record once, however often it is sent."""
Failure = Literal["refused", "503"]
"""How a service is down: nobody listens, or it answers each request by an error."""
_SECONDS = 120.0


class Apart:
    """One service; as a context manager its process lives inside the block.

    Args:
        kind: The type of the destination.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        key, public = key_pair() if kind == "gcp" else (secrets.token_hex(16), "")
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(kind, public or key, theirs), daemon=True)
        self._process.start()
        theirs.close()
        self.url = str(self._receive())
        own: dict[str, dict[str, Any]] = {
            "cloudwatch": {
                "region": FakeCloudWatch.region,
                "access_key_id": FakeCloudWatch.access_key,
                "secret_access_key": key,
                "log_group": "logs",
                "log_stream": "stream",
            },
            "datadog": {"api_key": key},
            "elasticsearch": {"index": "logs", "api_key": key},
            "gcp": {
                "project_id": "project-1",
                "credentials": {"client_email": FakeLogging.email, "private_key": key},
            },
            "splunk": {"token": key},
        }
        place = "endpoint_url" if kind == "cloudwatch" else "url"
        self.settings: dict[str, Any] = {"type": kind, place: self.url, **own[kind]}
        """Of the destination, in a flow file."""

    def taken(self) -> int:
        """Return how many records it has taken."""
        return int(self._ask("taken"))

    def ids(self) -> list[str]:
        """Return the ids of what it has, as often as it has them."""
        found: list[str] = self._ask("ids")
        return found

    def violations(self) -> list[str]:
        """Return the requests that no client of ours may ever send."""
        found: list[str] = self._ask("violations")
        return found

    def fail(self, after: int, failure: Failure) -> None:
        """Be down from the next request but `after` on; the one at which it goes down may have been taken."""
        self._ask("fail", after, failure)

    def requests(self) -> int:
        """Return how many requests have come."""
        return int(self._ask("requests"))

    def stop(self) -> None:
        """Stop listening, and close every connection."""
        self._ask("stop")

    def mend(self) -> None:
        """Listen and answer as usual."""
        self._ask("mend")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._pipe.send(None)
        self._process.join(10)
        self._process.kill()

    def _ask(self, what: str, *arguments: Any) -> Any:
        self._pipe.send((what, arguments))
        return self._receive()

    def _receive(self) -> Any:
        assert self._pipe.poll(_SECONDS), f"{self.kind} doesn't answer"
        return self._pipe.recv()


class _Ids(list[Any]):
    """A list of what a server takes that keeps the ids alone."""

    def __init__(self, identify: Callable[[Any], str]) -> None:
        super().__init__()
        self._identify = identify

    def __iadd__(self, taken: Any) -> Self:  # type: ignore[misc]  # as a list it would add all
        self.extend(map(self._identify, taken))
        return self


class _Keys(dict[Any, Any]):
    """A dictionary of what a server takes that keeps the keys alone."""

    def __setitem__(self, key: Any, _value: Any) -> None:
        super().__setitem__(key, None)


class _Nothing(list[Any]):
    """Keeps nothing of what is added."""

    def append(self, _each: Any) -> None:
        """Forget it."""

    def update(self, _some: Any) -> None:
        """Forget them."""


class _Opened(NamedTuple):
    server: Any
    kept: _Ids | _Keys


def _open(kind: str, secret: str) -> _Opened:
    """Return a server, and what it keeps the ids in."""
    server: Any
    kept: _Ids | _Keys
    if kind == "cloudwatch":
        server, kept = FakeCloudWatch(secret), _Ids(lambda event: orjson.loads(event[1])["id"])
        server.streams["logs"]["stream"] = kept
    elif kind == "datadog":
        server, kept = FakeDatadog(secret), _Ids(lambda log: log["id"])
        server.logs, server.bodies = kept, _Nothing()
    elif kind == "splunk":
        server, kept = FakeSplunk(secret), _Ids(lambda event: event["event"]["id"])
        server.events, server.sent = kept, _Nothing()
    elif kind == "gcp":
        server, kept = FakeLogging(secret), _Keys()
        server.entries = kept
    else:
        server, kept = FakeElastic(), _Keys()
        server.docs, server.seen, server.authorization = kept, _Nothing(), f"ApiKey {secret}"
    return _Opened(server, kept)


def _ids(kind: str, kept: _Ids | _Keys) -> list[str]:
    if isinstance(kept, _Ids):
        return list(kept)
    return [own_id(key[0]) if kind == "gcp" else key[1] for key in kept]


def _fail(server: CloudServer | FakeElastic, after: int, failure: Failure) -> None:
    if isinstance(server, FakeElastic):
        server.script(*[None] * after)
        server.fault = Fault(503) if failure == "503" else Fault(close="before")
    else:
        server.script.extend([None] * after)
        server.fault = Answer(503) if failure == "503" else Answer(close=True)


def _mend(server: CloudServer | FakeElastic) -> None:
    server.stop()
    server.fault = None
    server.start()


def _serve(kind: str, secret: str, pipe: Connection) -> None:
    """Be the process."""
    server, kept = _open(kind, secret)
    does: dict[str, Callable[..., Any]] = {
        "taken": lambda: len(kept),
        "ids": lambda: _ids(kind, kept),
        "requests": lambda: server.requests,
        "violations": lambda: server.violations,
        "fail": lambda *arguments: _fail(server, *arguments),
        "stop": server.stop,
        "mend": lambda: _mend(server),
    }
    with server:
        pipe.send(server.url)
        with suppress(EOFError):
            while (asked := pipe.recv()) is not None:
                what, arguments = asked
                pipe.send(does[what](*arguments))
