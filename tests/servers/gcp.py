"""A strict stand-in for Cloud Logging's entries:write: it verifies the token, every field and every limit."""

from __future__ import annotations

import gzip
import json
import re
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import jwt

from tests.servers.cloud import Answer, CloudServer, Refused, dumped, unique

SEVERITIES = {"DEFAULT", "DEBUG", "INFO", "NOTICE", "WARNING", "ERROR", "CRITICAL", "ALERT", "EMERGENCY"}
FIELDS = {"insertId", "timestamp", "severity", "jsonPayload", "trace", "spanId", "labels"}
PARTIAL = "type.googleapis.com/google.logging.v2.WriteLogEntriesPartialErrors"
_NAMES = {3: "INVALID_ARGUMENT", 7: "PERMISSION_DENIED", 8: "RESOURCE_EXHAUSTED", 13: "INTERNAL", 16: "UNAUTHENTICATED"}
_STATUSES = {3: 400, 7: 403, 8: 429, 13: 500, 16: 401}
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z")


@cache
def key_pair() -> tuple[str, str]:
    """Return a private and a public key as PEM."""
    key = rsa.generate_private_key(65537, 2048)
    plain = serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    kind = serialization.PublicFormat.SubjectPublicKeyInfo
    return private.decode(), key.public_key().public_bytes(serialization.Encoding.PEM, kind).decode()


def error(code: int, message: str, *details: Any, status: int = 0) -> Answer:
    """Return an error as Google's APIs write it, by google.rpc's code."""
    said = {"code": status or _STATUSES[code], "message": message, "status": _NAMES[code]}
    return Answer(status or _STATUSES[code], dumped({"error": said | ({"details": details} if details else {})}))


class FakeLogging(CloudServer):
    """The server, for one service account and one log.

    Args:
        public_key: Of the service account, as PEM.
    """

    email = "writer@project-1.iam.gserviceaccount.com"

    def __init__(self, public_key: str) -> None:
        super().__init__()
        self.public_key = public_key
        self.entries: dict[tuple[str, str], dict[str, Any]] = {}
        """By insertId and timestamp."""
        self.writes: list[int] = []
        """The number of entries of each request that was read."""
        self.common: dict[str, Any] = {}
        """What the last request said of all its entries."""
        self.tokens: set[str] = set()
        self.entry_fault: Callable[[dict[str, Any]], tuple[int, str] | None] = lambda entry: None

    def answer(self, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Answer one request."""
        if path != "/v2/entries:write":
            self.violated(path)
            raise Refused(Answer(404, b"<html>Not Found</html>", {"Content-Type": "text/html"}))
        self._authenticate(headers.get("authorization", ""))
        raw = gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body
        if len(raw) > 10_000_000:
            self.violated(f"{len(raw)} bytes")
            raise Refused(error(3, "Request payload size exceeds the limit: 10000000 bytes."))
        try:
            request = json.loads(raw, object_pairs_hook=unique)
        except ValueError as problem:
            self.violated(str(problem))
            raise Refused(error(3, f"Invalid JSON payload received. {problem}")) from None
        with self.lock:
            return self._write(request)

    def payloads(self) -> list[dict[str, Any]]:
        """Return the records that were taken."""
        return [entry["jsonPayload"] for entry in self.entries.values()]

    def _authenticate(self, given: str) -> None:
        refused = (
            "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other "
        )
        refused += "valid authentication credential."
        scheme, _, token = given.partition(" ")
        try:
            claims = jwt.decode(token, certs=self.public_key, audience="https://logging.googleapis.com/")
        except Exception:  # noqa: BLE001  whatever google-auth finds is a token that is not let in
            raise Refused(error(16, refused)) from None
        life = claims["exp"] - claims["iat"]
        if scheme != "Bearer" or not claims["iss"] == claims["sub"] == self.email or life > 3600:
            self.violated(f"claims {claims}")
            raise Refused(error(16, refused))
        with self.lock:
            self.tokens.add(token)

    def _write(self, request: dict[str, Any]) -> Answer:
        entries = request.pop("entries")
        dry = request.pop("dryRun", False) is True
        self.common = request
        if not dry:
            self.writes.append(len(entries))
        if request.keys() != {"logName", "resource", "labels", "partialSuccess"} or not entries:
            self.violations.append(f"fields {sorted(request)}, {len(entries)} entries")
        if request["resource"]["type"] not in {"global", "k8s_container"}:
            return error(3, f'Unsupported resource type "{request["resource"]["type"]}".')
        faults: dict[str, dict[str, Any]] = {}
        for index, entry in enumerate(entries):
            fault = self._judge(entry) or self.entry_fault(entry)
            if fault:
                faults[str(index)] = {"code": fault[0], "message": fault[1]}
            elif not dry:
                self.entries[entry["insertId"], entry["timestamp"]] = entry
        if not faults:
            return Answer()
        first = next(iter(faults.values()))
        return error(first["code"], first["message"], {"@type": PARTIAL, "logEntryErrors": faults})

    def _judge(self, entry: dict[str, Any]) -> tuple[int, str] | None:
        """Return what is wrong with an entry; what ours must never send is a violation too."""
        problem = ""
        if not {"insertId", "timestamp", "severity", "jsonPayload"} <= entry.keys() <= FIELDS:
            problem = f"fields {sorted(entry)}"
        elif not 0 < len(entry["insertId"].encode()) <= 512:
            problem = "insertId"
        elif entry["severity"] not in SEVERITIES:
            problem = f"severity {entry['severity']}"
        elif not _TIME.fullmatch(entry["timestamp"]):
            problem = f"timestamp {entry['timestamp']}"
        elif not re.fullmatch(
            "projects/project-1/traces/[0-9a-fA-F]{32}", entry.get("trace", "projects/project-1/traces/" + "0" * 32)
        ):
            problem = f"trace {entry['trace']}"
        elif not re.fullmatch("[0-9a-fA-F]{16}", entry.get("spanId", "0" * 16)):
            problem = f"spanId {entry['spanId']}"
        elif not all(isinstance(value, str) for value in entry.get("labels", {}).values()):
            problem = f"labels {entry['labels']}"
        elif len(dumped(entry)) > 6 * 262_144:
            problem = "size"
        else:
            # Nine digits are more than datetime reads.
            moment = datetime.fromisoformat(entry["timestamp"][:19] + "Z")
            if moment.timestamp() > time.time() + 86400:
                return 3, "Log entry with timestamp more than 24 hours in the future."
            return None
        self.violations.append(problem)
        return 3, problem
