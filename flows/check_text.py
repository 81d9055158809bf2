"""Warnings about text in a flow file that means something else than who wrote it will think."""

from __future__ import annotations

import re
from collections.abc import Iterator

from flows.document import Document, Finding
from flows.variables import bare_name
from logweir.settings import Substituted

_NO_LEAST = re.compile(r"(?<!\\)\{,([0-9]+)\}")


def misread(document: Document) -> Iterator[Finding]:
    """Give a warning for each value that is wholly `$NAME`, and for each pattern with `{,n}`."""
    for path in document.values:
        text = document.get(path)
        # What a variable holds is what its owner wants, and it may be a secret.
        if not isinstance(text, str) or isinstance(text, Substituted):
            continue
        if bare_name(text) is not None:
            message = "stays as it is written, with its $; for the value of a variable write ${NAME}"
            yield document.find(path, message, warning=True)
        where = document.get(path[:-1])
        is_pattern = path[-1:] == ("pattern",) or (
            path[-1:] == ("value",) and isinstance(where, dict) and where.get("operator") == "matches"
        )
        if is_pattern and (found := _NO_LEAST.search(text)) is not None:
            message = f"RE2 takes {found[0]} as these characters; for at most {found[1]} write {{0,{found[1]}}}"
            yield document.find(path, message, warning=True)
