# Copyright (c) 2026, openngt contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a script in a Windows guest from an action plugin, by ansible.windows."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

from ..module_utils.openngt.errors import OpenNGTError

__all__ = ["run_script"]

Json = dict[str, Any]
MODULE = "ansible.windows.win_powershell"


def run_script(action: ActionBase, script: str, given: Json, task_vars: Json) -> list[Any]:
    """What it puts out. It is run in check mode, too: that it may is the caller's word. COMMAND_FAILED."""
    check_mode, action._task.check_mode = action._task.check_mode, False
    try:
        arguments = {"script": script, "parameters": given}
        answer: Json = action._execute_module(module_name=MODULE, module_args=arguments, task_vars=task_vars)
    finally:
        action._task.check_mode = check_mode
    if answer.get("failed") and not answer.get("output"):
        raise OpenNGTError(
            "COMMAND_FAILED", f"PowerShell in the guest does not work: {answer.get('msg') or said(answer)}"
        )
    output: list[Any] = answer.get("output") or []
    return output


def said(answer: Json) -> str:
    """What the module tells of the error that ended the script."""
    errors = answer.get("error") or [{}]
    return str(errors[0].get("output", "")).strip() or "it says nothing"
