# Copyright (c) 2026, openngt contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the results of the health checks to what a play shows, decides by and leaves behind: bounded, worst first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["summary"]

Json = dict[str, Any]
STATES = ("OFF", "PASS", "INFO", "WARN", "FAIL")


def summary(checks: Sequence[Mapping[str, Any]], max_items: int) -> Json:
    """`checks` with at most `max_items` findings each, and what they come to.

    `state` is the worst of all checks; `counts` has the number of checks in each state, `vm_counts` that of the VMs by
    their worst; `problems` lists the findings that are not PASS, at most `max_items` of them.
    """
    problems = [problem(check, item) for check in checks for item in check["items"] if item["state"] != "PASS"]
    problems.sort(key=lambda one: -rank(one["state"]))
    return {
        "state": max((check["state"] for check in checks if check["state"] != "OFF"), key=rank, default="PASS"),
        "counts": {state: sum(check["state"] == state for check in checks) for state in STATES},
        "vm_counts": vm_counts(problems),
        "problems": problems[:max_items],
        "problems_total": len(problems),
        "checks": [cut(check, max_items) for check in checks],
    }


def rank(state: str) -> int:
    return STATES.index(state)


def problem(check: Mapping[str, Any], item: Mapping[str, Any]) -> Json:
    return {
        "check": check["name"],
        "state": item["state"],
        "vm_uuid": item.get("vm_uuid"),
        "vm_name": item.get("vm_name"),
        "message": item["message"],
        "resolutions": list(check["resolutions"]),
    }


def vm_counts(problems: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    worst: dict[str, str] = {}
    for one in problems:
        vm = one["vm_uuid"]
        if vm is not None and (vm not in worst or rank(one["state"]) > rank(worst[vm])):
            worst[vm] = one["state"]
    return {state: sum(found == state for found in worst.values()) for state in STATES[2:]}


def cut(check: Mapping[str, Any], max_items: int) -> Json:
    items = sorted(check["items"], key=lambda item: -rank(item["state"]))
    return {**check, "items": items[:max_items], "items_total": len(items)}
