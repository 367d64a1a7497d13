# Copyright (c) 2026, openngt contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Install in many guests from this process, and show how far each is."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from ansible import constants, context
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ..module_utils.argspec import client_of, service_spec
from ..module_utils.failure import told
from ..module_utils.openngt.errors import OpenNGTError
from ..module_utils.openngt.install.fleet.credentials import read_file, targets_from_list
from ..module_utils.openngt.install.fleet.known_guests import known_guests
from ..module_utils.openngt.install.fleet.report import Event, Options, Refused, Report
from ..module_utils.openngt.install.fleet.runner import install
from ..module_utils.openngt.install.fleet.target import Target
from ..plugin_utils.fleet_hosts import guests_of, plain

display = Display()

Json = dict[str, Any]
FEW = 20
"""With so many guests each of their phases gets a line; with more only under -v."""
SPEC = service_spec(
    hosts={"type": "list", "elements": "str"},
    credentials={"type": "raw", "no_log": True},
    credentials_file={"type": "path"},
    only={"type": "list", "elements": "str"},
    max_in_flight={"type": "int", "default": 20},
    host_seconds={"type": "float", "default": 900.0},
    wait_seconds={"type": "float", "default": 90.0},
    lease_seconds={"type": "int", "default": 1800},
    trust_new_host_keys={"type": "bool", "default": False},
    capabilities={
        "type": "dict",
        "options": {"vss_snapshot": {"type": "bool"}, "self_service_restore": {"type": "bool"}},
    },
    install_prerequisites={"type": "bool", "default": False},
    allow_unsupported_distribution={"type": "bool", "default": False},
    minimum_free_mb={"type": "int", "default": 550},
    label={"type": "str", "default": "NUTANIX_TOOLS"},
    mount_point={"type": "str", "default": "/mnt/nutanix/ngt"},
    gateway_host={"type": "str"},
    gateway_port={"type": "int", "default": 2074},
    journal={"type": "path"},
    resume={"type": "bool", "default": True},
    reconnect={"type": "bool", "default": False},
    limit_file={"type": "path"},
)
SAME_IN_OPTIONS = (
    "max_in_flight",
    "host_seconds",
    "wait_seconds",
    "lease_seconds",
    "install_prerequisites",
    "allow_unsupported_distribution",
    "minimum_free_mb",
    "label",
    "mount_point",
    "resume",
    "reconnect",
)


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core ships no type information
    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: Json | None = None) -> Json:
        result: Json = super().run(tmp, task_vars)
        try:
            params = self._validated()
            report = self._install(params, task_vars or {})
        except OpenNGTError as error:
            return {**result, "failed": True, **told(error)}
        result.update(result_of(report))
        if self._task.diff:
            result["diff"] = diffs(report)
        return result

    def _validated(self) -> Json:
        """The task's arguments; INVALID_INPUT names what is wrong, and no value."""
        validator = ArgumentSpecValidator(SPEC, mutually_exclusive=[("hosts", "credentials", "credentials_file")])
        checked = validator.validate(dict(self._task.args))
        if checked.error_messages:
            raise OpenNGTError("INVALID_INPUT", "; ".join(checked.error_messages))
        params: Json = checked.validated_parameters
        return params

    def _install(self, params: Json, task_vars: Json) -> Report:
        targets, refused = self._guests(params, task_vars)
        total = len(targets) + len(refused)
        stop = threading.Event()

        def show(event: Event) -> None:
            # Once Ansible ends, nobody takes lines any longer, and one too many would hold us up.
            if not stop.is_set() and (event.row is not None or total <= FEW or display.verbosity):
                display.display(line_of(event))

        return install(
            targets,
            options_of(params, self._task.check_mode),
            lambda: client_of(params),
            show,
            refused=refused,
            stop=stop,
        )

    def _guests(self, params: Json, task_vars: Json) -> tuple[list[Target], list[Refused]]:
        trust_new = params["trust_new_host_keys"]
        source = plain(params["credentials"])
        if params["credentials_file"]:
            source = read_file(params["credentials_file"]).content
        if source is not None:
            with client_of(params) as client:
                known = known_guests(client.vms())
            listed = targets_from_list(source, known=known, trust_new=trust_new)
            return chosen(listed.targets, params["only"]), chosen(listed.refused, params["only"])
        return guests_of(
            self._hosts(params["hosts"], task_vars),
            task_vars["hostvars"],
            self._defaults(task_vars),
            trust_new=trust_new,
        )

    def _hosts(self, asked: Sequence[str] | None, task_vars: Json) -> Sequence[str]:
        if asked is not None:
            return asked
        batch: Sequence[str] = task_vars["ansible_play_batch"]
        return batch if self._task.run_once else [task_vars["inventory_hostname"]]

    def _defaults(self, task_vars: Json) -> Json:
        """What the command line, the play's keywords and ansible.cfg say for all hosts."""
        play = self._play_context
        found = {
            "ansible_user": self._task.remote_user or constants.DEFAULT_REMOTE_USER,
            "ansible_port": self._task.port,
            "ansible_private_key_file": context.CLIARGS.get("private_key_file") or constants.DEFAULT_PRIVATE_KEY_FILE,
        }
        # Of --ask-pass and --ask-become-pass, unless the task's own host has overwritten them there.
        own: Json = {} if self._task.delegate_to else task_vars
        if not any(name in own for name in ("ansible_password", "ansible_ssh_pass", "ansible_ssh_password")):
            found["ansible_password"] = play.password
        if not any(name in own for name in ("ansible_become_password", "ansible_become_pass")):
            found["ansible_become_password"] = play.become_pass
        return {name: value for name, value in found.items() if value}


Guest = TypeVar("Guest", Target, Refused)


def chosen(guests: Sequence[Guest], only: Sequence[str] | None) -> list[Guest]:
    """Those that are named by name or UUID; all where nothing is named."""
    if only is None:
        return list(guests)
    wanted = {name.lower() for name in only}
    return [guest for guest in guests if {guest.name.lower(), guest.vm.lower()} & wanted]


def options_of(params: Json, check: bool) -> Options:
    gateway = params["gateway_host"]
    return Options(
        check=check,
        capabilities=params["capabilities"] or {},
        gateway=(gateway, params["gateway_port"]) if gateway else None,
        journal=Path(params["journal"]) if params["journal"] else None,
        limit_file=Path(params["limit_file"]) if params["limit_file"] else None,
        **{name: params[name] for name in SAME_IN_OPTIONS},
    )


def line_of(event: Event) -> str:
    row = event.row
    if row is None:
        return f"{event.name}: {event.phase}"
    seconds = sum(row.seconds.values())
    what = f"{row.code}: {row.message}" if row.code else row.message
    return f"{event.name}: {row.state}  {what}  [{event.done}/{event.total}, {seconds:.1f} s]"


def result_of(report: Report) -> Json:
    error = report.error
    return {
        "changed": any(row.changed for row in report.rows),
        "rows": [row.to_dict() for row in report.rows],
        "summary": report.summary,
        "limit_file": report.limit_file,
        "journal": report.journal,
        "interrupted": report.interrupted,
        "warnings": list(report.warnings),
        **({"failed": True, **told(error)} if error else {}),
    }


def diffs(report: Report) -> list[Json]:
    return [{**row.diff, "before_header": row.name, "after_header": row.name} for row in report.rows if row.diff]
