# Copyright (c) 2026, openngt contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show that an installation goes on, which its module in the guest cannot."""

from __future__ import annotations

from ..plugin_utils.patience import PatientAction


class ActionModule(PatientAction):
    def waits_for(self) -> str | None:
        return "removing the agent" if self._task.args.get("state") == "absent" else "installing the agent"
