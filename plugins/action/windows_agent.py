# Copyright (c) 2026, openngt contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Have an agent in a Windows guest, or none: ansible.windows runs scripts there, and their words are judged here."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase

from ..module_utils.argspec import client_of, service_spec
from ..module_utils.failure import told
from ..module_utils.openngt.errors import OpenNGTError
from ..module_utils.openngt.install.fleet.report import Options
from ..module_utils.openngt.install.prerequisites import Finding, demand
from ..module_utils.openngt.install.windows.carried_python import windows_python
from ..module_utils.openngt.install.windows.play import judged, parameters, script
from ..module_utils.openngt.version import __version__
from ..plugin_utils.windows_script import run_script

Json = dict[str, Any]
SPEC = service_spec(
    state={"type": "str", "choices": ["present", "absent"], "default": "present"},
    version={"type": "str"},
    label={"type": "str", "default": "NUTANIX_TOOLS"},
    ca_sha256={"type": "str"},
    generation={"type": "int", "default": 0},
    wait_seconds={"type": "float", "default": 60.0},
    minimum_free_mb={"type": "int", "default": 550},
    gateway_host={"type": "str"},
    gateway_port={"type": "int", "default": 2074},
    allow_unsupported_distribution={"type": "bool", "default": False},
)


class ActionModule(ActionBase):
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: Json | None = None) -> Json:
        result: Json = super().run(tmp, task_vars)
        try:
            result.update(self._look_and_change(result, task_vars or {}))
        except OpenNGTError as error:
            result.update(failed=True, **told(error))
        except AnsibleConnectionFailure as exc:
            error = OpenNGTError("GUEST_UNREACHABLE", f"the guest cannot be reached: {exc}")
            result.update(unreachable=True, **told(error))
        return result

    def _look_and_change(self, result: Json, task_vars: Json) -> Json:
        params = self._params()
        options, version = options_of(params), params["version"] or __version__
        present = params["state"] == "present"
        given = parameters(options, version)
        looked = self._powershell("look", given, task_vars)
        seen = judged(looked, options, version, present=present, generation=params["generation"])
        result["agent"] = seen["agent"]  # for who only wants to know, whatever is found to be in the way
        plan = {name: seen[name] for name in ("operation", "reason", "agent", "findings", "met")}
        plan.update(changed=seen["operation"] != "none", steps=[])
        if self._task.diff:
            plan["diff"] = {"before": seen["before"], "after": seen["after"]}
        if not plan["changed"] or (self._task.check_mode and not present):
            return plan
        if not present:
            told = judged(self._powershell("remove", given, task_vars), options, version)
            return {**plan, "agent": None, **told}
        demand([Finding(**each) for each in seen["findings"]])
        with client_of(params) as client:
            carried = windows_python(client)
        if self._task.check_mode:
            return plan
        if not params["ca_sha256"]:
            raise OpenNGTError("INVALID_INPUT", "ca_sha256 is missing: a disc is trusted by its CA alone")
        go = {"ca_sha256": params["ca_sha256"], **carried}
        told = judged(self._powershell("install", parameters(options, version, go), task_vars), options, version)
        return {**plan, "steps": told.get("steps", []), "agent": told.get("agent")}

    def _params(self) -> Json:
        validated = ArgumentSpecValidator(SPEC).validate(self._task.args)
        if validated.error_messages:
            raise OpenNGTError("INVALID_INPUT", "; ".join(validated.error_messages))
        params: Json = validated.validated_parameters
        return params

    def _powershell(self, part: Any, given: Json, task_vars: Json) -> list[Any]:
        return run_script(self, script(part), given, task_vars)


def options_of(params: Json) -> Options:
    gateway = (params["gateway_host"], params["gateway_port"]) if params["gateway_host"] else None
    same = ("label", "wait_seconds", "minimum_free_mb", "allow_unsupported_distribution")
    return Options(gateway=gateway, **{name: params[name] for name in same})
