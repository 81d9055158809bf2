"""What the tests of troubles share: a failure is met both by a record that is sent and by a health check."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from logweir.batch import Batch
from operators.decode import Decoder
from operators.formats import LOGWEIR
from operators.projection import Projection
from sinks.compression import compress
from sinks.destination import Hold, Probed, Records, probed
from sinks.settings import CommonDestination
from tests.servers.cloud import Answer

Way = Literal["send", "probe"]
WAYS: tuple[Way, ...] = ("send", "probe")


@dataclass(frozen=True, slots=True)
class Trouble:
    """A failure, and the words that tell a person what to do."""

    name: str
    answer: Answer
    """The service's own, as its documentation or its users quote it."""
    words: tuple[str, ...]

    def __str__(self) -> str:
        return self.name


def ask(settings: CommonDestination, way: Way, **record: Any) -> Probed:
    """Send one record of now, or ask for the destination's health; return what is told."""
    projection = Projection(settings.fields(), LOGWEIR)
    destination = settings.open(projection.getter, None)
    try:
        if way == "probe":
            return destination.probe()
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        value = orjson.dumps({"id": "1", "timestamp": moment, "message": "m", **record})
        batch = Batch("logs", 0, [value], range(1))
        Decoder(projection, identified=settings.identified)(batch)
        body = destination.frame(destination.encode(Records.of(batch, written=destination.limits.written)))
        return probed(destination.send(compress(body, destination.compression), 1))
    finally:
        destination.close()


def held(found: Probed, *words: str, secret: str = "") -> str:
    """Check that something is held for a person, with these words and without the secret; return the issue."""
    assert isinstance(found, Hold), found
    assert all(word in found.issue for word in words), (words, found.issue)
    assert not secret or secret not in found.issue
    return found.issue
