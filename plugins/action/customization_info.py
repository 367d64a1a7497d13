# Copyright (c) 2026, openngt contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask the service, or in a Windows guest, where no module of ours can run, the logs of Windows Setup."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

from ..module_utils.failure import told
from ..module_utils.openngt.customization.panther_guest import SCRIPT, judged, parameters
from ..module_utils.openngt.errors import OpenNGTError
from ..plugin_utils.windows_script import run_script

Json = dict[str, Any]
OF_THE_SERVICE = ("vm", "states", "wait", "wait_seconds")


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core ships no type information
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: Json | None = None) -> Json:
        result: Json = super().run(tmp, task_vars)
        if not getattr(self._connection._shell, "_IS_WINDOWS", False):
            result.update(self._execute_module(task_vars=task_vars))
            return result
        try:
            self._require_none_of_the_services()
            found = judged(run_script(self, SCRIPT, parameters(), task_vars or {}))
            result.update(changed=False, windows_setup=found)
        except OpenNGTError as error:
            result.update(failed=True, **told(error))
        except AnsibleConnectionFailure as exc:
            error = OpenNGTError("GUEST_UNREACHABLE", f"the guest cannot be reached: {exc}")
            result.update(unreachable=True, **told(error))
        return result

    def _require_none_of_the_services(self) -> None:
        given = [name for name in OF_THE_SERVICE if self._task.args.get(name) is not None]
        if given:
            raise OpenNGTError(
                "INVALID_INPUT",
                f"{', '.join(given)}: is for the service, and this host is a Windows guest, whose logs are read",
                {"fields": given},
                remedy="add delegate_to: localhost to ask the service, or leave it out to read the guest's logs",
            )
