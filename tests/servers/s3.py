"""A strict stand-in for S3: it checks names, signatures and hashes, and keeps the objects that it takes.

moto stores and gives back, but refuses neither credentials nor regions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from urllib.parse import unquote
from xml.sax.saxutils import escape

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.servers.cloud import Answer, CloudServer, Refused

XML = {"Content-Type": "application/xml", "x-amz-request-id": "4442587FB7D0A2F9"}
LIST = b"""<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name><Prefix></Prefix>\
<KeyCount>0</KeyCount><MaxKeys>1</MaxKeys><IsTruncated>false</IsTruncated></ListBucketResult>"""


def error(status: int, code: str, message: str, more: str = "") -> Answer:
    """Return an error as the service writes it.

    Args:
        status: Of the answer.
        code: Such as SlowDown.
        message: Its words.
        more: Further elements.
    """
    body = f"<Error><Code>{code}</Code><Message>{escape(message)}</Message>{more}<HostId>h</HostId></Error>"
    return Answer(status, b'<?xml version="1.0" encoding="UTF-8"?>\n' + body.encode(), XML)


class FakeS3(CloudServer):
    """The server, for one access key and the buckets of one region.

    Args:
        secret: The key's secret.
    """

    access_key = "AKIDEXAMPLE"
    region = "eu-west-1"

    def __init__(self, secret: str) -> None:
        super().__init__()
        self.secret = secret
        self.token = ""
        """The session token that is asked for."""
        self.buckets: dict[str, dict[str, tuple[bytes, dict[str, str]]]] = {"bucket": {}}
        """bucket -> name -> the object and the headers that it came with."""
        self.puts = 0
        self.unanswered = 0
        """So many of the next objects are taken, and the connection is closed without an answer."""

    def answer(self, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Take one object."""
        self._authenticate(path, headers, body)
        bucket, _, key = unquote(path).removeprefix("/").partition("/")
        if headers[":method"] != "PUT" or not 1 <= len(key.encode()) <= 1024 or "?" in path:
            self.violated(f"{headers[':method']} {path}")
        if "content-encoding" in headers or not body:
            self.violated(f"{len(body)} bytes, {headers}")
        with self.lock:
            if bucket not in self.buckets:
                raise Refused(error(404, "NoSuchBucket", "The specified bucket does not exist"))
            if self.buckets[bucket].get(key, (body,))[0] != body:
                self.violations.append(f"{key} is replaced by another object")
            self.buckets[bucket][key] = (body, dict(headers))
            self.puts += 1
            self.unanswered -= 1
            lost = self.unanswered >= 0
        return Answer(200, b"", {"ETag": f'"{hashlib.md5(body).hexdigest()}"'}, close=lost)

    def look(self, method: str, path: str, headers: Mapping[str, str]) -> Answer:
        """List a bucket."""
        if method == "HEAD":
            right = f"/{self.region}/" in headers.get("authorization", "")
            return Answer(200 if right else 400, b"", {"x-amz-bucket-region": self.region})
        planted = self.script.popleft() if self.script else self.fault
        if planted is not None:
            return planted
        try:
            self._authenticate(path, headers, b"")
        except Refused as refused:
            return refused.answer
        bucket = path.removeprefix("/").partition("?")[0]
        if bucket not in self.buckets:
            return error(404, "NoSuchBucket", "The specified bucket does not exist")
        return Answer(200, LIST, XML)

    def objects(self, bucket: str = "bucket") -> dict[str, bytes]:
        """Return the objects of a bucket by their names, in the order of these."""
        return {key: self.buckets[bucket][key][0] for key in sorted(self.buckets[bucket])}

    def _authenticate(self, path: str, headers: Mapping[str, str], body: bytes) -> None:
        given = headers.get("authorization", "")
        if not given:
            raise Refused(error(403, "AccessDenied", "Access Denied"))
        if f"Credential={self.access_key}/" not in given:
            what = "The AWS Access Key Id you provided does not exist in our records."
            raise Refused(error(403, "InvalidAccessKeyId", what))
        if headers.get("x-amz-security-token", "") != self.token:
            raise Refused(error(400, "InvalidToken", "The provided token is malformed or otherwise invalid."))
        signed_region = given.partition("Credential=")[2].split("/")[2]
        if signed_region != self.region:
            what = f"The authorization header is malformed; the region '{signed_region}' is wrong; expecting "
            what += f"'{self.region}'"
            raise Refused(error(400, "AuthorizationHeaderMalformed", what, f"<Region>{self.region}</Region>"))
        if headers["x-amz-content-sha256"] != hashlib.sha256(body).hexdigest():
            self.violated("the hash of the body is wrong")
        names = given.partition("SignedHeaders=")[2].partition(",")[0].split(";")
        request = AWSRequest(headers[":method"], self.url + path, {name: headers[name] for name in names}, body)
        request.context["timestamp"] = headers["x-amz-date"]
        signer = S3SigV4Auth(Credentials(self.access_key, self.secret, self.token or None), "s3", self.region)
        canonical = signer.canonical_request(request)
        if not given.endswith("Signature=" + signer.signature(signer.string_to_sign(request, canonical), request)):
            what = "The request signature we calculated does not match the signature you provided. Check your key and "
            what += "signing method."
            raise Refused(
                error(403, "SignatureDoesNotMatch", what, f"<CanonicalRequest>{escape(canonical)}</CanonicalRequest>")
            )
