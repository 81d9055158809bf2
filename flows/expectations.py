"""A flow's own tests as they are written in its file: records, and what should become of them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue, model_validator

from logweir.settings import StrictModel

TestRecord = dict[str, JsonValue] | str


class FlowTest(StrictModel):
    """One test. The limiters begin empty with each."""

    name: str = Field(min_length=1, description="What the test is called.")
    record: TestRecord | None = Field(
        None, description="One record; as text it is taken as it stands, such as one that is not JSON."
    )
    records: list[TestRecord] = Field(
        default_factory=list, description="Several, one after another, instead of `record`."
    )
    repeat: int = Field(1, ge=1, le=100_000, description="How often they come.")
    expect: Literal["delivered", "dropped", "rejected"] | None = Field(
        None, description="What becomes of each of them at each destination; rejected: it is no record."
    )
    rule: str | None = Field(None, description="The rule that drops each of them.")
    destinations: list[str] | None = Field(
        None, description="The destinations that get all of them; the others get none."
    )
    delivered: int | dict[str, int] | None = Field(
        None, description="How many each destination gets, or by destination."
    )
    becomes: TestRecord | list[TestRecord | None] | None = Field(
        None,
        description="What is left of each record where it is delivered, or rejected; as text to the byte. With "
        "`records` also a list, with null for one that is not looked at.",
    )

    @model_validator(mode="after")
    def _complete(self) -> FlowTest:
        if (self.record is None) == (not self.records):
            msg = "needs either record or records, and not both"
            raise ValueError(msg)
        expected = (self.expect, self.rule, self.destinations, self.delivered, self.becomes)
        if all(each is None for each in expected):
            msg = "expects nothing: needs expect, rule, destinations, delivered or becomes"
            raise ValueError(msg)
        if isinstance(self.becomes, list) and len(self.becomes) != len(self.records):
            msg = f"becomes lists {len(self.becomes)} records, and needs one for each of the {len(self.records)} listed"
            raise ValueError(msg)
        if self.becomes is not None and self.expect == "dropped":
            msg = "contradicts itself: nothing is left of what is dropped; leave out becomes, or expect"
            raise ValueError(msg)
        if self.rule is not None and self.expect in ("delivered", "rejected"):
            msg = f"contradicts itself: no rule drops what is {self.expect}; leave out rule, or expect"
            raise ValueError(msg)
        return self
