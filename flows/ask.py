"""`logweir status`: asks a running flow how it is, and shows it."""

from __future__ import annotations

import os
from typing import Any

import orjson
from pydantic import ValidationError

from flows.config import StatusSettings, build
from flows.document import Document
from flows.show import table
from logweir.errors import ConfigError, LogweirError
from logweir.terminal import visible
from logweir.units import format_bytes

_SECONDS = 10.0


def ask_flow(document: Document) -> dict[str, Any]:
    """Return what the flow of a file says of itself, also when the file was changed and is wrong now.

    Raises:
        ConfigError: The file is wrong, and no flow runs by what it was before.
        LogweirError: Nothing answers, or something else does.
    """
    flow, findings = build(document)
    if flow is not None and not findings:
        return _own(ask(flow.status), flow.status, flow.name, flow.recovery.directory)
    try:
        status = StatusSettings.model_validate(document.get(("status",)) or {})
        return _own(ask(status), status, document.get(("name",)))
    except (ValidationError, LogweirError):
        raise ConfigError([str(finding) for finding in findings]) from None


def _own(found: dict[str, Any], settings: StatusSettings, name: Any, store: str | None = None) -> dict[str, Any]:
    """Return what a flow says of itself, if it is the one of this file: several have the same address by default.

    Raises:
        LogweirError: Another one answers.
    """
    place = f"status.listen {settings.listen}"
    if found.get("flow") != name:
        msg = (
            f"{place}: the flow {found.get('flow')!r} answers there, not {name!r}: give each a status.listen of its own"
        )
        raise LogweirError(msg)
    if store is not None and found.get("recovery", os.path.realpath(store)) != os.path.realpath(store):
        msg = (
            f"{place}: another flow of the name {name!r} answers there, which keeps its positions in "
            f"{found['recovery']}: give each a status.listen of its own"
        )
        raise LogweirError(msg)
    return found


def ask(settings: StatusSettings) -> dict[str, Any]:
    """Return what the flow that listens there says of itself.

    Raises:
        LogweirError: Nothing answers there, or something else does.
    """
    import httpx

    host, _, port = settings.listen.rpartition(":")
    host = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]", "": "127.0.0.1"}.get(host, host)  # noqa: S104  asked, not bound
    headers = {"authorization": f"Bearer {settings.token.get_secret_value()}"} if settings.token else {}
    place = f"status.listen {settings.listen}"
    try:
        # A proxy of the environment doesn't lead to this machine.
        answer = httpx.get(f"http://{host}:{port}/api/status", headers=headers, timeout=_SECONDS, trust_env=False)
    except httpx.HTTPError as error:
        msg = f"{place}: no flow answers ({type(error).__name__}): is it running, and with this flow file?"
        raise LogweirError(msg) from None
    if answer.status_code == 401:  # noqa: PLR2004
        msg = f"{place}: the flow that runs there has another status.token"
        raise LogweirError(msg)
    try:
        found: dict[str, Any] = orjson.loads(answer.content)
        found["destinations"].items()
    except (ValueError, LookupError, TypeError, AttributeError):
        msg = f"{place}: what answers there is no flow of logweir"
        raise LogweirError(msg) from None
    return found


def status_text(found: dict[str, Any]) -> str:
    """Return a flow's status as a table, with the issues in full below it."""
    rows = [
        (
            name,
            each["type"],
            each["status"],
            f"{each['logs_streamed']:,}",
            f"{each['logs_dropped']:,}",
            f"{each['logs_failed']:,}",
            "" if each.get("still_dead") is None else f"{each['still_dead']:,}",
            f"{each['in_flight']['records']:,}",
            "" if each["lag"] is None else f"{each['lag']:,}",
            format_bytes(each["bytes"]),
            f"{each['error_rate']:.1%}",
            "" if each["avg_latency"] is None else f"{each['avg_latency'] * 1000:,.0f} ms",
            each["last_flush"] or "never",
        )
        for name, each in found["destinations"].items()
    ]
    head = (
        "DESTINATION", "TYPE", "STATUS", "STREAMED", "DROPPED", "FAILED", "STILL DEAD", "IN FLIGHT", "LAG", "SENT",
        "ERRORS", "LATENCY", "LAST FLUSH",
    )  # fmt: skip
    lines = [
        f"{visible(found['flow'])}: up {found['uptime']:,.0f} s, {'healthy' if found['healthy'] else 'NOT HEALTHY'}",
        "",
    ]
    config = {**found["config"], **{name: visible(str(found["config"][name])) for name in ("version", "since")}}
    if config["pending"]:
        lines.insert(1, f"config {config['version']}: on its way to every worker")
    else:
        lines.insert(1, f"config {config['version']}: in force since {config['since']}")
    if config["refused_at"]:
        lines.insert(2, f"REFUSED at {visible(config['refused_at'])}, a changed file:")
        lines[3:3] = [visible(str(each)) for each in config["findings"]]
    lines.append(table(head, rows))
    for name, each in found["destinations"].items():
        lines += [f"\n{visible(f'{name}: {issue}')}" for issue in each["issues"]]
    if retention := found.get("retention"):
        lines += ["", *_of_archive(retention)]
    return "\n".join(lines)


def _of_archive(retention: dict[str, Any]) -> list[str]:
    """Return what the compaction has found and done."""
    archive, last = retention["archive"], retention["last_round"]
    if archive is None:
        lines = ["archive: not looked at yet"]
    else:
        size = f"{format_bytes(archive['bytes'])} in {archive['files']:,} files"
        told = f"{archive['retained']:,} records retained ({size}), {archive['deleted']:,} deleted when they expired"
        day = visible((archive["next_expiry"] or "")[:10])
        upcoming = f", the next {archive['expiring']:,} on {day}" if day else ""
        lines = [f"archive: {told}{upcoming}; compacted at {visible(last['at'])}"]
    return [*lines, *(f"\narchive: compaction: {visible(issue)}" for issue in retention["issues"])]
