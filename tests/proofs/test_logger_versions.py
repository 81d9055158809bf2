"""The logger's own tests on each Python that it is said to run on, as it is installed: from its wheel."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.proof

ROOT = Path(__file__).resolve().parents[2]
VERSIONS = [f"3.{minor}" for minor in range(9, 15)]
NEEDED = ("pytest", "hypothesis", "typing_extensions", "numpy", "opentelemetry-sdk")


def python(version: str) -> str | None:
    """Return the path of this Python, on PATH or among pyenv's, None where there is none."""
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [str(path) for path in sorted(versions.glob(f"{version}.*/bin/python"))]
    return found[-1] if found else shutil.which(f"python{version}")


@pytest.mark.parametrize("version", VERSIONS)
def test_versions(tmp_path: Path, version: str) -> None:
    """The wheel installs with all its extras, and all tests of the logger pass."""
    path = python(version)
    if path is None:
        pytest.skip(f"there is no Python {version} here")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT / "logger", check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    subprocess.run([path, "-m", "venv", str(tmp_path / "venv")], check=True)
    own = str(tmp_path / "venv" / "bin" / "python")
    extras = f"{wheel}[kafka,structlog,otel]"
    subprocess.run([own, "-m", "pip", "install", "--quiet", extras, *NEEDED], check=True)
    project = tmp_path / "logger"
    shutil.copytree(ROOT / "logger", project, ignore=shutil.ignore_patterns("src", ".*", "__pycache__"))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [own, "-m", "pytest", "-q", "-c", os.devnull, "--rootdir", ".", "--import-mode=importlib", "-W", "error"]
    done = subprocess.run([*command, "logger/tests"], cwd=tmp_path, env=environment, check=False)
    assert done.returncode == 0
