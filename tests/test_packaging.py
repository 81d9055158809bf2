"""What is installed is what this checkout holds, and what is published is no more than it should be."""

from __future__ import annotations

import importlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("logweir", "flows", "operators", "sinks")


def wheel(project: Path, into: Path) -> tuple[set[str], str]:
    """Build a project's wheel and return the names of its files and its metadata."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(into)]
    subprocess.run(command, cwd=project, check=True, capture_output=True)
    (built,) = into.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        names = set(archive.namelist())
        metadata = next(name for name in names if name.endswith(".dist-info/METADATA"))
        return names, archive.read(metadata).decode()


def sources(folder: Path, root: Path) -> set[str]:
    """Return the modules and typing markers below a folder, as a wheel names them."""
    found = [*folder.rglob("*.py"), *folder.rglob("py.typed")]
    return {path.relative_to(root).as_posix() for path in found}


@pytest.mark.parametrize("name", PACKAGES)
def test_imported_from_here(name: str) -> None:
    """The packages' names are common ones, so a test makes sure that nobody else's are imported."""
    file = importlib.import_module(name).__file__
    assert file is not None
    assert Path(file).parent == ROOT / name


@pytest.mark.parametrize("name", PACKAGES)
def test_typed(name: str) -> None:
    """Each package tells type checkers that it is typed."""
    assert (ROOT / name / "py.typed").exists()


def test_wheel(tmp_path: Path) -> None:
    """The wheel has the four packages, whole, and nothing else."""
    names, metadata = wheel(ROOT, tmp_path)
    inside = {name for name in names if ".dist-info/" not in name}
    assert {name.split("/")[0] for name in inside} == set(PACKAGES)
    assert {name for name in inside if name.endswith((".py", "py.typed"))} == {
        name for package in PACKAGES for name in sources(ROOT / package, ROOT)
    }
    assert not [name for name in inside if "test" in name.lower() or "__pycache__" in name]
    assert "Requires-Python: <3.13,>=3.11" in metadata


def test_logger_wheel(tmp_path: Path) -> None:
    """The logger is a distribution of its own that asks for Python 3.9 and orjson alone."""
    names, metadata = wheel(ROOT / "logger", tmp_path)
    source = ROOT / "logger" / "src"
    assert {name for name in names if ".dist-info/" not in name} == sources(source, source)
    required = [line for line in metadata.splitlines() if line.startswith("Requires-Dist:") and "extra ==" not in line]
    assert required == ["Requires-Dist: orjson>=3.10"]
    assert "Requires-Python: >=3.9" in metadata


def test_python_of_makefile() -> None:
    """The Makefile looks for the Pythons that the project says it runs on."""
    assert 'requires-python = ">=3.11,<3.13"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert "(3, 11) <= sys.version_info < (3, 13)" in (ROOT / "Makefile").read_text(encoding="utf-8")
