# Copyright (c) 2026, openngt contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show how far an upgrade is with each VM, which a module cannot: it is asked again until the service is done."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ..module_utils.fleet_progress import follow

display = Display()

Json = dict[str, Any]


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core ships no type information
    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: Json | None = None) -> Json:
        result: Json = super().run(tmp, task_vars)

        def ask(arguments: Json) -> Json:
            answer: Json = self._execute_module(module_args=arguments, task_vars=task_vars)
            return answer

        result.update(follow(self._task.args, ask, display.display))
        return result
