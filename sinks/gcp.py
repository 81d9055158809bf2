"""Google Cloud Logging, by entries:write.

Protocol: "Method: entries.write", "LogEntry" and "Quotas and limits" in the Cloud Logging documentation.

    an entry is at most about 256 KiB, by the size that the service has for it inside; a request at most 10 MB
    an entry has at most 64 labels
    entries of the same log, timestamp and insertId are one; no limit of insertId is documented, so long ones are hashed
    with partialSuccess the valid entries are written; which ones were not, and why, stands in the details of an answer
    that is an error
    an entry more than a day ahead is refused; one older than the bucket's retention is accepted, and not kept
    numbers are doubles once they are stored: a whole number beyond 2^53 is rounded there
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any, Literal
from urllib.parse import quote

import orjson
from pydantic import Field, SecretStr, field_validator, model_validator

from logweir.json_text import text_of
from logweir.paths import FieldPath
from logweir.record import Level
from logweir.settings import LocalPath, StrictModel
from logweir.times import rfc3339
from sinks.address import without_credentials
from sinks.columns import Columns, are_plain, enclosed, joined
from sinks.destination import Getter, Limits, Outcome, Probed, Records, probed
from sinks.gcp_answers import read_answer
from sinks.http import HttpClient, Response
from sinks.settings import CommonDestination, env_field, from_environment
from sinks.tls import Tls
from sinks.trace import SPAN_DIGITS, TRACE_DIGITS, packed

MAX_REQUEST_BYTES = 10_000_000
MAX_ENTRY_BYTES = 256 * 1024
MAX_LABELS = 64
MAX_INSERT_ID_BYTES = 512

_LOG_NAME = re.compile(r"[A-Za-z0-9/_.-]{1,511}")
_PROJECT = re.compile(r"[a-z0-9.:-]+")
_SEVERITIES = {
    None: "DEFAULT",
    "trace": "DEBUG",
    "debug": "DEBUG",
    "info": "INFO",
    "warn": "WARNING",
    "error": "ERROR",
    "fatal": "CRITICAL",
}
_OWN_SEVERITIES = {"NOTICE", "ALERT", "EMERGENCY"}
"""What Cloud Logging tells apart, and the levels of a record don't."""


class GcpCredentials(StrictModel):
    """A key of a service account."""

    client_email: str = env_field("GCP_SERVICE_ACCOUNT_EMAIL", description="The service account's address.")
    private_key: SecretStr = env_field(
        "GCP_PRIVATE_KEY", description="The key, as PEM; line breaks may be written as \\n."
    )

    @model_validator(mode="before")
    @classmethod
    def _from_environment(cls, data: Any) -> Any:
        return from_environment(cls, data)


class GcpResource(StrictModel):
    """The monitored resource that the entries belong to."""

    type: str = Field("global", min_length=1, description="Type of the resource, such as k8s_container.")
    labels: dict[str, str] = Field(default_factory=dict, description="The labels that this type has.")


_FIELDS = ("trace.traceId", "trace.spanId")


class Gcp(CommonDestination):
    """A log of Google Cloud Logging."""

    type: Literal["gcp"] = Field(description="Google Cloud Logging.")
    project_id: str = env_field("GCP_PROJECT_ID", description="The project that the log is in.")
    log_name: str = Field("logweir", description="Name of the log.")
    credentials: GcpCredentials | None = Field(
        None, description="Key of a service account. Without one, credentials_file is used."
    )
    credentials_file: LocalPath | None = Field(
        None, description="File of credentials. Without one, the application default credentials are used."
    )
    resource: GcpResource = Field(default_factory=GcpResource, description="The monitored resource.")
    labels: dict[str, str] = Field(default_factory=dict, description="Labels of every entry.")
    label_fields: dict[str, FieldPath] = Field(
        default_factory=dict, description="Labels of each entry by the field of the record that they come from."
    )
    url: str = Field("https://logging.googleapis.com", description="Where to send, such as a private endpoint.")
    validate_ssl: bool = Field(True, description="Check the server's certificate.")
    tls: Tls | None = Field(None, description="Authorities and certificates of your own.")
    compression: bool | Literal["gzip"] = Field(True, description="Compress request bodies with gzip.")

    @field_validator("url")
    @classmethod
    def _no_credentials(cls, value: str) -> str | None:
        return without_credentials(value, "credentials, or credentials_file")

    @field_validator("project_id")
    @classmethod
    def _project(cls, value: str) -> str:
        if not _PROJECT.fullmatch(value):
            msg = "must be the project's id: lower case letters, digits and hyphens"
            raise ValueError(msg)
        return value

    @field_validator("log_name")
    @classmethod
    def _name(cls, value: str) -> str:
        if not _LOG_NAME.fullmatch(value):
            msg = "must be 1 to 511 of a-z, A-Z, 0-9 and / _ - ."
            raise ValueError(msg)
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Gcp:
        if self.credentials and self.credentials_file:
            msg = "set either credentials or credentials_file"
            raise ValueError(msg)
        if len(self.labels.keys() | self.label_fields.keys()) > MAX_LABELS:
            msg = f"labels and label_fields must be at most {MAX_LABELS} together"
            raise ValueError(msg)
        return self

    @model_validator(mode="before")
    @classmethod
    def _key_from_environment(cls, data: Any) -> Any:
        """Take the key from the environment when no other credentials are named."""
        if not isinstance(data, dict) or "credentials" in data or "credentials_file" in data:
            return data
        found = from_environment(GcpCredentials, {})
        return {**data, "credentials": found} if found.keys() == GcpCredentials.model_fields.keys() else data

    @property
    def identified(self) -> bool:
        """Whether repetitions are told by identities: always."""
        return True

    def fields(self) -> set[str]:
        """Return the fields that an entry is made of, beside the record itself."""
        return {"timestamp", "level", *_FIELDS, *self.label_fields.values()}

    def open(self, getter: Callable[[str], Getter], resume: Any, partition: int = 0) -> GcpDestination:
        """Return the destination; it authenticates and connects with the first request."""
        del resume, partition
        return GcpDestination(self, getter)


def _severities(levels: list[Level | None]) -> list[str]:
    """Return the severities of some records."""
    # By identity, since levels of one name may differ in their words; there are few.
    keys = list(map(id, levels))
    known = {key: _severity(level) for key, level in dict(zip(keys, levels, strict=True)).items()}
    return list(map(known.__getitem__, keys))


def _severity(level: Level | None) -> str:
    own = level.text.strip().upper() if level is not None else ""
    return own if own in _OWN_SEVERITIES else _SEVERITIES[level]


class GcpDestination:
    """Sends entries:write requests, and reads which entries were not written.

    Args:
        settings: The destination's settings.
        getter: Gives the reader of each of the settings' `fields`.
    """

    limits = Limits(request_bytes=MAX_REQUEST_BYTES, record_bytes=MAX_ENTRY_BYTES)
    serial = False

    def __init__(self, settings: Gcp, getter: Callable[[str], Getter]) -> None:
        # Here, not above: `logweir check` reads settings and sends nothing.
        from sinks.gcp_auth import Tokens

        self.compression: str | None = "gzip" if settings.compression else None
        self._columns = Columns(getter(name) for name in _FIELDS)
        self._labels = {name: getter(path) for name, path in settings.label_fields.items()}
        self._traces = f"projects/{settings.project_id}/traces/"
        head = {
            "logName": f"projects/{settings.project_id}/logs/{quote(settings.log_name, safe='')}",
            "resource": settings.resource.model_dump(),
            "labels": settings.labels,
            "partialSuccess": True,
        }
        self._head = orjson.dumps(head)[:-1] + b',"entries":['
        self._headers = {"content-type": "application/json"}
        if self.compression:
            self._headers["content-encoding"] = self.compression
        self._tokens = Tokens(settings.credentials, settings.credentials_file)
        self._client = HttpClient(
            settings.url, {}, verify=settings.validate_ssl, connections=settings.concurrency, tls=settings.tls
        )

    def encode(self, records: Records) -> list[bytes]:
        """Return an entry for each record, whose jsonPayload is the record's own bytes."""
        rows, ids = records.records, records.identities
        times = records.times
        traces, spans = self._columns.of(rows)
        if not are_plain(ids) or max(map(len, ids)) > MAX_INSERT_ID_BYTES:
            ids = [_insert_id(identity) for identity in ids]
        severities, where = _severities(records.levels), self._traces
        if not self._labels and _all_ids(traces, TRACE_DIGITS) and _all_ids(spans, SPAN_DIGITS):
            starts = [
                f'{{"insertId":"{identity}","timestamp":"{time}","severity":"{severity}",'
                f'"trace":"{where}{trace}","spanId":"{span}","jsonPayload":'
                if trace and span
                else f'{{"insertId":"{identity}","timestamp":"{time}","severity":"{severity}"'
                f'{self._links(trace, span) if trace else ""},"jsonPayload":'
                for identity, time, severity, trace, span in zip(ids, times, severities, traces, spans, strict=True)
            ]
        else:
            starts = [
                f'{{"insertId":"{identity}","timestamp":"{time}","severity":"{severity}"'
                f'{self._links(trace, span)}{self._labelled(row)},"jsonPayload":'
                for identity, time, severity, trace, span, row in zip(
                    ids, times, severities, traces, spans, rows, strict=True
                )
            ]
        return joined(starts, records.values, b"}")

    def frame(self, pieces: list[bytes]) -> bytes:
        """Return the body of a request."""
        return enclosed(self._head, pieces, b"]}")

    def send(self, body: bytes, count: int) -> Outcome:
        """Send one entries:write request."""
        return self._write(body, count, self._headers)

    def _write(self, body: bytes, count: int, headers: dict[str, str]) -> Outcome:
        token = self._tokens.headers()
        if not isinstance(token, dict):
            return token
        answer = self._client.request("POST", "/v2/entries:write", body, {**headers, **token})
        if not isinstance(answer, Response):
            return answer
        if answer.status == 401:  # noqa: PLR2004
            # A key that was mended is found by new credentials alone.
            self._tokens.forget()
        return read_answer(answer, count)

    def probe(self) -> Probed:
        """Have the service check one entry without writing it: `dryRun`. It needs the permission to write alone."""
        entry = {"insertId": "probe", "jsonPayload": {}, "timestamp": rfc3339(time.time()), "severity": "DEFAULT"}
        body = b'%b%b],"dryRun":true}' % (self._head, orjson.dumps(entry))
        return probed(self._write(body, 1, {"content-type": "application/json"}))

    def checkpoint(self) -> None:
        """Keep no state: the entries' ids make a repetition harmless."""

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _links(self, trace: Any, span: Any) -> str:
        """Return the fields that join an entry with its trace; what is no id of a trace or span is left out."""
        if not (trace and _all_ids([trace], TRACE_DIGITS)):
            return ""
        link = f',"trace":"{self._traces}{trace}"'
        return f'{link},"spanId":"{span}"' if span and _all_ids([span], SPAN_DIGITS) else link

    def _labelled(self, row: Any) -> str:
        found = {name: get(row) for name, get in self._labels.items()}
        labels = {
            name: value if isinstance(value, str) else text_of(value)
            for name, value in found.items()
            if value is not None
        }
        return f',"labels":{orjson.dumps(labels).decode()}' if labels else ""


def _all_ids(ids: list[Any], digits: int) -> bool:
    """Tell whether all ids that are there have this many hexadecimal digits, and none is zeros; no to be sure."""
    raw = packed(list(filter(None, ids)), digits)
    return raw is not None and bytes(digits // 2) not in raw


def _insert_id(identity: str) -> str:
    """Return an id as it stands in JSON; a long one is hashed."""
    if len(identity.encode()) > MAX_INSERT_ID_BYTES:
        import xxhash

        return xxhash.xxh3_128_hexdigest(identity.encode())
    return orjson.dumps(identity)[1:-1].decode()
