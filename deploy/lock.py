"""Write the locks: what the image installs, and what builds it, each version with the digests of its wheels.

Pip resolves what pyproject.toml names, for each platform of the image, under constraints.txt, and checks the digests
when the image is built. Nothing is installed here. `make lock` runs it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import tomllib
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON = "3.12"
"""Of the image."""
MACHINES = ("x86_64", "aarch64")
GLIBC = range(17, 37)
"""Minor versions of glibc that wheels may ask for; Debian's in the image is 2.36 or later."""


def requirements() -> dict[str, list[str]]:
    """Return what each lock is about, as pyproject.toml names it."""
    whole = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = whole["project"]
    return {
        "requirements.lock": [*project["dependencies"], *project["optional-dependencies"]["archive"]],
        "build.lock": whole["build-system"]["requires"],
    }


def resolved(machine: str, wanted: list[str]) -> list[tuple[str, str, str]]:
    """Return name, version and SHA-256 of each wheel for a machine."""
    platforms = [f"--platform=manylinux_2_{minor}_{machine}" for minor in GLIBC]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
        command += [f"--report={report}", f"--target={folder}", f"--python-version={PYTHON}", *platforms]
        command += [f"--platform=manylinux2014_{machine}", "--implementation=cp", "--only-binary=:all:"]
        subprocess.run(  # noqa: S603  our own interpreter's pip
            [*command, f"--constraint={ROOT / 'constraints.txt'}", *wanted], check=True
        )
        found = json.loads(report.read_text())["install"]
    return [
        (
            each["metadata"]["name"],
            each["metadata"]["version"],
            each["download_info"]["archive_info"]["hashes"]["sha256"],
        )
        for each in found
    ]


def lock(wanted: list[str]) -> str:
    """Return the text of a lock."""
    digests: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for machine in MACHINES:
        for name, version, digest in resolved(machine, wanted):
            digests[name, version].add(digest)
    lines = [f"# Python {PYTHON} on Linux, {' and '.join(MACHINES)}; made by `make lock`."]
    for (name, version), found in sorted(digests.items(), key=lambda each: each[0][0].lower()):
        lines.append(" \\\n    ".join([f"{name}=={version}", *(f"--hash=sha256:{each}" for each in sorted(found))]))
    return "\n".join([*lines, ""])


def main() -> None:
    """Write each lock beside this file."""
    for name, wanted in requirements().items():
        (Path(__file__).parent / name).write_text(lock(wanted))


if __name__ == "__main__":
    main()
