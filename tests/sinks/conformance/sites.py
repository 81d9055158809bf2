"""The destinations that the suite runs against: one line each."""

from __future__ import annotations

from tests.sinks.conformance.site import Site
from tests.sinks.conformance.site_kafka import KafkaSite
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

SITES: dict[str, type[Site]] = {
    "elasticsearch": ElasticsearchSite,
    "datadog": DatadogSite,
    "splunk": SplunkSite,
    "splunk, ack": SplunkAckSite,
    "cloudwatch": CloudWatchSite,
    "gcp": GcpSite,
    "loki": LokiSite,
    "http": EndpointSite,
    "s3": S3Site,
    "kafka": KafkaSite,
    "file": FileSite,
    "console": ConsoleSite,
}
"""By the name of a column."""
