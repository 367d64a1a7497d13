# Copyright (c) 2026, openngt contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Have the service customize a VM, from this process: what holds passwords goes into no module's arguments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ..module_utils.argspec import client_of, service_spec
from ..module_utils.failure import told
from ..module_utils.openngt.client import Client
from ..module_utils.openngt.customization.applying import (
    Outcome,
    apply,
    failure_of,
    follow,
    plan,
    readable,
    withdraw,
)
from ..module_utils.openngt.customization.model import DATASOURCES, FORMATS, INSTALL_TYPES
from ..module_utils.openngt.customization.sources import Read, read_beside, resolve
from ..module_utils.openngt.errors import OpenNGTError
from ..plugin_utils.fleet_hosts import plain

display = Display()

Json = dict[str, Any]
PART = {
    "content": {"type": "str", "no_log": True},
    "content_base64": {"type": "str", "no_log": True},
    "src": {"type": "path"},
    "datastore_path": {"type": "str"},
}
FILE = {"path": {"type": "str", "required": True}, "mode": {"type": "str"}, "owner": {"type": "str"}}
SPEC = service_spec(
    vm={"type": "str", "required": True},
    state={"type": "str", "choices": ["present", "absent"], "default": "present"},
    format={"type": "str", "choices": list(FORMATS), "default": "cloud_init"},
    scripts={"type": "list", "elements": "dict", "options": {**PART, "name": {"type": "str"}}},
    options={"type": "dict"},
    network={"type": "dict"},
    files={"type": "list", "elements": "dict", "options": {**PART, **FILE}},
    datasource={"type": "str", "choices": list(DATASOURCES), "default": "nocloud"},
    install_type={"type": "str", "choices": list(INSTALL_TYPES), "default": "prepared"},
    instance_id={"type": "str"},
    meta_data={"type": "dict"},
    power_on={"type": "bool", "default": True},
    wait={"type": "bool", "default": True},
    wait_seconds={"type": "int", "default": 1800},
)
OF_THE_SPEC = (
    "format",
    "scripts",
    "options",
    "network",
    "files",
    "datasource",
    "install_type",
    "instance_id",
    "meta_data",
    "power_on",
    "wait_seconds",
)


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core ships no type information
    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: Json | None = None) -> Json:
        result: Json = super().run(tmp, task_vars)
        try:
            params = self._validated()
            with client_of(params) as client:
                outcome = self._outcome(client, params, task_vars or {})
        except OpenNGTError as error:
            findings = error.details.get("findings", [])
            return {**result, "failed": True, "findings": findings, **told(error)}
        result.update(result_of(outcome))
        if self._task.diff:
            result["diff"] = diff_of(outcome)
        failure = failure_of(outcome.row) if outcome.changed or params["wait"] else None
        if failure is not None:
            result.update(failed=True, **told(failure))
        return result

    def _validated(self) -> Json:
        """The task's arguments; INVALID_INPUT names what is wrong, and no value."""
        checked = ArgumentSpecValidator(SPEC).validate(plain(dict(self._task.args)))
        if checked.error_messages:
            raise OpenNGTError("INVALID_INPUT", "; ".join(checked.error_messages))
        params: Json = checked.validated_parameters
        return params

    def _outcome(self, client: Client, params: Json, task_vars: Json) -> Outcome:
        vm, check = params["vm"], self._task.check_mode
        if params["state"] == "absent":
            return withdraw(client, vm, params["timeout"], check=check)
        spec = resolve({name: params[name] for name in OF_THE_SPEC}, self._read(task_vars))
        planned = plan(client, vm, spec)
        if check:
            return planned
        outcome = apply(client, vm, spec, planned, params["timeout"])
        if outcome.row is None or not params["wait"]:
            return outcome
        host = task_vars.get("inventory_hostname", "localhost")

        def show(row: Json) -> None:
            display.display(f"{host}: {row['vm_name']} {row['state']}")

        return outcome._replace(row=follow(client, vm, outcome.row, params["wait_seconds"], show))

    def _read(self, task_vars: Json) -> Read:
        def read(src: str, field: str) -> bytes:
            found = self._loader.get_real_file(self._found(src, field, task_vars))
            try:
                return read_beside(Path("/"))(found, field)
            finally:
                self._loader.cleanup_tmp_file(found)

        return read

    def _found(self, src: str, field: str, task_vars: Json) -> str:
        """Where `copy` would find it; else beside the inventory, for a play that came with a collection."""
        try:
            return str(self._find_needle("files", src))
        except AnsibleError as exc:
            beside = Path(task_vars.get("inventory_dir") or ".")
            for place in (beside / "files" / src, beside / src):
                if place.is_file():
                    return str(place.absolute())
            message = f"{field}: {src} is found neither in files, beside the play, nor beside the inventory"
            raise OpenNGTError("INVALID_INPUT", message) from exc


def result_of(outcome: Outcome) -> Json:
    lines = readable(outcome.findings)
    return {
        "changed": outcome.changed,
        "reason": outcome.reason,
        "customization": outcome.row,
        "findings": lines,
        "warnings": [line.partition("warning: ")[2] or line for line in lines],
    }


def diff_of(outcome: Outcome) -> Json:
    return {"before": outcome.before, "after": outcome.after if outcome.changed else outcome.before}
