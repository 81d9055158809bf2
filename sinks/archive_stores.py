"""Where the archive's files lie, a directory or a bucket: writing them, and what keeps them from being written.

deltalake says in prose what goes wrong, in words that change. So after any failure the place itself is asked: the file
system for space and permissions, S3 by a request of boto3, whose answers have codes.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

from logweir.archive_table import LOG, is_inside
from logweir.errors import DestinationError
from logweir.private import make_directory, of_directory, set_mode
from sinks.archive_paths import below
from sinks.aws import AwsAccess, s3_client, session
from sinks.destination import Delivered, Hold, Probed, Retry
from sinks.durable import sync
from sinks.http import ANSWER_SECONDS, CONNECT_SECONDS
from sinks.s3_answers import read_error

_ELSEWHERE = "set retention.archive elsewhere"
_REMEDIES = {
    errno.ENOSPC: f"free some space, or {_ELSEWHERE}",
    errno.EDQUOT: f"raise the quota, or {_ELSEWHERE}",
    errno.EACCES: f"let logweir's user write there, or {_ELSEWHERE}",
    errno.EPERM: f"let logweir's user write there, or {_ELSEWHERE}",
    errno.EROFS: f"mount it writable, or {_ELSEWHERE}",
    errno.ENOTDIR: "a part of retention.archive is a file where a directory should be",
    errno.EEXIST: "retention.archive names a file; name a directory",
    errno.ELOOP: "remove the link, and where the files are to lie elsewhere mount that place there",
    errno.ENAMETOOLONG: "shorten retention.archive",
}
_ALLOW = "allow these credentials s3:GetObject, s3:PutObject, s3:DeleteObject and s3:ListBucket on retention.archive"
_UNCONDITIONAL = (
    "this store takes a PUT with If-None-Match: * in another's place, so two writers, as the flow and its compaction "
    f"are, would lose each other's commits: {_ELSEWHERE}"
)
_SYNCS = 16
"""Files that are written to the disk at a time: those that are waited for together take hardly longer than one."""
_LONGEST = 1000
"""Characters of what is told."""


class Store(Protocol):
    """A place for a table."""

    place: str
    """As delta-rs has it."""

    def options(self) -> dict[str, str]:
        """Return what delta-rs, and Polars, have to know to open the table: credentials and the address.

        Raises:
            Exception: Which `failed` reads.
        """
        ...

    def prepare(self) -> None:
        """Make the place for a table, if it needs any.

        Raises:
            Exception: Which `failed` reads.
        """
        ...

    def put(self, path: str, body: Any) -> None:
        """Write one file whole.

        Raises:
            Exception: Which `failed` reads.
        """
        ...

    def flush(self) -> None:
        """Make the files last that were put since the last time.

        Raises:
            Exception: Which `failed` reads.
        """
        ...

    def remove(self, paths: Iterable[str]) -> None:
        """Remove files that no commit has ever named, as far as that goes."""
        ...

    def sync(self) -> None:
        """Make the commits last that are there.

        Raises:
            DestinationError: They may not.
        """
        ...

    def failed(self, error: Exception) -> Retry | Hold:
        """Return what a failure means, whatever raised it."""
        ...

    def probe(self) -> Probed:
        """Look whether files can be written. Changes nothing."""
        ...

    def try_out(self) -> Probed:
        """Write something and take it away again, where `probe` only looks."""
        ...

    def close(self) -> None:
        """Close connections."""
        ...


PATIENCE = {
    "connect_timeout": f"{CONNECT_SECONDS:g}s",
    "timeout": f"{ANSWER_SECONDS:g}s",
    # The delivery engine retries.
    "max_retries": "1",
}
"""How long delta-rs waits for S3, beside the options."""


class Directory:
    """A directory of this machine.

    Args:
        path: Of the table.
        mode: The rights of its files; None for those that the umask gives.
    """

    def __init__(self, path: str, mode: int | None = None) -> None:
        self.mode = mode
        self._path = Path(path).absolute()
        self.place = str(self._path)
        self._put: list[Path] = []
        """Files that may not be on the disk yet."""
        self._named: dict[Path, None] = {}
        """Directories whose new names may not."""
        self._synced = ""
        """The log's last entry that is on the disk."""

    def options(self) -> dict[str, str]:
        """Return nothing."""
        return {}

    def prepare(self) -> None:
        """Make the table's directories where they have a mode; delta-rs makes its files in them by the umask."""
        if self.mode is not None:
            for directory in (self._path, self._path / LOG):
                make_directory(directory, self.mode)
                directory.chmod(of_directory(self.mode))

    def put(self, path: str, body: Any) -> None:
        """Write a file."""
        file = below(self._path, path)
        try:
            self._named |= dict.fromkeys([*_made(file.parent, self.mode), file.parent])
            self._put.append(file)
            with file.open("wb", buffering=0) as handle:
                set_mode(handle.fileno(), self.mode)
                rest = memoryview(body)
                while rest:
                    rest = rest[handle.write(rest) :]
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(file)) from error

    def flush(self) -> None:
        """Write all to the disk: the system has it by now, and finds the best order."""
        with ThreadPoolExecutor(_SYNCS) as pool:
            list(pool.map(_sync_file, self._put))
            list(pool.map(_sync_names, self._named))
        self._put.clear()
        self._named.clear()

    def remove(self, paths: Iterable[str]) -> None:
        """Remove files."""
        self._put.clear()
        for path in paths:
            below(self._path, path).unlink(missing_ok=True)

    def sync(self) -> None:
        """Write the log's new entries to the disk; delta-rs leaves that to the system."""
        log = self._path / LOG
        try:
            if not log.exists():
                return
            entries = sorted(each.name for each in log.glob("*.json"))
            for name in entries:
                if name > self._synced:
                    sync(log / name, self.mode)
            sync(log)
            self._synced = max([self._synced, *entries])
        except OSError as error:
            msg = f"{log}: flush: {error.strerror}"
            raise DestinationError(msg) from error

    def failed(self, error: Exception) -> Retry | Hold:
        """Return what is wrong with the place, else what was said."""
        found = error if isinstance(error, OSError) and error.errno else self._trouble()
        if found is None and "No space left" in str(error):
            found = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self.place)
        if found is None:
            return Retry(f"{self.place}: {error}"[:_LONGEST])
        said = f"{found.filename or self.place}: {found.strerror or found}"
        remedy = _REMEDIES.get(found.errno or 0)
        return Hold(f"{said}: {remedy}") if remedy else Retry(said)

    def probe(self) -> Probed:
        """Look whether the directory, or one to make it in, can be written."""
        trouble = self._trouble()
        return Delivered() if trouble is None else self.failed(trouble)

    def try_out(self) -> Probed:
        """Write a file without a name, so that nothing is left of it whatever happens."""
        for place in (self._path / LOG, self._path):
            directory = _nearest(place)
            try:
                with tempfile.TemporaryFile(dir=directory) as file:
                    file.write(b"\n")
                    file.flush()
                    os.fsync(file.fileno())
            except OSError as error:
                return self.failed(OSError(error.errno, error.strerror, str(directory)))
        return Delivered()

    def close(self) -> None:
        """Hold nothing open."""

    def _trouble(self) -> OSError | None:
        for place in (self._path / LOG, self._path):
            directory = _nearest(place)
            if not directory.is_dir():
                return OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(directory))
            space = os.statvfs(directory)
            if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
                code = errno.EROFS if space.f_flag & os.ST_RDONLY else errno.EACCES
                return OSError(code, os.strerror(code), str(directory))
            # File systems such as /proc have no blocks at all.
            if space.f_blocks and not space.f_bavail:
                return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(directory))
        return None


class Bucket:
    """A prefix in a bucket of S3, or of a store like it.

    Args:
        place: s3://bucket/prefix.
        access: Where, and by which credentials.
    """

    def __init__(self, place: str, access: AwsAccess) -> None:
        self.place = place
        self._access = access
        self.bucket, _, prefix = place.removeprefix("s3://").partition("/")
        self.prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._aws = s3_client(access)

    def key(self, path: str) -> str:
        """Return the key of a file.

        Raises:
            OSError: It would lie outside the table.
        """
        if not is_inside(path):
            raise OSError(errno.ELOOP, "leads out of the archive", f"{self.place}/{path}")
        return self.prefix + path

    def client(self) -> Any:
        """Return boto3's client."""
        return self._aws.connected()

    def options(self) -> dict[str, str]:
        """Return credentials as boto3 finds them, so that all of the archive's requests have the same."""
        from botocore.exceptions import NoCredentialsError

        found = session(self._access)
        credentials = found.get_credentials()
        if credentials is None:
            raise NoCredentialsError
        keys = credentials.get_frozen_credentials()
        options = {
            "aws_access_key_id": keys.access_key,
            "aws_secret_access_key": keys.secret_key,
            "aws_region": self._region() or found.region_name or "us-east-1",
            "aws_conditional_put": "etag",
        }
        if keys.token:
            options["aws_session_token"] = keys.token
        if self._access.endpoint_url:
            options["aws_endpoint_url"] = self._access.endpoint_url
            options["aws_virtual_hosted_style_request"] = "false"
            options["aws_allow_http"] = str(self._access.endpoint_url.startswith("http://")).lower()
        return options

    def _region(self) -> str | None:
        """Return where the bucket is: boto3 finds it by itself, and delta-rs doesn't."""
        try:
            found = self._aws.connected().head_bucket(Bucket=self.bucket)
        except Exception:  # noqa: BLE001  a HEAD doesn't say why; what comes next does
            return None
        region: str | None = found.get("BucketRegion")
        return region

    def prepare(self) -> None:
        """Have nothing to do."""

    def put(self, path: str, body: Any) -> None:
        """Put an object."""
        self._aws.connected().put_object(Bucket=self.bucket, Key=self.key(path), Body=bytes(body))

    def flush(self) -> None:
        """Have nothing to do: what S3 has answered lasts."""

    def remove(self, paths: Iterable[str]) -> None:
        """Leave them to vacuum: credentials may not be allowed to delete."""

    def sync(self) -> None:
        """Have nothing to do: what S3 has answered lasts."""

    def failed(self, error: Exception) -> Retry | Hold:
        """Return what boto3's error means; of another's, what boto3 finds."""
        if not type(error).__module__.startswith("botocore") and not isinstance(error, ValueError):
            found = self.probe()
            if not isinstance(found, Delivered):
                return found
            hint = f"if it doesn't pass, {_ALLOW}"
            return Retry(f"{self.place}: {self._aws.hide(error)[:_LONGEST]}: {hint}")
        problem = self._aws.read(error)
        outcome = read_error(*problem, _ALLOW) if isinstance(problem, tuple) else problem
        self._aws.forget()
        match outcome:
            case Hold(issue=issue):
                return Hold(f"{issue} (of retention.archive)")
            case Retry():
                return outcome
        return Retry(self._aws.hide(error))

    def probe(self) -> Probed:
        """Look into the bucket."""
        try:
            found = self._aws.connected().list_objects_v2(Bucket=self.bucket, Prefix=self.prefix, MaxKeys=1)
        except Exception as error:  # noqa: BLE001  whatever boto3 raises is the outcome of a request, told in words
            return self.failed(error)
        return Delivered() if "KeyCount" in found else Retry("not an answer of ListObjectsV2: it has no KeyCount")

    def try_out(self) -> Probed:
        """Put an object, and again on the condition that there is none, by which all writers agree; then delete it."""
        client, key = self._aws.connected(), f"{self.prefix}.logweir-check-{uuid4()}"
        try:
            client.put_object(Bucket=self.bucket, Key=key, Body=b"", IfNoneMatch="*")
            try:
                client.put_object(Bucket=self.bucket, Key=key, Body=b"", IfNoneMatch="*")
                refused = False
            except client.exceptions.ClientError as error:
                refused = error.response.get("Error", {}).get("Code") == "PreconditionFailed"
                if not refused:
                    raise
            finally:
                client.delete_object(Bucket=self.bucket, Key=key)
        except Exception as error:  # noqa: BLE001  as in `probe`
            return self.failed(error)
        return Delivered() if refused else Hold(f"{self.place}: {_UNCONDITIONAL}")

    def close(self) -> None:
        """Close the connections."""
        self._aws.close()


def _nearest(place: Path) -> Path:
    """Return a directory, or of those above it the first that there is."""
    while not place.exists() and place != place.parent:
        place = place.parent
    return place


def make(directory: Path, mode: int | None) -> None:
    """Make a directory and those above it, so that they last."""
    for each in _made(directory, mode):
        sync(each)


def _made(directory: Path, mode: int | None) -> list[Path]:
    """Make a directory and those above it; return the directories that have a new name in them."""
    if directory.exists():
        return []
    missing = [each for each in (directory, *directory.parents) if not each.exists()]
    make_directory(directory, mode)
    return [each.parent for each in missing]


def _sync_file(file: Path) -> None:
    try:
        sync(file)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(file)) from error


def _sync_names(directory: Path) -> None:
    """Write a directory's names to the disk, unless a vacuum has removed it since."""
    with suppress(FileNotFoundError):
        sync(directory)
