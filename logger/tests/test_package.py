from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import logweir_logger

ROOT = Path(__file__).resolve().parents[1]
HEAVY = {
    "asyncio",
    "confluent_kafka",
    "email",
    "http",
    "inspect",
    "logging",
    "multiprocessing",
    "opentelemetry",
    "pytest",
    "socket",
    "structlog",
    "subprocess",
    "tempfile",
    "traceback",
    "urllib",
}


def run(program: str) -> str:
    """Run a program, and return what it prints."""
    command = [sys.executable, "-c", program]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_import_is_light() -> None:
    """Importing and using the library imports nothing heavy beside orjson, and none of what is optional."""
    program = (
        "import sys, orjson; before = set(sys.modules); import logweir_logger as l; l.StructuredLogger('a').info('x')"
    )
    added = run(f"{program}; print(*(set(sys.modules) - before))").splitlines()[-1].split()
    assert {name.partition(".")[0] for name in added} & HEAVY == set()


def test_exported_names() -> None:
    """What the package says it has, it has, and a name it hasn't is an error."""
    for name in logweir_logger.__all__:
        assert name == "LEVELS" or getattr(logweir_logger, name).__module__.startswith("logweir_logger")
    with pytest.raises(AttributeError, match="has no attribute 'Missing'"):
        logweir_logger.Missing  # noqa: B018


def test_typed() -> None:
    """The package tells type checkers that it is typed."""
    assert (Path(logweir_logger.__file__).parent / "py.typed").exists()


def test_oldest_python() -> None:
    """The source is one that Python 3.9 reads, whichever Python the tests run on."""
    modules = list(Path(logweir_logger.__file__).parent.rglob("*.py"))
    assert len(modules) > 20
    for path in modules:
        tree = ast.parse(path.read_text(encoding="utf-8"), str(path), feature_version=(3, 9))
        imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
        assert imports[0].module == "__future__", f"{path}: 3.9 would evaluate its annotations"


def test_sample_application() -> None:
    """An application that uses all of it passes `mypy --strict`, and what it must not write is refused."""
    pytest.importorskip("mypy")
    sample = ROOT / "tests" / "sample_application.py"
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", str(ROOT / "pyproject.toml"), str(sample)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_sample_application_runs() -> None:
    """The sample application runs."""
    subprocess.run([sys.executable, str(ROOT / "tests" / "sample_application.py")], check=True, capture_output=True)


def test_kafka_is_asked_for() -> None:
    """Without confluent-kafka the Kafka output says how to get it."""
    program = (
        "import sys; sys.modules['confluent_kafka'] = None\n"
        "from logweir_logger import KafkaOutput\n"
        "try:\n    KafkaOutput('localhost:9092', 'logs')\n"
        "except ModuleNotFoundError as error:\n    print(error)"
    )
    assert run(program) == "KafkaOutput needs confluent-kafka: pip install 'logweir-logger[kafka]'\n"
