"""A flow as it is in effect, to be shown: defaults filled in, secrets masked."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel

from flows.archiving import ARCHIVE, RetentionSettings
from flows.config import Flow
from flows.document import Document
from logweir.settings import Substituted
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


def show(flow: Flow, document: Document | None = None) -> dict[str, Any]:
    """Return the flow as plain JSON values, with every secret masked.

    Args:
        flow: The flow.
        document: Where it comes from: what variables have put into an address there is masked too.
    """
    given = _of_variables(flow, document)
    shown: dict[str, Any] = _masked(flow.model_dump(mode="json", by_alias=True), given=given)
    return shown


def _of_variables(flow: Flow, document: Document | None) -> list[str]:
    """Return what variables have put into addresses: any of it may be a secret, such as the path of a webhook.

    Of an address that is wholly a variable's, that is what follows the host: the host is needed to tell it from others.
    """
    texts = list(_substituted(document.data)) if document is not None else []
    texts += _of_environment(flow)
    found = set()
    for text in texts:
        if "://" not in text:
            continue
        for piece in text.pieces:
            found.add(_beyond_host(piece) if "://" in piece else piece)
    return sorted((piece for piece in found if piece.strip("/")), key=len, reverse=True)


def _beyond_host(address: str) -> str:
    rest = address.partition("://")[2]
    start = min((at for mark in "/?#" if (at := rest.find(mark)) >= 0), default=len(rest))
    return rest[start:]


def _substituted(value: Any) -> Iterator[Substituted]:
    if isinstance(value, Substituted):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _substituted(each)
    elif isinstance(value, list):
        for each in value:
            yield from _substituted(each)


def _of_environment(value: Any) -> Iterator[Substituted]:
    """Give what the usual variables hold of settings that are left out."""
    if isinstance(value, BaseModel):
        for name, field in type(value).model_fields.items():
            extra = field.json_schema_extra
            variable = extra.get("env") if isinstance(extra, dict) else None
            if variable and (text := os.environ.get(str(variable))):
                yield Substituted(text, f"${{{variable}}}")
            yield from _of_environment(getattr(value, name))
    elif isinstance(value, dict):
        for each in value.values():
            yield from _of_environment(each)


def _masked(value: Any, name: str = "", given: Sequence[str] = ()) -> Any:
    if isinstance(value, dict):
        return {key: _masked(each, str(key), given) for key, each in value.items()}
    if isinstance(value, list):
        return [_masked(each, name, given) for each in value]
    if not isinstance(value, str) or not value:
        return value
    if _SECRET_NAME.search(name) and not _PUBLIC_NAME.search(name):
        return MASK
    scheme, mark, rest = value.partition("://")
    if mark:
        for piece in given:
            rest = rest.replace(piece, f"/{MASK}" if piece.startswith("/") else MASK)
        value = scheme + mark + rest
    return _URL_QUERY.sub(rf"\g<1>{MASK}", _URL_PASSWORD.sub(f"{MASK}@", value))


def overview(flow: Flow, document: Document | None = None) -> str:
    """Return the destinations, rules and policies as tables, the latter in the order in which they are asked.

    Args:
        flow: The flow.
        document: Where it comes from, as `show` takes it.
    """
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
        parts += _archive(flow.archive.retention, _of_variables(flow, document))
    return "\n\n".join(parts)


def _archive(settings: RetentionSettings, given: Sequence[str]) -> list[str]:
    """Return where the archive is, and how long what is kept in it, as tables."""
    archive, compaction = settings.archive, settings.compaction
    holds = ", ".join(each.name for each in settings.hold) or "none"
    compacted = f"every {format_duration(compaction.interval)}" if compaction.enabled else "by logweir compact"
    where = str(_masked(archive.path, given=given))
    place = table(("ARCHIVE", "FROM", "COMPACTION", "HOLDS"), [(where, archive.takes, compacted, holds)])
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
