"""The rules, as they are written in a flow file.

What they mean together (tiers, gates, exclusions) is in `operators.rules`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, JsonValue, ValidationInfo, field_validator, model_validator

from logweir.paths import FieldPath, members
from logweir.record import LEVELS, LevelTable
from logweir.settings import StrictModel, Substituted
from logweir.units import Duration
from operators.patterns import check_pattern

_LEVELS = LevelTable({})

Operator = Literal["eq", "ne", "gt", "gte", "lt", "lte", "contains", "matches", "exists", "in"]
ORDERINGS = frozenset({"gt", "gte", "lt", "lte"})


def _level(value: Any) -> Any:
    level = _LEVELS[value] if isinstance(value, str) else None
    if level is None:
        shown = f"the value of {value.origin}" if isinstance(value, Substituted) else repr(value)
        msg = f"{shown} is no level, allowed: {', '.join(LEVELS)} (or an alias such as warning, critical)"
        raise ValueError(msg)
    return level


Level = Annotated[
    str,
    BeforeValidator(_level, json_schema_input_type=str),
    Field(examples=list(LEVELS)),
]
"""One of LEVELS. An alias is read as what it stands for."""


class BaseRule(StrictModel):
    """What every rule has."""

    name: str = Field(min_length=1, description="What the rule is called in counters, in `explain` and in messages.")
    enabled: bool = Field(default=True, description="Whether the rule is asked at all.")
    priority: int = Field(
        default=0,
        description="Rules of one priority are a tier. Tiers are asked from the highest down; what a higher one keeps, "
        "no lower one is asked about. An include rule above 0 keeps what it matches and never drops anything.",
    )

    @property
    def stateful(self) -> bool:
        """Whether what came before has a part in what the rule decides; then a later step asks it."""
        return False


class _Matching(BaseRule):
    action: Literal["include", "exclude"] = Field(
        default="include",
        description="`include`: only records that match pass. `exclude`: records that match are dropped.",
    )


class LevelRule(_Matching):
    """Matches records of certain levels."""

    type: Literal["level"] = Field(description="Matches by level.")
    levels: list[Level] | None = Field(
        default=None, min_length=1, description="The levels that match. Aliases such as warning are understood."
    )
    min_level: Level | None = Field(default=None, description="This level and all more severe ones match.")

    @model_validator(mode="after")
    def _either(self) -> LevelRule:
        if (self.levels is None) == (self.min_level is None):
            msg = "needs either levels or min_level, and not both"
            raise ValueError(msg)
        return self

    @property
    def matching(self) -> frozenset[str]:
        """Return the levels that match."""
        if self.min_level is not None:
            return frozenset(LEVELS[LEVELS.index(self.min_level) :])
        return frozenset(self.levels or ())


class CategoryRule(_Matching):
    """Matches records of certain categories."""

    type: Literal["category"] = Field(description="Matches by category.")
    categories: list[str] = Field(min_length=1, description="The categories that match, spelt exactly.")


class Condition(StrictModel):
    """Compares what a field of a record holds."""

    field: FieldPath = Field(description="The field's dotted path, such as `context.environment`.")
    operator: Operator = Field(
        description="How the field is compared with `value`. A field that is missing or null matches only `ne` and "
        "`exists: false`; values of different types are never equal and never ordered."
    )
    value: JsonValue = Field(
        default=None,
        validate_default=True,
        description="What the field is compared with: a list for `in`, a number or text for gt, gte, lt and lte, "
        "a pattern for `matches`, true or false for `exists` (true when left out).",
    )

    # Before pydantic copies it: a pattern that came from a variable must still be known as such.
    @field_validator("value", mode="before")
    @classmethod
    def _fits(cls, value: Any, info: ValidationInfo) -> Any:
        operator = info.data.get("operator")
        if operator is not None and (problem := _misfit(operator, value)):
            raise ValueError(problem)
        if operator == "matches" and isinstance(value, str):
            check_pattern(value)
        return value


class FieldRule(Condition, _Matching):
    """Matches records by what one of their fields holds."""

    type: Literal["field"] = Field(description="Matches by the value of a field.")


def _misfit(operator: str, value: JsonValue) -> str | None:
    """Return what is wrong with this value for this operator, or None."""
    problem = None
    if isinstance(value, float) and not math.isfinite(value):
        problem = "must be a finite number"
    elif operator == "exists":
        if value is not None and not isinstance(value, bool):
            problem = "must be true or false for exists"
    elif value is None:
        problem = f"is needed for {operator}; for a missing or null field use exists with false"
    elif operator in ORDERINGS and (isinstance(value, bool) or not isinstance(value, int | float | str)):
        problem = f"must be a number or text for {operator}"
    elif operator == "in" and not (isinstance(value, list) and value and None not in value):
        problem = "must be a list of one or more values for in, without null"
    elif operator == "matches" and not isinstance(value, str):
        problem = "must be a pattern (text) for matches"
    return problem


class RegexRule(_Matching):
    """Matches records by a pattern anywhere in a field's text."""

    type: Literal["regex"] = Field(description="Matches by a pattern.")
    field: FieldPath = Field(default="message", description="The field's dotted path. Only text is matched.")
    flags: str = Field(
        default="",
        json_schema_extra={"pattern": "^[ims]*$"},
        description="`i`: upper and lower case are the same. `m`: ^ and $ match at each line. `s`: the dot matches "
        "newlines.",
    )
    pattern: str = Field(description="A pattern in RE2's syntax: no back-references, no look-around.")

    @field_validator("flags")
    @classmethod
    def _known(cls, value: str) -> str:
        if not set(value) <= set("ims"):
            msg = "may hold i, m and s only"
            raise ValueError(msg)
        return value

    @field_validator("pattern", mode="before")
    @classmethod
    def _possible(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, str):
            check_pattern(value, info.data.get("flags", ""))
        return value


_Fields = FieldPath | Annotated[list[FieldPath], Field(min_length=1, max_length=8)]

SAMPLING_MEMBER = members("sampling")
"""What a record says itself of how it was sampled."""
_DYNAMIC = ("window", "lateness", "max_keys", "annotate")
"""What of a sample rule's settings only one with a target has."""


class SampleRule(BaseRule):
    """Lets a share of the records through: a fixed one, or for each key one that keeps all together near a target."""

    type: Literal["sample"] = Field(description="Lets a share through.")
    sample_rate: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="The share that passes: 0 for none, 0.1 for a tenth, 1 for all. The very same records everywhere, "
        "and whenever they are read again.",
    )
    target_per_second: float | None = Field(
        default=None,
        gt=0,
        description="Instead of `sample_rate`: about so many records pass in a second. Each value of `by` gets an "
        "equal share; one that comes less often is kept whole. Each partition of the source has an equal part of it.",
    )
    sample_levels: list[Level] | None = Field(
        default=None, min_length=1, description="The levels that are sampled; others pass untouched. All when left out."
    )
    by: _Fields | None = Field(
        default=None,
        description="With `sample_rate`, one field: records with the same value there are kept or dropped together. "
        "When left out, or where the field is missing, it is the trace id, else the record's id. With "
        "`target_per_second`, a field or several: each value, or each combination, has a rate of its own.",
    )
    window: Duration = Field(
        default=10.0,
        ge=1,
        le=3600,
        description="With `target_per_second`: how long rates hold, in whole seconds of the records' own time, before "
        "they are set anew by what came.",
    )
    lateness: Duration = Field(
        default=60.0,
        gt=0,
        le=86_400,
        description="With `target_per_second`: how far a record's time may lie from when it was written to the topic "
        "to be believed.",
    )
    max_keys: int = Field(
        default=10_000,
        ge=1,
        description="With `target_per_second`: the most values of `by` at a time, in each partition, about 200 bytes "
        "each; further ones share a rate.",
    )
    annotate: bool = Field(
        default=True,
        description="With `target_per_second`: whether a record that passes says in `sampling.rate` at which rate.",
    )

    @model_validator(mode="after")
    def _either(self) -> SampleRule:
        if (self.sample_rate is None) == (self.target_per_second is None):
            msg = "needs either sample_rate or target_per_second, and not both"
            raise ValueError(msg)
        if self.target_per_second is not None and self.by is None:
            msg = "needs by, whose values have rates of their own, with target_per_second"
            raise ValueError(msg)
        if self.target_per_second is None and isinstance(self.by, list):
            msg = "by is one field with sample_rate; a list goes with target_per_second"
            raise ValueError(msg)
        for name in _DYNAMIC if self.target_per_second is None else ():
            if name in self.model_fields_set:
                msg = f"{name} goes with target_per_second, not with sample_rate"
                raise ValueError(msg)
        return self

    @property
    def stateful(self) -> bool:
        """Whether it has a target, and so what came before has a part in what it decides."""
        return self.target_per_second is not None

    @property
    def by_fields(self) -> list[str]:
        """Return the fields of `by`."""
        return [self.by] if isinstance(self.by, str) else self.by or []


class LimiterRule(BaseRule):
    """What every rule with a state has: which records it concerns, and whose time counts."""

    levels: list[Level] | None = Field(
        default=None, min_length=1, description="The levels that it concerns; others pass untouched. All when left out."
    )
    when: list[Condition] = Field(
        default_factory=list, max_length=16, description="Only records that meet all of these are concerned."
    )
    clock: Literal["event", "system"] = Field(
        default="event",
        description="`event`: windows by the records' own time, so that a replay is treated alike. `system`: by when "
        "the record is asked about.",
    )
    lateness: Duration = Field(
        default=60.0,
        gt=0,
        le=86_400,
        description="How far a record's time may lie from when it was written to the topic, or from now, to be "
        "believed; windows are kept that long beyond their end.",
    )
    max_keys: int = Field(default=100_000, ge=1, description="The most values of `by` at a time, about 200 bytes each.")
    summarise: bool = Field(
        default=False,
        description="At the end of a window, send one record for each value of `by` that says how many were dropped.",
    )

    @property
    def stateful(self) -> bool:
        """Whether what came before has a part in what it decides: always."""
        return True

    @property
    def by_fields(self) -> list[str]:
        """Return the fields that tell keys apart."""
        by: str | list[str] | None = getattr(self, "by", None)
        return [by] if isinstance(by, str) else by or []


class RateRule(LimiterRule):
    """Lets at most so many records through in each second, minute or hour."""

    type: Literal["rate"] = Field(description="Limits how many pass in a second, a minute or an hour.")
    max_per_second: int | None = Field(default=None, ge=1, description="The most that pass in a second.")
    max_per_minute: int | None = Field(default=None, ge=1, description="The most that pass in a minute.")
    max_per_hour: int | None = Field(default=None, ge=1, description="The most that pass in an hour.")
    by: _Fields | None = Field(
        default=None,
        description="A field, or several: each value, or each combination, has a budget of its own; a missing field is "
        "a value too. One budget for all when left out.",
    )

    @model_validator(mode="after")
    def _limited(self) -> RateRule:
        if self.max_per_second is self.max_per_minute is self.max_per_hour is None:
            msg = "needs max_per_second, max_per_minute or max_per_hour"
            raise ValueError(msg)
        return self

    @property
    def most(self) -> dict[str, int]:
        """Return the limits that are set, by what they are for."""
        limits = {"second": self.max_per_second, "minute": self.max_per_minute, "hour": self.max_per_hour}
        return {name: most for name, most in limits.items() if most is not None}


class DedupeRule(LimiterRule):
    """Lets the first of equal records through, and no other within a window."""

    type: Literal["dedupe"] = Field(description="Drops repetitions.")
    by: _Fields = Field(description="Records are equal where this field, or all of these, hold the same.")
    window: Duration = Field(
        ge=1, le=86_400, description="How long after the first one the others are dropped, in whole seconds."
    )


class WhenRule(BaseRule):
    """Drops what does not meet all of some conditions: a destination's `when`."""

    type: Literal["when"] = Field(default="when", description="Asks whether a destination wants a record.")
    action: Literal["exclude"] = Field(default="exclude", description="What it does with those it doesn't want.")
    conditions: list[Condition] = Field(description="What a record has to meet.")


class Sampling(StrictModel):
    """A destination's `sampling`."""

    rate: float = Field(ge=0, le=1, description="The share that passes: 0 for none, 0.1 for a tenth, 1 for all.")
    levels: list[Level] | None = Field(
        default=None, min_length=1, description="The levels that are sampled; others pass untouched. All when left out."
    )


def routing_rules(
    destination: str, when: Sequence[Condition], sampling: Sampling | None, highest: int
) -> list[BaseRule]:
    """Return the rules that a destination's `when` and `sampling` stand for.

    Args:
        destination: Its name, which the rules are counted by.
        when: What a record has to meet, whatever the destination's other rules say.
        sampling: Like a sample rule after those.
        highest: The highest priority of the destination's other rules.
    """
    rules: list[BaseRule] = []
    if when:
        rules.append(WhenRule(name=f"{destination}: when", conditions=list(when), priority=highest + 1))
    if sampling is not None:
        name = f"{destination}: sampling"
        sample = SampleRule(name=name, type="sample", sample_rate=sampling.rate, sample_levels=sampling.levels)
        rules.append(sample)
    return rules


Rule = Annotated[
    LevelRule | CategoryRule | FieldRule | RegexRule | SampleRule | RateRule | DedupeRule, Field(discriminator="type")
]
