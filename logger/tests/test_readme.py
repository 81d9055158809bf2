from __future__ import annotations

import doctest
import re
import signal
from pathlib import Path

import pytest

import logweir_logger.testing
from logweir_logger import LogContext

README = Path(__file__).resolve().parents[1] / "README.md"
NEEDED = ["structlog", "confluent_kafka"]


def test_examples(tmp_path: Path) -> None:
    """Each example of the README does what it says."""
    for module in NEEDED:
        pytest.importorskip(module)
    LogContext.clear()
    blocks = re.findall(r"^```pycon\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    parser = doctest.DocTestParser()
    test = parser.get_doctest("\n".join(blocks), {"directory": str(tmp_path)}, "README.md", str(README), 0)
    assert len(test.examples) > 60
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    handler = signal.getsignal(signal.SIGTERM)
    try:
        runner.run(test, out=said.append)
    finally:
        signal.signal(signal.SIGTERM, handler)
    assert said == []


def test_docstrings() -> None:
    """The examples in docstrings do what they say."""
    result = doctest.testmod(logweir_logger.testing)
    assert result.failed == 0
    assert result.attempted > 0
