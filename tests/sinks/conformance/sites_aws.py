"""Destinations at AWS, each with its strict stand-in."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from typing import Any

import zstandard

from sinks.cloudwatch_answers import EXPIRED
from sinks.destination import Limits
from sinks.settings import CommonDestination
from sinks.window import TOO_NEW, TOO_OLD
from tests.servers import cloudwatch, s3
from tests.servers.cloud import Answer
from tests.servers.cloudwatch import FakeCloudWatch
from tests.servers.s3 import FakeS3
from tests.sinks import test_cloudwatch, test_s3
from tests.sinks.cloud_support import Engine
from tests.sinks.conformance.faults import (
    BROKEN,
    FORBIDDEN,
    POISONED,
    SOME_BUSY,
    TIMED_OUT,
    TOLD_TO_WAIT,
    TOO_LARGE,
    TOO_MANY,
    UNAVAILABLE,
    Fault,
)
from tests.sinks.conformance.site import MANY, SMALL, WHOLE, HttpSite

NOT_TOLD = "AWS doesn't say how long to wait"


class CloudWatchSite(HttpSite):
    kind = "cloudwatch"
    server: FakeCloudWatch
    causes = frozenset({TOO_OLD, TOO_NEW, EXPIRED})
    own = {
        FORBIDDEN: cloudwatch.denial("PutLogEvents"),
        TOO_MANY: cloudwatch.error(400, "ThrottlingException", "Rate exceeded"),
        BROKEN: cloudwatch.error(500, "InternalFailure", "planted"),
        UNAVAILABLE: cloudwatch.error(503, "ServiceUnavailableException", "planted"),
    }
    absent = {**HttpSite.absent, TOLD_TO_WAIT: NOT_TOLD}
    lost_key = ("secret", "another")

    def secrets(self) -> set[str]:
        return {test_cloudwatch.SECRET, test_cloudwatch.TOKEN}

    def made_server(self) -> FakeCloudWatch:
        made = FakeCloudWatch(test_cloudwatch.SECRET)
        made.token = test_cloudwatch.TOKEN
        return made

    def configured(self, url: str, **changes: Any) -> CommonDestination:
        return test_cloudwatch.configured(url, session_token=test_cloudwatch.TOKEN, create=True, **changes)

    def taken(self) -> list[dict[str, Any]]:
        return [json.loads(message) for message in self.server.messages()]

    def made(self) -> Any:
        return {group: list(streams) for group, streams in self.server.streams.items()}, self.server.puts

    def poison(self, number: int) -> bytes:
        return self.record(number, 15 * 86_400)

    def batch(self, fault: Fault) -> list[bytes]:
        if fault is SOME_BUSY:
            # A request spans a day at most.
            return [self.record(number, 25 * 3600 * (number % 2)) for number in range(1, MANY + 1)]
        return super().batch(fault)

    def refuse_poison(self) -> None:
        """It refuses what is too old."""

    def take_some(self) -> None:
        self.plant(None, self.answer(TOO_MANY))


class S3Site(HttpSite):
    kind = "s3"
    server: FakeS3
    variants = ({}, {"compression": False}, {"compression": "zstd"})
    sizing = {"compression": False}
    own = {
        FORBIDDEN: s3.error(403, "AccessDenied", "User: x is not authorized to perform: s3:PutObject"),
        TIMED_OUT: s3.error(400, "RequestTimeout", "Your socket connection to the server was not read from"),
        TOO_LARGE: s3.error(400, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size"),
        TOO_MANY: s3.error(503, "SlowDown", "Please reduce your request rate."),
        BROKEN: s3.error(500, "InternalError", "We encountered an internal error. Please try again."),
        UNAVAILABLE: Answer(503, b"", s3.XML),
    }
    absent = {
        **HttpSite.absent,
        TOLD_TO_WAIT: NOT_TOLD,
        **dict.fromkeys(POISONED, "an object is stored whatever is in it"),
        SOME_BUSY: WHOLE,
    }
    lost_key = ("secret", "another")

    def secrets(self) -> set[str]:
        return {test_s3.SECRET, test_s3.TOKEN}

    def made_server(self) -> FakeS3:
        made = FakeS3(test_s3.SECRET)
        made.token = test_s3.TOKEN
        return made

    def configured(self, url: str, **changes: Any) -> CommonDestination:
        return test_s3.configured(url, session_token=test_s3.TOKEN, **changes)

    def taken(self) -> list[dict[str, Any]]:
        return [json.loads(line) for lines in self._objects() for line in lines]

    def largest(self, run: Engine) -> int:
        run.destination.limits = Limits(request_bytes=SMALL)
        return SMALL

    def _objects(self) -> list[list[bytes]]:
        unpack: dict[str, Callable[[bytes], bytes]] = {
            "gz": gzip.decompress,
            "zst": zstandard.ZstdDecompressor().decompress,
            "ndjson": bytes,
        }
        return [unpack[name.rpartition(".")[2]](body).splitlines() for name, body in self.server.objects().items()]
