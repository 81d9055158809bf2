"""CPU and memory of a process and all that it has started, read from /proc."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def tree(pid: int) -> list[int]:
    """Return a process and its living descendants."""
    found = [pid]
    for each in found:
        for task in Path(f"/proc/{each}/task").glob("*/children"):
            try:
                found += [int(child) for child in task.read_text().split()]
            except OSError:
                continue
    return found


def cpu_seconds(pid: int) -> float:
    """Return user+sys seconds of a process, its descendants, and those that have ended and were waited for."""
    total = 0
    for each in tree(pid):
        try:
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += sum(int(field) for field in fields[11:15])
    return total / _TICKS


def peak_rss(pid: int) -> dict[int, int]:
    """Return the peak resident bytes of each living process of the tree."""
    peaks = {}
    for each in tree(pid):
        try:
            lines = Path(f"/proc/{each}/status").read_text().splitlines()
        except OSError:
            continue
        peaks[each] = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)
    return peaks


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process that this harness has started."""
    process.terminate()
    try:
        process.wait(40)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
