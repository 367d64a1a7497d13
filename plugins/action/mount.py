# Copyright (c) 2026, openngt contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Name this Ansible run as the holder of a mount, and show the progress, which a module cannot."""

from __future__ import annotations

import os
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ..module_utils.openngt import holder

display = Display()

PROGRESS = {"mounted": "mounting the tools ISO", "ejected": "ejecting the tools ISO"}


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core ships no type information
    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        if not arguments.get("holder"):
            # This code runs in a worker that lives for one task; its parent is the run itself.
            arguments["holder"] = holder.describe(os.getppid())
        host = (task_vars or {}).get("inventory_hostname", "localhost")
        display.display(f"{host}: {PROGRESS.get(arguments.get('state', 'mounted'), 'tools ISO')}")
        result.update(self._execute_module(module_args=arguments, task_vars=task_vars))
        mount = result.get("mount")
        if mount:
            display.display(f"{host}: tools ISO of generation {mount['generation']} is in drive {mount['drive']}")
        return result
