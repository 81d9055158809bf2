"""Text in a flow file that means something else than who wrote it will think."""

from __future__ import annotations

import pytest

from flows.check import warnings
from flows.config import load
from flows.document import read

FLOW = """\
name: t
source: {type: stdin}
rules:
  - {name: r, type: regex, pattern: '%s'}
  - {name: f, type: field, field: message, operator: %s, value: '%s'}
destinations:
  out: {type: http, url: 'https://h', token: %s}
"""


def told(pattern: str = "a", operator: str = "eq", value: str = "a", token: str = "t") -> list[str]:
    """Return the warnings of a flow with these texts."""
    found = warnings(load(FLOW % (pattern, operator, value, token), environment={"TOKEN": "$ecret"}))
    return [f"{each.path}: {each.message}" for each in found]


def test_a_repetition_without_a_least() -> None:
    """`{,n}` is text to RE2: where a pattern has it, check says how to write it."""
    said = "RE2 takes {,3} as these characters; for at most 3 write {0,3}"
    assert told(pattern="^ab{,3}c$") == [f"rules[0].pattern: {said}"]
    assert told(operator="matches", value="^ab{,3}c$") == [f"rules[1].value: {said}"]
    assert told(pattern=r"a\\{,3}b{0,3}c{2,}"[1:]) == told(value="^ab{,3}c$") == []


def test_a_variable_as_a_shell_writes_it() -> None:
    """A value that is wholly `$NAME` is warned of, and not shown: it may be a password."""
    (said,) = told(token="$TOKEN")
    assert said == (
        "destinations.out.token: stays as it is written, with its $; for the value of a variable write ${NAME}"
    )
    assert told(token="'${TOKEN}'") == told(token="'$5'") == told(value="costs $TOKEN") == []


@pytest.mark.parametrize("text", ["a: ${P:-a{2}}\n", "a: '${P:-{}'\n", "a: x${P:-{{b}}}y\n"])
def test_a_brace_in_a_default(text: str) -> None:
    """A default with a brace in it is refused by that name, not as a reference that isn't closed."""
    (finding, *_) = read(text, "flow.yaml", {}).findings
    assert finding.message == "a default can't hold { or }; put the value into a variable, or write it without ${...}"


@pytest.mark.parametrize("text", ["a:\n\tb: 1\n", "a: 1\nb:\n  c: 2\n\td: 3\n"])
def test_a_tab(text: str) -> None:
    """A tab where spaces have to indent is named."""
    (finding,) = read(text, "flow.yaml", {}).findings
    assert finding.message == "not YAML: a tab can't indent; use spaces"
    assert text.splitlines()[finding.mark[0] - 1].startswith("\t")
