"""Every error that logweir raises on purpose.

    LogweirError
    ├── ConfigError        the flow file is wrong; carries every finding (exit code 2)
    ├── SourceError        a source can't be read; says which and what would help
    │   └── NothingToReadError    there is none, and none is waited for: starting again would not help
    ├── DestinationError   a destination can't be used at all; says which setting to fix
    └── UndeliveredError   the flow was stopped with records in flight; they are sent again at the next start

Anything else that is raised is a defect.
"""

from __future__ import annotations

from collections.abc import Sequence


class LogweirError(Exception):
    """The root: its message is for a person, in one sentence, with the fix."""


class ConfigError(LogweirError):
    """A flow file that can't be run.

    Args:
        findings: One line each, `file:line:column: path: what is wrong, what is allowed`.
    """

    def __init__(self, findings: Sequence[str]) -> None:
        super().__init__("\n".join(findings))
        self.findings = list(findings)


class SourceError(LogweirError):
    """A source that can't be read."""


class NothingToReadError(SourceError):
    """There is nothing to read, and nothing that the flow would wait for."""


class DestinationError(LogweirError):
    """A destination that can't be used at all, whatever is sent to it."""


class UndeliveredError(LogweirError):
    """The flow was stopped before everything in flight was delivered."""
