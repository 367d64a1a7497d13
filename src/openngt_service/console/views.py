# SPDX-License-Identifier: GPL-3.0-or-later
"""What the pages show, from records of the API: states in words and in one of five colours. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from ..store.task_rows import FINISHED

__all__ = [
    "LEGEND",
    "NOTHING",
    "STATES",
    "Badge",
    "Cell",
    "GridRow",
    "TaskView",
    "cells_of",
    "expiry_badge",
    "facts_of",
    "grid_rows",
    "link_badge",
    "state_badge",
    "task_view",
    "worst_first",
]

Json = Mapping[str, Any]
State = Literal["OFF", "PASS", "INFO", "WARN", "FAIL"]
"""The word of the API; the style sheet has a colour for each, and a page shows no colour without words."""
STATES: Final[tuple[State, ...]] = ("FAIL", "WARN", "INFO", "PASS", "OFF")
LEGEND: Final[Mapping[State, str]] = {
    "OFF": "nothing known, or turned off",
    "PASS": "as it should be",
    "INFO": "worth knowing",
    "WARN": "do something soon",
    "FAIL": "do something now",
}
TASK_STATES: Final[Mapping[str, State]] = {
    "queued": "OFF",
    "running": "INFO",
    "succeeded": "PASS",
    "failed": "FAIL",
    "interrupted": "WARN",
    # rows of a refresh
    "waiting": "OFF",
    "refreshed": "PASS",
    "unchanged": "PASS",
    "due": "INFO",
    "blocked": "WARN",
    # alerts and the checks of a diagnosis
    "raised": "FAIL",
    "acknowledged": "WARN",
    "resolved": "PASS",
    "ok": "PASS",
    "not_made": "OFF",
}
NOTHING: Final = "–"  # noqa: RUF001  the dash of an empty cell
MOST_FACTS, LONGEST_FACT = 100, 500


@dataclass(frozen=True)
class Badge:
    state: State
    text: str


@dataclass(frozen=True)
class Cell:
    """One day of one VM. `text` stands in the cell, so that the colour says nothing alone."""

    day: str
    state: State
    text: str


@dataclass(frozen=True)
class GridRow:
    vm_uuid: str
    vm_name: str
    expiry: Badge
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class TaskView:
    task: Json
    vm_name: str
    """Its UUID where nobody knows a name; empty for a task that is no VM's."""
    badge: Badge
    live: bool
    """It can still change."""


def state_badge(word: str) -> Badge:
    """Of any state that the API has a word for; what a newer release has brought is shown without a colour."""
    if word in LEGEND:
        return Badge(word, word)  # type: ignore[arg-type]
    return Badge(TASK_STATES.get(word, "OFF"), word.replace("_", " "))


def link_badge(vm: Json) -> Badge:
    """A link that a VM cannot have, because it is off, is nothing to be alarmed by."""
    if vm["communication_link_active"]:
        return Badge("PASS", f"active ({vm['transport']})" if vm["transport"] else "active")
    return Badge("OFF" if vm["power_state"] in ("off", "paused") else "WARN", "inactive")


def expiry_badge(certificate: Json | None) -> Badge:
    if certificate is None:
        return Badge("OFF", "none")
    left = certificate["days_left"]
    days = "expired" if left <= 0 else "1 day" if left == 1 else f"{left} days"
    of_iso = " (its ISO's)" if certificate["kind"] == "bootstrap" else ""
    return Badge(certificate["expiry"], f"{certificate['expiry']}: {days}{of_iso}")


def cells_of(days: Sequence[str], states: Sequence[State | None]) -> tuple[Cell, ...]:
    return tuple(Cell(day, state or "OFF", state or NOTHING) for day, state in zip(days, states, strict=True))


def grid_rows(vms: Sequence[Json], history: Json) -> list[GridRow]:
    """In the order of `vms`; a VM that was disabled meanwhile has no row."""
    of_vm = {row["vm_uuid"]: row["days"] for row in history["items"]}
    return [
        GridRow(
            vm["vm_uuid"],
            vm["vm_name"],
            expiry_badge(vm["certificate"]),
            cells_of(history["days"], of_vm[vm["vm_uuid"]]),
        )
        for vm in vms
        if vm["vm_uuid"] in of_vm
    ]


def task_view(task: Json, names: Mapping[str, str]) -> TaskView:
    """`names`: of VMs, by UUID."""
    vm_name = names.get(task["vm_uuid"], task["vm_uuid"] or "")
    return TaskView(task, vm_name, state_badge(task["state"]), task["state"] not in FINISHED)


def worst_first(items: Sequence[Json]) -> list[Json]:
    return sorted(items, key=lambda item: STATES.index(item["state"]))


def facts_of(record: Json | None, prefix: str = "") -> list[tuple[str, Any]]:
    """What a guest says about itself, as lines of name and value, at most a hundred. It may be any JSON object."""
    facts: list[tuple[str, Any]] = []
    for name, value in (record or {}).items():
        if isinstance(value, Mapping) and not prefix:
            facts += facts_of(value, f"{name}.")
        else:
            text = value if isinstance(value, int | float | None) else str(value)[:LONGEST_FACT]
            facts.append((f"{prefix}{name}"[:LONGEST_FACT], text))
    return facts[:MOST_FACTS]
