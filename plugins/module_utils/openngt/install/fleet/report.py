# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked of a fleet's installation and what became of each guest. Nothing here holds a secret."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ...errors import OpenNGTError

__all__ = [
    "PHASES",
    "REMAINING",
    "Event",
    "OnEvent",
    "Options",
    "Phase",
    "Refused",
    "Report",
    "Row",
    "RowState",
    "failure_of",
    "summary",
]

Json = dict[str, Any]
Phase = Literal["enrol", "connect", "prerequisites", "mount", "install", "prove", "clean_up"]
PHASES: tuple[Phase, ...] = ("enrol", "connect", "prerequisites", "mount", "install", "prove", "clean_up")
RowState = Literal["installed", "unchanged", "failed", "not_begun", "would_install"]
REMAINING = ("failed", "not_begun")
"""States of rows that need another run."""


@dataclass(frozen=True)
class Options:
    """How to install; the same for all guests of a run."""

    check: bool = False
    """Change nothing, neither in a guest nor at the service, and say what each guest would need."""
    max_in_flight: int = 20
    host_seconds: float = 900.0
    """What one guest may take in all. Its cleaning up comes on top, and has a limit of its own."""
    wait_seconds: float = 90.0
    """How long an agent may take to connect and get its long-lived identity."""
    lease_seconds: int = 1800
    """After that the service ejects a tools ISO by itself, whatever became of this run."""
    capabilities: Mapping[str, bool | None] = field(default_factory=dict)
    install_prerequisites: bool = False
    """Have the package manager of a guest bring the Python and tar that it lacks."""
    allow_unsupported_distribution: bool = False
    minimum_free_mb: int = 550
    label: str = "NUTANIX_TOOLS"
    mount_point: str = "/mnt/nutanix/ngt"
    gateway: tuple[str, int] | None = None
    """Address of the service's gateway as guests see it, tried by each; None: not tried before the installation."""
    journal: Path | None = None
    """The folder of this run's journal. None: `openngt/fleet/<id>` below XDG_STATE_HOME, by targets and service."""
    resume: bool = True
    """Go on where a run was interrupted that had the same journal."""
    reconnect: bool = False
    """Also connect to the guests again that the interrupted run had finished; else the service is asked alone."""
    limit_file: Path | None = None
    """Where the names go that need another run, one a line; None: `limit` beside the journal."""


class Refused(NamedTuple):
    """A guest of the list or the inventory that is no usable target, and why; it becomes a failed row."""

    name: str
    vm: str
    error: OpenNGTError


@dataclass(frozen=True)
class Row:
    """What became of one guest; ARCHITECTURE.md section 6 has it as JSON."""

    name: str
    vm: str
    """The VM as the caller named it."""
    state: RowState
    vm_uuid: str | None = None
    vm_name: str | None = None
    phase: Phase | None = None
    """The last one that was begun; of a failed row, the one that failed."""
    changed: bool = False
    code: str | None = None
    message: str = ""
    """Why it failed; otherwise what was found and done, in words."""
    remedy: str | None = None
    details: Json = field(default_factory=dict)
    diff: Json = field(default_factory=dict)
    """`{"before", "after"}` of what this run has changed, or would change."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """What each phase took that was begun."""
    resumed: bool = False
    """Done by the interrupted run before this one, and proven again at the service."""

    def to_dict(self) -> Json:
        return {**vars(self), "seconds": {name: round(value, 3) for name, value in self.seconds.items()}}


@dataclass(frozen=True)
class Report:
    """The end of a run: a row for each target, in the targets' order."""

    rows: Sequence[Row]
    summary: Json
    """`{"counts": {state: n}, "failures": {code: {"remedy", "names"}}, "seconds"}`"""
    limit_file: str | None
    """Written when a guest needs another run."""
    journal: str | None
    """The folder; None in check mode."""
    interrupted: bool = False
    """Ended by a signal or by the caller before every guest had its turn or its end."""
    warnings: Sequence[str] = ()

    @property
    def error(self) -> OpenNGTError | None:
        """Why the run as a whole failed; None when every guest is as it was asked for."""
        return failure_of(self.rows, self.limit_file)


class Event(NamedTuple):
    """Progress: a guest has begun a phase, or has come to its end (`row`)."""

    name: str
    phase: Phase | None
    row: Row | None
    done: int
    """Guests that have come to their end."""
    total: int


OnEvent = Callable[[Event], None]
"""Always called in the thread that called `install`."""


def summary(rows: Sequence[Row], seconds: float) -> Json:
    """Counts by state, and the failures by code with the names of their guests and the remedy."""
    counts: dict[str, int] = {}
    failures: dict[str, Json] = {}
    for row in rows:
        counts[row.state] = counts.get(row.state, 0) + 1
        if row.state == "failed" and row.code is not None:
            group = failures.setdefault(row.code, {"remedy": row.remedy, "names": []})
            group["names"].append(row.name)
    return {"counts": counts, "failures": failures, "seconds": round(seconds, 3)}


def failure_of(rows: Sequence[Row], limit_file: str | None) -> OpenNGTError | None:
    """The one guest's own reason, or TASK_FAILED with each code and how many guests have it."""
    bad = [row for row in rows if row.state in REMAINING]
    if not bad:
        return None
    if len(bad) == 1 and bad[0].code is not None:
        [row] = bad
        return OpenNGTError(row.code or "", f"{row.name}: {row.message}", row.details, row.remedy)
    codes: dict[str, int] = {}
    for row in bad:
        codes[row.code or row.state] = codes.get(row.code or row.state, 0) + 1
    listed = ", ".join(f"{code} ({count})" for code, count in sorted(codes.items()))
    again = f"; then run again for them alone: --limit @{limit_file}" if limit_file else ""
    remedy = f"follow the remedy of each row{again}"
    return OpenNGTError("TASK_FAILED", f"{len(bad)} of {len(rows)} guests are not installed: {listed}", {}, remedy)
