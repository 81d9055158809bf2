"""Elasticsearch 7, 8 and 9, and OpenSearch, by the Bulk API.

Protocol: "Bulk API" in the Elasticsearch and in the OpenSearch documentation. `create` with `_id` makes delivery
idempotent (a 409 is a record that is already there) and is the one operation that data streams take.

    http.max_content_length is 100 MB by default; `batch.max_bytes` keeps requests far below, larger records go alone
    _id is at most 512 bytes, or the whole request is refused; longer ids are hashed
    a pipeline that fails on a document answers 400 or 500 for that item alone, by the kind of processor; a pipeline
    that doesn't exist and an index that is closed answer 400 too, though nothing is wrong with the document
"""

from __future__ import annotations

import base64
import gzip
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any, Literal
from urllib.parse import quote

import msgspec
import orjson
from msgspec import UNSET, Raw, UnsetType
from pydantic import Field, SecretStr, field_validator, model_validator

from logweir.batch import Batch
from logweir.dates import OUTSIDE, Dates
from logweir.json_text import without_halves
from logweir.units import Bytes
from sinks.address import split_credentials
from sinks.columns import are_plain
from sinks.destination import Delivered, Getter, Hold, Invalid, Limits, Outcome, Probed, Records, probed
from sinks.elasticsearch_answers import PRIVILEGE, forbids_new_indices, lacks_privilege, read_answer
from sinks.elasticsearch_own import compared, names_of
from sinks.http import HttpClient, Response
from sinks.members import members, written
from sinks.secret import HeaderSecret, HeaderValue, check_names
from sinks.settings import BatchSettings, CommonDestination, env_field, from_environment
from sinks.tls import Tls

MAX_REQUEST_BYTES = 100 * 1024 * 1024
MAX_ID_BYTES = 512
_OWN_HEADERS = {"connection", "content-encoding", "content-length", "content-type", "host", "transfer-encoding"}
_OWN_PARAMS = {"filter_path", "pipeline"}

_TARGETS_LIMIT = 10_000
"""Bounds the cache of index names, whatever the timestamps are."""
_AT, _QUOTE = ord("@"), ord('"')
_SECOND_BYTE = itemgetter(1)
_DATE = re.compile(r"%[YmdHjVG]")
_INDEX = re.compile(r"""[^A-Z\\/*?"<>|,\#:\s_+-][^A-Z\\/*?"<>|,\#:\s]*""")


class BulkBatch(BatchSettings):
    """When a request is sent: as soon as one of the limits is reached."""

    # A request costs the client half a millisecond whatever is in it, and servers like those of some megabytes best.
    max_records: int = Field(10_000, ge=1, description="The most records in one request.")
    max_bytes: Bytes = Field(
        2_000_000, gt=0, description="The most bytes of records in one request, before compression."
    )


class Elasticsearch(CommonDestination):
    """An index or a data stream of an Elasticsearch or OpenSearch cluster."""

    type: Literal["elasticsearch"] = Field(description="Elasticsearch or OpenSearch, by the Bulk API.")
    url: str = env_field("ELASTIC_URL", description="The cluster's address, such as https://search.example.com:9200.")
    index: str = env_field(
        "ELASTIC_INDEX",
        default="logs",
        description="Index or data stream; may hold a date pattern of the record's time in UTC, such as logs-%Y.%m.%d.",
    )
    username: str | None = env_field("ELASTIC_USERNAME", default=None, description="User for basic authentication.")
    password: SecretStr | None = env_field("ELASTIC_PASSWORD", default=None, description="The user's password.")
    api_key: HeaderSecret | None = env_field(
        "ELASTIC_API_KEY", default=None, description="API key, either as id:key or as the encoded form of it."
    )
    document_id: Literal["identity", "own"] = Field(
        "identity",
        description="The `_id` of a document. identity: the record's id and a hash of its bytes, which meets nothing "
        "but itself. own: the id alone; where a document has it already, the two are compared, and another record is "
        "dead-lettered.",
    )
    dates: Dates = Field(default_factory=Dates, description="Which dates an `index` with a date pattern may have.")
    pipeline: str | None = Field(None, description="Ingest pipeline that the documents go through.")
    headers: dict[str, HeaderValue] = Field(
        default_factory=dict, description="Further headers of each request; their values are kept secret."
    )
    params: dict[str, SecretStr] = Field(
        default_factory=dict,
        description="Further parameters in the query of each _bulk request; their values are kept secret.",
    )
    bulk_only: bool = Field(
        False,
        description="For servers that know `/_bulk` alone: the index stands with each record instead of in the path, "
        "and a health check asks nothing else.",
    )
    validate_ssl: bool = Field(True, description="Check the server's certificate.")
    tls: Tls | None = Field(None, description="Authorities and certificates of your own.")
    compression: bool | Literal["gzip"] = Field(True, description="Compress request bodies with gzip.")
    batch: BulkBatch = Field(default_factory=BulkBatch, description="When a request is sent.")

    @field_validator("index")
    @classmethod
    def _index_name(cls, value: str) -> str:
        # A name in angle brackets is the server's own date math.
        if not value.startswith("<") and not _INDEX.fullmatch(_DATE.sub("0", value)):
            msg = 'must be lower case, not begin with - _ or +, and have no space and none of \\ / * ? " < > | , # :'
            raise ValueError(msg)
        return value

    @field_validator("headers")
    @classmethod
    def _sendable(cls, value: dict[str, SecretStr]) -> dict[str, SecretStr]:
        check_names(value, _OWN_HEADERS)
        return value

    @field_validator("params")
    @classmethod
    def _not_ours(cls, value: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name in value:
            if not name or name in _OWN_PARAMS:
                msg = f"{name!r} is set by logweir itself" if name else "a parameter must have a name"
                raise ValueError(msg)
        return value

    @model_validator(mode="before")
    @classmethod
    def _credentials_of_url(cls, data: Any) -> Any:
        """Take a user and a password out of `url`, which is shown and told; what is wrong with it is said below."""
        found = from_environment(cls, data)
        if not isinstance(found, dict) or any(found.get(name) for name in ("username", "password", "api_key")):
            return found
        with suppress(ValueError):
            url, username, password = split_credentials(found.get("url"))
            if username:
                return {**found, "url": url, "username": username, "password": password}
        return found

    @field_validator("url")
    @classmethod
    def _no_credentials(cls, value: str) -> str:
        if split_credentials(value)[1]:
            msg = "must not hold credentials beside api_key, or username and password"
            raise ValueError(msg)
        return value

    @model_validator(mode="after")
    def _one_authentication(self) -> Elasticsearch:
        if self.api_key and self.username:
            msg = "set either api_key, or username and password"
            raise ValueError(msg)
        if (self.api_key or self.username) and "authorization" in map(str.lower, self.headers):
            msg = "set either the authorization header, or api_key, or username and password"
            raise ValueError(msg)
        if bool(self.username) != bool(self.password):
            msg = "username and password go together"
            raise ValueError(msg)
        if self.document_id == "own" and (self.pipeline or self.bulk_only):
            msg = "document_id: own compares with what is stored, so it goes with neither pipeline nor bulk_only"
            raise ValueError(msg)
        return self

    @property
    def identified(self) -> bool:
        """Whether repetitions are told by identities: always."""
        return True

    def fields(self) -> set[str]:
        """Return the fields that a document's `@timestamp` and index come from."""
        return {"timestamp"}

    def open(self, getter: Callable[[str], Getter], resume: Any, partition: int = 0) -> ElasticsearchDestination:
        """Return the destination; it connects with the first request."""
        del resume, partition
        return ElasticsearchDestination(self, getter("timestamp"))

    def authorization(self) -> dict[str, str]:
        """Return the headers that authenticate a request, and what the settings have of others."""
        return {name: value.get_secret_value() for name, value in self.headers.items()} | self._authorization()

    def _authorization(self) -> dict[str, str]:
        if self.api_key:
            key = self.api_key.get_secret_value()
            encoded = base64.b64encode(key.encode()).decode() if ":" in key else key
            return {"authorization": f"ApiKey {encoded}"}
        if self.username and self.password:
            pair = f"{self.username}:{self.password.get_secret_value()}"
            return {"authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
        return {}


class _Stamped(msgspec.Struct, gc=False):
    """Tells whether a record has an `@timestamp`. It skips all else, so it takes every record that decode takes."""

    at: Raw | UnsetType = msgspec.field(name="@timestamp", default=UNSET)


_own_timestamp = msgspec.json.Decoder(_Stamped).decode
_json = msgspec.json.Decoder().decode
_STAMPED = b'{"@timestamp":'
_DATE_VALUE = re.compile(
    rb'"\d{4}-\d\d-\d\d(?:T\d\d(?::[0-5]\d(?::[0-5]\d(?:[.,]\d{1,9})?)?)?(?:Z|[+-]\d\d(?::?\d\d)?)?)?"|[1-9]\d{11,13}'
)
"""What a server reads as a date unless a mapping says otherwise: strict_date_optional_time, or epoch_millis."""


class ElasticsearchDestination:
    """Sends `_bulk` requests and reads each item's outcome.

    Args:
        settings: The destination's settings.
        timestamp: Reads a record's timestamp.
    """

    serial = False

    def __init__(self, settings: Elasticsearch, timestamp: Getter) -> None:
        self._timestamp = timestamp
        self.compression = "gzip" if settings.compression else None
        self._index = settings.index
        self._dated = bool(_DATE.search(settings.index))
        self._dates = settings.dates
        self.limits = Limits(request_bytes=MAX_REQUEST_BYTES, written=self._dated)
        self._targets: dict[str, bytes] = {}
        error = "items.*.error.type,items.*.error.reason,items.*.error.caused_by.reason"
        self._own = settings.document_id == "own"
        query = f"filter_path=errors,items.*._id,items.*.status,{error}"
        if self._own:
            query += ",items.*._index"
        if settings.pipeline:
            query += f"&pipeline={quote(settings.pipeline, safe='')}"
        params = {name: value.get_secret_value() for name, value in settings.params.items()}
        query += "".join(f"&{quote(name, safe='')}={quote(value, safe='')}" for name, value in params.items())
        self._bulk_only = settings.bulk_only
        index = "" if self._dated or self._bulk_only else f"/{quote(settings.index, safe='')}"
        self._fixed = f'"_index":"{settings.index}",' if self._bulk_only else ""
        """What an action has of the index, where all have the same."""
        self._path = f"{index}/_bulk?{query}"
        self._headers = {"content-type": "application/x-ndjson"}
        if self.compression:
            self._headers["content-encoding"] = self.compression
        headers = settings.authorization()
        self._authenticated = "authorization" in map(str.lower, headers)
        self._client = HttpClient(
            settings.url,
            headers,
            hidden=params,
            verify=settings.validate_ssl,
            tls=settings.tls,
            connections=settings.concurrency,
        )

    def screen(self, batch: Batch) -> dict[str, int]:
        """Count the records that go to the index of when they were written."""
        return {OUTSIDE: self._dates.of(batch.times, batch.written)[1]} if self._dated else {}

    def encode(self, records: Records) -> list[bytes]:
        """Return an action line and the document for each record; the document is the record's own bytes."""
        times = records.times
        names = names_of(records) if self._own else records.identities
        if not self._dated and _all_plain(records.values, names):
            fixed = self._fixed
            return [
                f'{{"create":{{{fixed}"_id":"{identity}"}}}}\n{{"@timestamp":"{time}",'.encode() + value[1:]
                for value, identity, time in zip(records.values, names, times, strict=True)
            ]
        filed = self._dates.of(times, records.written)[0] if self._dated else times
        return [
            b'{"create":{%b"_id":%b}}\n%b' % (self._target(day), _id(identity), self._document(value, time, row))
            for value, identity, time, day, row in zip(
                records.values, names, times, filed, records.records, strict=True
            )
        ]

    def frame(self, pieces: list[bytes]) -> bytes:
        """Return the NDJSON body."""
        return b"\n".join([*pieces, b""])

    def send(self, body: bytes, count: int) -> Outcome:
        """Send one `_bulk` request."""
        answer = self._client.request("POST", self._path, body, self._headers)
        if not isinstance(answer, Response):
            return answer
        outcome = read_answer(answer, count, lambda: self._sent(body))
        return compared(self._client, outcome, answer, self._unpacked(body)) if self._own else outcome

    def _sent(self, body: bytes) -> list[str]:
        """Return the `_id` of each document of a request."""
        lines = self._unpacked(body).split(b"\n")
        return [orjson.loads(action)["create"]["_id"] for action in lines[:-1:2]]

    def _unpacked(self, body: bytes) -> bytes:
        return gzip.decompress(body) if self.compression else body

    def probe(self) -> Probed:
        """Ask whether documents would be taken, by calls that a key for writing alone may make.

        A `_bulk` request without a document is refused for that once it has been let in, by every version, with and
        without security. What else Elasticsearch may tell is asked then; a refusal to tell is no issue.
        """
        answer = self._client.request("POST", self._path, b"\n", {"content-type": "application/x-ndjson"})
        if not isinstance(answer, Response):
            return answer
        outcome = read_answer(answer, 0)
        if self._bulk_only and answer.status in {200, 400}:
            # What such a server says of a request without documents is its own affair: it has let it in.
            return Delivered()
        if not isinstance(outcome, Invalid | Delivered):
            return probed(outcome)
        if self._index.startswith("<"):  # the server alone knows today's name
            return Delivered()
        index = datetime.now(UTC).strftime(self._index) if self._dated else self._index
        issue = self._no_privilege(index) or self._no_index(index)
        return Hold(issue) if issue else Delivered()

    def _no_privilege(self, index: str) -> str:
        """Return what to say when the user or the key can't create documents in the index."""
        if not self._authenticated:
            return ""
        asked = {"index": [{"names": [index], "privileges": [PRIVILEGE]}]}
        headers = {"content-type": "application/json"}
        answer = self._client.request("POST", "/_security/user/_has_privileges", orjson.dumps(asked), headers)
        if isinstance(answer, Response) and lacks_privilege(answer, index):
            return f"no permission to write to {index}: let api_key or username have {PRIVILEGE} on it, or check index"
        return ""

    def _no_index(self, index: str) -> str:
        """Return what to say when the index is missing, and the cluster makes none by itself."""
        there = self._client.request("HEAD", f"/{quote(index, safe='')}")
        if not isinstance(there, Response) or there.status != 404:  # noqa: PLR2004
            return ""
        query = "include_defaults=true&filter_path=*.action.auto_create_index"
        answer = self._client.request("GET", f"/_cluster/settings?{query}")
        if isinstance(answer, Response) and forbids_new_indices(answer):
            return f"no such index: {index}: create it, set action.auto_create_index in the cluster, or check index"
        return ""

    def checkpoint(self) -> None:
        """Keep no state: the documents' ids make a repetition harmless."""

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _document(self, value: bytes, time: str, row: Any) -> bytes:
        """Return the document with an `@timestamp`: its own, in a form that is a date to the server, else its time."""
        if value.startswith(_STAMPED) and _DATE_VALUE.match(value, len(_STAMPED)):
            return value
        own = _own_timestamp(without_halves(value)).at if b'"@timestamp"' in value else UNSET
        if own is not UNSET:
            # What stands there may be none of the record's time, and whatever a mapping makes of it.
            if _DATE_VALUE.fullmatch(own) or self._timestamp(row) is None or not _says(own, self._timestamp(row)):
                return value
            return b"{" + written({**members(value), "@timestamp": b'"%b"' % time.encode()}) + b"}"
        rest = value[1:].lstrip()
        comma = b"" if rest.startswith(b"}") else b","
        return b'{"@timestamp":"%b"%b%b' % (time.encode(), comma, rest)

    def _target(self, time: str) -> bytes:
        """Return the part of an action line that names the index of a record of this time; nothing if the URL does."""
        if not self._dated:
            return self._fixed.encode()
        hour = time[:13]
        target = self._targets.get(hour)
        if target is None:
            target = b'"_index":%b,' % orjson.dumps(datetime.fromisoformat(hour).strftime(self._index))
            if len(self._targets) >= _TARGETS_LIMIT:
                self._targets.clear()
            self._targets[hour] = target
        return target


def _says(own: Raw, time: Any) -> bool:
    """Tell whether this is what stands in a record as JSON."""
    try:
        return bool(_json(own) == time)
    except (msgspec.DecodeError, RecursionError):  # a number out of a double's range, or nested too deeply
        return False


def _all_plain(values: Sequence[bytes], names: Sequence[str]) -> bool:
    """Tell whether every record can take the fast path: ids that need no escape, and no `@timestamp` of its own."""
    return (
        are_plain(names)
        and max(map(len, names)) <= MAX_ID_BYTES
        # An object that is empty takes no comma.
        and set(map(_SECOND_BYTE, values)) == {_QUOTE}
        and not any(_AT in value and b'"@timestamp"' in value for value in values)
    )


def _id(identity: str) -> bytes:
    """Return an id as JSON; one that is longer than `_id` may be is hashed."""
    if len(identity.encode()) > MAX_ID_BYTES:
        import xxhash

        identity = xxhash.xxh3_128_hexdigest(identity.encode())
    return orjson.dumps(identity)
