# SPDX-License-Identifier: GPL-3.0-or-later
"""A report as JSON and as CSV. Pure."""

from __future__ import annotations

import json
from typing import Any

from ..cells import as_csv

__all__ = ["COLUMNS", "csv_text", "json_text"]

Json = dict[str, Any]
COLUMNS = (
    "vm_name",
    "vm_uuid",
    "state",
    "causes",
    "power_state",
    "link",
    "link_since",
    "last_refusal",
    "agent",
    "agent_version",
    "guest_os_name",
    "certificate_expires",
    "days_left",
    "expiry",
    "certificate_kind",
    "generation",
    "tools_iso_mounted",
    "reboot_required",
    "vss_snapshot",
    "self_service_restore",
    "ngt_uuid",
    "enrolled_at",
)


def json_text(report: Json) -> str:
    """One value a line, and one VM a line, so that line tools and a diff can work with it."""
    return "{\n" + ",\n".join(f"{json.dumps(name)}: {lines(value)}" for name, value in report.items()) + "\n}\n"


def lines(value: Any) -> str:
    if not isinstance(value, list) or not value:
        return json.dumps(value, ensure_ascii=False)
    return "[\n" + ",\n".join(json.dumps(one, ensure_ascii=False) for one in value) + "\n]"


def csv_text(report: Json) -> str:
    """A head and one row for each VM; causes are parted by a space. No cell is a formula to a spreadsheet."""
    rows = ([" ".join(vm[name]) if name == "causes" else vm[name] for name in COLUMNS] for vm in report["vms"])
    return as_csv(COLUMNS, rows)
