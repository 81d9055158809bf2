"""The built-in patterns: a corpus of what is to be hidden and of what only looks like it."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any, get_args

import pytest

from operators.redact_models import BuiltinName
from operators.redact_patterns import BUILTINS
from tests.operators.redact_support import CORPUS, hidden, redactor


def written(text: str) -> list[str]:
    """Return JSON's ways to write a text: as it is, in ASCII, with every character escaped, with slashes escaped."""
    units = text.encode("utf-16-be").hex()
    escaped = "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
    plain = json.dumps(text, ensure_ascii=False)
    return [plain, json.dumps(text), f'"{escaped}"', plain.replace("/", "\\/")]


def case(each: dict[str, Any]) -> str:
    """Return what a case is called."""
    return f"{each['pattern']}-{each['text'][:30]}"


@pytest.mark.parametrize("each", [each for each in CORPUS if "known" not in each], ids=case)
def test_corpus(each: dict[str, Any]) -> None:
    """Exactly what is to be hidden is hidden, however JSON writes it, in a value and in a key; all else stays."""
    hide = redactor(patterns=[each["pattern"]])
    want = each["text"]
    for part in each["hide"]:
        want = want.replace(part, "[redacted]", 1)
    for text in written(each["text"]):
        for record in (
            f'{{"n":1,"m":{text}}}',
            f'{{ "m" : [{text}, 1e999]}}',
            f"{{{text}:null}}",
            f'{{"\\\\":{text}}}',
        ):
            raw = record.encode()
            found = hidden(hide, raw)
            if each["hide"]:
                assert json.dumps(want)[1:-1] in json.dumps(json.loads(found)), record
            else:
                assert found is raw


def test_figures(capsys: pytest.CaptureFixture[str]) -> None:
    """The corpus holds 200 of each kind and more, and every pattern's precision and recall are as good as they say."""
    assert sum(bool(each["hide"]) for each in CORPUS) >= 200
    assert sum(not each["hide"] for each in CORPUS) >= 200
    lines = []
    for name, builtin in BUILTINS.items():
        counts: defaultdict[str, int] = defaultdict(int)
        for each in CORPUS:
            if each["pattern"] == name:
                text = each["text"].encode()
                found = [text[start:end].decode() for start, end in builtin.find(text)]
                counts["found"] += len(found)
                counts["right"] += sum(part in each["hide"] for part in found)
                counts["wanted"] += len(each["hide"])
                counts["alike"] += not each["hide"]
        precision, recall = counts["right"] / counts["found"], counts["right"] / counts["wanted"]
        lines.append(
            f"{name:>13}: precision {precision:.3f}, recall {recall:.3f} "
            f"({counts['wanted']} to hide, {counts['alike']} look-alikes)"
        )
        assert precision >= 0.9, name
        assert recall >= 0.95, name
    with capsys.disabled():
        print("", *lines, sep="\n")  # noqa: T201  the figures are what this is run for


def test_names() -> None:
    """A flow file names each built-in pattern."""
    assert set(get_args(BuiltinName)) == set(BUILTINS)
