# SPDX-License-Identifier: GPL-3.0-or-later
"""An Ansible inventory of lab VMs."""

import shlex
from collections.abc import Iterable
from typing import Any, Literal

from .service_process import HOST_SEEN_FROM_GUESTS, ServiceProcess
from .ssh import ssh_options
from .vm import Lab, LabVm

__all__ = ["GuestUser", "inventory", "service_variables"]

GuestUser = Literal["root", "admin", "operator"]
"""root; a sudoer without password; a sudoer with one."""


def inventory(lab: Lab, vms: Iterable[LabVm], user: GuestUser) -> dict[str, Any]:
    """Ready for YAML. `operator`'s password is looked up from its file when a play needs it, not written here."""
    common: dict[str, Any] = {
        "ansible_user": user,
        "ansible_become": user != "root",
        "ansible_ssh_private_key_file": str(lab.key),
        "ansible_python_interpreter": "/usr/bin/python3",
        "ansible_pipelining": True,
        "ansible_ssh_timeout": 60,  # an emulated guest may take longer than Ansible's 10 s to answer a sudo
    }
    if user == "operator":
        lookup = f"lookup('ansible.builtin.file', {str(lab.operator_password)!r})"
        common["ansible_become_password"] = "{{ " + lookup + " }}"
    return {"all": {"hosts": {vm.name: _host(vm) for vm in vms}, "vars": common}}


def service_variables(service: ServiceProcess, gateway_port: int) -> dict[str, Any]:
    """What our playbooks need to reach the service beside the lab; the token is looked up from its file, too."""
    return {
        "openngt_endpoint": service.environment()["OPENNGT_ENDPOINT"],
        "openngt_ca_file": service.environment()["OPENNGT_CA_FILE"],
        "openngt_token": "{{ lookup('ansible.builtin.file', " + repr(str(service.state / "admin.token")) + ") }}",
        "guest_agent_gateway_host": HOST_SEEN_FROM_GUESTS,
        "guest_agent_gateway_port": gateway_port,
    }


def _host(vm: LabVm) -> dict[str, Any]:
    target = vm.target
    return {
        "ansible_host": target.host,
        "ansible_port": target.port,
        "ansible_ssh_common_args": shlex.join(ssh_options(target.known_hosts)),
        "openngt_vm": vm.vm_uuid,
    }
