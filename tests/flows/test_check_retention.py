"""Findings and warnings about retention policies, and what `explain` says of them."""

from __future__ import annotations

import pytest

from flows.check import warnings
from flows.config import build, load
from flows.document import read
from tests.flows.test_explain import explain, explain_json

HEAD = "name: a\nsource: {type: stdin}\ndestinations:\n  out: {type: console}\n"


def flow(*policies: str) -> str:
    """Return a flow with these policies."""
    listed = "".join(f"    - {{{policy}}}\n" for policy in policies)
    return f"{HEAD}retention:\n  archive: ./archive\n  policies:\n{listed}"


def told(*policies: str) -> list[str]:
    """Return the warnings about these policies, without their position."""
    return [each.message for each in warnings(load(flow(*policies), environment={}))]


def findings(text: str) -> list[str]:
    """Return all that is wrong with a flow."""
    return [str(each) for each in build(read(text, "flow.yaml", {}))[1]]


def test_findings() -> None:
    """Each mistake is told with its place and what is allowed."""
    text = flow(
        "name: a, period: 8 days",
        "name: a, period: 1d, levels: [erorr]",
        "name: c, period: 7d, levls: [error]",
        "name: d, period: 7d, conditions: [{field: user.id, operator: eq}]",
        "period: 7d",
    )
    period = "must be a period such as 7d, 12w, 1y (100y at most) or forever"
    levels = (
        "'erorr' is no level, allowed: trace, debug, info, warn, error, fatal (or an alias such as warning, critical)"
    )
    value = "is needed for eq; for a missing or null field use exists with false"
    assert findings(text) == [
        f"flow.yaml:8:25: retention.policies[0].period: {period}",
        "flow.yaml:9:14: retention.policies[1].name: another policy has this name, retention.policies[0] on line 8",
        f"flow.yaml:9:38: retention.policies[1].levels[0]: {levels}",
        "flow.yaml:10:29: retention.policies[2].levls: unknown setting; did you mean `levels`?",
        f"flow.yaml:11:42: retention.policies[3].conditions[0]: {value}",
        "flow.yaml:12:7: retention.policies[4]: `name` is required",
    ]
    assert findings(HEAD + "retention: {archive: ftp://x, policies: all, default_period: 7}\n") == [
        "flow.yaml:5:22: retention.archive: must be a directory such as ./archive, or s3://bucket/prefix",
        "flow.yaml:5:41: retention.policies: must be `default`, or a list of policies",
        f"flow.yaml:5:62: retention.default_period: {period}",
    ]


def test_nothing_to_warn_of() -> None:
    """The default policies, and policies that each decide something, are not warned of."""
    assert warnings(load(HEAD + "retention: {archive: ./archive, policies: default}\n", environment={})) == []
    assert told("name: a, period: 7d", "name: b, period: 30d, levels: [error]") == []
    # What has conditions may leave any record to the next.
    conditions = "conditions: [{field: user.id, operator: exists}]"
    assert told(f"name: a, period: 30d, {conditions}", "name: b, period: 7d") == []


LONGEST = "takes all of its records, and of one priority the longest period decides; raise its priority"


@pytest.mark.parametrize(
    ("policies", "warning"),
    [
        (
            ("name: a, period: 7d, levels: [error]", "name: b, period: 30d, levels: [warn, error]"),
            f"`a` never decides: `b` {LONGEST}",
        ),
        (
            ("name: a, period: 1y, categories: [api]", "name: b, period: 7d, priority: 3"),
            "`a` never decides: `b` takes all of its records by priority; raise its priority above 3",
        ),
        (
            (
                "name: a, period: 1d",
                "name: b, period: 7d, levels: [trace, debug, info]",
                "name: c, period: 30d",
                "name: d, period: 9d, levels: [warn], priority: 1, conditions: [{field: message, operator: exists}]",
            ),
            f"`a` never decides: `c` {LONGEST}",
        ),
    ],
)
def test_never_deciding(policies: tuple[str, ...], warning: str) -> None:
    """A policy whose records others decide, every one, is warned of with what would help."""
    assert told(*policies)[0] == warning


def test_what_the_rules_drop() -> None:
    """A policy of an archive of what is kept can only take what the rules let through."""
    rules = "rules: [{name: r, type: level, levels: [debug], action: exclude}]\n"
    text = flow("name: a, period: 1d, levels: [debug]", "name: b, period: 7d, levels: [info]") + rules
    assert warnings(load(text, environment={})) == []
    text = text.replace("archive: ./archive", "archive: {path: ./archive, from: kept}")
    said = "the rules let none of its records through; set retention.archive.from to source to keep them"
    assert [each.message for each in warnings(load(text, environment={}))] == [f"`a` never decides: {said}"]
    line = b'{"id":"a","level":"debug"}'
    assert "archive" not in explain(line, flow=text)
    assert "archive: kept 1d by 'a'" in explain(line, flow=text.replace("from: kept", "from: source"))


def test_the_name_of_the_archive() -> None:
    """No destination may have the archive's name."""
    text = HEAD.replace("out:", "archive:") + "retention: {archive: ./archive}\n"
    said = "is the name of the archive that `retention` brings; give this destination another"
    assert findings(text) == [f"flow.yaml:4:3: destinations.archive: {said}"]


def test_all_disabled() -> None:
    """That no policy is asked at all is told."""
    assert told("name: a, period: 30d, enabled: false") == ["every policy is disabled, so all records are kept 7d"]


def test_explain() -> None:
    """The class is told with the policy that decides, and when the record expires."""
    text = HEAD + "retention: {archive: ./archive, policies: default}\n"
    lines = (
        b'{"id":"a","level":"error","timestamp":"2026-01-01T10:00:00Z"}',
        b'{"id":"b","level":"error","category":"security","timestamp":"2026-01-01T10:00:00Z"}',
        b'{"id":"c","timestamp":"2026-01-01T10:00:00Z"}',
    )
    assert [line for line in explain(*lines, flow=text).splitlines() if "archive" in line] == [
        "  archive: kept 90d by 'Errors'; expires 2026-04-02T00:00:00.000Z",
        "  archive: kept forever by 'Security and audit'",
        "  archive: kept 7d by default_period, as no policy takes it; expires 2026-01-09T00:00:00.000Z",
    ]
    assert [each["retention"] for each in explain_json(*lines, flow=text)][:2] == [
        {"period": "90d", "policy": "Errors", "expires": "2026-04-02T00:00:00.000Z"},
        {"period": "forever", "policy": "Security and audit", "expires": None},
    ]
