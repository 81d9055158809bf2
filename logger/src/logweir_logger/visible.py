"""Text for a person, such that nothing in it can act on the terminal: escapes are shown as what they are."""

from __future__ import annotations


def one_line(text: str) -> str:
    """Return text as one line in which no character moves the cursor or turns the direction of others.

    All that isn't printable is escaped: C0 and C1 controls, overrides of direction, separators of lines.
    """
    return text if text.isprintable() else "".join(each if each.isprintable() else _escaped(each) for each in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()
