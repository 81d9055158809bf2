"""Destinations at servers that are not ours: a real OpenSearch, and moto for what Amazon has."""

from __future__ import annotations

import gzip
import json
from typing import Any
from uuid import uuid4

from sinks.settings import CommonDestination
from sinks.window import TOO_NEW, TOO_OLD
from tests.servers.opensearch import OpenSearch
from tests.sinks import elasticsearch_support, test_cloudwatch, test_s3
from tests.sinks.cloud_support import Engine
from tests.sinks.conformance.site import Sent, Site, dump, stamp
from tests.sinks.conformance.sites_http import GZIP_OR_NOT


class OpenSearchSite(Site):
    kind = "elasticsearch"
    needs = "opensearch"
    real: OpenSearch
    variants = GZIP_OR_NOT
    # It takes no number of more than 1,000 digits.
    causes = frozenset({"rejected: mapper_parsing_exception"})

    def start(self) -> None:
        self.index = f"conformance-{uuid4().hex[:12]}"
        # Whatever a record holds, it is stored as it is: of which types its fields are is not the question here.
        made = self.real.request("PUT", f"/{self.index}", {"mappings": {"enabled": False}})
        assert made["acknowledged"]
        self.stack.callback(self.real.request, "DELETE", f"/{self.index}")

    def settings(self, **changes: Any) -> CommonDestination:
        given = {"url": self.real.url, "index": self.index, "compression": True, **changes}
        return elasticsearch_support.configured(**given)

    def taken(self) -> list[tuple[str, dict[str, Any]]]:
        self.real.request("POST", f"/{self.index}/_refresh")
        found = self.real.request("POST", f"/{self.index}/_search", {"size": 10_000})
        return [(hit["_id"], hit["_source"]) for hit in found["hits"]["hits"]]

    def same(self, sent: Sent, got: tuple[str, dict[str, Any]]) -> bool:
        added = {} if "@timestamp" in sent.record else {"@timestamp": got[1].get("@timestamp", "missing")}
        return dump(sent.record | added) == dump(got[1])

    def identity(self, got: tuple[str, dict[str, Any]]) -> str:
        return got[0]

    def number(self, got: tuple[str, dict[str, Any]]) -> int:
        return int(got[1]["n"])

    def largest(self, run: Engine) -> None:
        """Leave a request of 100 MB to another site."""


class MotoSite(Site):
    """What moto stands in for; it keeps and gives back, and knows neither credentials nor limits."""

    needs = "moto"
    real: str

    def opened(self, run: Engine) -> None:
        self.client = run.destination._aws.connected()  # type: ignore[attr-defined]


class MotoCloudWatchSite(MotoSite):
    kind = "cloudwatch"
    causes = frozenset({TOO_OLD, TOO_NEW})

    def start(self) -> None:
        self.group = f"group-{uuid4().hex[:12]}"

    def settings(self, **changes: Any) -> CommonDestination:
        return test_cloudwatch.configured(self.real, create=True, log_group=self.group, **changes)

    def forgets(self, sent: Sent) -> bool:
        """Tell whether it is of another day: moto says wrongly which of those it hasn't taken."""
        moment = sent.record.get("timestamp")
        return moment not in {None, "soon"} and not str(moment).startswith(stamp()[:10])

    def made(self) -> Any:
        return self.client.describe_log_groups(logGroupNamePrefix=self.group)["logGroups"]

    def taken(self) -> list[dict[str, Any]]:
        if not self.made():
            return []
        found: list[str] = []
        place: dict[str, Any] = {}
        while True:
            page = self.client.get_log_events(
                logGroupName=self.group, logStreamName="stream", startFromHead=True, limit=10_000, **place
            )
            found += [event["message"] for event in page["events"]]
            if not page["events"]:
                return list(map(json.loads, found))
            place = {"nextToken": page["nextForwardToken"]}


class MotoS3Site(MotoSite):
    kind = "s3"

    def start(self) -> None:
        self.bucket = f"bucket-{uuid4().hex[:12]}"

    def settings(self, **changes: Any) -> CommonDestination:
        return test_s3.configured(self.real, bucket=self.bucket, **changes)

    def opened(self, run: Engine) -> None:
        super().opened(run)
        place = {"LocationConstraint": "eu-west-1"}
        self.client.create_bucket(Bucket=self.bucket, CreateBucketConfiguration=place)

    def taken(self) -> list[dict[str, Any]]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        names = [each["Key"] for page in pages for each in page.get("Contents", [])]
        bodies = [self.client.get_object(Bucket=self.bucket, Key=name)["Body"].read() for name in names]
        return [json.loads(line) for body in bodies for line in gzip.decompress(body).splitlines()]
