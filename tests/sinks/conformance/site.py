"""A destination under test: its server, its settings, how to read back what was taken, and how to make it fail."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, NamedTuple, Self

import orjson

from sinks.destination import UNLIMITED
from sinks.settings import CommonDestination
from tests.servers.cloud import Answer, dumped
from tests.servers.proxy import Proxy
from tests.servers.tls import ELSEWHERE, Authority
from tests.sinks.cloud_support import Engine
from tests.sinks.conformance.faults import (
    ALL_REFUSED,
    ANSWERS,
    FORBIDDEN,
    GARBAGE,
    NO_ROOM,
    ONE_BREAKS_IT,
    ONE_IN_OTHER_WORDS,
    ONE_REFUSED,
    PROXY_AUTH,
    SOME_BUSY,
    TOLD_TO_WAIT,
    TOO_LARGE,
    TOO_MANY,
    UNAUTHORIZED,
    WRONG_NAME,
    Fault,
    Word,
)

HTML = {"Content-Type": "text/html"}
TOLD_SECONDS = 1
"""What Retry-After asks for."""
MANY = 6
"""Records that meet a fault."""
MORE = 25
"""Records that are refused one by one: more than the engine takes for the records' own fault."""
SMALL = 20_000
"""Bytes of a request, where the limit is set by the test."""
POISON = "poison"
"""A record with this in it is the one at fault."""

WHOLE = "it takes a request whole, or not at all"
TOLD_OTHERWISE = "the service tells its own trouble as 500 or 503"


Variants = tuple[dict[str, Any], ...]


class Sent(NamedTuple):
    """A record that was delivered."""

    record: dict[str, Any]
    offset: int
    value: bytes


class Longest(NamedTuple):
    """The longest record that is taken."""

    measure: Callable[[bytes], int]
    """Gives a record's size."""
    limit: int
    cause: str
    """Of the dead letter of a longer one."""
    slack: int = 0
    """How much less is tried, where the service adds something to a record whose size isn't known."""


def stamp(age: float = 0.0) -> str:
    """Return the time of so many seconds ago."""
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(time.time() - age))


class Site:
    """One destination with its server, new for each test; as a context manager it is there inside the block.

    Args:
        folder: For its files.
        fault: What it is going to meet; None: it stays well.
        real: The real server, if it needs one.
        authority: Vouches for the server, where that matters.
    """

    kind: ClassVar[str]
    """In `sinks.SINKS`."""
    needs: ClassVar[str] = ""
    """The fixture of the real server."""
    causes: ClassVar[frozenset[str]] = frozenset()
    """Of dead letters of records that are valid, and still not taken: those of another time."""
    variants: ClassVar[Variants] = ({},)
    """Settings that change the wire format."""
    sizing: ClassVar[dict[str, Any]] = {}
    """Settings by which the size of a request can be told before it is sent."""
    absent: ClassVar[Mapping[Fault, str]] = {}
    """Faults that can't happen, and why."""
    words: ClassVar[Mapping[Fault, Word]] = {}
    """What becomes of the records where that is another than with most destinations."""
    unnamed: ClassVar[bool] = False
    """Whether nobody is told which record of a request was refused, so that all of them are set aside."""
    patient: ClassVar[bool] = False
    """Whether the destination repeats by itself what failed, so that the engine need not."""

    def __init__(
        self, folder: Path, fault: Fault | None = None, real: Any = None, authority: Authority | None = None
    ) -> None:
        self.folder = folder
        self.fault = fault
        self.real = real
        self.stack = ExitStack()
        self.proxy: Proxy | None = None
        self.authority = authority if fault is WRONG_NAME else None

    def secrets(self) -> set[str]:
        """Return what the settings hold, or was made of it, that nobody may see."""
        return set()

    def settings(self, **changes: Any) -> CommonDestination:
        """Return the settings, which lead to the server."""
        raise NotImplementedError

    def opened(self, run: Engine) -> None:
        """Do what is to be done once the engine has opened the destination."""

    def taken(self) -> list[Any]:
        """Return what the server has taken, in any order and form."""
        raise NotImplementedError

    def same(self, sent: Sent, got: Any) -> bool:
        """Tell whether something that was taken is the very record that was sent."""
        return dump(sent.record) == dump(got)

    def forgets(self, sent: Sent) -> bool:
        """Tell whether a server that is not ours is known to lose this record without a word."""
        del sent
        return False

    def identity(self, got: Any) -> str | None:
        """Return what the server tells a record by; None where it knows no such thing."""
        del got
        return None

    def number(self, got: Any) -> int:
        """Return the `n` of a record that was taken."""
        return int(got["n"])

    def arrivals(self) -> list[float]:
        """Return when each request came, in seconds of the monotonic clock."""
        return []

    def made(self) -> Any:
        """Return all that there is at the server which a health check might have made."""
        return self.taken()

    def violations(self) -> list[str]:
        """Return what the server was sent that it never may be."""
        return []

    def longest(self, run: Engine) -> Longest | None:
        """Return the longest record that is taken, having set it where it can be set; None where there is none."""
        limit = run.destination.limits.record_bytes
        measure = lambda value: len(run.encoded(value)[0])  # noqa: E731  a stand-in for a method of two objects
        return Longest(measure, limit, "record too large") if limit < UNLIMITED else None

    def largest(self, run: Engine) -> int | None:
        """Return the bytes of the largest request, having set it where it can be set; None where there is none."""
        limit = run.destination.limits.request_bytes
        return limit if limit < UNLIMITED else None

    def record(self, number: int, age: float = 0.0, **more: Any) -> bytes:
        """Return a record."""
        made = {"id": f"r-{number}", "timestamp": stamp(age), "level": "info", "message": f"m{number}", "n": number}
        return orjson.dumps(made | more)

    def poison(self, number: int) -> bytes:
        """Return a record that is at fault."""
        return self.record(number, message=POISON)

    def batch(self, fault: Fault) -> list[bytes]:
        """Return the records that meet the fault."""
        made = [self.record(number) for number in range(1, (MORE if fault is ALL_REFUSED else MANY) + 1)]
        if fault in {ONE_IN_OTHER_WORDS, ONE_BREAKS_IT}:
            made[2] = self.record(3, message=POISON)
        if fault is ONE_REFUSED:
            made[2] = self.poison(3)
        return made

    def begin(self, fault: Fault) -> None:
        """Make it fail."""
        assert self.proxy is not None
        if fault is WRONG_NAME:
            assert self.authority is not None
            self.proxy.context = self.authority.context(ELSEWHERE)
            self.proxy.drop()
        else:
            self.proxy.fail(fault.way)

    def end(self, fault: Fault) -> None:
        """Make it well again."""
        assert self.proxy is not None
        if fault is WRONG_NAME:
            assert self.authority is not None
            self.proxy.context = self.authority.context()
        else:
            self.proxy.heal()

    def met(self) -> bool:
        """Tell whether something that was sent has met the fault."""
        return self.proxy is not None and self.proxy.met > 0

    def front(self, port: int, own: int = 0) -> str:
        """Return where to connect to: a proxy before this port, if something is to fail or it has a port of its own."""
        if self.fault is None and not own:
            return f"127.0.0.1:{port}"
        self.proxy = self.stack.enter_context(Proxy(port, own))
        if self.authority is not None:
            self.proxy.context = self.authority.context()
        return f"127.0.0.1:{self.proxy.port}"

    def start(self) -> None:
        """Start the server."""

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.stack = stack
            self.start()
            self.stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stack.close()


class HttpSite(Site):
    """A destination whose server speaks HTTP and is one of ours."""

    own: ClassVar[Mapping[Fault, Answer]] = {}
    """The service's own answers; where there is none, a proxy's on the way."""
    absent = {NO_ROOM: TOLD_OTHERWISE}
    server: Any
    lost_key: tuple[str, Any]
    """What of the server makes it refuse the credential: the attribute's name, and its value then."""

    def made_server(self) -> Any:
        """Return the server, not yet started."""
        raise NotImplementedError

    def configured(self, url: str, **changes: Any) -> CommonDestination:
        """Return settings with this address."""
        raise NotImplementedError

    def start(self) -> None:
        """Start the server."""
        self.server = self.stack.enter_context(self.made_server())
        scheme = "https" if self.authority else "http"
        self.url = f"{scheme}://" + self.front(int(self.server.url.rpartition(":")[2]))
        self._kept: Any = None

    def settings(self, **changes: Any) -> CommonDestination:
        """Return the settings, which lead to the server."""
        return self.configured(self.url, **changes)

    def violations(self) -> list[str]:
        """Return what the server was sent that it never may be."""
        return list(self.server.violations)

    def arrivals(self) -> list[float]:
        """Return when each request came, in seconds of the monotonic clock."""
        return list(self.server.arrivals)

    def answer(self, fault: Fault) -> Answer:
        """Return how a request is answered."""
        if fault is TOLD_TO_WAIT:
            found = self.own.get(fault) or self.own.get(TOO_MANY) or Answer(429, b"slow down")
            return Answer(found.status, found.body, {**found.headers, "Retry-After": str(TOLD_SECONDS)})
        page = b"<html>a page of a proxy</html>"
        return self.own.get(fault) or Answer(fault.status, page, HTML)

    def plant(self, *answers: Answer | None) -> None:
        """Answer the next requests like this, one after another; None: as usual."""
        self.server.script.extend(answers)

    def answer_all(self, answer: Answer | None) -> None:
        """Answer all requests like this; None: as usual."""
        self.server.fault = answer

    def judge(self, answer: Answer) -> None:
        """Answer like this to each request that has the record at fault in it."""
        self.server.judge = lambda body: answer if POISON.encode() in body else None

    def echo(self, status: int) -> None:
        """Answer everything with what was sent, as an error of whatever service it may be."""

        def repeated(_: str, headers: Mapping[str, str], *_body: bytes) -> Answer:
            return Answer(status, repeat(headers))

        self.server.handle = repeated
        self.server.look = lambda method, path, headers: repeated(path, headers)

    def begin(self, fault: Fault) -> None:
        """Make it fail."""
        if fault is UNAUTHORIZED:
            name, value = self.lost_key
            self._kept = getattr(self.server, name)
            setattr(self.server, name, value)
        elif fault in {TOO_LARGE, TOLD_TO_WAIT}:
            self.plant(self.answer(fault))
        elif fault in {FORBIDDEN, GARBAGE, PROXY_AUTH, ALL_REFUSED, *ANSWERS}:
            self.answer_all(self.answer(fault))
        elif fault in {ONE_IN_OTHER_WORDS, ONE_BREAKS_IT}:
            self.judge(Answer(fault.status, b"<html>a page of a proxy</html>", HTML))
        elif fault is ONE_REFUSED:
            self.refuse_poison()
        elif fault is SOME_BUSY:
            self.take_some()
        else:
            super().begin(fault)

    def end(self, fault: Fault) -> None:
        """Make it well again."""
        if fault is UNAUTHORIZED:
            setattr(self.server, self.lost_key[0], self._kept)
        elif fault in {FORBIDDEN, PROXY_AUTH, ALL_REFUSED, *ANSWERS}:
            self.answer_all(None)
        elif fault.way or fault is WRONG_NAME:
            super().end(fault)

    def refuse_poison(self) -> None:
        """Refuse the record that is at fault."""
        self.server.poison = POISON.encode()

    def take_some(self) -> None:
        """Take some of the next records and not the others, this once."""
        raise NotImplementedError


def repeat(headers: Mapping[str, str]) -> bytes:
    """Return an error that shows the headers of a request, where any of the services has its words."""
    text = "; ".join(f"{name}: {value}" for name, value in headers.items())
    error = {"type": "planted", "reason": text, "message": text, "status": "PLANTED"}
    return dumped({"error": error, "errors": [text], "text": text, "code": 6, "message": text, "__type": "Planted"})


def dump(record: Any) -> str:
    """Return a record as text that is the same for what is the same in JSON, and for nothing else."""
    return json.dumps(record, sort_keys=True)
