# Copyright (c) 2026, openngt contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show that a link is waited for, which a module cannot."""

from __future__ import annotations

from ansible.module_utils.parsing.convert_bool import boolean

from ..plugin_utils.patience import PatientAction


class ActionModule(PatientAction):
    def waits_for(self) -> str | None:
        waits = boolean(self._task.args.get("wait_for_link", False), strict=False)
        return "waiting for the link" if waits else None
