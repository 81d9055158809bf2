"""The destinations that the suite runs against: one line each."""

from __future__ import annotations

import pytest

from tests.sinks.conformance.site import Site
from tests.sinks.conformance.site_kafka import KafkaSite
from tests.sinks.conformance.site_otlp import OtlpSite
from tests.sinks.conformance.sites_aws import CloudWatchSite, S3Site
from tests.sinks.conformance.sites_http import (
    DatadogSite,
    ElasticsearchSite,
    EndpointSite,
    GcpSite,
    LokiSite,
    SplunkAckSite,
    SplunkSite,
)
from tests.sinks.conformance.sites_local import ConsoleSite, FileSite
from tests.sinks.conformance.sites_real import MotoCloudWatchSite, MotoS3Site, OpenSearchSite

SITES: dict[str, type[Site]] = {
    "elasticsearch": ElasticsearchSite,
    "datadog": DatadogSite,
    "splunk": SplunkSite,
    "splunk, ack": SplunkAckSite,
    "cloudwatch": CloudWatchSite,
    "gcp": GcpSite,
    "loki": LokiSite,
    "http": EndpointSite,
    "otlp": OtlpSite,
    "s3": S3Site,
    "kafka": KafkaSite,
    "file": FileSite,
    "console": ConsoleSite,
}
"""By the name of a column."""
REAL: dict[str, type[Site]] = {
    "elasticsearch, OpenSearch": OpenSearchSite,
    "cloudwatch, moto": MotoCloudWatchSite,
    "s3, moto": MotoS3Site,
}
"""Further ones, at servers that are not ours; these have no faults that a test could choose."""


def marks(site: type[Site]) -> list[pytest.MarkDecorator]:
    """Return the marks of tests with this site."""
    return [getattr(pytest.mark, site.needs)] if site.needs in {"kafka", "opensearch"} else []


def each_of(*sites: dict[str, type[Site]]) -> pytest.MarkDecorator:
    """Run a test once for each of these, by its `name`."""
    found = [pytest.param(name, marks=marks(site)) for some in sites for name, site in some.items()]
    return pytest.mark.parametrize("name", found)


each_site = each_of(SITES)
