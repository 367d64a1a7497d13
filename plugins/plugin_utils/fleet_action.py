# Copyright (c) 2026, openngt contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show how far work on many VMs is, which a module cannot: it is asked again until the service is done."""

from __future__ import annotations

import time
from typing import Any

from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

__all__ = ["FleetAction"]

display = Display()

POLL_SECONDS = 2.0
RESTART_SECONDS = 120.0
OF_THE_SERVICE = ("endpoint", "token", "ca_file", "timeout")
Json = dict[str, Any]


class FleetAction(ActionBase):  # type: ignore[misc]  # ansible-core ships no type information
    """For a module with the options `wait` and `task_id` that returns `task_id`, `finished` and `vms`."""

    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: Json | None = None) -> Json:
        result: Json = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        wait = boolean(arguments.pop("wait", True))
        begun = self._ask({**arguments, "wait": False}, task_vars)
        shown: dict[str, str] = {}
        now = begun
        while wait and not now.get("finished", True) and not now.get("failed"):
            self._tell(now["vms"], shown)
            time.sleep(POLL_SECONDS)
            again = {name: arguments[name] for name in OF_THE_SERVICE if name in arguments}
            now = self._look({**again, "task_id": begun["task_id"], "wait": False}, task_vars)
        self._tell(now.get("vms", ()), shown)
        if now is not begun and "vms" in now:
            now["vms"] = [*now["vms"], *(row for row in begun["vms"] if row["state"] == "unchanged")]
        result.update(now)
        return result

    def _look(self, arguments: Json, task_vars: Json | None) -> Json:
        """How far it is; a service that restarts is waited for."""
        until = time.monotonic() + RESTART_SECONDS
        while True:
            answer = self._ask(arguments, task_vars)
            if answer.get("code") != "ENDPOINT_UNREACHABLE" or time.monotonic() > until:
                return answer
            time.sleep(POLL_SECONDS)

    def _ask(self, arguments: Json, task_vars: Json | None) -> Json:
        answer: Json = self._execute_module(module_args=arguments, task_vars=task_vars)
        return answer

    def _tell(self, rows: Any, shown: dict[str, str]) -> None:
        """A line for each of a VM's tasks when it has changed."""
        for row in rows:
            for task in row["tasks"]:
                line = f"{row['vm_name']}: {task['title']}  {task['progress']} %  {task['step']}"
                if shown.get(task["task_id"]) != line:
                    shown[task["task_id"]] = line
                    display.display(line)
