"""Amazon S3, or any store that speaks its API: objects of NDJSON, in folders by date.

Protocol: "PutObject" in the Amazon S3 API Reference, which is also in botocore's service model.

    an object is put whole or not at all, of 5 GB at most; its name has at most 1,024 bytes
    an object that is put again under the same name replaces the one before: there is no other way to tell a repetition
    whether a PutObject was carried out whose answer is lost can't be known

So an object has its name before it is first sent, and keeps it however often it is sent again. boto3 finds the
credentials, signs, and connects.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count
from typing import Any, Literal
from uuid import uuid4

from pydantic import Field, field_validator, model_validator

from logweir.units import Bytes, Duration
from sinks.aws import AwsDestination, ServiceError, s3_client
from sinks.compression import compress
from sinks.destination import Delivered, Getter, Hold, Limits, Outcome, Probed, Records, Retry, probed
from sinks.s3_answers import DENIED, read_error
from sinks.settings import BatchSettings

MAX_OBJECT_BYTES = 5 * 1000**3
"""Of one PutObject request."""
MAX_KEY_BYTES = 1024
_NAME_BYTES = 64
"""What the name adds to the prefix, at most."""
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]|arn:[\w:/.-]+")
_DATE = re.compile(r"%[YmdHMjGVu]")
_SUFFIXES = {"gzip": ".ndjson.gz", "zstd": ".ndjson.zst", None: ".ndjson"}


class S3Batch(BatchSettings):
    """When an object is finished: as soon as one of the limits is reached, and at the end of each epoch."""

    max_records: int = Field(100_000, ge=1, description="The most records in one object.")
    max_bytes: Bytes = Field(
        8_000_000,
        gt=0,
        description="The most bytes of records in one object, before compression; at most half of max_in_flight.",
    )
    flush_interval: Duration = Field(
        60.0,
        gt=0,
        description="How long a record waits for others at most; each recovery.interval ends the wait too.",
    )


class S3(AwsDestination):
    """A bucket of Amazon S3 or of a store like it."""

    type: Literal["s3"] = Field(description="Objects of NDJSON in Amazon S3, or a store that speaks its API.")
    bucket: str = Field(description="The bucket.")
    prefix: str = Field(
        "logs/%Y/%m/%d/%H/",
        description="What the objects' names begin with; may hold a date pattern (%Y %m %d %H %M %j %G %V %u) of the "
        "time, in UTC, at which the object is made.",
    )
    compression: bool | Literal["gzip", "zstd"] = Field(True, description="Compress objects; true is gzip.")
    storage_class: str | None = Field(
        None, pattern=r"^[A-Z][A-Z_]*$", description="Storage class, such as STANDARD_IA; the bucket's own if left out."
    )
    server_side_encryption: Literal["AES256", "aws:kms", "aws:kms:dsse"] | None = Field(
        None, description="How the objects are encrypted there; as the bucket has it if left out."
    )
    kms_key_id: str | None = Field(None, min_length=1, description="The key for aws:kms; AWS's own if left out.")
    batch: S3Batch = Field(default_factory=S3Batch, description="When an object is finished.")

    @field_validator("bucket")
    @classmethod
    def _bucket_name(cls, value: str) -> str:
        if not _BUCKET.fullmatch(value):
            msg = "must be a bucket's name, of 3 to 63 letters, digits, - and ., or the ARN of an access point"
            raise ValueError(msg)
        return value

    @field_validator("prefix")
    @classmethod
    def _prefix(cls, value: str) -> str:
        plain = _DATE.sub("0", value)
        if "%" in plain or not plain.isprintable() or value.startswith("/"):
            msg = "must not begin with /, and have no % but in %Y %m %d %H %M %j %G %V %u"
            raise ValueError(msg)
        if len(_DATE.sub("0000", value).encode()) > MAX_KEY_BYTES - _NAME_BYTES:
            msg = f"must have at most {MAX_KEY_BYTES - _NAME_BYTES} bytes"
            raise ValueError(msg)
        return value

    @model_validator(mode="after")
    def _key_of_kms(self) -> S3:
        if self.kms_key_id and not (self.server_side_encryption or "").startswith("aws:kms"):
            msg = "kms_key_id goes with server_side_encryption: aws:kms"
            raise ValueError(msg)
        return self

    def fields(self) -> set[str]:
        """Return no field: the records are written as they are."""
        return set()

    def open(self, getter: Callable[[str], Getter], resume: Any, *, partition: int = 0) -> S3Destination:
        """Return the destination; it connects with the first request."""
        del getter, resume, partition
        return S3Destination(self)


class S3Destination:
    """Puts an object for each request.

    Args:
        settings: The destination's settings.
    """

    limits = Limits(request_bytes=MAX_OBJECT_BYTES)
    compression: str | None = None
    """An object is compressed before its name is put in front."""
    serial = False

    def __init__(self, settings: S3) -> None:
        self._settings = settings
        self._method = "gzip" if settings.compression is True else settings.compression or None
        self._own = uuid4().hex[:16]
        """Tells the objects of this run and partition from all others."""
        self._numbers = count(1)
        given = {
            "StorageClass": settings.storage_class,
            "ServerSideEncryption": settings.server_side_encryption,
            "SSEKMSKeyId": settings.kms_key_id,
        }
        self._options = {name: value for name, value in given.items() if value}
        self._aws = s3_client(settings)

    def encode(self, records: Records) -> list[bytes]:
        """Return the records as they are."""
        return records.values

    def frame(self, pieces: list[bytes]) -> bytes:
        """Return the object, and on a line in front the name that it keeps."""
        now = datetime.now(UTC)
        name = f"{now:%Y%m%dT%H%M%SZ}-{self._own}-{next(self._numbers):06}{_SUFFIXES[self._method]}"
        key = now.strftime(self._settings.prefix) + name
        return b"%b\n%b" % (key.encode(), compress(b"\n".join([*pieces, b""]), self._method))

    def send(self, body: bytes, count: int) -> Outcome:  # noqa: ARG002
        """Put the object; one that is there under this name is the same."""
        end = body.index(b"\n")
        try:
            answer = self._aws.connected().put_object(
                Bucket=self._settings.bucket,
                Key=body[:end].decode(),
                Body=body[end + 1 :],
                ContentType="application/x-ndjson",
                **self._options,
            )
        except Exception as error:  # noqa: BLE001  whatever boto3 raises is the outcome of a request, told in words
            return self._failed(self._aws.read(error))
        return Delivered() if answer.get("ETag") else Retry("not an answer of PutObject: it has no ETag")

    def probe(self) -> Probed:
        """Look into the bucket. Credentials that may only write aren't told, and are proven by that."""
        fixed = self._settings.prefix.partition("%")[0]
        try:
            # Unlike HeadBucket, which costs less, it says why it is refused.
            found = self._aws.connected().list_objects_v2(Bucket=self._settings.bucket, Prefix=fixed, MaxKeys=1)
        except Exception as error:  # noqa: BLE001  as in `send`
            problem = self._aws.read(error)
            if isinstance(problem, tuple) and problem[1] in DENIED:
                return Delivered()
            return probed(self._failed(problem))
        return Delivered() if "KeyCount" in found else Retry("not an answer of ListObjectsV2: it has no KeyCount")

    def checkpoint(self) -> None:
        """Keep no state: an object is never taken back."""

    def close(self) -> None:
        """Close the connections."""
        self._aws.close()

    def _failed(self, problem: ServiceError | Hold | Retry) -> Outcome:
        """Return what a failure means."""
        outcome = read_error(*problem) if isinstance(problem, tuple) else problem
        if isinstance(outcome, Hold):
            self._aws.forget()
        return outcome
