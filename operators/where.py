"""Expressions over a record's fields, as people type them: `level = 'error' and performance.duration > 1000`.

Each comparison is a rule's condition (`operators.rule_models.Condition`) under a short name, so that both mean the
same. Conditions are joined by `and`, `or`, `not` and parentheses; `and` binds more than `or`, `not` more than both.

    comparison   field  = != > >= < <=  value
                 field  contains  value
                 field  matches  'pattern'
                 field  in  (value, value)
                 field  exists
    value        'text' or "text", a number, true or false; a quote within text is written twice
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, NoReturn

from pydantic import PlainSerializer, PlainValidator, ValidationError, WithJsonSchema

from logweir.errors import LogweirError
from logweir.settings import Substituted, nearest
from operators.branches import tests_of
from operators.projection import Getter
from operators.rule_models import Condition

_OPERATORS = {"=": "eq", "==": "eq", "!=": "ne", ">": "gt", ">=": "gte", "<": "lt", "<=": "lte"}
_WORDS = ("contains", "matches", "in", "exists")
_JOINING = ("and", "or", "not")
_TOKEN = re.compile(
    r"""\s*(?:
        (?P<text>'(?:[^']|'')*'|"(?:[^"]|"")*")
      | (?P<number>-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?(?![\w.]))
      | (?P<operator>==|!=|>=|<=|=|>|<)
      | (?P<mark>[(),])
      | (?P<word>(?:/[\w@.:-]+)+ | [^\W\d][\w@-]*(?:\.[\w@-]+)*)
    )""",
    re.VERBOSE,
)
_DEEPEST = 50
"""Levels of parentheses and `not`."""
_LONGEST_NUMBER = 400
"""Characters: the largest double has 309 digits."""
_LONGEST = 10_000
"""Characters of an expression."""

Test = Callable[[Any], bool]


class WhereError(LogweirError, ValueError):
    """An expression that can't be read: says where in it, what is wrong and what would do."""


@dataclass(frozen=True, slots=True)
class Both:
    """All of these hold."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Either:
    """One of these holds."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Unless:
    """This one doesn't hold."""

    part: Expression


Expression = Both | Either | Unless | Condition


@dataclass(frozen=True, slots=True)
class Where:
    """An expression that has been read."""

    text: str
    """As it was written."""
    expression: Expression

    @property
    def fields(self) -> set[str]:
        """The logical fields that it looks at."""
        return {each.field for each in _conditions(self.expression)}

    @property
    def needed(self) -> list[Condition]:
        """The conditions without which none holds: by them alone, records can be left out unread."""
        match self.expression:
            case Both(parts):
                return [each for each in parts if isinstance(each, Condition)]
            case Condition():
                return [self.expression]
        return []

    def test(self, getter: Callable[[str], Getter]) -> Test:
        """Return what tells of a projected record whether it holds.

        Args:
            getter: Gives the reader of each of `fields`.
        """
        return _test(self.expression, getter)


def parse(text: str) -> Where:
    """Return the expression that a text says.

    Raises:
        WhereError: It says none.
    """
    return Where(text, _Reader(text).whole())


def _where(value: Any) -> Any:
    if isinstance(value, Where):
        return value
    if not isinstance(value, str):
        msg = "must be an expression such as user.id = 'u1'"
        raise ValueError(msg)  # noqa: TRY004  pydantic tells of a ValueError alone
    if isinstance(value, Substituted):
        try:
            return parse(value)
        except WhereError:
            msg = f"the value of {value.origin} is no expression such as user.id = 'u1'"
            raise ValueError(msg) from None
    return parse(value)


WhereText = Annotated[
    Where,
    PlainValidator(_where, json_schema_input_type=str),
    PlainSerializer(lambda where: where.text, return_type=str),
    WithJsonSchema({"type": "string", "examples": ["user.id = 'u1'"]}),
]
"""An expression in a flow file."""


def _conditions(expression: Expression) -> Iterator[Condition]:
    match expression:
        case Both(parts) | Either(parts):
            for part in parts:
                yield from _conditions(part)
        case Unless(part):
            yield from _conditions(part)
        case Condition():
            yield expression


def _test(expression: Expression, getter: Callable[[str], Getter]) -> Test:
    match expression:
        case Both(parts):
            tests = [_test(part, getter) for part in parts]
            return lambda record: all(test(record) for test in tests)
        case Either(parts):
            tests = [_test(part, getter) for part in parts]
            return lambda record: any(test(record) for test in tests)
        case Unless(part):
            inner = _test(part, getter)
            return lambda record: not inner(record)
        case Condition():
            return tests_of([expression], getter)[0]
    raise AssertionError(expression)


class _Token(NamedTuple):
    kind: str
    text: str
    at: int
    """Where it begins."""


class _Reader:
    """Reads one expression, from the left to the right."""

    def __init__(self, text: str) -> None:
        self._text = text
        if len(text) > _LONGEST:
            self._fail(_LONGEST, f"is longer than {_LONGEST} characters")
        self._tokens = list(self._split())
        self._next = 0
        self._depth = 0

    def whole(self) -> Expression:
        """Return the expression."""
        if self._peek().kind == "end":
            self._fail(0, "is empty; write a condition such as user.id = 'u1'")
        found = self._either()
        rest = self._peek()
        if rest.text == ")":
            self._fail(rest.at, "this parenthesis was never opened; leave it out")
        if rest.kind != "end":
            self._fail(rest.at, f"unexpected {rest.text}; join conditions by `and` or `or`")
        return found

    def _split(self) -> Iterator[_Token]:
        at = 0
        end = len(self._text.rstrip())
        while at < end:
            match = _TOKEN.match(self._text, at)
            if match is None:
                at += len(self._text[at:]) - len(self._text[at:].lstrip())
                self._unreadable(at)
            assert match.lastgroup is not None
            yield _Token(match.lastgroup, match[match.lastgroup], match.start(match.lastgroup))
            at = match.end()
        yield _Token("end", "the end", len(self._text))

    def _unreadable(self, at: int) -> NoReturn:
        character = self._text[at]
        if character in "'\"":
            self._fail(at, f"text that begins here has no end; close it with {character}")
        if character in "&|":
            self._fail(at, f"write {'and' if character == '&' else 'or'} instead of {character}")
        if character == "!":
            self._fail(at, "write not instead of !")
        if character.isdigit() or character == "-":
            self._fail(at, "is no number; put text in quotes")
        self._fail(at, f"unexpected {character!r}; put text in quotes")

    def _either(self) -> Expression:
        parts = [self._both()]
        while self._is_word("or"):
            self._next += 1
            parts.append(self._both())
        return parts[0] if len(parts) == 1 else Either(tuple(parts))

    def _both(self) -> Expression:
        parts = [self._one()]
        while self._is_word("and"):
            self._next += 1
            parts.append(self._one())
        # What stands in parentheses within `and` is no different from what stands beside them.
        flat = [each for part in parts for each in (part.parts if isinstance(part, Both) else (part,))]
        return flat[0] if len(flat) == 1 else Both(tuple(flat))

    def _one(self) -> Expression:
        token = self._peek()
        if token.text != "(" and not self._is_word("not"):
            return self._comparison()
        self._next += 1
        self._depth += 1
        if self._depth > _DEEPEST:
            self._fail(token.at, f"is nested more than {_DEEPEST} deep")
        if token.text == "(":
            found = self._either()
            close = self._peek()
            if close.text != ")":
                self._fail(close.at, f"the parenthesis of position {token.at + 1} isn't closed; write ) here")
            self._next += 1
        else:
            found = Unless(self._one())
        self._depth -= 1
        return found

    def _comparison(self) -> Expression:
        field = self._peek()
        if field.kind != "word" or field.text.lower() in _JOINING:
            self._fail(field.at, f"expected a field such as context.service, found {field.text}")
        self._next += 1
        said = self._peek()
        operator = _OPERATORS.get(said.text) if said.kind == "operator" else None
        if operator is None and said.kind == "word" and said.text.lower() in _WORDS:
            operator = said.text.lower()
        if operator is None:
            hint = nearest(said.text, _WORDS) if said.kind == "word" else ""
            known = f"{' '.join(sorted(_OPERATORS.keys() - {'=='}))} {' '.join(_WORDS)}"
            self._fail(said.at, f"expected what to compare {field.text} by, one of {known}{hint}")
        self._next += 1
        at = self._peek().at
        value = None if operator == "exists" else self._list() if operator == "in" else self._value(field.text)
        try:
            return Condition.model_validate({"field": field.text, "operator": operator, "value": value})
        except ValidationError as error:
            self._fail(at, "; ".join(each["msg"] for each in error.errors(include_url=False)))

    def _list(self) -> list[Any]:
        opened = self._peek()
        if opened.text != "(":
            self._fail(opened.at, "expected the values in parentheses, such as ('a', 'b')")
        values = []
        while True:
            self._next += 1
            values.append(self._value(""))
            mark = self._peek()
            if mark.text not in {",", ")"}:
                self._fail(mark.at, "expected , or ) after a value")
            if mark.text == ")":
                self._next += 1
                return values

    def _value(self, field: str) -> Any:
        token = self._peek()
        self._next += 1
        if token.kind == "text":
            quote = token.text[0]
            return token.text[1:-1].replace(quote * 2, quote)
        if token.kind == "number":
            plain = token.text.lstrip("-").isdigit()
            if len(token.text) > _LONGEST_NUMBER:
                self._fail(token.at, "is no number that could stand in a record")
            return int(token.text) if plain else float(token.text)
        word = token.text.lower()
        if token.kind == "word" and word in {"true", "false"}:
            return word == "true"
        said = f"expected a value such as 'text', 10 or true, found {token.text}"
        if token.kind == "word" and word not in _JOINING:
            said = f"put text in quotes: '{token.text}'"
        if token.kind == "word" and word == "null":
            said = f"null is no value; write not {field or 'field'} exists"
        return self._fail(token.at, said)

    def _peek(self) -> _Token:
        return self._tokens[min(self._next, len(self._tokens) - 1)]

    def _is_word(self, word: str) -> bool:
        token = self._peek()
        return token.kind == "word" and token.text.lower() == word

    def _fail(self, at: int, said: str) -> NoReturn:
        msg = f"position {at + 1}: {said}"
        raise WhereError(msg)
