from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
import zstandard
from pydantic import TypeAdapter, ValidationError

from sinks.destination import Delivered, Hold, Outcome, Retry, TooLarge
from sinks.s3 import MAX_KEY_BYTES, S3
from sinks.s3_answers import read_error
from tests.servers.cloud import Answer
from tests.servers.s3 import FakeS3, error
from tests.sinks.cloud_support import ODD, engine

SECRET = "pl4nted/s3cret+key"
TOKEN = "pl4nted-t0ken"
NAME = re.compile(r"logs/(\d{4})/(\d\d)/(\d\d)/(\d\d)/\1\2\3T\4\d{4}Z-[0-9a-f]{16}-\d{6}\.ndjson\.gz")


@pytest.fixture
def server() -> Iterator[FakeS3]:
    """A new stand-in for S3, which at the end has seen nothing that may not be sent."""
    with FakeS3(SECRET) as fake:
        yield fake
    assert fake.violations == []


def configured(url: str = "http://127.0.0.1:9", **changes: Any) -> S3:
    """Return settings as a flow file gives them."""
    given = {
        "type": "s3",
        "bucket": "bucket",
        "region": FakeS3.region,
        "access_key_id": FakeS3.access_key,
        "secret_access_key": SECRET,
        "endpoint_url": url,
    }
    return TypeAdapter(S3).validate_python({**given, **changes})


def records(*span: int) -> list[bytes]:
    """Return records with these numbers."""
    return [orjson.dumps({"n": number}) for number in range(*span)]


def lines(server: FakeS3) -> list[bytes]:
    """Return the records of all objects, in order."""
    return [line for each in server.objects().values() for line in gzip.decompress(each).splitlines()]


class TestSettings:
    @pytest.mark.parametrize(
        "changes",
        [
            {"bucket": "b"},
            {"bucket": "my bucket"},
            {"bucket": "s3://bucket"},
            {"prefix": "/logs/"},
            {"prefix": "logs/%x/"},
            {"prefix": "logs/%"},
            {"prefix": "logs\n"},
            {"prefix": "é" * 500},
            {"storage_class": "standard"},
            {"server_side_encryption": "aes"},
            {"kms_key_id": "key"},
            {"kms_key_id": "key", "server_side_encryption": "AES256"},
            {"compression": "lz4"},
            {"secret_access_key": None},
            {"access_key_id": None, "secret_access_key": None, "session_token": TOKEN},
        ],
    )
    def test_what_the_service_would_refuse_is_a_finding(self, changes: dict[str, Any]) -> None:
        """What can't work is refused before anything is sent."""
        with pytest.raises(ValidationError):
            configured(**changes)

    def test_the_longest_prefix(self) -> None:
        """A prefix that is as long as it may be leaves room for the name, also once the dates are put in."""
        prefix = "%Y" * 100 + "x" * (MAX_KEY_BYTES - 64 - 400)
        taker = configured(prefix=prefix).open(lambda _: lambda _: None, None)
        assert len(taker.frame([b"{}"]).partition(b"\n")[0]) <= MAX_KEY_BYTES


class TestObjects:
    def test_an_object_is_its_records(self, server: FakeS3, tmp_path: Path) -> None:
        """Unzipped, an object has exactly the records that came, in order, each on a line."""
        values = [*ODD, *records(5000)]
        with engine(configured(server.url), tmp_path, max_records=10_000) as run:
            run.deliver(*values)
        ((name, body),) = server.objects().items()
        assert gzip.decompress(body) == b"\n".join([*values, b""])
        headers = server.buckets["bucket"][name][1]
        assert headers["content-type"] == "application/x-ndjson"
        assert not {name for name in headers if name.startswith("x-amz-checksum")}

    def test_names(self, server: FakeS3, tmp_path: Path) -> None:
        """An object stands in the folder of the time at which it is made; names are unique and in that order."""
        with engine(configured(server.url), tmp_path, max_records=10, concurrency=1) as run:
            run.deliver(*records(95))
        assert len(server.objects()) == 10
        assert lines(server) == records(95)
        for name in server.objects():
            matched = NAME.fullmatch(name)
            assert matched
            assert abs(datetime.now(UTC) - datetime(*map(int, matched.groups()), tzinfo=UTC)).total_seconds() < 7200  # type: ignore[arg-type, misc]

    def test_equal_records_are_not_one(self, server: FakeS3, tmp_path: Path) -> None:
        """Requests of the very same records, in one moment and from several partitions, are objects of their own."""
        settings = configured(server.url)
        with engine(settings, tmp_path / "a", max_records=1) as one, engine(settings, tmp_path / "b") as other:
            one.deliver(*[b"{}"] * 20)
            other.deliver(*[b"{}"] * 20)
        assert lines(server) == [b"{}"] * 40

    @pytest.mark.parametrize(
        ("compression", "suffix", "read"),
        [
            (False, ".ndjson", bytes),
            ("zstd", ".ndjson.zst", lambda body: zstandard.ZstdDecompressor().decompress(body)),
            (True, ".ndjson.gz", gzip.decompress),
        ],
    )
    def test_compression(self, server: FakeS3, tmp_path: Path, compression: Any, suffix: str, read: Any) -> None:
        """An object's name tells how it is compressed."""
        with engine(configured(server.url, compression=compression), tmp_path) as run:
            run.deliver(*records(500))
        ((name, body),) = server.objects().items()
        assert name.endswith(suffix)
        assert read(body).splitlines() == records(500)

    def test_further_settings(self, server: FakeS3, tmp_path: Path) -> None:
        """The storage class and the encryption go with each object."""
        settings = configured(
            server.url,
            prefix="date=%Y-%m-%d/Größe & more/",
            storage_class="STANDARD_IA",
            server_side_encryption="aws:kms",
            kms_key_id="alias/logs",
        )
        with engine(settings, tmp_path) as run:
            run.deliver(*records(1))
        ((name, (_, headers)),) = server.buckets["bucket"].items()
        assert name.startswith(f"date={datetime.now(UTC):%Y-}")
        assert "/Größe & more/" in name
        assert headers["x-amz-storage-class"] == "STANDARD_IA"
        assert headers["x-amz-server-side-encryption"] == "aws:kms"
        assert headers["x-amz-server-side-encryption-aws-kms-key-id"] == "alias/logs"


class TestTrouble:
    def test_a_lost_answer(self, server: FakeS3, tmp_path: Path) -> None:
        """An object whose answer is lost is put again under its name, so that it is there once."""
        server.unanswered = 2
        with engine(configured(server.url), tmp_path, max_records=100, concurrency=1) as run:
            run.deliver(*records(1000))
            assert run.delivery.stats.retries == 2
        assert server.puts == 12
        assert len(server.objects()) == 10
        assert lines(server) == records(1000)

    @pytest.mark.parametrize(
        "fault",
        [
            error(503, "SlowDown", "Please reduce your request rate."),
            error(500, "InternalError", "We encountered an internal error. Please try again."),
            error(400, "RequestTimeout", "Your socket connection to the server was not read from or written to"),
            error(409, "OperationAborted", "A conflicting conditional operation is currently in progress"),
            Answer(502, b"<html>Bad Gateway</html>", {"Content-Type": "text/html"}),
            Answer(200, b"<html>a captive portal</html>", {"Content-Type": "text/html"}),
            Answer(close=True),
        ],
    )
    def test_what_passes_is_retried(self, server: FakeS3, tmp_path: Path, fault: Answer) -> None:
        """Throttling, outages and answers that are none cost nothing but time."""
        server.script.extend([fault, fault])
        with engine(configured(server.url), tmp_path) as run:
            run.deliver(*records(10))
            assert run.delivery.stats.retries == 2
            server.script.append(fault)
            assert isinstance(run.destination.probe(), Retry)
        assert lines(server) == records(10)

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"access_key_id": "AKIDOTHER"}, "403 InvalidAccessKeyId: .*: check access_key_id"),
            ({"secret_access_key": "pl4nted-other"}, "403 SignatureDoesNotMatch: .*: check secret_access_key"),
            ({"session_token": TOKEN}, "400 InvalidToken: .*: check session_token"),
            ({"bucket": "later"}, "404 NoSuchBucket: .*: create it, or check bucket and endpoint_url"),
        ],
    )
    def test_what_a_person_has_to_mend(
        self, server: FakeS3, tmp_path: Path, changes: dict[str, str], said: str
    ) -> None:
        """A wrong setting keeps everything, is named, also by the health check, and shows no secret."""
        settings = configured(server.url, **changes)
        with engine(settings, tmp_path) as run:
            run.write(*records(10))
            found = run.destination.probe()
            assert re.fullmatch(said, run.issue())
            assert isinstance(found, Hold)
            assert re.fullmatch(said, found.issue)
            assert "pl4nted" not in run.said() + repr((settings, run.destination, found))
            server.access_key = changes.get("access_key_id", server.access_key)
            server.secret = changes.get("secret_access_key", SECRET)
            server.token = changes.get("session_token", "")
            server.buckets["later"] = server.buckets["bucket"]
            run.deliver()
            assert run.destination.probe() == Delivered()
        assert lines(server) == records(10)

    def test_another_region(self, server: FakeS3, tmp_path: Path) -> None:
        """The bucket's own region is found from the answer, which names it."""
        with engine(configured(server.url, region="us-east-1"), tmp_path) as run:
            run.deliver(*records(10))
            assert run.destination.probe() == Delivered()
        assert lines(server) == records(10)

    def test_a_forbidden_object(self, server: FakeS3, tmp_path: Path) -> None:
        """Without the permission the records wait, and the issue says which it is."""
        server.fault = error(403, "AccessDenied", "User: x is not authorized to perform: s3:PutObject")
        with engine(configured(server.url), tmp_path) as run:
            run.write(*records(10))
            assert "allow these credentials s3:PutObject on the objects under prefix" in run.issue()
            server.fault = None
            run.deliver()
        assert lines(server) == records(10)

    def test_a_forbidden_look(self, server: FakeS3, tmp_path: Path) -> None:
        """Credentials that may write and not look are in good health, as far as can be told."""
        server.fault = error(403, "AccessDenied", "User: x is not authorized to perform: s3:ListBucket")
        with engine(configured(server.url), tmp_path) as run:
            assert run.destination.probe() == Delivered()

    def test_expired_credentials_are_found_anew(
        self, server: FakeS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Credentials of the usual AWS chain that are renewed are used without a restart."""
        shared = tmp_path / "credentials"
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(shared))
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
            monkeypatch.delenv(name, raising=False)
        text = f"[default]\naws_access_key_id={{}}\naws_secret_access_key={SECRET}\n"
        shared.write_text(text.format("AKIDOLD"))
        server.fault = error(400, "ExpiredToken", "The provided token has expired.")
        with engine(configured(server.url, access_key_id=None, secret_access_key=None), tmp_path) as run:
            run.write(*records(10))
            assert "session_token is past its time" in run.issue()
            shared.write_text(text.format(server.access_key))
            server.fault = None
            run.deliver()
        assert lines(server) == records(10)

    def test_too_large(self, server: FakeS3, tmp_path: Path) -> None:
        """An object that the store finds too large becomes two."""
        server.script.append(error(400, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size"))
        with engine(configured(server.url), tmp_path, concurrency=1) as run:
            run.deliver(*records(10))
        assert len(server.objects()) == 2
        assert lines(server) == records(10)

    def test_nobody_listens(self, tmp_path: Path) -> None:
        """A refused connection is retried."""
        with engine(configured(), tmp_path) as run:
            run.write(*records(1))
            run.until(lambda: run.delivery.stats.retries)
            assert "EndpointConnectionError" in run.said()
            assert isinstance(run.destination.probe(), Retry)

    def test_many_senders(self, server: FakeS3, tmp_path: Path) -> None:
        """Objects that are put side by side are each their own."""
        with engine(configured(server.url), tmp_path, max_records=3, concurrency=8) as run:
            run.deliver(*records(700))
        assert sorted(orjson.loads(line)["n"] for line in lines(server)) == list(range(700))


class TestAnswers:
    @pytest.mark.parametrize(
        ("status", "code", "kind"),
        [
            (503, "SlowDown", Retry),
            (503, "ServiceUnavailable", Retry),
            (500, "", Retry),
            (429, "", Retry),
            (400, "RequestTimeout", Retry),
            (400, "BadDigest", Retry),
            (413, "", TooLarge),
            (400, "EntityTooLarge", TooLarge),
            (501, "NotImplemented", Hold),
            (400, "ExpiredToken", Hold),
            (403, "RequestTimeTooSkewed", Hold),
            (403, "AccessDenied", Hold),
            (301, "PermanentRedirect", Hold),
            (400, "AuthorizationHeaderMalformed", Hold),
            (404, "NoSuchBucket", Hold),
            (400, "KMS.NotFoundException", Hold),
            (400, "InNoDocumentation", Hold),
        ],
    )
    def test_errors(self, status: int, code: str, kind: type[Outcome]) -> None:
        """Each error of the service has its outcome; what isn't known drops nothing."""
        assert type(read_error(status, code, "said")) is kind


def test_moto(moto: str, tmp_path: Path) -> None:
    """An independent server of the API takes the objects, and gives back exactly the records."""
    values = [*ODD, *records(1000)]
    with engine(configured(moto), tmp_path, max_records=100, concurrency=1) as run:
        run.write(*values)
        assert "NoSuchBucket" in run.issue()
        assert isinstance(run.destination.probe(), Hold)
        client = run.destination._aws.connected()  # type: ignore[attr-defined]
        client.create_bucket(Bucket="bucket", CreateBucketConfiguration={"LocationConstraint": FakeS3.region})
        run.deliver()
        assert run.destination.probe() == Delivered()
        found = client.list_objects_v2(Bucket="bucket", Prefix="logs/")["Contents"]
        bodies = [client.get_object(Bucket="bucket", Key=each["Key"])["Body"].read() for each in found]
    assert b"".join(gzip.decompress(each) for each in bodies) == b"\n".join([*values, b""])
