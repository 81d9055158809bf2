"""`${VAR}`, `${VAR:-default}` and `${file:/path}` inside the values of a flow file; `$${` is a literal `${`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from logweir.settings import Substituted

_REFERENCE = re.compile(r"\$\$\{|\$\{([^{}]*)\}?")
_BRACE_IN_DEFAULT = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*:-[^{}]*\{")
_BARE = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)")
_NAME = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)
_MAX_FILE_BYTES = 1_000_000


def substitute(text: str, environment: Mapping[str, str]) -> tuple[str, list[str]]:
    """Return the text with its references replaced, and what is wrong with those that can't be.

    The text is a `Substituted` when anything was replaced. A reference that can't be resolved becomes nothing.

    Args:
        text: A scalar of the flow file.
        environment: The variables.
    """
    if "${" not in text:
        return text, []
    problems: list[str] = []
    pieces: list[str] = []
    given: list[str] = []
    end = 0
    for match in _REFERENCE.finditer(text):
        pieces.append(text[end : match.start()])
        end = match.end()
        if match[1] is None:
            pieces.append("${")
            continue
        given.append("")
        try:
            given[-1] = _resolve(match[0], environment, text[match.start() :])
        except ValueError as error:
            problems.append(str(error))
        pieces.append(given[-1])
    pieces.append(text[end:])
    joined = "".join(pieces)
    return (Substituted(joined, text, tuple(given)) if given else joined), problems


def bare_name(text: str) -> str | None:
    """Return the name where a value is wholly `$NAME`, as a shell writes it; it stays these characters here."""
    found = _BARE.fullmatch(text)
    return found[1] if found else None


def _resolve(written: str, environment: Mapping[str, str], rest: str) -> str:
    """Return what a reference stands for.

    Args:
        written: The reference, up to its brace or to what can be none.
        environment: The variables.
        rest: The text from the reference on.

    Raises:
        ValueError: What is wrong with it.
    """
    if not written.endswith("}"):
        if _BRACE_IN_DEFAULT.match(rest):
            msg = "a default can't hold { or }; put the value into a variable, or write it without ${...}"
            raise ValueError(msg)
        msg = "`${` is not closed; for a literal `${` write `$${`"
        raise ValueError(msg)
    reference = written[2:-1]
    if reference.startswith("file:"):
        return _read(reference.removeprefix("file:"))
    match = _NAME.fullmatch(reference)
    if match is None:
        msg = "no such reference; write ${NAME}, ${NAME:-default} or ${file:/path}, and `$${` for a literal `${`"
        raise ValueError(msg)
    name, default = match[1], match[2]
    value = environment.get(name)
    if default is not None:
        return value or default
    if value is None:
        msg = f"the variable {name} is not set; set it, or give a default as in ${{{name}:-value}}"
        raise ValueError(msg)
    return value


def _read(name: str) -> str:
    """Return a file's text without its last newline, as secrets are mounted."""
    path = Path(name)
    try:
        if path.exists() and not path.is_file():
            reason = "not a regular file"
        else:
            with path.open("rb") as file:
                content = file.read(_MAX_FILE_BYTES + 1)
            if len(content) <= _MAX_FILE_BYTES:
                return content.decode().removesuffix("\n").removesuffix("\r")
            reason = f"larger than {_MAX_FILE_BYTES} bytes"
    except UnicodeDecodeError:
        reason = "not UTF-8 text"
    except OSError as error:
        reason = error.strerror or type(error).__name__
    except ValueError:  # a NUL in the name
        reason = "no file name"
    msg = f"can't read {name!r}: {reason}; create it, or take the value from a variable as in ${{NAME:-default}}"
    raise ValueError(msg)
