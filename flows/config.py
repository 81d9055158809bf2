"""A flow: where records come from, what decides about them, and where they go."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SerializeAsAny,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import InitErrorDetails

from flows.archiving import ARCHIVE, FlowArchive, RetentionSettings
from flows.contradictions import contradictions
from flows.document import Document, Finding, read
from flows.expectations import FlowTest
from flows.faults import convert, translate
from flows.sources import SOURCES, load_source
from flows.sources.base import SourceSettings
from logweir.errors import ConfigError
from logweir.settings import LocalPath, StrictModel, Substituted, fault, nearest
from logweir.units import Bytes, Duration
from operators.redact_models import RedactSettings
from operators.rule_models import BaseRule, Condition, Rule, Sampling, routing_rules
from sinks import SINKS, load_sink
from sinks.secret import HeaderSecret
from sinks.settings import CommonDestination, DeliverySettings

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_LISTEN = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[^\s:\[\]/]*):(\d{1,5})")
_MAX_PORT = 65535

_RULES: TypeAdapter[list[Rule]] = TypeAdapter(list[Rule])
_CONDITIONS: TypeAdapter[list[Condition]] = TypeAdapter(list[Condition])
_SAMPLING: TypeAdapter[Sampling | None] = TypeAdapter(Sampling | None)
_READERS = {
    "rules": _RULES.validate_python,
    "when": _CONDITIONS.validate_python,
    "sampling": _SAMPLING.validate_python,
}
"""What a destination's settings are read by that are the operators'."""


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        msg = "must be letters, digits, - and _, 63 at most, and begin with a letter or a digit"
        raise ValueError(msg)
    return value


def _listen(value: str) -> str:
    match = _LISTEN.fullmatch(value)
    if match is None or int(match[1]) > _MAX_PORT:
        msg = "must be an address and a port such as 127.0.0.1:8080 or [::1]:8080"
        raise ValueError(msg)
    return value


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _typed(
    table: Mapping[str, str], loader: Callable[[str], type[StrictModel]]
) -> Callable[[Any, ValidationInfo], StrictModel]:
    """Return a validator that looks up `type` in the table. Unlike a union of all, it imports only what is named."""

    def validate(value: Any, info: ValidationInfo) -> StrictModel:
        if isinstance(value, StrictModel):
            return value
        if not isinstance(value, dict):
            problem = fault("model_type", "must be a mapping of names to values")
            raise problem
        allowed = ", ".join(sorted(table))
        if "type" not in value:
            problem = fault("missing", f"`type` is required, one of {allowed}")
            raise problem
        kind = value["type"]
        if not isinstance(kind, str) or kind not in table:
            # What is like no name may be anything, also a secret.
            hint = nearest(kind, table) if isinstance(kind, str) and not isinstance(kind, Substituted) else ""
            quoted = f" {kind!r}" if hint else ""
            problem = fault("union_tag_invalid", f"unknown type{quoted}, must be one of {allowed}{hint}")
            line = InitErrorDetails(type=problem, loc=("type",), input=kind)
            raise ValidationError.from_exception_data(str(info.field_name), [line], hide_input=True)
        return loader(kind).model_validate(value, context=info.context)

    return validate


Name = Annotated[str, AfterValidator(_name), WithJsonSchema({"type": "string", "pattern": f"^{_NAME.pattern}$"})]
"""The name of a flow or of a destination: part of group ids, directories and metrics."""

Source = Annotated[SerializeAsAny[SourceSettings], BeforeValidator(_typed(SOURCES, load_source))]
AnyDestination = Annotated[SerializeAsAny[CommonDestination], BeforeValidator(_typed(SINKS, load_sink))]


class DeadLetterSettings(StrictModel):
    """Where records go that can't be delivered: one of the two."""

    topic_prefix: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9._-]{1,180}$",
        description="With a Kafka source: each goes to the topic of this prefix and the destination's name.",
    )
    directory: LocalPath | None = Field(None, min_length=1, description="A directory with a file for each destination.")

    @model_validator(mode="after")
    def _one(self) -> DeadLetterSettings:
        if (self.topic_prefix is None) == (self.directory is None):
            msg = "needs either topic_prefix or directory, and not both"
            raise ValueError(msg)
        return self


class RecoverySettings(StrictModel):
    """How a flow resumes after a stop or a crash."""

    directory: LocalPath = Field("./recovery", min_length=1, description="Where positions and ledgers are recorded.")
    interval: Duration = Field(10.0, gt=0, description="How often they are recorded: the length of an epoch.")


class StatusSettings(StrictModel):
    """Health, status and metrics by HTTP."""

    listen: Annotated[str, AfterValidator(_listen)] = Field("127.0.0.1:8080", description="Address and port.")
    token: HeaderSecret | None = Field(
        None,
        description="What `Authorization: Bearer` must hold for /metrics and /api/status; without one, only this "
        "machine's own addresses can be listened on.",
    )

    @model_validator(mode="after")
    def _closed(self) -> StatusSettings:
        host = self.listen.rpartition(":")[0].strip("[]")
        if not (self.token and self.token.get_secret_value()) and not _is_loopback(host):
            msg = f"listens on {host}, which others can reach: set status.token, or listen on 127.0.0.1"
            raise ValueError(msg)
        return self


class Flow(StrictModel):
    """A logweir flow."""

    name: Name = Field(description="The flow's name, in metrics and events.")
    source: Source = Field(description="Where records come from.")
    redact: RedactSettings | None = Field(
        None, description="What is hidden in every record, before rules see it and before anything leaves the process."
    )
    rules: list[Rule] = Field(default_factory=list, description="What decides which records pass.")
    destinations: dict[Name, AnyDestination] = Field(min_length=1, description="Where records go, each by its name.")
    retention: RetentionSettings | None = Field(
        None, description="An archive of the records, and how long each is kept there."
    )
    dead_letter: DeadLetterSettings = Field(
        DeadLetterSettings(directory="./dead-letter"),
        description="Where records go that can't be delivered. With a Kafka source: topic_prefix `dead.`.",
    )
    isolation: Literal["destination", "none"] = Field(
        "none",
        description="`destination`: a dataflow, consumer group and position for each destination, so that none waits "
        "for another; the default with a Kafka source. `none`: one dataflow for all.",
    )
    recovery: RecoverySettings = Field(default_factory=RecoverySettings, description="How the flow resumes.")
    status: StatusSettings = Field(default_factory=StatusSettings, description="What the flow serves by HTTP.")
    max_in_flight: Bytes = Field(
        16_000_000, gt=0, description="The most bytes that a dataflow process holds before its source waits."
    )
    stop_timeout: Duration = Field(25.0, gt=0, description="How long a stop waits for what is in flight.")
    tests: list[FlowTest] = Field(
        default_factory=list, description="Records and what should become of them, for `logweir test`."
    )

    @model_validator(mode="before")
    @classmethod
    def _for_kafka(cls, data: Any) -> Any:
        """Set the defaults that only a Kafka source has."""
        source = data.get("source") if isinstance(data, dict) else None
        kind = source.get("type") if isinstance(source, dict) else getattr(source, "type", None)
        return (
            {"dead_letter": {"topic_prefix": "dead."}, "isolation": "destination", **data} if kind == "kafka" else data
        )

    def declared_rules(self, destination: str) -> list[Rule]:
        """Return the `rules` of this destination, the disabled ones too."""
        return _RULES.validate_python(self.destinations[destination].rules)

    def own_rules(self, destination: str) -> list[BaseRule]:
        """Return all rules that are asked of this destination, after the flow's: its `when` and `sampling` too."""
        if destination not in self.destinations:
            return []
        settings, declared = self.destinations[destination], self.declared_rules(destination)
        highest = max((rule.priority for rule in declared), default=0)
        when = _CONDITIONS.validate_python(settings.when)
        sampling = None if settings.sampling is None else Sampling.model_validate(settings.sampling)
        return [*declared, *routing_rules(destination, when, sampling, highest)]

    def shared_rules(self, name: str) -> list[Rule]:
        """Return the flow's rules that are asked before what goes to this destination: none for an archive of all."""
        archive = self.archive
        return [] if name == ARCHIVE and archive is not None and archive.takes_all else self.rules

    @property
    def group(self) -> str:
        """The consumer group of a Kafka source."""
        return getattr(self.source, "group", None) or self.name

    @property
    def enabled(self) -> dict[str, CommonDestination]:
        """The destinations that are delivered to."""
        return {name: each for name, each in self.destinations.items() if each.enabled}

    @property
    def archive(self) -> FlowArchive | None:
        """The archive, if there is one."""
        if self.retention is None:
            return None
        exact = getattr(self.source, "type", None) == "kafka"
        return FlowArchive(self.name, self.retention, self.source.layout(), exact)

    @property
    def outlets(self) -> Mapping[str, DeliverySettings]:
        """All that is delivered to by name: the destinations, and the archive."""
        archive = self.archive
        return {**self.enabled, **({ARCHIVE: archive} if archive is not None else {})}


@dataclass(frozen=True, slots=True)
class LoadedFlow:
    """A flow, and the file that it came from."""

    flow: Flow
    document: Document


def load(source: Path | str, name: str = "flow.yaml", environment: Mapping[str, str] | None = None) -> LoadedFlow:
    """Return the flow that a file describes.

    Args:
        source: The file's path, or, when it is text, the YAML itself.
        name: What findings call text that has no file.
        environment: The variables; the process's own when left out.

    Raises:
        ConfigError: With every finding at once.
    """
    return built(open_document(source, name, environment))


def open_document(
    source: Path | str, name: str = "flow.yaml", environment: Mapping[str, str] | None = None
) -> Document:
    """Return a file's data and what is wrong with its YAML.

    Raises:
        ConfigError: The file can't be read.
    """
    if isinstance(source, str):
        return read(source, name, environment)
    try:
        return read(source.read_bytes(), str(source), environment)
    except OSError as error:
        raise ConfigError([f"{source}: can't be read: {error.strerror}"]) from None


def built(document: Document) -> LoadedFlow:
    """Return the flow that a document describes.

    Raises:
        ConfigError: With every finding at once.
    """
    flow, findings = build(document)
    if flow is None or findings:
        raise ConfigError([str(finding) for finding in findings])
    return LoadedFlow(flow, document)


def build(document: Document) -> tuple[Flow | None, list[Finding]]:
    """Return the flow that a document describes, and all that is wrong with it, in the file's order."""
    findings = list(document.findings)
    flow: Flow | None = None
    if document.data is None:
        if not findings:
            findings.append(document.find((), "is empty; a flow needs name, source and destinations"))
        return None, findings
    while True:
        try:
            flow = Flow.model_validate(document.data, context=_READERS)
        except ValidationError as error:
            if convert(document, error):
                continue
            findings += translate(document, error)
        break
    findings += contradictions(document)
    if flow is not None:
        findings += _refused_settings(document, flow)
    return flow, sorted(set(findings), key=lambda finding: (finding.mark, finding.path, finding.message))


def _refused_settings(document: Document, flow: Flow) -> list[Finding]:
    """Return a finding for each of librdkafka's settings that it refuses; it is imported only where there are some."""
    kafka = [each for each in (flow.source, *flow.destinations.values()) if getattr(each, "type", "") == "kafka"]
    if not any(getattr(each, "settings", None) for each in kafka):
        return []
    from flows.check_kafka import refused_settings

    return refused_settings(document, flow)
