"""What the tests of the cloud destinations share: the real delivery engine around one, and records that are odd."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from logweir.batch import Batch, ReadAt
from logweir.events import Events
from operators.decode import Decoder
from operators.formats import LOGWEIR, Format
from operators.projection import Projection
from sinks.deadletter import DirectoryDeadLetters
from sinks.decide import Policy
from sinks.delivering import Delivering
from sinks.delivery import Delivery
from sinks.destination import Destination, Records
from sinks.flight import Flight
from sinks.settings import CommonDestination

ODD = [
    '{"message":"é ü 日本 \U0001f600 \u2028 \ufeff"}'.encode(),
    rb'{"message":"\u0000 \u001f \u007f \" \\ \n \r\n \t \ud83d\ude00"}',
    rb'{"message":"cut \ud83d...","x\udfff":"\ude00","more":{"a":"\ud83d"},"@timestamp":"2026-11-01T10:00:00Z"}',
    b'{"message":""}',
    b'{"n":123456789012345678901234567890,"f":1.5e-300,"i":-0,"b":[true,false,null],"o":{}}',
    b'{"message":null,"level":null,"timestamp":null,"trace":null,"context":null}',
    b'{"message":"|\\n}","timestamp":17}',
    b'{ "message" : "spaced" , "level" : "WARNING" } ',
]
"""Records that each destination has to carry as they are."""
PATIENCE_SECONDS = 60.0
"""How long something may take that has to happen, on a machine that has much else to do."""


class Engine:
    """The delivery engine with one destination, and what became of its records."""

    def __init__(self, settings: CommonDestination, folder: Path, **changes: Any) -> None:
        self.projection = Projection(settings.fields(), LOGWEIR)
        self.identified = settings.identified
        self.destination: Destination = settings.open(self.projection.getter, None)
        self._folder = folder
        self.told: list[dict[str, Any]] = []
        events = Events()
        events.listen(self.told.append)
        policy = Policy(max_retries=2, backoff=0.01, max_backoff=0.03)
        values: dict[str, Any] = {
            "name": "d",
            "policy": policy,
            "flush_interval": 0.1,
            "max_bytes": 1 << 40,
            **changes,
        }
        letters = DirectoryDeadLetters(folder, "d", 0)
        self.delivery = Delivery(Delivering(**values), self.destination, letters, Flight(1 << 40), events)
        self._offset = 0

    def batch(self, *values: bytes) -> Batch:
        """Return the next records as decode leaves them."""
        batch = Batch("logs", 0, list(values), range(self._offset, self._offset + len(values)))
        self._offset += len(values)
        Decoder(self.projection, identified=self.identified)(batch)
        assert not batch.account.rejected
        return batch

    def records(self, *values: bytes) -> Records:
        """Return the columns of a request."""
        batch = self.batch(*values)
        return Records.of(batch, written=self.destination.limits.written)

    def encoded(self, *values: bytes) -> list[bytes]:
        """Return the pieces of records, which are not sent."""
        batch = Batch("logs", 0, list(values), range(len(values)))
        Decoder(self.projection, identified=self.identified)(batch)
        return self.destination.encode(Records.of(batch, written=self.destination.limits.written))

    def request_size(self, *values: bytes) -> int:
        """Return the size of a request of these records."""
        return len(self.destination.frame(self.encoded(*values)))

    def write(self, *values: bytes) -> None:
        """Hand records to the engine."""
        self.delivery.write([self.batch(*values)])

    def deliver(self, *values: bytes) -> None:
        """Hand records to the engine, and wait until each is settled."""
        self.write(*values)
        deadline = time.monotonic() + PATIENCE_SECONDS
        self.delivery.barrier(lambda: deadline)
        ledger = self.delivery.ledger
        assert ledger.delivered + sum(ledger.dead_lettered.values()) == ledger.read == self._offset

    def until(self, condition: Callable[[], Any]) -> None:
        """Wait until something is so."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert condition(), self.delivery.status()

    def issue(self) -> str:
        """Return the issue once there is one."""
        self.until(lambda: self.delivery.status()["issue"])
        return str(self.delivery.status()["issue"])

    def letters(self) -> list[dict[str, Any]]:
        """Return the dead letters."""
        path = self._folder / "d.ndjson"
        return [orjson.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []

    def said(self) -> str:
        """Return everything that a person could read of it."""
        return repr((self.told, self.delivery.status(), self.letters()))


@contextmanager
def engine(settings: CommonDestination, folder: Path, **changes: Any) -> Iterator[Engine]:
    """Run the engine inside the block."""
    made = Engine(settings, folder, **changes)
    try:
        yield made
    finally:
        made.delivery.close()


class Encoder:
    """Encodes records for a destination that sends nothing.

    A destination is made once for the same settings: its connection pool takes longer than all else here.

    Args:
        configured: Makes the settings from what a test changes of them.
        arrived: Epoch seconds at which every record was read.
    """

    def __init__(self, configured: Callable[..., CommonDestination], arrived: float) -> None:
        self._configured = configured
        self._arrived = arrived
        self.made: dict[str, tuple[Decoder, Destination]] = {}

    def __call__(self, *values: bytes, layout: Format = LOGWEIR, **changes: Any) -> list[bytes]:
        """Return the pieces of some records."""
        name = f"{layout.name} {changes}"
        if name not in self.made:
            settings = self._configured(**changes)
            projection = Projection(settings.fields(), layout)
            decode = Decoder(projection, identified=settings.identified)
            self.made[name] = decode, settings.open(projection.getter, None)
        decode, taker = self.made[name]
        batch = Batch("logs", 0, list(values), range(len(values)), origin=ReadAt(self._arrived))
        decode(batch)
        assert not batch.account.rejected
        return taker.encode(Records.of(batch, written=taker.limits.written))
