from __future__ import annotations

import pytest
from pydantic import ValidationError

from flows.sources.stdin import Stdin


def test_paths_belong_to_the_json_format() -> None:
    """Paths without format json, and format json without paths, are findings in plain words."""
    with pytest.raises(ValidationError, match="goes with format json"):
        Stdin.model_validate({"type": "stdin", "paths": {"level": "severity"}})
    with pytest.raises(ValidationError, match="needs `paths`"):
        Stdin.model_validate({"type": "stdin", "format": "json"})
    settings = Stdin.model_validate({"type": "stdin", "format": "json", "paths": {"level": "severity"}})
    assert settings.layout().wire("level")[0].path == ("severity",)
