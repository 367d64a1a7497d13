# Copyright (c) 2026, openngt contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""For action plugins: ask a module again until the service is done with many VMs, and show how far each one is."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ansible.module_utils.parsing.convert_bool import boolean

__all__ = ["follow"]

POLL_SECONDS = 2.0
RESTART_SECONDS = 120.0
OF_THE_SERVICE = ("endpoint", "token", "ca_file", "timeout")
Json = dict[str, Any]


def follow(arguments: Json, ask: Callable[[Json], Json], show: Callable[[str], None]) -> Json:
    """The module's last answer. `ask` runs it with arguments, `show` gets a line when a VM's task has moved."""
    wanted = dict(arguments)
    wait = boolean(wanted.pop("wait", True))
    begun = ask({**wanted, "wait": False})
    shown: dict[str, str] = {}
    now = begun
    while wait and not now.get("finished", True) and not now.get("failed"):
        _tell(now["vms"], shown, show)
        time.sleep(POLL_SECONDS)
        again = {name: wanted[name] for name in OF_THE_SERVICE if name in wanted}
        now = _look({**again, "task_id": begun["task_id"], "wait": False}, ask)
    _tell(now.get("vms", ()), shown, show)
    if now is not begun and "vms" in now:
        now["vms"] = [*now["vms"], *(row for row in begun["vms"] if row["state"] == "unchanged")]
    return now


def _look(arguments: Json, ask: Callable[[Json], Json]) -> Json:
    """How far it is; a service that restarts is waited for."""
    until = time.monotonic() + RESTART_SECONDS
    while True:
        answer = ask(arguments)
        if answer.get("code") != "ENDPOINT_UNREACHABLE" or time.monotonic() > until:
            return answer
        time.sleep(POLL_SECONDS)


def _tell(rows: Any, shown: dict[str, str], show: Callable[[str], None]) -> None:
    """A line for each of a VM's tasks when it has changed."""
    for row in rows:
        for task in row["tasks"]:
            line = f"{row['vm_name']}: {task['title']}  {task['progress']} %  {task['step']}"
            if shown.get(task["task_id"]) != line:
                shown[task["task_id"]] = line
                show(line)
