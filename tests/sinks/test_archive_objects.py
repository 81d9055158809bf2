"""The archive's files as whoever rewrites them has them: the same in a directory and in S3."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from sinks.archive_objects import BucketObjects, Objects, objects_of
from sinks.archive_stores import Bucket
from sinks.destination import Delivered, Hold
from tests.flows.compaction.support import moto
from tests.sinks.archive_support import configured

LARGE = os.urandom(9_000_000)


@pytest.fixture(scope="module")
def bucket() -> Iterator[tuple[str, dict[str, Any]]]:
    """Run S3."""
    with moto() as found:
        yield found


@pytest.fixture(params=["local", "s3"])
def objects(request: pytest.FixtureRequest, tmp_path: Path, bucket: tuple[str, dict[str, Any]]) -> Objects:
    """Return a table's files, none yet."""
    if request.param == "local":
        (tmp_path / "a/_delta_log").mkdir(parents=True)
        return objects_of(configured(tmp_path / "a").retention.archive.store())
    place, access = bucket
    return objects_of(configured(f"{place}/{tmp_path.name}", archive=access).retention.archive.store())


def test_files(objects: Objects) -> None:
    """What is written is there, in pieces and whole, is listed, and is gone when it is deleted."""
    with objects.write("retention=7d/part-1.parquet") as handle:
        for start in range(0, len(LARGE), 1_000_000):
            handle.write(LARGE[start : start + 1_000_000])
    with objects.write("retention=7d/part-2.parquet") as handle:
        handle.write(b"small")
    assert objects.read("retention=7d/part-2.parquet") == b"small"
    assert objects.read("retention=7d/part-3.parquet") is None
    listed = {path: size for path, _, size in objects.listed()}
    assert listed == {"retention=7d/part-1.parquet": len(LARGE), "retention=7d/part-2.parquet": 5}
    for path, whole in (("retention=7d/part-1.parquet", LARGE), ("retention=7d/part-2.parquet", b"small")):
        opened = objects.open(path, len(whole))
        with Path(opened).open("rb") if isinstance(opened, str) else opened as file:
            file.seek(-3, os.SEEK_END)
            assert file.read(10) == whole[-3:]
            assert file.tell() == len(whole)
            file.seek(1)
            assert file.read(2) == whole[1:3]
    objects.delete([*listed, "retention=7d/part-3.parquet"])
    assert list(objects.listed()) == []


def test_a_place_is_tried_out(objects: Objects, tmp_path: Path, bucket: tuple[str, dict[str, Any]]) -> None:
    """A trial writes to the place, and nothing of it is left."""
    place, access = bucket
    there = isinstance(objects, BucketObjects)
    settings = configured(f"{place}/{tmp_path.name}", archive=access) if there else configured(tmp_path / "a")
    assert settings.retention.archive.store().try_out() == Delivered()
    assert list(objects.log()) == []
    if not there:
        assert [each.name for each in (tmp_path / "a").rglob("*")] == ["_delta_log"]


def test_a_disk_that_takes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trial finds what permissions and free space don't tell."""

    def failing(_descriptor: int) -> None:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(os, "fsync", failing)
    found = configured(tmp_path / "a").retention.archive.store().try_out()
    assert isinstance(found, Hold)
    assert found.issue == f"{tmp_path}: Disk quota exceeded: raise the quota, or set retention.archive elsewhere"


def test_a_store_without_conditions(
    tmp_path: Path, bucket: tuple[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that writes over what is there, whatever the condition, is refused: two writers would not agree."""
    place, access = bucket
    store = configured(f"{place}/{tmp_path.name}", archive=access).retention.archive.store()
    assert isinstance(store, Bucket)
    client = store.client()
    put = client.put_object
    monkeypatch.setattr(client, "put_object", lambda IfNoneMatch, **more: put(**more))  # noqa: N803
    found = store.try_out()
    assert isinstance(found, Hold)
    assert "would lose each other's commits" in found.issue
    assert client.list_objects_v2(Bucket=store.bucket, Prefix=store.prefix)["KeyCount"] == 0


def test_nothing_is_left_of_a_failure(objects: Objects) -> None:
    """A file that can't be finished isn't there."""
    with pytest.raises(ValueError, match="broken off"), objects.write("part.parquet") as handle:  # noqa: PT012
        handle.write(b"x")
        msg = "broken off"
        raise ValueError(msg)
    assert list(objects.listed()) == []


def test_the_first_has_it(objects: Objects) -> None:
    """An entry of the log is made by whoever is first, and stays as it is; the log isn't listed among the files."""
    assert objects.claim("_delta_log/1.json", b"one")
    assert not objects.claim("_delta_log/1.json", b"two")
    assert objects.read("_delta_log/1.json") == b"one"
    assert list(objects.listed()) == []


@pytest.mark.parametrize("arrives", [True, False])
def test_an_answer_that_is_lost(objects: Objects, arrives: bool) -> None:
    """When S3's answer is lost, what became of the entry is found by looking."""
    if not isinstance(objects, BucketObjects):
        return
    client = objects._client
    put = client.put_object

    def losing(**more: Any) -> None:
        if arrives:
            put(**more)
        raise ReadTimeoutError(endpoint_url="http://s3")

    client.put_object = losing
    if arrives:
        assert objects.claim("_delta_log/2.json", b"ours")
        assert not objects.claim("_delta_log/2.json", b"another's")
    else:
        with pytest.raises(ReadTimeoutError):
            objects.claim("_delta_log/2.json", b"ours")
    client.put_object = put
