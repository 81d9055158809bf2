r"""Text that a person reads, such that nothing in it can act on the terminal.

Names, records, answers of servers and messages of errors come from others. A control character among them could clear
the screen, set the window's title or fake a line; an override of the text's direction could show other words than there
are. So whatever logweir shows to a person goes through here, and such characters are shown as what they are: `\x1b`,
`\u202e`. JSON stays exact: there they become JSON's own escapes, which every reader takes for the same characters.
"""

from __future__ import annotations

from typing import Final

_CONTROLS: Final = (*range(0x20), *range(0x7F, 0xA0))
"""C0, DEL and C1, where 0x9b alone begins a sequence."""
_DIRECTIONS: Final = (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_SEPARATORS: Final = (0x2028, 0x2029)
_INVISIBLE: Final = (*_CONTROLS, *_DIRECTIONS, *_SEPARATORS, *range(0xD800, 0xE000), 0xFEFF)
"""Besides, halves of surrogate pairs, which have no UTF-8, and the mark of the byte order."""

_JSON: Final = {code: f"\\u{code:04x}" for code in _INVISIBLE if code >= 0x7F}  # noqa: PLR2004  below it, JSON has none
_LINE: Final = {code: f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}" for code in _INVISIBLE} | {  # noqa: PLR2004
    ord("\n"): "\\n",
    ord("\r"): "\\r",
    ord("\t"): "\\t",
}
_LINES: Final = {code: shown for code, shown in _LINE.items() if chr(code) not in "\n\t"}


def visible(text: str) -> str:
    """Return text as one line."""
    return text if text.isprintable() else text.translate(_LINE)


def visible_lines(text: str) -> str:
    """Return text of several lines, such as a table or a traceback. Who put a name into a line made that visible."""
    return text.translate(_LINES)


def visible_json(text: str) -> str:
    """Return a JSON text of the same meaning."""
    return text if text.isprintable() else text.translate(_JSON)
