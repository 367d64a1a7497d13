# Copyright (c) 2026, openngt contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What service and guest say about one VM, side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["FilterModule", "status_lines"]

# Label, place in the VM record, place in the agent's status (None: only the service knows).
ROWS = (
    ("VM name", "vm_name", None),
    ("VM UUID", "vm_uuid", "identity.vm_uuid"),
    ("NGT enabled", "ngt_enabled", None),
    ("ISO mounted", "tools_iso_mounted", None),
    ("VSS snapshot", "vss_snapshot", "capabilities.vss_snapshot"),
    ("self-service restore", "self_service_restore", "capabilities.self_service_restore"),
    ("link active", "communication_link_active", "link.active"),
    ("transport", "transport", "link.transport"),
    ("agent version", "agent_version", "agent_version"),
    ("generation", "generation", "identity.generation"),
    ("certificate serial", "certificate.serial", "identity.serial"),
    ("certificate expires", "certificate.not_after", "identity.not_after"),
    ("certificate state", "certificate.expiry", None),
    ("guest's service", None, "service.active"),
    ("last error", "link.last_refusal.reason", "link.last_error.code"),
)


def status_lines(vms: Sequence[dict[str, Any]], agent: dict[str, Any] | None = None) -> list[str]:
    """Aligned lines; `-` where a side knows nothing, and the head says so when a whole side is silent."""
    record = vms[0] if vms else None
    rows = [(label, shown(record, ours), shown(agent, theirs)) for label, ours, theirs in ROWS]
    heads = ("", "service" if record else "service: not enrolled", "guest" if agent else "guest: no agent answers")
    widths = [max(len(row[column]) for row in (heads, *rows)) for column in range(3)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + mark(row)
        for row in (heads, *rows)
    ]


def mark(row: tuple[str, str, str]) -> str:
    label, ours, theirs = row
    return "  <- differs" if label and "-" not in (ours, theirs) and ours != theirs and label != "last error" else ""


def shown(source: dict[str, Any] | None, path: str | None) -> str:
    """The value at a dotted place, for people."""
    value: Any = source
    for key in path.split(".") if path else ():
        value = value.get(key) if isinstance(value, dict) else None
    if path is None or value is None:
        return "-"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


class FilterModule:
    def filters(self) -> dict[str, Callable[..., list[str]]]:
        return {"status_lines": status_lines}
