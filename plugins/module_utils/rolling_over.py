# Copyright (c) 2026, openngt contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Let another CA follow the service's: ask for a step, and say in Ansible's words what became of it."""

from __future__ import annotations

from typing import Any

from .openngt.client import Client

__all__ = ["roll_over"]

Json = dict[str, Any]
LEADS_TO = {"prepare": "prepared", "activate": "activated", "retire": "none", "abort": "none"}
STATUS = ("phase", "since", "signing", "next", "old", "advice")


def roll_over(client: Client, step: str, *, force: bool, replaces: str | None, check: bool) -> Json:
    """The module's result. `step: status` only looks, as `check` does; CA_ROLLOVER_BLOCKED comes in check mode, too."""
    before = client.ca_rollover()
    found: Json = {"changed": False, "reason": "", **before}
    if step != "status":
        found = client.roll_over(step, force=force, replaces=replaces, check=check)
    phase = LEADS_TO[step] if found["changed"] else found["phase"]
    return {
        "changed": found["changed"],
        "reason": found["reason"],
        "rollover": {name: found[name] for name in STATUS},
        "vms_behind": found["vms_behind"],
        "ca_pem": client.ca()["ca_pem"],
        "diff": {"before": {"phase": before["phase"]}, "after": {"phase": phase}},
    }
