"""A whole flow for mutated records, from a pipe to a file."""

from __future__ import annotations

import json
from pathlib import Path

from tests.fuzz.line import REDACT, RULES


def whole_flow(directory: Path) -> Path:
    """Write a flow with all rules and patterns, and return its path."""
    flow = {
        "name": "fuzz",
        "source": {"type": "stdin"},
        "rules": RULES,
        "redact": REDACT,
        "destinations": {"out": {"type": "file", "path": str(directory / "out.ndjson")}},
        "dead_letter": {"directory": str(directory / "dead")},
        "recovery": {"directory": str(directory / "recovery")},
        "status": {"listen": "127.0.0.1:0"},
    }
    path = directory / "flow.yaml"
    path.write_text(json.dumps(flow), encoding="utf-8")
    return path
