# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong, grouped by its cause, so that one remedy stands once however many VMs need it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..errors import REMEDIES

__all__ = ["STATES", "failures_of", "rank", "states_of_vms"]

Json = dict[str, Any]
Key = tuple[str, str]
STATES = ("FAIL", "WARN", "INFO")
"""Worst first."""
CUSTOMIZATION_CODES = {"failed": "CUSTOMIZATION_FAILED", "timed_out": "CUSTOMIZATION_TIMED_OUT"}


def rank(state: str) -> int:
    """0 for the worst; what is no finding comes last."""
    return STATES.index(state) if state in STATES else len(STATES)


def failures_of(
    checks: Sequence[Json], tasks: Sequence[Json], customizations: Sequence[Json], names: Mapping[str, str]
) -> list[Json]:
    """The groups, worst first, then the largest: `{cause, source, state, title, remedies, count, items}`.

    `cause` is a check's name or an error's code, `source` is `health`, `task` or `customization`; an item is
    `{vm_uuid, vm_name, name, message}`, of which `name` is a part of the service where no VM is meant. `names` has the
    enrolled VMs by UUID.
    """
    groups = [
        *(group for check in checks for group in of_check(check)),
        *of_tasks(standing(tasks), names),
        *of_customizations(customizations),
    ]
    return sorted(groups, key=lambda one: (rank(one["state"]), -one["count"], one["cause"]))


def states_of_vms(failures: Iterable[Json]) -> dict[str, tuple[str, list[str]]]:
    """By UUID the worst state of each VM that something was found about, and the causes, worst first."""
    found: dict[str, tuple[str, list[str]]] = {}
    for one in failures:
        for item in one["items"]:
            if item["vm_uuid"] is not None:
                _state, causes = found.setdefault(item["vm_uuid"], (one["state"], []))
                if one["cause"] not in causes:
                    causes.append(one["cause"])
    return found


def of_check(check: Json) -> list[Json]:
    return [
        grouped(check["name"], "health", state, check["title"], check["resolutions"], items)
        for state in STATES
        if (items := [item_of(item) for item in check["items"] if item["state"] == state])
    ]


def of_tasks(failed: Sequence[Json], names: Mapping[str, str]) -> list[Json]:
    """By code. Of a VM that failed for one reason in several ways the last one counts."""
    items: dict[str, dict[str, Json]] = {}
    remedies: dict[str, list[str]] = {}
    for task in failed:
        error = task["error"]
        code, vm = error["code"], task["vm_uuid"]
        items.setdefault(code, {}).setdefault(
            vm or task["task_id"],
            {
                "vm_uuid": vm,
                "vm_name": names.get(vm),
                "name": None if vm else task["title"],
                "message": f"{task['title']}: {error['message']}",
            },
        )
        told = remedies.setdefault(code, [])
        remedy = error.get("remedy") or REMEDIES.get(code)
        if remedy and remedy not in told:
            told.append(remedy)
    return [
        grouped(code, "task", "FAIL", title_of(code), remedies[code], list(of_code.values()))
        for code, of_code in items.items()
    ]


def standing(tasks: Sequence[Json]) -> list[Json]:
    """Failed tasks that nothing of the same kind has made good since. `tasks` newest first.

    One whose failure is that of its parts is told by them.
    """
    made_good: set[Key] = set()
    failed: list[Json] = []
    for task in tasks:
        of = (task["vm_uuid"] or "", task["kind"])
        if task["state"] == "succeeded":
            made_good.add(of)
        elif task["state"] == "failed" and task["error"] is not None and of not in made_good:
            failed.append(task)
    parents = {task["parent"] for task in failed}
    return [task for task in failed if task["task_id"] not in parents]


def of_customizations(rows: Sequence[Json]) -> list[Json]:
    items: dict[str, list[Json]] = {}
    for row in rows:
        if row["state"] in CUSTOMIZATION_CODES:
            code = row["code"] or CUSTOMIZATION_CODES[row["state"]]
            items.setdefault(code, []).append(item_of(row))
    return [
        grouped(code, "customization", "FAIL", title_of(code), [REMEDIES[code]] if code in REMEDIES else [], of_code)
        for code, of_code in items.items()
    ]


def item_of(found: Mapping[str, Any]) -> Json:
    return {
        "vm_uuid": found.get("vm_uuid"),
        "vm_name": found.get("vm_name"),
        "name": found.get("name"),
        "message": found["message"],
    }


def grouped(cause: str, source: str, state: str, title: str, remedies: Sequence[str], items: Sequence[Json]) -> Json:
    ordered = sorted(items, key=lambda item: (item["vm_name"] or item["name"] or "", item["vm_uuid"] or ""))
    return {
        "cause": cause,
        "source": source,
        "state": state,
        "title": title,
        "remedies": list(remedies),
        "count": len(ordered),
        "items": ordered,
    }


def title_of(code: str) -> str:
    """`DRIVE_BUSY` -> `Drive busy`."""
    return code.replace("_", " ").capitalize()
