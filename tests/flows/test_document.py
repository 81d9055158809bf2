import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.document import Document, read, spell
from logweir.settings import Substituted


def messages(document: Document) -> list[str]:
    """Return the findings as they are printed."""
    return [str(finding) for finding in document.findings]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("false", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("0", 0),
        ("-12", -12),
        ("1.50", 1.5),
        ("-1e3", -1000.0),
        ("2E-2", 0.02),
    ],
)
def test_plain_scalars(text: str, value: Any) -> None:
    """Booleans, null and decimal numbers are what they look like."""
    document = read(f"a: {text}\n", "f.yaml", {})
    assert document.data == {"a": value}
    assert type(document.data["a"]) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        "yes",
        "No",
        "on",
        "True",
        "TRUE",
        "012",
        "0o14",
        "0x1F",
        "1_000",
        "12:30:00",
        "2026-01-01",
        "1e999",
        ".inf",
        ".nan",
        "+1",
        ".5",
        "1.",
        "Null",
        "=",
        "9" * 31,
    ],
)
def test_surprising_scalars(text: str) -> None:
    """What other loaders turn into booleans, octals, dates or base-60 numbers stays text."""
    assert read(f"a: {text}\n", "f.yaml", {}).data == {"a": text}


@pytest.mark.parametrize("text", ["'1'", '"true"', "'~'", "|-\n  1", ">-\n  true"])
def test_quoted_scalars(text: str) -> None:
    """A value in quotes or in a block is text, whatever it looks like."""
    assert isinstance(read(f"a: {text}\n", "f.yaml", {}).data["a"], str)


def test_positions() -> None:
    """Every key, value and entry of a list has its line and column, counted in characters from 1."""
    document = read("a:\n  é: {b: 1, ü: 2}\n  c:\n    - x\n    - y\n", "f.yaml", {})
    assert document.keys["a", "é", "ü"] == (2, 13)
    assert document.values["a", "é", "ü"] == (2, 16)
    assert document.keys["a", "c"] == (3, 3)
    assert document.values["a", "c", 1] == (5, 7)


def test_duplicate_keys() -> None:
    """A name that is given twice is a finding at the second place, and the first value stands."""
    document = read("a: 1\nb:\n  c: 1\n  c: {d: [1, 2]}\n  e: 3\na: 2\n", "f.yaml", {})
    assert document.data == {"a": 1, "b": {"c": 1, "e": 3}}
    assert messages(document) == [
        "f.yaml:4:3: b.c: given twice; the first is on line 3",
        "f.yaml:6:1: a: given twice; the first is on line 1",
    ]


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("a: &x 1\n", "f.yaml:1:4: a: anchors are not supported; remove the `&...`"),
        ("a: *x\n", "f.yaml:1:4: a: aliases are not supported; write the value out"),
        ("a: !!str 5\n", "f.yaml:1:4: a: tags are not supported; remove the `!...`, and quote text"),
        (
            "a: !!python/object/apply:os.system [x]\n",
            "f.yaml:1:4: a: tags are not supported; remove the `!...`, and quote text",
        ),
        ("a: 1\n---\nb: 2\n", "f.yaml:2:1: one document a file; remove the `---`"),
        ("a: 1\n? [b]\n: 2\n", "f.yaml:2:3: a name must be plain text"),
    ],
)
def test_refused_yaml(text: str, finding: str) -> None:
    """What has no place in a flow file is refused where it stands."""
    assert messages(read(text, "f.yaml", {})) == [finding]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a: [1, 2\nb: 3\n", "f.yaml:2:2: "),
        ("a: b: c\n", "f.yaml:1:5: "),
        ("a:\n\tb: 1\n", "f.yaml:2:1: "),
        ("é: 1\nb: \x01\n", "f.yaml:2:4: "),
        (b"a: 1\nb: \xff\n", "f.yaml:2:4: must be UTF-8 text"),
        ("a: \ud800\n", "f.yaml:1:4: must be UTF-8 text"),
        ("[" * 60 + "]" * 60, "f.yaml:1:52: "),
        ("[" * 100_000, "f.yaml:1:1001: "),
    ],
)
def test_syntax_errors(text: str | bytes, place: str) -> None:
    """What is no YAML at all is a finding with a line and a column too."""
    document = read(text, "f.yaml", {})
    assert len(document.findings) == 1
    assert messages(document)[0].startswith(place)


def test_hint_for_variables_in_flow_style() -> None:
    """A `${VAR}` without quotes inside brackets, which YAML can't read, is answered with the fix."""
    finding = messages(read("a: [${X}, ${Y}]\n", "f.yaml", {"X": "1"}))[0]
    assert finding.endswith("inside { } and [ ] put quotes around a ${...}")


def test_variables(tmp_path: Path) -> None:
    """Variables, defaults and files are replaced anywhere in a value, quoted or not."""
    secret = tmp_path / "secret"
    secret.write_text("s3cret\n")
    text = (
        "a: ${A}\nb: 'http://${A}:${PORT:-9092}/'\nc: ${file:" + str(secret) + "}\nd: ${EMPTY:-x}\ne: ${EMPTY}\n"
        "f: $${A} and $${\ng: $A $$ {}\nh: ${NONE:-}\n"
    )
    document = read(text, "f.yaml", {"A": "alpha", "EMPTY": ""})
    assert document.findings == []
    assert document.data == {
        "a": "alpha",
        "b": "http://alpha:9092/",
        "c": "s3cret",
        "d": "x",
        "e": "",
        "f": "${A} and ${",
        "g": "$A $$ {}",
        "h": "",
    }
    assert isinstance(document.data["b"], Substituted)
    assert document.data["b"].origin == "http://${A}:${PORT:-9092}/"
    assert not isinstance(document.data["f"], Substituted)


def test_a_variable_is_text() -> None:
    """A value from a variable is never read as YAML: it stays text, and can't bring structure or references with it."""
    document = read("a: ${A}\nb: ${B}\nc: ${C}\n", "f.yaml", {"A": "true", "B": "${A}", "C": "x\nd: 1"})
    assert document.data == {"a": "true", "b": "${A}", "c": "x\nd: 1"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("${NOPE}", "the variable NOPE is not set; set it, or give a default as in ${NOPE:-value}"),
        ("x-${NOPE}", "the variable NOPE is not set; set it, or give a default as in ${NOPE:-value}"),
        (
            "${file:/no/such}",
            (
                "can't read '/no/such': No such file or directory; create it, or take the value from a variable as in "
                "${NAME:-default}"
            ),
        ),
        ("${1}", "no such reference; write ${NAME}, ${NAME:-default} or ${file:/path}, and `$${` for a literal `${`"),
        ("${}", "no such reference; write ${NAME}, ${NAME:-default} or ${file:/path}, and `$${` for a literal `${`"),
        ("${A", "`${` is not closed; for a literal `${` write `$${`"),
    ],
)
def test_unresolved_variables(text: str, said: str) -> None:
    """A reference that can't be resolved is named, with both ways to mend it."""
    assert messages(read(f"b:\n  - a: {text}\n", "f.yaml", {"A": "x"})) == [f"f.yaml:2:8: b[0].a: {said}"]


def test_unreadable_files(tmp_path: Path) -> None:
    """A directory, a device and bytes that are no text are findings, and none of them is read for ever."""
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    names = (tmp_path, "/dev/zero", tmp_path / "binary", "\\0")
    for name, said in zip(
        names, ("not a regular file", "not a regular file", "not UTF-8 text", "no file name"), strict=True
    ):
        finding = messages(read(f'a: "${{file:{name}}}"\n', "f.yaml", {}))[0]
        assert said in finding


def test_spell() -> None:
    """Paths are written as people write them."""
    assert spell(("rules", 0, "levels", 1)) == "rules[0].levels[1]"
    assert spell(()) == ""


YAML_TEXT = st.lists(
    st.sampled_from(
        [
            "a",
            "b",
            ":",
            " ",
            "\n",
            "- ",
            "? ",
            "{",
            "}",
            "[",
            "]",
            ",",
            "&x",
            "*x",
            "!t",
            "|",
            ">",
            "'",
            '"',
            "#",
            "%",
            "---",
            "...",
            "\t",
            "${A}",
            "${",
            "}",
            "$${",
            "<<",
            "\\",
            "1",
            "é",
            "\x00",
            "\x85",
            "\ufeff",
            "  ",
        ]
    ),
    max_size=40,
).map("".join)


@settings(deadline=None)
@given(st.one_of(YAML_TEXT, st.text(), st.binary()))
def test_any_text(text: str | bytes) -> None:
    """Whatever is in a file, it is read, or there are findings with a place; nothing else is raised."""
    document = read(text, "f.yaml", {"A": "x"})
    for finding in document.findings:
        assert finding.mark >= (1, 1)
        assert str(finding).startswith("f.yaml:")


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.text(st.characters(codec="utf-8", max_codepoint=0xFFFF), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abcé_.-", min_size=1), inner, max_size=4),
    max_leaves=20,
)


@settings(deadline=None)
@given(st.dictionaries(st.text("abc", min_size=1), PLAIN, max_size=4))
def test_round_trip(data: dict[str, Any]) -> None:
    """Data that is written as JSON, which is YAML too, is read back, and each value in it has a place."""
    document = read(json.dumps(data).replace("${", "$${"), "f.yaml", {})
    assert document.data == data
    assert document.findings == []
    assert document.keys.keys() == document.values.keys() - {()}
