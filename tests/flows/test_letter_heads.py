"""What a message has beside its value survives in each form of dead letters, whatever it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.dead_letter_lines import parse as parse_line
from flows.dead_letter_messages import parse as parse_message
from logweir.head import NO_HEAD, Head
from sinks.deadletter import DeadLetter, DirectoryDeadLetters, headers_of

NAMES = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(
    ["logweir.headers", "logweir.cause", "logweir.partition", "logweir.destination"]
)
HEADERS = st.lists(st.tuples(NAMES, st.none() | st.binary(max_size=20)), max_size=5)
HEADS = st.builds(Head, st.none() | st.binary(max_size=20), HEADERS, st.integers(0, 1 << 50))


def shown(letter: DeadLetter) -> tuple[Any, ...]:
    """Return what can be compared of a letter."""
    head = letter.head
    return (*letter._replace(head=NO_HEAD), head.key(), head.headers(), head.timestamp())


class _Message(Head):
    """What a consumer gives of a letter's message."""

    def __init__(self, letter: DeadLetter) -> None:
        super().__init__(letter.head.key(), headers_of(letter, "out"), 1_790_000_000_000)
        self._value = letter.value

    def value(self) -> bytes:
        """Return the value."""
        return self._value


LETTERS = st.builds(
    DeadLetter,
    st.binary(max_size=40),
    st.just("logs"),
    st.integers(0, 9),
    st.integers(0, 1 << 60),
    st.just("rejected: x"),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.integers(0, 9),
    st.sampled_from(["", "id-1"]),
    HEADS,
    st.sampled_from(["", "cluster/topic"]),
    st.sampled_from([0, 3_000_000]),
)


@given(LETTERS)
def test_as_a_message(letter: DeadLetter) -> None:
    """Key, all headers in order, timestamp: the record's own headers may be named as those of letters are."""
    message: Any = _Message(letter)
    destination, found = parse_message(message)
    assert destination == "out"
    assert shown(found) == shown(letter)


@given(LETTERS)
def test_as_a_line(letter: DeadLetter) -> None:
    """The same as a line of a directory."""
    entry = DirectoryDeadLetters(Path("nowhere"), "out", 0)._entry(letter)
    destination, read = parse_line(orjson.dumps(entry))
    assert destination == "out"
    assert shown(read.letter) == shown(letter)


def test_words_that_are_no_unicode(tmp_path: Path) -> None:
    """Half of a surrogate pair in what a destination has answered is no reason to keep no letter."""
    letters = DirectoryDeadLetters(tmp_path, "out", 0)
    letter = DeadLetter(b"\xff", "logs", 0, 1, "rejected: x", "bad \ud800", 1, "", Head(b"\xfe", [("a\udc00", b"")]))
    letters.write([letter])
    letters.close()
    assert b'"reason":"bad ?"' in (tmp_path / "out.ndjson").read_bytes()
    assert ("logweir.reason", b"bad ?") in headers_of(letter, "out")


@pytest.mark.parametrize(
    "more",
    [{"headers": {"a": "b"}}, {"headers": [["a"]]}, {"headers": [["a", 1]]}, {"headers": [[1, "a"]]}, {"key": 1}],
)
def test_a_line_that_was_edited(more: dict[str, Any]) -> None:
    """What is no letter any more is left where it is, in words."""
    letter = DeadLetter(b"{}", "logs", 0, 1, "rejected: x", "x", 1)
    entry = DirectoryDeadLetters(Path("nowhere"), "out", 0)._entry(letter)
    with pytest.raises(ValueError, match=r"`(headers|key)`"):
        parse_line(orjson.dumps({**entry, **more}))
