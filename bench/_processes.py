# SPDX-License-Identifier: GPL-3.0-or-later
"""What /proc says of a process that is measured from outside."""

from pathlib import Path

__all__ = ["cpu_seconds", "resident_kib"]


def resident_kib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return float(status.split("VmRSS:")[1].split()[0])


def cpu_seconds(pid: int) -> float:
    """On a CPU, all threads; finer than the clock ticks of /proc/<pid>/stat."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
