"""The archive's files, for whoever rewrites them: reading, writing as a stream, the next entry of the table's log.

"Delta Transaction Log Protocol" of delta-io/delta: the log's entry of a version is made by whoever is first, in one
step, and is never replaced. In a directory that is a hard link, as delta-rs makes it too; in S3 a PUT with
`If-None-Match: *`.
"""

from __future__ import annotations

import errno
import io
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Protocol
from uuid import uuid4

from logweir.archive_table import LOG
from logweir.private import set_mode
from sinks.archive_paths import below
from sinks.archive_stores import Bucket, Directory, Store, make
from sinks.durable import sync

_SPOOL_BYTES = 8_000_000
"""What is written to S3 is kept in memory up to here, and beyond it in a temporary file."""
_DELETED_AT_ONCE = 1000
"""Objects that one DeleteObjects takes."""
_TAKEN = {"PreconditionFailed", "ConditionalRequestConflict"}


class Objects(Protocol):
    """The files of one table, by their path below it."""

    def read(self, path: str) -> bytes | None:
        """Return a small file; None where there is none."""
        ...

    def open(self, path: str, size: int) -> Any:
        """Return a file of this many bytes as pyarrow reads it: a piece at a time, from any place."""
        ...

    def claim(self, path: str, body: bytes) -> bool:
        """Write a small file whole, so that it lasts; False where there is one of this path."""
        ...

    def replace(self, path: str, body: bytes) -> None:
        """Write a small file whole in another's place: whoever reads it sees the one or the other."""
        ...

    def write(self, path: str) -> AbstractContextManager[IO[bytes]]:
        """Write a file, a piece at a time; it is there, and lasts, at the end of the block. After an error it isn't."""
        ...

    def listed(self) -> Iterator[tuple[str, float, int]]:
        """Give each file's path, when it was written in epoch seconds, and its bytes; none of hidden directories."""
        ...

    def log(self) -> Iterator[tuple[str, float, int]]:
        """Give the same of each file of the table's log, the hidden ones too."""
        ...

    def delete(self, paths: Iterable[str]) -> None:
        """Delete files; one that isn't there is no error."""
        ...


def objects_of(store: Store) -> Objects:
    """Return the files of the table that lies in this place."""
    mode = store.mode if isinstance(store, Directory) else None
    return BucketObjects(store) if isinstance(store, Bucket) else DirectoryObjects(Path(store.place), mode)


class DirectoryObjects:
    """Files of this machine.

    Args:
        path: The table's directory.
        mode: The rights of its files; None for those that the umask gives.
    """

    def __init__(self, path: Path, mode: int | None = None) -> None:
        self._path = path
        self._mode = mode

    def read(self, path: str) -> bytes | None:
        """Read a file."""
        try:
            return below(self._path, path).read_bytes()
        except FileNotFoundError:
            return None

    def open(self, path: str, size: int) -> Any:
        """Return the file's name."""
        del size
        return str(below(self._path, path))

    def claim(self, path: str, body: bytes) -> bool:
        """Link a file that is whole to the name."""
        file = below(self._path, path)
        try:
            with _whole(file, body, self._mode) as whole:
                os.link(whole, file)
        except FileExistsError:
            return False
        sync(file.parent)
        return True

    def replace(self, path: str, body: bytes) -> None:
        """Rename a file that is whole to the name."""
        file = below(self._path, path)
        with _whole(file, body, self._mode) as whole:
            whole.rename(file)
        sync(file.parent)

    @contextmanager
    def write(self, path: str) -> Iterator[IO[bytes]]:
        """Write to the disk."""
        file = below(self._path, path)
        make(file.parent, self._mode)
        try:
            with file.open("wb") as handle:
                set_mode(handle.fileno(), self._mode)
                yield handle
                handle.flush()
                os.fsync(handle.fileno())
            sync(file.parent)
        except BaseException:
            file.unlink(missing_ok=True)
            raise

    def listed(self) -> Iterator[tuple[str, float, int]]:
        """Walk the directories."""
        for place, directories, files in os.walk(self._path):
            directories[:] = [each for each in directories if not each.startswith(("_", "."))]
            for name in files:
                file = Path(place) / name
                with suppress(FileNotFoundError):
                    found = file.stat()
                    yield file.relative_to(self._path).as_posix(), found.st_mtime, found.st_size

    def log(self) -> Iterator[tuple[str, float, int]]:
        """List the log's directory."""
        for file in (self._path / LOG).iterdir():
            with suppress(FileNotFoundError):
                found = file.stat()
                yield f"{LOG}/{file.name}", found.st_mtime, found.st_size

    def delete(self, paths: Iterable[str]) -> None:
        """Delete files, and directories that are empty then."""
        parents = set()
        for path in paths:
            file = below(self._path, path)
            file.unlink(missing_ok=True)
            parents.add(file.parent)
        for parent in parents:
            with suppress(OSError):
                parent.rmdir()


class BucketObjects:
    """Objects of S3.

    Args:
        store: The bucket, and how to reach it.
    """

    def __init__(self, store: Bucket) -> None:
        self._store = store
        self._name = {"Bucket": store.bucket}

    def read(self, path: str) -> bytes | None:
        """Get an object."""
        try:
            found = self._client.get_object(**self._name, Key=self._store.key(path))
        except Exception as error:
            if _code(error) == "NoSuchKey":
                return None
            raise
        body: bytes = found["Body"].read()
        return body

    def open(self, path: str, size: int) -> Any:
        """Return an object whose parts are fetched as they are asked for, or all of it where it is small."""
        if size <= _SPOOL_BYTES:
            found = self.read(path)
            if found is None:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            return io.BytesIO(found)
        return _Ranges(self._client, self._store.bucket, self._store.key(path), size)

    def claim(self, path: str, body: bytes) -> bool:
        """Put an object unless there is one. What an answer that is lost would have said is found by reading."""
        key = self._store.key(path)
        try:
            self._client.put_object(**self._name, Key=key, Body=body, IfNoneMatch="*")
        except Exception as error:
            found = self.read(path)
            if found is None and _code(error) not in _TAKEN:
                raise
            # An erasure may have taken statistics out of it meanwhile; its first line tells who has made it.
            return found is not None and _first(found) == _first(body)
        return True

    def replace(self, path: str, body: bytes) -> None:
        """Put an object over another."""
        self._client.put_object(**self._name, Key=self._store.key(path), Body=body)

    @contextmanager
    def write(self, path: str) -> Iterator[IO[bytes]]:
        """Put an object, or upload it in parts where it is large."""
        key = self._store.key(path)
        with tempfile.SpooledTemporaryFile(_SPOOL_BYTES) as spool:
            yield spool
            spool.seek(0)
            self._client.upload_fileobj(spool, self._store.bucket, key, Config=_one_at_a_time())

    def listed(self) -> Iterator[tuple[str, float, int]]:
        """List the bucket."""
        pages = self._client.get_paginator("list_objects_v2")
        for page in pages.paginate(**self._name, Prefix=self._store.prefix):
            for each in page.get("Contents", ()):
                path = each["Key"].removeprefix(self._store.prefix)
                if not any(part.startswith(("_", ".")) for part in path.split("/")):
                    yield path, each["LastModified"].timestamp(), each["Size"]

    def log(self) -> Iterator[tuple[str, float, int]]:
        """List the log's prefix."""
        pages = self._client.get_paginator("list_objects_v2")
        for page in pages.paginate(**self._name, Prefix=f"{self._store.prefix}{LOG}/"):
            for each in page.get("Contents", ()):
                yield each["Key"].removeprefix(self._store.prefix), each["LastModified"].timestamp(), each["Size"]

    def delete(self, paths: Iterable[str]) -> None:
        """Delete objects, many at once."""
        keys = [{"Key": self._store.key(path)} for path in paths]
        for start in range(0, len(keys), _DELETED_AT_ONCE):
            some = {"Objects": keys[start : start + _DELETED_AT_ONCE], "Quiet": True}
            failed = self._client.delete_objects(**self._name, Delete=some).get("Errors")
            if failed:
                msg = f"{failed[0].get('Key')}: {failed[0].get('Code')}: {failed[0].get('Message')}"
                raise OSError(msg)

    @property
    def _client(self) -> Any:
        return self._store.client()


class _Ranges(io.RawIOBase):
    """An object of S3, read by GET requests with ranges."""

    def __init__(self, client: Any, bucket: str, key: str, size: int) -> None:
        self._client = client
        self._name = {"Bucket": bucket, "Key": key}
        self._size = size
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._place = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        return self._place

    def readinto(self, buffer: Any) -> int:
        end = min(self._place + len(buffer), self._size)
        if end <= self._place:
            return 0
        try:
            found = self._client.get_object(**self._name, Range=f"bytes={self._place}-{end - 1}")["Body"].read()
        except Exception as error:
            if _code(error) == "NoSuchKey":
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self._name["Key"]) from error
            raise
        buffer[: len(found)] = found
        self._place += len(found)
        return len(found)


@contextmanager
def _whole(file: Path, body: bytes, mode: int | None) -> Iterator[Path]:
    """Write a file beside another, and give its path; at the end of the block it is gone, unless it was renamed."""
    whole = file.with_name(f".{uuid4()}.tmp")
    try:
        with whole.open("wb") as handle:
            set_mode(handle.fileno(), mode)
            handle.write(body)
            handle.flush()
            os.fsync(handle.fileno())
        yield whole
    finally:
        whole.unlink(missing_ok=True)


def _first(entry: bytes) -> bytes:
    return entry.partition(b"\n")[0]


def _one_at_a_time() -> Any:
    from boto3.s3.transfer import TransferConfig

    return TransferConfig(use_threads=False)


def _code(error: Exception) -> str:
    response = getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))
