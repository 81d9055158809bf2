"""Amazon CloudWatch Logs, by PutLogEvents.

Protocol: "PutLogEvents" in the Amazon CloudWatch Logs API Reference, which is also in botocore's service model.

    a request is at most 1,048,576 bytes: the messages in UTF-8, and 26 bytes for each event
    and at most 10,000 events, in chronological order, that span no more than 24 hours
    an event is at most 1 MB, which the size of a request bounds further
    events older than 14 days or than the group's retention, or more than 2 hours ahead, are refused one by one; the
    answer is 200, and which ones it were stands in `rejectedLogEventsInfo`, as indexes of the request's events
    nothing is deduplicated: an event that is sent again is stored again

boto3 finds the credentials, signs, and connects. The request's body is made here: botocore's own serializer costs more
than the whole rest of the way.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, Literal

import orjson
from pydantic import Field, field_validator

from logweir.units import Bytes
from sinks.aws import AwsClient, AwsDestination
from sinks.cloudwatch_answers import MISSING, read_answer, read_error
from sinks.destination import Delivered, Getter, Hold, Limits, Outcome, Partial, Probed, Records, Retry, probed
from sinks.settings import BatchSettings, env_field

MAX_REQUEST_BYTES = 1_048_576
MAX_EVENTS = 10_000
EVENT_OVERHEAD = 26
MAX_MESSAGE_BYTES = MAX_REQUEST_BYTES - EVENT_OVERHEAD
MAX_SPAN_MS = 24 * 3600 * 1000

_TIME_WIDTH = EVENT_OVERHEAD - 1
"""A piece is its time in milliseconds, this wide, and the record; with the newline behind it the size of a body is the
service's own formula."""
_LATEST = 10**15 - 1
_GROUP = re.compile(r"[.\-_/#A-Za-z0-9]{1,512}")
_RACES = re.compile(r"\d+ (ResourceAlreadyExistsException|OperationAbortedException)\b")
_DENIED = re.compile(r"\d+ AccessDenied")
_STREAM = re.compile(r"[^:*]{1,512}")


class CloudWatchBatch(BatchSettings):
    """When a request is sent: as soon as one of the limits is reached."""

    max_bytes: Bytes = Field(
        900_000, gt=0, description="The most bytes of records in one request; each counts 26 more to the service."
    )


class CloudWatch(AwsDestination):
    """A log stream of Amazon CloudWatch Logs."""

    type: Literal["cloudwatch"] = Field(description="Amazon CloudWatch Logs.")
    log_group: str = env_field("AWS_LOG_GROUP", description="Log group.")
    log_stream: str = env_field("AWS_LOG_STREAM", default="logweir", description="Log stream in the group.")
    create: bool = Field(False, description="Create the log group and the log stream when they don't exist.")
    batch: CloudWatchBatch = Field(default_factory=CloudWatchBatch, description="When a request is sent.")

    @field_validator("log_group")
    @classmethod
    def _group_name(cls, value: str) -> str:
        if not _GROUP.fullmatch(value):
            msg = "must be 1 to 512 of a-z, A-Z, 0-9 and . - _ / #"
            raise ValueError(msg)
        return value

    @field_validator("log_stream")
    @classmethod
    def _stream_name(cls, value: str) -> str:
        if not _STREAM.fullmatch(value):
            msg = "must be 1 to 512 characters, and have no : and no *"
            raise ValueError(msg)
        return value

    def fields(self) -> set[str]:
        """Return the field that an event's time comes from."""
        return {"timestamp"}

    def open(self, getter: Callable[[str], Getter], resume: Any, partition: int = 0) -> CloudWatchDestination:
        """Return the destination; it connects with the first request."""
        del getter, resume, partition
        return CloudWatchDestination(self)


class CloudWatchDestination:
    """Sends PutLogEvents requests, and reads which events the service refused.

    Args:
        settings: The destination's settings.
    """

    limits = Limits(
        request_bytes=MAX_REQUEST_BYTES, request_records=MAX_EVENTS, record_bytes=MAX_MESSAGE_BYTES + _TIME_WIDTH
    )
    compression: str | None = None
    serial = False

    def __init__(self, settings: CloudWatch) -> None:
        self._settings = settings
        head = {"logGroupName": settings.log_group, "logStreamName": settings.log_stream}
        self._head = orjson.dumps(head)[:-1] + b',"logEvents":['
        self._exchange = threading.local()
        """The body on its way out and the answer on its way back, each a sender thread's own."""
        self._creating = threading.Lock()
        self._created = 0
        """How often the group or the stream was created."""
        self._aws = AwsClient(settings, "logs", self._prepare)

    def encode(self, records: Records) -> list[bytes]:
        """Return each record behind its time in milliseconds."""
        millis = [round(moment.timestamp() * 1000) for moment in map(datetime.fromisoformat, records.times)]
        return [b"%25d%b" % (time, value) for time, value in zip(millis, records.values, strict=True)]

    def frame(self, pieces: list[bytes]) -> bytes:
        """Return the pieces as lines; `send` makes JSON of them, in chronological order."""
        return b"\n".join([*pieces, b""])

    def send(self, body: bytes, count: int) -> Outcome:
        """Send the events in order of their time, by one request for each 24 hours that they span."""
        events = body.split(b"\n")[:-1]
        # Of one width, so that they compare as the numbers do.
        times = [event[:_TIME_WIDTH] for event in events]
        order: Sequence[int] = range(count)
        if sorted(times) != times:
            order = sorted(order, key=times.__getitem__)
        parts = list(_windows(order, times))
        if len(parts) == 1:
            return self._put(events, order)
        rejected: dict[int, tuple[str, str]] = {}
        for number, part in enumerate(parts):
            outcome = self._put(events, part)
            if isinstance(outcome, Partial):
                rejected |= outcome.rejected
            elif not isinstance(outcome, Delivered):
                return _remaining(outcome, parts[number:], rejected) if number else outcome
        return Partial(rejected, certain=True) if rejected else Delivered()

    def probe(self) -> Probed:
        """Look for the group and the stream. Credentials that may only write aren't told, and are proven by that."""
        found = self._call("describe_log_streams")
        if isinstance(found, bytes):
            return self._found(found)
        if isinstance(found, Hold) and _DENIED.match(found.issue):
            return Delivered()
        if self._settings.create and isinstance(found, Hold) and MISSING in found.issue:
            return Delivered()
        return probed(found)

    def checkpoint(self) -> None:
        """Keep no state: the service keeps none to resume from."""

    def close(self) -> None:
        """Close the connections."""
        self._aws.close()

    def _put(self, events: list[bytes], order: Sequence[int]) -> Outcome:
        """Send one PutLogEvents request of these events, which are in order and within 24 hours."""
        made = [
            b'{"timestamp":%b,"message":%b}'
            % (events[at][:_TIME_WIDTH], orjson.dumps(events[at][_TIME_WIDTH:].decode()))
            for at in order
        ]
        body = b"%b%b]}" % (self._head, b",".join(made))
        created = self._created
        outcome = self._call("put_log_events", body)
        if self._settings.create and isinstance(outcome, Hold) and MISSING in outcome.issue:
            with self._creating:
                # Another sender may have created it meanwhile.
                problem = self._create() if self._created == created else None
                self._created += problem is None
            outcome = problem or self._call("put_log_events", body)
            if isinstance(outcome, Hold) and MISSING in outcome.issue:
                outcome = Retry(f"{outcome.issue.partition(': check ')[0]}: it was created, and is not there yet")
        return read_answer(outcome, order, self._aws.hide) if isinstance(outcome, bytes) else outcome

    def _create(self) -> Outcome | None:
        """Create the stream, and the group if there is none; None when both are there, or others create them."""
        stream = self._call("create_log_stream")
        if isinstance(stream, Hold) and MISSING in stream.issue:
            group = self._call("create_log_group")
            if not _is_there(group):
                return group if not isinstance(group, bytes) else None
            stream = self._call("create_log_stream")
        return stream if not isinstance(stream, bytes) and not _is_there(stream) else None

    def _call(self, operation: str, body: bytes = b"") -> bytes | Outcome:
        """Call an operation; return the body of its answer, or what its failure means."""
        names: dict[str, Any] = {"logGroupName": self._settings.log_group}
        if operation == "describe_log_streams":
            names |= {"logStreamNamePrefix": self._settings.log_stream, "limit": 1}
        elif operation != "create_log_group":
            names["logStreamName"] = self._settings.log_stream
        self._exchange.body, self._exchange.answer = body, b""
        try:
            getattr(self._aws.connected(), operation)(**names)
        except Exception as error:  # noqa: BLE001  whatever boto3 raises is the outcome of a request, told in words
            outcome = self._failure(error)
            told = MISSING if operation != "describe_log_streams" else f"{MISSING}|AccessDenied"
            if isinstance(outcome, Hold) and not re.search(told, outcome.issue):
                self._aws.forget()
            return outcome
        return bytes(self._exchange.answer)

    def _found(self, answer: bytes) -> Probed:
        """Return whether the stream is there: names are in order, so it comes before those that it begins."""
        try:
            streams = [each["logStreamName"] for each in orjson.loads(answer).get("logStreams") or ()]
        except (ValueError, LookupError, TypeError, AttributeError):
            return Retry(f"not an answer of DescribeLogStreams: {self._aws.hide(answer.decode(errors='replace'))}")
        if self._settings.create or self._settings.log_stream in streams:
            return Delivered()
        return Hold(f"log_stream {self._settings.log_stream} isn't there: create it, or set `create: true`")

    def _prepare(self, client: Any) -> None:
        client.meta.events.register("before-call.cloudwatch-logs.PutLogEvents", self._before)
        client.meta.events.register("after-call.cloudwatch-logs", self._after)

    def _before(self, params: dict[str, Any], **_: Any) -> None:
        params["body"] = self._exchange.body

    def _after(self, http_response: Any, **_: Any) -> None:
        self._exchange.answer = http_response.content

    def _failure(self, error: Exception) -> Outcome:
        problem = self._aws.read(error)
        return read_error(*problem) if isinstance(problem, tuple) else problem


def _is_there(outcome: bytes | Outcome) -> bool:
    """Tell whether a group or a stream is there after a call to create it, or is made by another client just now."""
    match outcome:
        case Hold(issue=said) | Retry(reason=said):
            return bool(_RACES.match(said))
    return isinstance(outcome, bytes)


def _windows(order: Sequence[int], times: Sequence[bytes]) -> Iterator[Sequence[int]]:
    """Return the events, which are in order, in runs that span 24 hours at most."""
    start, first = 0, int(times[order[0]])
    if int(times[order[-1]]) - first > MAX_SPAN_MS:
        for position, index in enumerate(order):
            if int(times[index]) - first > MAX_SPAN_MS:
                yield order[start:position]
                start, first = position, int(times[index])
    yield order[start:]


def _remaining(outcome: Outcome, parts: Sequence[Sequence[int]], rejected: dict[int, tuple[str, str]]) -> Partial:
    """Return the outcome of a request whose first events were taken, and whose others have this one."""
    retry = sorted(index for part in parts for index in part)
    match outcome:
        case Hold(issue=issue):
            return Partial(rejected, retry, issue=issue)
        case Retry(reason=reason, after=after, blame=blame):
            return Partial(rejected, retry, reason, after, blame=blame)
        case _:
            # The next request is of these alone, and is split if it is refused too: this one was no attempt of theirs.
            return Partial(rejected, retry, after=0.0)
