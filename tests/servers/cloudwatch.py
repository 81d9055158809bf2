"""A strict stand-in for CloudWatch Logs: it checks signatures, order, span and sizes, and keeps what it takes.

moto checks none of the limits, and says wrongly which events are too old or too new.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.servers.cloud import Answer, CloudServer, Refused, dumped, unique

DAY = 24 * 3600 * 1000
HOUR = 3600 * 1000


def error(status: int, kind: str, message: str) -> Answer:
    """Return an error as the service writes it."""
    headers = {"Content-Type": "application/x-amz-json-1.1", "x-amzn-RequestId": "5b6a5ae5-0c1f-4b5e-9d6f-2f0a3e8f6f3a"}
    return Answer(status, dumped({"__type": kind, "message": message}), headers)


def denial(operation: str) -> Answer:
    """Return what the service answers to a key that has no permission for an operation."""
    what = f"User: arn:aws:iam::123456789012:user/writer is not authorized to perform: logs:{operation} on resource: "
    what += "arn:aws:logs:eu-west-1:123456789012:log-group:logs:log-stream:stream because no identity-based policy "
    return error(400, "AccessDeniedException", f"{what}allows the logs:{operation} action")


NO_GROUP = error(400, "ResourceNotFoundException", "The specified log group does not exist.")
NO_STREAM = error(400, "ResourceNotFoundException", "The specified log stream does not exist.")
EXISTS = "ResourceAlreadyExistsException"


class FakeCloudWatch(CloudServer):
    """The server, for one access key.

    Args:
        secret: The key's secret.
        retention_days: Of every group.
    """

    access_key = "AKIDEXAMPLE"
    region = "eu-west-1"

    def __init__(self, secret: str, retention_days: int = 30) -> None:
        super().__init__()
        self.secret = secret
        self.token = ""
        """The session token that is asked for."""
        self.retention_days = retention_days
        self.streams: dict[str, dict[str, list[tuple[int, str]]]] = {"logs": {"stream": []}}
        """group -> stream -> (time, message) of each event that was taken."""
        self.puts: list[int] = []
        """The number of events of each request that was taken."""
        self.operations: list[str] = []
        self.denied: set[str] = set()
        """Operations that the key has no permission for."""

    def answer(self, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Answer one operation."""
        self._authenticate(path, headers, body)
        operation = headers["x-amz-target"].removeprefix("Logs_20140328.")
        try:
            request = json.loads(body, object_pairs_hook=unique)
        except ValueError as problem:
            self.violated(str(problem))
            raise Refused(error(400, "SerializationException", str(problem))) from None
        with self.lock:
            self.operations.append(operation)
            if operation in self.denied:
                raise Refused(denial(operation))
            answered = getattr(self, f"_{operation}")(**request)
        return Answer(200, dumped(answered), {"Content-Type": "application/x-amz-json-1.1"})

    def messages(self, group: str = "logs", stream: str = "stream") -> list[str]:
        """Return the messages that a stream has."""
        return [message for _, message in self.streams[group][stream]]

    def _authenticate(self, path: str, headers: Mapping[str, str], body: bytes) -> None:
        given = headers.get("authorization", "")
        if not given:
            raise Refused(error(400, "MissingAuthenticationTokenException", "Missing Authentication Token"))
        if f"Credential={self.access_key}/" not in given or headers.get("x-amz-security-token", "") != self.token:
            what = "The security token included in the request is invalid."
            raise Refused(error(400, "UnrecognizedClientException", what))
        names = given.partition("SignedHeaders=")[2].partition(",")[0].split(";")
        signed = {name: headers[name] for name in names}
        request = AWSRequest("POST", self.url + path, signed, body)
        request.context["timestamp"] = headers["x-amz-date"]
        signer = SigV4Auth(Credentials(self.access_key, self.secret, self.token or None), "logs", self.region)
        canonical = signer.canonical_request(request)
        if not given.endswith("Signature=" + signer.signature(signer.string_to_sign(request, canonical), request)):
            # The service quotes what was signed, a session token too.
            what = "The request signature we calculated does not match the signature you provided. Check your AWS "
            what += f"Secret Access Key and signing method.\n\nThe Canonical String should have been\n'{canonical}'"
            raise Refused(error(400, "InvalidSignatureException", what))

    def _DescribeLogStreams(  # noqa: N802
        self,
        logGroupName: str,  # noqa: N803
        logStreamNamePrefix: str,  # noqa: N803
        limit: int,
    ) -> dict[str, Any]:
        if logGroupName not in self.streams:
            raise Refused(NO_GROUP)
        names = sorted(name for name in self.streams[logGroupName] if name.startswith(logStreamNamePrefix))
        return {"logStreams": [{"logStreamName": name} for name in names[:limit]]}

    def _CreateLogGroup(self, logGroupName: str) -> dict[str, Any]:  # noqa: N802, N803  # names of the service
        if logGroupName in self.streams:
            raise Refused(error(400, EXISTS, "The specified log group already exists"))
        self.streams[logGroupName] = {}
        return {}

    def _CreateLogStream(self, logGroupName: str, logStreamName: str) -> dict[str, Any]:  # noqa: N802, N803
        if logGroupName not in self.streams:
            raise Refused(NO_GROUP)
        if logStreamName in self.streams[logGroupName]:
            raise Refused(error(400, EXISTS, "The specified log stream already exists"))
        self.streams[logGroupName][logStreamName] = []
        return {}

    def _PutLogEvents(  # noqa: N802
        self,
        logGroupName: str,  # noqa: N803
        logStreamName: str,  # noqa: N803
        logEvents: list[dict[str, Any]],  # noqa: N803
    ) -> dict[str, Any]:
        if logGroupName not in self.streams:
            raise Refused(NO_GROUP)
        if logStreamName not in self.streams[logGroupName]:
            raise Refused(NO_STREAM)
        times = [event["timestamp"] for event in logEvents]
        sizes = [len(event["message"].encode()) + 26 for event in logEvents]
        now = int(time.time() * 1000)
        valid = [each for each in times if now - 14 * DAY <= each <= now + 2 * HOUR]
        problem = ""
        if not 1 <= len(logEvents) <= 10_000:
            problem = "Member must have length less than or equal to 10000"
        elif sum(sizes) > 1_048_576:
            problem = f"Upload too large: {sum(sizes)} bytes exceeds limit of 1048576"
        elif min(sizes) <= 26 or not all(event.keys() == {"timestamp", "message"} for event in logEvents):
            problem = "1 validation error detected"
        elif times != sorted(times) or not all(isinstance(each, int) and each >= 0 for each in times):
            problem = "Log events in a single PutLogEvents request must be in chronological order."
        elif valid and valid[-1] - valid[0] > DAY:
            problem = "The batch of log events in a single PutLogEvents request cannot span more than 24 hours."
        if problem:
            self.violations.append(problem)
            raise Refused(error(400, "InvalidParameterException", problem))
        old = sum(each < now - 14 * DAY for each in times)
        expired = sum(each < now - self.retention_days * DAY for each in times)
        new = sum(each <= now + 2 * HOUR for each in times)
        taken = logEvents[max(old, expired) : new]
        self.streams[logGroupName][logStreamName] += [(event["timestamp"], event["message"]) for event in taken]
        self.puts.append(len(logEvents))
        info = {"tooOldLogEventEndIndex": old} if old else {}
        info |= {"expiredLogEventEndIndex": expired} if expired else {}
        info |= {"tooNewLogEventStartIndex": new} if new < len(times) else {}
        return {"nextSequenceToken": "0"} | ({"rejectedLogEventsInfo": info} if info else {})
