# Copyright (c) 2026, openngt contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The results of the health checks as lines: what is wrong, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["FilterModule", "health_lines"]


def health_lines(health: Mapping[str, Any], states: Sequence[str] | None = None) -> list[str]:
    """A line for each check and, below those that found something, one for each finding and each resolution.

    With `states`, checks in another state and findings of another one are left out.
    """
    lines = []
    for check in health["checks"]:
        if states is not None and check["state"] not in states:
            continue
        lines.append(f"{check['state']:<4} {check['name']}: {check['message']}")
        items = [item for item in check["items"] if states is None or item["state"] in states]
        lines += [f"     {item['message']}" for item in items]
        more = check["items_total"] - len(check["items"])
        if more:
            lines.append(f"     and {more} more: openngt health report")
        if items:
            lines += [f"     do: {resolution}" for resolution in check["resolutions"]]
    return lines


class FilterModule:
    def filters(self) -> dict[str, Callable[..., list[str]]]:
        return {"health_lines": health_lines}
