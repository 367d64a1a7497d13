# Copyright (c) 2026, openngt contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the service knows about enrolled VMs; can wait until their links are proven."""

DOCUMENTATION = r"""
module: vm_info
short_description: Read what the service knows about enrolled VMs
version_added: 0.1.0
author: openngt contributors (@openngt)
description:
  - Returns the records of enrolled VMs; without O(vm) of all of them, however many there are.
  - Can wait until the link of each is proven, which is how an installation is known to have worked.
extends_documentation_fragment:
  - openngt.guest_tools.service
  - openngt.guest_tools.attributes
  - openngt.guest_tools.attributes.info
  - openngt.guest_tools.attributes.actiongroup_service
attributes:
  platform:
    support: full
    platforms: posix
  action:
    description: Has an action plugin, which says every now and then that it still waits for a link.
    support: full
options:
  vm:
    description:
      - UUIDs or names of the VMs. Without O(wait_for_link), a VM that is not enrolled is left out of the answer.
    type: list
    elements: str
  filters:
    description:
      - Only VMs that meet all of these conditions, each C(FIELD=VALUE[,VALUE...]) or with C(!=); where values have an
        order also with C(<), C(<=), C(>) or C(>=). C(none) stands for a field without a value.
      - The fields are C(vm_name) and C(guest_os) (with C(*) and C(?)), C(link), C(power_state), C(transport),
        C(version), C(agent_version), C(expiry), C(days_left), C(certificate_expires), C(certificate_kind),
        C(certificate_state), C(tools_iso_mounted), C(last_refusal) and more. A condition that cannot be is
        refused with the name of the field and what it allows.
    type: list
    elements: str
  sort:
    description:
      - The field by which the records are sorted; C(-) before it reverses the order. Without it by name.
      - Like O(filters), not together with O(wait_for_link).
    type: str
  clone_pending:
    description:
      - Return in RV(clones) the VMs of the hypervisor that are clones of enrolled ones and wait to be enabled, which
        M(openngt.guest_tools.vm) does. RV(vms) is not changed by it.
    type: bool
    default: false
  wait_for_link:
    description:
      - Wait until the agent of each VM in O(vm) is connected with its long-lived certificate.
      - In check mode nobody waits; what is there is returned.
    type: bool
    default: false
  generation:
    description:
      - With O(wait_for_link), the certificate must be of this generation or a later one. Give what RV(ignore:mount)
        of M(openngt.guest_tools.mount) says, to prove that it is this installation that connected.
    type: int
  wait_seconds:
    description:
      - How long to wait.
    type: float
    default: 60.0
  guest_saw:
    description:
      - What the guest itself says about its link. It is put beside the service's view when the wait fails, since the
        two together usually show the cause.
    type: raw
seealso:
  - module: openngt.guest_tools.vm
  - module: openngt.guest_tools.health_info
"""

EXAMPLES = r"""
- name: Read all VMs
  openngt.guest_tools.vm_info:
  delegate_to: localhost
  run_once: true
  register: fleet

- name: Find running VMs whose agent is not connected, or whose certificate ends soon
  openngt.guest_tools.vm_info:
    filters:
      - link=inactive
      - power_state=on
      - days_left<=45
    sort: days_left
  delegate_to: localhost
  run_once: true
  register: endangered

- name: See which clones wait to be enabled
  openngt.guest_tools.vm_info:
    clone_pending: true
  delegate_to: localhost
  run_once: true
  register: fleet_and_clones

- name: Wait until the agent of web1 is connected
  openngt.guest_tools.vm_info:
    vm: [web1]
    wait_for_link: true
    wait_seconds: 90
  delegate_to: localhost
"""

RETURN = r"""
vms:
  description: One record for each VM.
  returned: success
  type: list
  elements: dict
  sample:
    - vm_uuid: 564d5a10-9d5c-4b1e-8f0e-0d6a1f6f3c11
      vm_name: web1
      communication_type: kFallbackToIP
      communication_link_active: true
      communication_link_over_serial_port_active: true
      transport: serial
      serial_port: ready
      serial_port_held_until: null
      certificate:
        kind: link
        days_left: 999
        expiry: PASS
clones:
  description: With O(clone_pending), one record for each clone that waits to be enabled, as the hypervisor has it.
  returned: success and O(clone_pending)
  type: list
  elements: dict
  sample:
    - vm_uuid: 0b7d5a10-9d5c-4b1e-8f0e-0d6a1f6f3c99
      vm_name: web1-copy
      power_state: "on"
      clone_pending: true
      cloned_from:
        vm_uuid: 564d5a10-9d5c-4b1e-8f0e-0d6a1f6f3c11
        vm_name: web1
code:
  description:
    - The failure's stable code. With C(LINK_NOT_ACTIVE), C(details.service_saw) says for each VM what is missing, and
      why the gateway last refused it; C(details.guest_saw) is what O(guest_saw) gave.
  returned: failure
  type: str
  sample: LINK_NOT_ACTIVE
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
from ..module_utils.openngt.errors import OpenNGTError
from ..module_utils.openngt.link import wait_for_links


def define_module() -> AnsibleModule:
    spec = service_spec(
        vm={"type": "list", "elements": "str"},
        filters={"type": "list", "elements": "str"},
        sort={"type": "str"},
        clone_pending={"type": "bool", "default": False},
        wait_for_link={"type": "bool", "default": False},
        generation={"type": "int"},
        wait_seconds={"type": "float", "default": 60.0},
        guest_saw={"type": "raw"},
    )
    return AnsibleModule(
        argument_spec=spec,
        supports_check_mode=True,
        required_if=[("wait_for_link", True, ("vm",))],
        required_by={"generation": ("vm",)},
    )


def run(params: dict[str, Any], *, check_mode: bool) -> dict[str, Any]:
    if params["wait_for_link"] and (params["filters"] or params["sort"]):
        raise OpenNGTError("INVALID_INPUT", "filters and sort choose from all VMs; wait_for_link waits for those in vm")
    with client_of(params) as client:
        if params["wait_for_link"] and not check_mode:
            how = {name: params[name] for name in ("generation", "guest_saw")}
            records = wait_for_links(client, params["vm"], params["wait_seconds"], **how)
        else:
            records = client.vms(params["vm"] or (), filters=params["filters"] or (), sort=params["sort"])
        clones = {"clones": client.hypervisor_vms(clone_pending=True)} if params["clone_pending"] else {}
    return {"changed": False, "vms": records, **clones}


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
