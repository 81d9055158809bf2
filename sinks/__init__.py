"""Destinations: one module each, and the one delivery engine that they share."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from sinks.settings import CommonDestination

SINKS: dict[str, str] = {
    "cloudwatch": "sinks.cloudwatch:CloudWatch",
    "console": "sinks.console:Console",
    "datadog": "sinks.datadog:Datadog",
    "elasticsearch": "sinks.elasticsearch:Elasticsearch",
    "file": "sinks.file:File",
    "gcp": "sinks.gcp:Gcp",
    "http": "sinks.http_endpoint:HttpEndpoint",
    "kafka": "sinks.kafka:Kafka",
    "loki": "sinks.loki:Loki",
    "otlp": "sinks.otlp:Otlp",
    "s3": "sinks.s3:S3",
    "splunk": "sinks.splunk:Splunk",
}
"""type -> module:class of its settings. Only what a flow file names is imported."""


def load_sink(name: str) -> type[CommonDestination]:
    """Return the settings' model of this type of destination."""
    module, _, attribute = SINKS[name].partition(":")
    return cast("type[CommonDestination]", getattr(import_module(module), attribute))
