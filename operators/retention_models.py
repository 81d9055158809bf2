"""Retention policies as they are written in a flow file: which records are kept how long.

What they mean together is in `operators.retention`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from logweir.retention import DEFAULT_PERIOD, FOREVER, Period
from logweir.settings import StrictModel
from operators.rule_models import Condition, Level
from operators.where import WhereText


class Policy(StrictModel):
    """How long the records are kept that meet all that it asks for; one that asks for nothing takes every record."""

    name: str = Field(
        min_length=1, description="What the policy is called in the archive, in `explain` and in reports."
    )
    period: Period = Field(description="How long its records are kept: so many days, weeks or years, or forever.")
    levels: list[Level] | None = Field(
        default=None, min_length=1, description="Only records of these levels. Aliases such as warning are understood."
    )
    categories: list[str] | None = Field(
        default=None, min_length=1, description="Only records of these categories, spelt exactly."
    )
    conditions: list[Condition] = Field(
        default_factory=list, max_length=16, description="Only records that meet all of these."
    )
    enabled: bool = Field(default=True, description="Whether the policy is asked at all.")
    priority: int = Field(
        default=0,
        description="Of the policies that take a record the one with the highest priority decides, and of those the "
        "one with the longest period.",
    )


DEFAULT_POLICIES = (
    Policy(name="Errors", period="90d", levels=["error", "fatal"]),
    Policy(name="Warnings", period="30d", levels=["warn"]),
    Policy(name="Information", period="7d", levels=["info"]),
    Policy(name="Debugging", period="7d", levels=["debug", "trace"]),
    Policy(name="Workflows", period="1y", categories=["workflow"], priority=10),
    Policy(name="Security and audit", period=FOREVER, categories=["security", "audit"], priority=20),
)
"""`policies: default`."""


def _listed(value: Any) -> Any:
    if isinstance(value, str):
        if value != "default":
            msg = "must be `default`, or a list of policies"
            raise ValueError(msg)
        return list(DEFAULT_POLICIES)
    return value


class Hold(StrictModel):
    """Records that are not deleted while this stands, neither when they expire nor by an erasure."""

    name: str = Field(min_length=1, description="What the hold is called in `explain`, `search` and in reports.")
    where: WhereText = Field(
        description="Which records: an expression such as `user.id = 'u1' and timestamp < '2026-02-01T00:00:00Z'`."
    )


class Policies(StrictModel):
    """Which records are kept how long."""

    policies: Annotated[
        list[Policy], BeforeValidator(_listed, json_schema_input_type=Literal["default"] | list[Policy])
    ] = Field(
        default_factory=lambda: list(DEFAULT_POLICIES),
        json_schema_extra={"default": "default"},
        description="`default`: errors and fatal 90d, warnings 30d, info, debug and trace 7d; of the category "
        "workflow 1y; of the categories security and audit forever. Or a list of your own.",
    )
    default_period: Period = Field(
        default=DEFAULT_PERIOD, description="How long records are kept that no policy takes."
    )
    hold: list[Hold] = Field(
        default_factory=list, max_length=64, description="Legal holds: records that are not deleted while these stand."
    )

    @property
    def asked(self) -> list[Policy]:
        """The policies that are asked, in the order in which they stand."""
        return [policy for policy in self.policies if policy.enabled]
