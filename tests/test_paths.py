"""Paths with slashes: keys that hold dots, wherever a flow file names a field."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from flows.config import load
from flows.explain import Explainer
from logweir.batch import Batch
from logweir.paths import is_path, keys_of, listed, members, segments_of
from operators.formats import LOGWEIR
from operators.redact import Redactor
from operators.redact_models import RedactSettings
from operators.where import parse
from tests.operators.rule_support import Asked, field

FLAT = {"id": "1", "a": {"b": "x"}, "host.name": "h1"}
NEITHER = {"id": "2"}


def test_keys() -> None:
    """A dotted path is parted at its dots, one with slashes at these alone; an empty key makes it none."""
    assert keys_of("context.service") == ("context", "service")
    assert keys_of("/a.b/c") == ("a.b", "c")
    assert segments_of("/a.b/c") == ("a", "b", "c")
    assert all(map(is_path, ("a", "/a", "/a.b/c")))
    assert not any(map(is_path, ("", "/", "a..b", "/a//b", "\0a")))


def test_members_are_no_path() -> None:
    """What lists members of a record can be told from every path that a person may write."""
    assert list(listed(members("dd", "dd.trace_id")) or ()) == ["dd", "dd.trace_id"]
    assert not is_path(members("dd"))
    assert listed("/dd/service") is None


@pytest.mark.parametrize(
    ("rule", "passing"),
    [
        (field("/a/b", "eq", value="x"), [True, False]),
        (field("/host.name", "exists"), [True, False]),
        (field("/host.name", "exists", value=False), [False, True]),
        (field("/a/b", "in", value=["y", "x"]), [True, False]),
        (field("/a/b", "matches", value="^x$"), [True, False]),
        ({"type": "regex", "field": "/a/b", "pattern": "x"}, [True, False]),
        ({"type": "regex", "field": "/host.name", "pattern": "h", "action": "exclude"}, [False, True]),
    ],
)
def test_rules_read_them(rule: dict[str, Any], passing: list[bool]) -> None:
    """A rule on a path with slashes decides by the keys that it names, and `explain` gives a reason."""
    asked = Asked(rule)
    assert asked.passing(FLAT, NEITHER) == passing
    assert all(asked.why(record) for record in (FLAT, NEITHER))


@pytest.mark.parametrize(
    "rule",
    [
        {"type": "rate", "max_per_second": 5, "by": "/a/b"},
        {"type": "dedupe", "by": ["/a/b", "/host.name"], "window": "10s"},
        {"type": "sample", "target_per_second": 5, "by": "/a/b"},
        {"type": "sample", "sample_rate": 0.5, "by": "/host.name"},
    ],
)
def test_limiters_and_samples_go_by_them(rule: dict[str, Any]) -> None:
    """A flow whose limiter goes by such a path explains records that have the field and records that don't."""
    flow = load(f"""
name: t
source: {{type: stdin}}
rules: [{json.dumps({"name": "r", **rule})}]
destinations: {{out: {{type: console}}}}
""").flow
    lines = io.BytesIO(b"".join(json.dumps(each).encode() + b"\n" for each in (FLAT, NEITHER)))
    assert [each.problem for each in Explainer(flow).explain(lines)] == [None, None]


def test_redaction_hides_them() -> None:
    """A path with slashes hides the same value as the dotted one does; it never hides nothing without a word."""
    redact = Redactor(RedactSettings.model_validate({"fields": ["/a/b", "/host.name"]}), LOGWEIR)
    batch = Batch("t", 0, [json.dumps(FLAT).encode()], [0])
    redact(batch)
    assert json.loads(batch.values[0]) == {"id": "1", "a": {"b": "[redacted]"}, "host.name": "[redacted]"}


def test_expressions_name_them() -> None:
    """`--where` takes such a path as a field."""
    assert parse("/host.name = 'h1' and /a/b exists").fields == {"/host.name", "/a/b"}
