# Copyright (c) 2026, openngt contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Enrol a VM with the service, or end that."""

DOCUMENTATION = r"""
module: vm
short_description: Enrol a VM for guest tools
version_added: 0.1.0
author: openngt contributors (@openngt)
description:
  - Enrols a VM with the service, so that a tools ISO can be mounted in it and its agent may connect, or ends that.
  - Ending it revokes the VM's certificates, cuts its session at once, takes its tools ISO out and removes it.
extends_documentation_fragment:
  - openngt.guest_tools.service
  - openngt.guest_tools.attributes
  - openngt.guest_tools.attributes.actiongroup_service
attributes:
  check_mode:
    support: full
    details:
      - For a VM that is not enrolled yet, RV(vm) holds what the hypervisor knows and what the enrolment would set.
  diff_mode:
    support: full
  platform:
    support: full
    platforms: posix
options:
  vm:
    description:
      - The VM's UUID, or its name on the hypervisor.
    type: str
    required: true
  state:
    description:
      - V(present) enrols the VM, V(absent) disables it.
    type: str
    choices: [present, absent]
    default: present
  capabilities:
    description:
      - What the agent is allowed to be used for. What is not named stays as it is; both are on for a new VM.
    type: dict
    suboptions:
      vss_snapshot:
        description: Application-consistent snapshots.
        type: bool
      self_service_restore:
        description: Users of the guest may restore their files.
        type: bool
  require_running:
    description:
      - With O(state=present), fail with C(VM_POWERED_OFF) before anything is changed unless the VM runs.
    type: bool
    default: false
  force:
    description:
      - With O(state=absent), take a mounted tools ISO out even if the guest does not let go of it, as a dead guest does
        not, or if another run holds it.
    type: bool
    default: false
seealso:
  - module: openngt.guest_tools.vm_info
  - module: openngt.guest_tools.mount
"""

EXAMPLES = r"""
- name: Enrol the VM of this inventory host
  openngt.guest_tools.vm:
    vm: "{{ openngt_vm | default(inventory_hostname) }}"
    endpoint: https://192.0.2.10:2073
    token: "{{ openngt_token }}"
    ca_file: /etc/openngt/ca.pem
  delegate_to: localhost

- name: Enrol it without self-service restore, with endpoint, token and ca_file from the environment
  openngt.guest_tools.vm:
    vm: web1
    capabilities:
      self_service_restore: false
  delegate_to: localhost

- name: Forget a VM whose guest is dead
  openngt.guest_tools.vm:
    vm: 564d5a10-9d5c-4b1e-8f0e-0d6a1f6f3c11
    state: absent
    force: true
  delegate_to: localhost
"""

RETURN = r"""
vm:
  description:
    - The VM's record as the service has it; after O(state=absent) its last one, empty if it was not enrolled.
  returned: success
  type: dict
  sample:
    vm_uuid: 564d5a10-9d5c-4b1e-8f0e-0d6a1f6f3c11
    vm_name: web1
    ngt_enabled: true
    tools_iso_mounted: false
    communication_link_active: true
    agent_version: 0.1.0
code:
  description: The failure's stable code, for example C(VM_NOT_FOUND), C(VM_AMBIGUOUS) or C(VM_POWERED_OFF).
  returned: failure
  type: str
  sample: VM_NOT_FOUND
remedy:
  description: What to do about the failure.
  returned: failure
  type: str
details:
  description: Values that belong to the failure.
  returned: failure
  type: dict
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.argspec import client_of, service_spec
from ..module_utils.failure import fail
from ..module_utils.openngt import enrolment, holder, mounting
from ..module_utils.openngt.errors import OpenNGTError


def define_module() -> AnsibleModule:
    capabilities = {name: {"type": "bool"} for name in enrolment.CAPABILITIES}
    spec = service_spec(
        vm={"type": "str", "required": True},
        state={"type": "str", "choices": ["present", "absent"], "default": "present"},
        capabilities={"type": "dict", "options": capabilities},
        require_running={"type": "bool", "default": False},
        force={"type": "bool", "default": False},
    )
    return AnsibleModule(argument_spec=spec, supports_check_mode=True)


def run(params: dict[str, Any], *, check_mode: bool) -> dict[str, Any]:
    """Plan, apply unless `check_mode`, and the module's result."""
    with client_of(params) as client:
        plan = enrolment.plan(
            client,
            params["vm"],
            params["state"],
            params["capabilities"] or {},
            require_running=params["require_running"],
        )
        force, timeout = params["force"], params["timeout"]
        eject = None
        if plan.action == "disable":
            # In nobody's name: whoever lives and holds the disc has to let go of it first.
            eject = mounting.plan_eject(client, plan.vm, "", holder.is_dead, force=force)
        record = plan.record
        if not check_mode:
            if eject is not None:
                mounting.apply(client, eject, holder.is_dead, lease_seconds=0, force=force, timeout=timeout)
            record = enrolment.apply(client, plan)
    return {"changed": plan.action != "none", "vm": record, "diff": {"before": plan.before, "after": plan.after}}


def main() -> None:
    module = define_module()
    try:
        result = run(module.params, check_mode=module.check_mode)
    except OpenNGTError as error:
        fail(module, error)
    else:
        module.exit_json(**result)


if __name__ == "__main__":
    main()
