"""A flow as it is in effect, to be shown: defaults filled in, secrets masked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from flows.archiving import ARCHIVE, RetentionSettings
from flows.config import Flow
from logweir.terminal import visible
from logweir.units import format_duration
from operators.retention import ranked
from operators.retention_models import Policy
from operators.rule_models import BaseRule

MASK = "**********"

_SECRET_NAME = re.compile(
    r"password|passwd|secret|token|api_?key|private_?key|key\.pem|credential|jaas|oauthbearer\.config", re.IGNORECASE
)
"""Settings that hold a secret as plain text, such as librdkafka's."""
_PUBLIC_NAME = re.compile(r"(?:location|endpoint\.url|_file)$")
_URL_PASSWORD = re.compile(r"(?<=://)[^/?#\s@]*(?:@[^/?#\s@]*)*@")
_URL_QUERY = re.compile(r"([?&][^=&#\s]*(?:token|key|secret|password|signature|sig)[^=&#\s]*=)[^&#\s]*", re.IGNORECASE)


def show(flow: Flow) -> dict[str, Any]:
    """Return the flow as plain JSON values, with every secret masked."""
    shown: dict[str, Any] = _masked(flow.model_dump(mode="json", by_alias=True))
    return shown


def _masked(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _masked(each, str(key)) for key, each in value.items()}
    if isinstance(value, list):
        return [_masked(each, name) for each in value]
    if not isinstance(value, str) or not value:
        return value
    if _SECRET_NAME.search(name) and not _PUBLIC_NAME.search(name):
        return MASK
    return _URL_QUERY.sub(rf"\g<1>{MASK}", _URL_PASSWORD.sub(f"{MASK}@", value))


def overview(flow: Flow) -> str:
    """Return the destinations, rules and policies as tables, the latter in the order in which they are asked."""
    destinations = [
        (
            name,
            str(getattr(each, "type", "")),
            "yes" if each.enabled else "no",
            str(sum(rule.enabled for rule in (*flow.rules, *flow.own_rules(name)))),
            each.on_failure,
        )
        for name, each in flow.destinations.items()
    ]
    if flow.archive is not None:
        asked = str(sum(rule.enabled for rule in flow.shared_rules(ARCHIVE)))
        destinations.append((ARCHIVE, flow.archive.type, "yes", asked, flow.archive.on_failure))
    parts = [table(("DESTINATION", "TYPE", "ENABLED", "RULES", "ON FAILURE"), destinations)]
    placed: list[tuple[str, BaseRule]] = [("all", rule) for rule in flow.rules]
    placed += [(name, rule) for name in flow.destinations for rule in flow.own_rules(name)]
    # A destination's own rules are asked after all of the flow's.
    placed.sort(key=lambda pair: (pair[0] != "all", -pair[1].priority))
    rules = [
        (
            str(rule.priority),
            rule.name,
            str(getattr(rule, "type", "")),
            getattr(rule, "action", "limit"),
            "yes" if rule.enabled else "no",
            where,
        )
        for where, rule in placed
    ]
    if rules:
        parts.append(table(("PRIORITY", "RULE", "TYPE", "ACTION", "ENABLED", "FOR"), rules))
    if flow.archive is not None:
        parts += _archive(flow.archive.retention)
    return "\n\n".join(parts)


def _archive(settings: RetentionSettings) -> list[str]:
    """Return where the archive is, and how long what is kept in it, as tables."""
    archive, compaction = settings.archive, settings.compaction
    holds = ", ".join(each.name for each in settings.hold) or "none"
    compacted = f"every {format_duration(compaction.interval)}" if compaction.enabled else "by logweir compact"
    place = table(
        ("ARCHIVE", "FROM", "COMPACTION", "HOLDS"), [(str(_masked(archive.path)), archive.takes, compacted, holds)]
    )
    ordered = ranked(settings.policies)
    policies = [
        (str(each.priority), each.name, each.period, "yes" if each.enabled else "no", _taken(each)) for each in ordered
    ]
    policies.append(("", "(no policy)", settings.default_period, "", "what no policy takes"))
    return [place, table(("PRIORITY", "POLICY", "KEPT", "ENABLED", "TAKES"), policies)]


def _taken(policy: Policy) -> str:
    """Return which records a policy takes."""
    parts = [
        f"{name} {', '.join(some)}"
        for name, some in (("level", policy.levels), ("category", policy.categories))
        if some
    ]
    if count := len(policy.conditions):
        parts.append(f"{count} condition{'' if count == 1 else 's'}")
    return "; ".join(parts) or "all"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows in aligned columns, each cell as one line that can't act on a terminal."""
    rows = [[visible(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in (head, *rows)
    )
