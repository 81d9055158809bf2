"""The settings that every destination shares: what the delivery engine needs to know."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Literal, Protocol

from pydantic import Field, SerializeAsAny, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticUndefined

from logweir.settings import StrictModel, Substituted
from logweir.units import Bytes, Duration
from sinks.destination import Destination, Endpoint, Getter


def env_field(variable: str, *, description: str, default: Any = PydanticUndefined, **options: Any) -> Any:
    """Return a field that is read from an environment variable when it is left out.

    Args:
        variable: The variable's usual name, such as ELASTIC_URL.
        description: What the setting means.
        default: Its value when neither is set; without one the setting is required.
        options: Passed to pydantic's Field.
    """
    said = f"{description} Read from {variable} when left out."
    return Field(default, description=said, json_schema_extra={"env": variable}, **options)


def from_environment(model: type[StrictModel], data: Any) -> Any:
    """Return a model's settings with those filled in that are left out and whose variable is set."""
    if not isinstance(data, dict):
        return data
    filled = dict(data)
    for name, field in model.model_fields.items():
        extra = field.json_schema_extra
        variable = extra.get("env") if isinstance(extra, dict) else None
        if variable and name not in filled and (text := os.environ.get(str(variable))):
            filled[name] = Substituted(text, f"${{{variable}}}")
    return filled


class BatchSettings(StrictModel):
    """When a request is sent: as soon as one of the limits is reached."""

    max_records: int = Field(5000, ge=1, description="The most records in one request.")
    max_bytes: Bytes = Field(
        1_000_000, gt=0, description="The most bytes of records in one request, before compression."
    )
    flush_interval: Duration = Field(5.0, gt=0, description="How long a record waits for others at most.")


class RetrySettings(StrictModel):
    """How often, and how fast, a request is tried again that may succeed later."""

    max_retries: int = Field(3, ge=0, description="Retries before `on_failure` decides.")
    backoff: Duration = Field(1.0, gt=0, description="The wait before the first retry; it doubles with each.")
    max_backoff: Duration = Field(30.0, gt=0, description="The longest wait between two retries.")

    @model_validator(mode="after")
    def _ordered(self) -> RetrySettings:
        if self.max_backoff < self.backoff:
            msg = "max_backoff must be at least backoff"
            raise ValueError(msg)
        return self


class DeliverySettings(Protocol):
    """What a flow has to know of a destination to run it, whether it stands under `destinations` or elsewhere."""

    @property
    def batch(self) -> BatchSettings:
        """When a request is sent."""
        ...

    @property
    def retry(self) -> RetrySettings:
        """How a request is tried again."""
        ...

    @property
    def on_failure(self) -> Literal["hold", "dead_letter"]:
        """What happens after the last retry."""
        ...

    @property
    def concurrency(self) -> int:
        """The most requests at once, for each partition."""
        ...

    @property
    def partitions(self) -> int:
        """Parallel sink partitions."""
        ...

    @property
    def health_interval(self) -> float:
        """Seconds after its last answer when the destination is asked for its health."""
        ...

    @property
    def identified(self) -> bool:
        """Whether it asks who each record is, to tell repetitions."""
        ...

    def fields(self) -> set[str]:
        """Return the logical fields that it reads, as dotted paths."""
        ...

    def open(self, getter: Callable[[str], Getter], resume: Any, *, partition: int = 0) -> Endpoint:
        """Return the destination of one sink partition."""
        ...


class CommonDestination(StrictModel):
    """What the settings of every destination begin with."""

    enabled: bool = Field(True, description="Whether anything is delivered here.")
    was: str | None = Field(
        None,
        min_length=1,
        description="The name that this destination had before: its position, its ledger and the states of its limits "
        "are taken over at the next start.",
    )
    rules: list[SerializeAsAny[StrictModel]] = Field(
        default_factory=list, description="Rules for this destination alone, beside those of the flow."
    )
    when: list[SerializeAsAny[StrictModel]] = Field(
        default_factory=list, description="Only records that meet all of these conditions go here."
    )
    sampling: SerializeAsAny[StrictModel] | None = Field(
        None, description="The share of them that goes here; a short form of a rule of type sample."
    )
    batch: BatchSettings = Field(default_factory=BatchSettings, description="When a request is sent.")
    retry: RetrySettings = Field(default_factory=RetrySettings, description="How a request is tried again.")
    on_failure: Literal["hold", "dead_letter"] = Field(
        "hold",
        description="After the last retry: hold keeps trying, and the stream waits; dead_letter sets records aside.",
    )
    concurrency: int = Field(4, ge=1, le=64, description="The most requests at once, for each partition.")
    partitions: int = Field(1, ge=1, le=64, description="Parallel sink partitions, each with its own buffer.")
    health_interval: Duration = Field(
        30.0, gt=0, description="How long after its last answer the destination is asked for its health."
    )

    @property
    def identified(self) -> bool:
        """Whether the destination's `encode` reads `identities`, to tell repetitions by; then they are made."""
        return False

    def fields(self) -> set[str]:
        """Return the logical fields that the destination's `encode` reads, as dotted paths; the rest isn't decoded."""
        raise NotImplementedError

    def open(self, getter: Callable[[str], Getter], resume: Any, *, partition: int = 0) -> Destination:
        """Return the destination of one sink partition, ready to send. Called once in each process that has it.

        Args:
            getter: Gives the reader of each of `fields`.
            resume: What `checkpoint` returned last, or None.
            partition: The sink partition's number.

        Raises:
            DestinationError: It can't be used at all. What may pass is for `send` to answer, with a Retry or a Hold.
        """
        raise NotImplementedError

    @field_validator("rules", "when", "sampling", mode="before")
    @classmethod
    def _rules(cls, value: Any, info: ValidationInfo) -> Any:
        # Sinks don't know the operators: who composes both hands in the readers of rules.
        reader = (info.context or {}).get(info.field_name)
        return reader(value) if reader else value

    @model_validator(mode="before")
    @classmethod
    def _from_environment(cls, data: Any) -> Any:
        """Fill in what is left out and whose variable is set."""
        return from_environment(cls, data)
