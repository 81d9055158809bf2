"""The model that every part of a flow file derives from, and text that came from a variable."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError


class Substituted(str):
    """Text that came from a variable or a file, and so may be a secret: no message may show it.

    Args:
        text: The value.
        origin: Where it came from, as a person would write it, such as `${PORT}`.
        pieces: What of the text variables or files have given; all of it when left out.
    """

    origin: str
    pieces: tuple[str, ...]
    __slots__ = ("origin", "pieces")

    def __new__(cls, text: str, origin: str, pieces: tuple[str, ...] | None = None) -> Self:
        """Return the text, marked with its origin."""
        self = super().__new__(cls, text)
        self.origin = origin
        self.pieces = (text,) if pieces is None else pieces
        return self

    def __reduce__(self) -> tuple[type[Self], tuple[str, str, tuple[str, ...]]]:
        return type(self), (str(self), self.origin, self.pieces)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `, did you mean ...?` for the known name that is most like this one, else nothing."""
    matches = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=0.6)
    return f"; did you mean `{matches[0]}`?" if matches else ""


def expand_home(path: str) -> str:
    """Return a path with the home directory in place of a leading ~ or ~user, as a shell gives it.

    Raises:
        ValueError: There is no such home directory.
    """
    if not path.startswith("~"):
        return path
    found = os.path.expanduser(path)  # noqa: PTH111  pathlib would normalise the rest
    if found == path:
        msg = f"no home directory is known for {path.partition('/')[0]}; write the whole path, or ./~ for a name with ~"
        raise ValueError(msg)
    return found


LocalPath = Annotated[str, AfterValidator(expand_home)]
"""A path on this machine, as a person writes it."""


class StrictModel(BaseModel):
    """Settings: no unknown name, no silent conversion of a value, a description for every field.

    Strict means that `enabled: yes` or `partitions: "4"` is a finding. A sequence is `list[...]` and a path is `str`,
    since strict validation takes neither a list for a tuple nor text for a Path. Text from a variable is converted by
    `flows.config` where the field wants a number or a boolean.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)

    @model_validator(mode="wrap")
    @classmethod
    def _in_plain_words(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Say what only this class knows: the nearest of its names, and the variable of a missing setting."""
        try:
            return handler(data)
        except ValidationError as error:
            lines = [
                InitErrorDetails(
                    type=fault(each["type"], cls._message(each)),
                    loc=each["loc"],
                    input=each["input"],
                )
                for each in error.errors(include_url=False)
            ]
            raise ValidationError.from_exception_data(cls.__name__, lines, hide_input=True) from None

    @classmethod
    def _message(cls, error: Any) -> str:
        """Return the message of one error, in words where it is about a name of this very model."""
        loc = error["loc"]
        if "message" in (error.get("ctx") or {}):
            return plain(error)
        if len(loc) == 1 and error["type"] == "extra_forbidden":
            known = [field.alias or name for name, field in cls.model_fields.items()]
            return f"unknown setting{nearest(str(loc[0]), known) or '; known are ' + ', '.join(sorted(known))}"
        if len(loc) == 1 and error["type"] == "missing":
            extra = cls.model_fields[str(loc[0])].json_schema_extra if str(loc[0]) in cls.model_fields else None
            variable = extra.get("env") if isinstance(extra, dict) else None
            return f"`{loc[0]}` is required" + (f"; set it here, or the variable {variable}" if variable else "")
        return plain(error)


def fault(kind: str, message: str) -> PydanticCustomError:
    """Return an error with this message, whatever braces it holds."""
    return PydanticCustomError(kind, "{message}", {"message": message})


_WORDS = {
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "string_type": "must be text (quote it if it looks like a number or a boolean)",
    "string_sub_type": "must be text",
    "list_type": "must be a list",
    "dict_type": "must be a mapping of names to values",
    "model_type": "must be a mapping of names to values",
    "model_attributes_type": "must be a mapping of names to values",
    "none_required": "must be empty",
    "greater_than": "must be greater than {gt:.15g}",
    "greater_than_equal": "must be at least {ge:.15g}",
    "less_than": "must be less than {lt:.15g}",
    "less_than_equal": "must be at most {le:.15g}",
    "literal_error": "must be {expected}",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "too_short": "must have at least {min_length} entries",
    "too_long": "must have at most {max_length} entries",
    "string_pattern_mismatch": "must match {pattern}",
    "union_tag_not_found": "`type` is required",
}


def plain(error: Any) -> str:
    """Return one error of pydantic's in plain words. Never contains the value, unless a validator's own words do."""
    kind, context = error["type"], error.get("ctx") or {}
    if "message" in context:
        return str(context["message"])
    if kind in ("value_error", "assertion_error"):
        return str(context.get("error", error["msg"]))
    if kind == "union_tag_invalid":
        tags = str(context["expected_tags"])
        hint = nearest(str(context["tag"]), [tag.strip().strip("'") for tag in tags.split(",")])
        quoted = f" `{context['tag']}`" if hint else ""
        return f"unknown type{quoted}, must be one of {tags}{hint}"
    words = _WORDS.get(kind)
    if words is None:
        return str(error["msg"])
    if kind in {"string_too_short", "too_short"} and context["min_length"] == 1:
        return "must not be empty"
    said = words.format_map(context)
    if kind == "literal_error" and isinstance(error["input"], str) and not isinstance(error["input"], Substituted):
        known = [each.strip().strip("'") for each in str(context["expected"]).replace(" or ", ", ").split(",")]
        # What is like no name may be anything, also a secret.
        hint = nearest(error["input"], known)
        said += f", got {error['input']!r}{hint}" if hint else ""
    return said
