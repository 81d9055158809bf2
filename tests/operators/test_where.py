"""Expressions: what they mean, and what is said of those that can't be read."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from logweir.settings import Substituted
from operators.formats import LOGWEIR
from operators.projection import Projection
from operators.rule_models import Condition
from operators.where import Where, WhereError, WhereText, parse

RECORD = (
    b'{"id":"r1","level":"error","message":"no answer, after 5 s","context":{"service":"pay"},"n":12,"on":true,'
    b'"tags":["a","b"],"performance":{"duration":1200.5},"o":null,"say":"it\'s \\"it\\""}'
)


def holds(text: str) -> bool:
    """Tell whether an expression holds of the record."""
    where = parse(text)
    projection = Projection(where.fields, LOGWEIR)
    return where.test(projection.getter)(projection.decode(RECORD))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("performance.duration > 1000", True),
        ("performance.duration > 1200.5", False),
        ("performance.duration >= 1200.5 and performance.duration<=1200.5", True),
        ("level = 'error'", True),
        ('level == "error"', True),
        ("level != 'error'", False),
        ("missing != 'error'", True),
        ("n < 13 AND n > -1", True),
        ("n = 12.0", True),
        ("n = '12'", False),
        ("on = true", True),
        ("on = 1", False),
        ("tags contains 'b'", True),
        ("message contains 'no answer'", True),
        ("message matches '^no .* [0-9]+ s$'", True),
        ("n in (1, 12)", True),
        ("level in ('warn', \"fatal\")", False),
        ("o exists", False),
        ("not o exists", True),
        ("say = 'it''s \"it\"'", True),
        ('say = "it\'s ""it"""', True),
        ("level = 'x' or level = 'y' or n = 12", True),
        ("n = 12 or level = 'x' and level = 'y'", True),
        ("(n = 12 or level = 'x') and level = 'y'", False),
        ("not n = 12 or on = true", True),
        ("not (n = 12 or on = true)", False),
        ("not not n = 12", True),
        ("((n = 12))", True),
    ],
)
def test_meaning(text: str, expected: bool) -> None:
    """An expression means what the conditions of rules mean, joined as is usual."""
    assert holds(text) is expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "position 1: is empty; write a condition such as user.id = 'u1'"),
        ("level", "position 6: expected what to compare level by"),
        ("level = ", "position 9: expected a value such as 'text', 10 or true, found the end"),
        ("level = error", "position 9: put text in quotes: 'error'"),
        ("level = 'error", "position 9: text that begins here has no end; close it with '"),
        ("level = null", "position 9: null is no value; write not level exists"),
        ("level contain 'x'", "did you mean `contains`?"),
        ("level in 'x'", "position 10: expected the values in parentheses, such as ('a', 'b')"),
        ("level in ('x' 'y')", "position 15: expected , or ) after a value"),
        ("level matches '(?=x)'", "position 15: look-ahead and look-behind are not possible"),
        ("n > true", "position 5: must be a number or text for gt"),
        ("n = 1e999", "position 5: must be a finite number"),
        ("n = 12x", "position 5: is no number; put text in quotes"),
        ("n = " + "1" * 5000, "position 5: is no number that could stand in a record"),
        ("n = 1 m = 2", "position 7: unexpected m; join conditions by `and` or `or`"),
        ("n = 1 && m = 2", "position 7: write and instead of &"),
        ("n = 1 and", "position 10: expected a field such as context.service, found the end"),
        ("(n = 1", "position 7: the parenthesis of position 1 isn't closed; write ) here"),
        ("n = 1)", "position 6: this parenthesis was never opened; leave it out"),
        ("!(n = 1)", "position 1: write not instead of !"),
        ("not " * 60 + "n exists", "is nested more than 50 deep"),
        ("(" * 60 + "n = 1" + ")" * 60, "is nested more than 50 deep"),
        ("n = 'x" + "x" * 10_000 + "'", "is longer than 10000 characters"),
    ],
)
def test_errors(text: str, said: str) -> None:
    """What is said names the place, what is wrong there and what would do."""
    with pytest.raises(WhereError) as raised:
        parse(text)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("text", "needed"),
    [
        ("a = 1", ["a"]),
        ("a = 1 and (b = 2 and c = 3)", ["a", "b", "c"]),
        ("a = 1 and (b = 2 or c = 3)", ["a"]),
        ("a = 1 or b = 2", []),
        ("not a = 1", []),
    ],
)
def test_needed(text: str, needed: list[str]) -> None:
    """Those conditions are known without which no record meets the expression."""
    assert [each.field for each in parse(text).needed if isinstance(each, Condition)] == needed


def test_in_a_flow_file() -> None:
    """A flow file's expression is read, and one that came from a variable isn't repeated where it can't be."""
    adapter: TypeAdapter[Where] = TypeAdapter(WhereText)
    assert adapter.validate_python("a = 1").text == "a = 1"
    for value, said in [
        ("a = ", "position 5"),
        (5, "must be an expression"),
        (Substituted("s3cret", "${W}"), "the value of ${W} is no expression"),
    ]:
        problem: Any = None
        try:
            adapter.validate_python(value)
        except ValidationError as error:
            problem = error
        assert said in str(problem.errors()[0]["msg"])
        assert "s3cret" not in problem.errors()[0]["msg"]
