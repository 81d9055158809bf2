"""What is hidden, as it is written in a flow file under `redact`."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any, Literal

import re2
from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator

from logweir.paths import segments_of
from logweir.settings import StrictModel, Substituted, nearest
from operators.patterns import OPTIONS, check_pattern
from operators.redact_patterns import BUILTINS

Mode = Literal["replace", "hash", "remove"]
BuiltinName = Literal[
    "credit_card", "email", "ipv4", "ipv6", "jwt", "aws_key", "bearer_token", "private_key"
]  # a test holds it against BUILTINS

MIN_KEY = 16
"""Characters. A shorter key could be guessed, and the hashed values with it."""


class RedactField(StrictModel):
    """A field that is hidden, whatever its value."""

    path: str = Field(
        description="A dotted path as the record has it, not as a `format` names it. `*` is any one level, `**` any "
        "number of levels, none too. Arrays are no levels; a key that has dots in it is as many levels as it has parts."
    )
    mode: Mode | None = Field(None, description="What is done with this field; `redact.mode` when left out.")

    @field_validator("path")
    @classmethod
    def _is_a_path(cls, value: str) -> str:
        segments = segments_of(value)
        if not all(segments):
            msg = "must be a dotted path such as metadata.password, *.token or **.secret"
            raise ValueError(msg)
        if any("*" in segment and segment not in ("*", "**") for segment in segments):
            msg = "* and ** stand for whole levels, as in *.token; a part of a name can't be left open"
            raise ValueError(msg)
        return value


class RedactPattern(StrictModel):
    """Text that is hidden wherever it is found: a built-in pattern by its name, or one of your own."""

    name: str = Field(min_length=1, description="What it is called in counters. Without `pattern` a built-in one's.")
    pattern: str | None = Field(
        None, description="A pattern in RE2's syntax, searched in each text, key and number of a record."
    )
    mode: Mode | None = Field(None, description="What is done with what is found; `redact.mode` when left out.")

    @field_validator("pattern", mode="before")
    @classmethod
    def _possible(cls, value: Any) -> Any:
        if isinstance(value, str):
            check_pattern(value)
            if re2.search(value, "", OPTIONS) is not None:
                msg = "is found in empty text, so it would hide nothing anywhere; make it need a character"
                raise ValueError(msg)
        return value

    @model_validator(mode="after")
    def _known(self) -> RedactPattern:
        if self.pattern is None and self.name not in BUILTINS:
            shown = f" `{self.name}`" if not isinstance(self.name, Substituted) else ""
            known = f"; built in are {', '.join(BUILTINS)}; one of your own needs a name and a pattern"
            msg = f"unknown pattern{shown}{nearest(self.name, BUILTINS) or known}"
            raise ValueError(msg)
        if self.pattern is not None and self.name in BUILTINS:
            msg = f"`{self.name}` is the name of a built-in pattern; call yours otherwise, or leave out `pattern`"
            raise ValueError(msg)
        return self


def _named(value: Any) -> Any:
    return _mapping(value, "name", "a pattern's name, or a mapping of name, pattern and mode")


def _placed(value: Any) -> Any:
    return _mapping(value, "path", "a dotted path, or a mapping of path and mode")


def _mapping(value: Any, setting: str, allowed: str) -> Any:
    if not isinstance(value, str | dict | StrictModel):
        msg = f"must be {allowed}"
        raise ValueError(msg)  # noqa: TRY004  pydantic makes a finding of it
    return {setting: value} if isinstance(value, str) else value


class RedactSettings(StrictModel):
    """What is hidden in every record, before rules see it and before anything leaves the process."""

    fields: list[
        Annotated[RedactField, BeforeValidator(_placed, json_schema_input_type=Annotated[str | RedactField, Field()])]
    ] = Field(
        default_factory=list,
        description="Fields that are hidden, by their dotted paths as the record has them: `metadata.password`, "
        "`*.token` (one level above), `**.secret` (anywhere). Or `{path, mode}`.",
    )
    patterns: list[
        Annotated[
            RedactPattern,
            BeforeValidator(_named, json_schema_input_type=Annotated[BuiltinName | RedactPattern, Field()]),
        ]
    ] = Field(
        default_factory=list,
        description="What is hidden wherever it is found: the names of built-in patterns, or `{name, pattern, mode}`.",
    )
    mode: Mode = Field(
        "replace",
        description="`replace`: by the text of `with`. `hash`: by a keyed hash, so that equal values stay equal. "
        "`remove`: a field is taken out, a pattern's text is cut out.",
    )
    with_: str = Field("[redacted]", alias="with", description="What stands in the place of what is replaced.")
    hash_key: SecretStr | None = Field(
        None,
        description="The secret that hashes are made with, of 16 characters or more; needed for the mode `hash`.",
    )

    @field_validator("hash_key")
    @classmethod
    def _is_long(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < MIN_KEY:
            msg = f"must have {MIN_KEY} characters or more; a shorter one could be guessed, and what is hashed with it"
            raise ValueError(msg)
        return value

    @model_validator(mode="after")
    def _complete(self) -> RedactSettings:
        modes = {each.mode or self.mode for each in self.fields} | {each.mode or self.mode for each in self.patterns}
        names = Counter([*(each.path for each in self.fields), *(each.name for each in self.patterns)])
        repeated = [name for name, count in names.items() if count > 1]
        if not modes:
            msg = "hides nothing; name some fields or patterns, or leave redact out"
        elif repeated:
            msg = f"`{repeated[0]}` is given twice; each counts under its own name"
        elif "hash" in modes and self.hash_key is None:
            msg = f"hash_key is needed for the mode hash; set it to a secret of {MIN_KEY} characters or more"
        elif self.hash_key is not None and "hash" not in modes:
            msg = "hash_key is given, but nothing is hashed; set mode: hash"
        else:
            return self
        raise ValueError(msg)
