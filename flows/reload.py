"""Reload: a changed flow file is read, checked and told of; the supervisor then brings it into force.

What is wrong with it is told as `logweir check` tells it, and the settings before stay in force.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from flows.assigning import groups
from flows.changes import Change, Effect, compare
from flows.config import Flow, LoadedFlow, built
from flows.document import read, version_of
from flows.flow_file import FlowFile
from flows.plan import Plan, limiters_of
from flows.seats import Seating
from logweir.errors import ConfigError, LogweirError
from logweir.secrecy import Secrets
from logweir.times import rfc3339
from operators.projection import Projection

_REFUSED = (
    "can't change while the flow runs, since its position belongs to the old value: stop the flow, and start it with "
    "this file"
)


@dataclass(slots=True)
class Outcomes:
    """What has become of changed files, as the status and the metrics tell it."""

    version: str
    """Of the file whose settings are in force, or are on their way to be."""
    since: float = field(default_factory=time.time)
    """When they were read, in epoch seconds."""
    reloaded: int = 0
    refused: int = 0
    refused_at: float | None = None
    """When a file was refused, if that was the last."""
    findings: list[str] = field(default_factory=list)
    """What was wrong with it."""
    pending: bool = False
    """Whether some worker does not run by these settings yet."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON."""
        return {
            "version": self.version,
            "since": rfc3339(self.since),
            "pending": self.pending,
            "reloaded": self.reloaded,
            "refused": self.refused,
            "refused_at": None if self.refused_at is None else rfc3339(self.refused_at),
            "findings": self.findings,
        }


class Reload:
    """Reads a flow's file again when it has changed or when that is asked for.

    Args:
        loaded: The flow that runs.
        file: Its file; None when it has none.
        only: The destinations that the run was left at.
        tell: Tells an event: its name, its severity and its fields.
    """

    def __init__(
        self, loaded: LoadedFlow, file: FlowFile | None, only: Sequence[str] | None, tell: Callable[..., None]
    ) -> None:
        self.flow = loaded.flow
        """In force, or on its way to be."""
        self.outcomes = Outcomes(loaded.document.version)
        self._file = file
        self._only = only
        self._tell = tell
        self._begun: float | None = None
        """When the settings were read that are on their way."""

    def look(self, now: float, *, asked: bool) -> bool:
        """Read the file if it has changed, or in any case when asked; tell whether there is another flow to run.

        Args:
            now: Monotonic time.
            asked: Whether somebody has asked for it.
        """
        if self._file is None or not (asked or self._file.changed(now)):
            return False
        try:
            content = self._file.read()
        except OSError as error:
            self._refuse("", [f"{self._file.path}: can't be read: {error.strerror}"])
            return False
        version = version_of(content)
        if version == self.outcomes.version and not asked and not self.outcomes.refused_at:
            return False
        try:
            loaded = built(read(content, str(self._file.path)))
            changes = self._accepted(loaded)
        except ConfigError as error:
            self._refuse(version, error.findings)
            return False
        self.outcomes.version, self.outcomes.since = version, time.time()
        self.outcomes.refused_at, self.outcomes.findings = None, []
        if not changes:
            self._tell("config.unchanged", "info", version=version)
            return False
        self.flow = loaded.flow
        self.outcomes.pending, self._begun = True, now
        said = {effect: [str(each) for each in changes if each.effect is effect] for effect in Effect}
        self._tell(
            "config.changed", "info", version=version, swapped=said[Effect.SWAPPED], restart=said[Effect.RESTART]
        )
        return True

    def arrived(self, now: float) -> bool:
        """Note that all workers run by the flow that was read last; tell whether that is news."""
        if self._begun is None:
            return False
        seconds = round(now - self._begun, 3)
        self.outcomes.pending, self._begun = False, None
        self.outcomes.reloaded += 1
        self._tell("config.reloaded", "info", version=self.outcomes.version, seconds=seconds)
        return True

    def _accepted(self, loaded: LoadedFlow) -> list[Change]:
        """Return what differs.

        Raises:
            ConfigError: It can't be run in the place of the flow that runs.
        """
        document, flow = loaded.document, loaded.flow
        changes = compare(self.flow, flow)
        findings = [
            document.find(each.path, _REFUSED, key=document.get(each.path) is None)
            for each in changes
            if each.effect is Effect.REFUSED
        ]
        if not groups(flow, self._only):
            said = f"none of {', '.join(self._only or ())} is enabled, which --only has left the run at"
            findings.append(document.find(("destinations",), said, key=True))
        if findings:
            raise ConfigError([str(each) for each in findings])
        try:
            _compile(flow, self._only)
        except LogweirError as error:
            reason = Secrets.of_settings(flow).hide(str(error))
            raise ConfigError([str(document.find((), reason))]) from None
        return changes

    def _refuse(self, version: str, findings: list[str]) -> None:
        self.outcomes.refused += 1
        self.outcomes.refused_at, self.outcomes.findings = time.time(), findings
        self._tell("config.refused", "error", version=version, findings=findings, in_force=self.outcomes.version)


def _compile(flow: Flow, only: Sequence[str] | None) -> None:
    """Compile what the workers will.

    Raises:
        LogweirError: Patterns are too large together.
    """
    layout = flow.source.layout()
    for names in groups(flow, only):
        projections = {name: Projection(flow.outlets[name].fields(), layout) for name in names}
        Plan(flow, projections, {name: Seating().started(limiters_of(flow, name)) for name in names})
